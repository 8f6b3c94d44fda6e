package session

import "strings"

// Session is somebody's login, as logind tells.
type Session struct {
	ID      string
	UID     uint32
	Seat    string // "seat0"; empty for one that is not at this machine's own screen
	Type    string // "wayland", "x11", "tty", ...
	Class   string // "user", "greeter", ...
	State   string // "online", "active" or "closing"
	Display string // of an X11 session, ":0"; often empty
	Active  bool   // in the foreground of its seat; always true without a seat
	Remote  bool
	Locked  bool
}

// Person reports whether somebody is logged in with it, rather than a login screen or a service, and
// has not just left.
func (s Session) Person() bool { return strings.HasPrefix(s.Class, "user") && s.State != "closing" }

// Graphical reports whether it has a desktop.
func (s Session) Graphical() bool { return s.Type == "wayland" || s.Type == "x11" || s.Type == "mir" }
