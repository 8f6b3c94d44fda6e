package probe

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"skua/agent/rhythm"
	"skua/agent/session"
	"skua/agent/x11"
)

const (
	// Below this are the system's own users. Without logind, a compositor of theirs is taken for a login screen.
	firstPersonUID = 1000

	// While the directory of users' sockets is missing it is looked for again. Machines that have it have it from the
	// start. A logind that was there for longer than this was restarted.
	peopleAgain = time.Minute

	// An X display that is to be watched is given so long to come up before its user gets a helper.
	displayGrace = 5 * time.Second

	socketsMost = 4096 // entries read of users' directories: users can make more
)

// watchPeople keeps a [person] for every user with a desktop session that only a helper can watch.
//
// It wakes up when logind, the directories of users' sockets or the displays have changed.
func (w *Watcher) watchPeople(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() { w.followLogind(ctx) })
	wg.Go(func() { w.watchSessionSockets(ctx) })

	people := make(map[uint32]*person)
	bare := make(map[string]time.Time) // since when X11 sessions have had no display that is watched
	opened := sync.OnceFunc(w.opened)
	for {
		now := time.Now()
		seen := w.census(now, bare)
		wanted := seen.wanted()
		for uid, p := range people {
			if _, still := wanted[uid]; !still {
				p.stop()
				delete(people, uid)
			}
		}
		for uid, want := range wanted {
			p := people[uid]
			if p == nil {
				p = newPerson(w, uid, want)
				people[uid] = p
				running, end := context.WithCancel(ctx)
				p.stop = end
				wg.Go(func() { p.run(running) })
			}
			p.update(want)
		}
		if seen.asked {
			opened()
		}
		select {
		case <-ctx.Done():
			return
		case <-w.peopleChanged:
		case <-seen.next():
		}
	}
}

// census is what is known about users' sessions.
type census struct {
	logins  []session.Session
	logind  bool                // logins are all there are
	asked   bool                // whether there is a logind is known
	sockets map[uint32][]string // of Wayland compositors
	devices bool                // keyboards and pointers of the machine are watched
	bare    []session.Session   // X11 sessions whose display nobody watches, for longer than the grace
	due     time.Duration       // until another session may have become bare; 0 means none
}

// want is what is wanted of a person.
type want struct {
	sockets  string // names of the compositors' sockets: when they change, all begins anew
	display  string // X display, where the agent itself cannot watch it
	presence presence
	console  bool

	graphical bool // logind says that there is a desktop
}

// presence says what to think of a user whose input cannot be seen.
type presence int

const (
	away      presence = iota // every session is locked or in the background
	byDevices                 // at work when the machine's own devices say so
	atWork                    // as far as anybody can tell
)

// census takes stock.
func (w *Watcher) census(now time.Time, bare map[string]time.Time) census {
	sockets := waylandSockets(w.cfg.RunUser)
	w.mu.Lock()
	defer w.mu.Unlock()
	c := census{logins: w.logins, logind: w.logind, asked: w.logindAsked, sockets: sockets}
	watched := make(map[string]bool)
	for _, s := range w.sources {
		if s.name == sourceDevices {
			c.devices = s.watching
		}
		if strings.HasPrefix(s.name, ":") && s.watching {
			watched[s.name] = true
		}
	}
	var remote []string
	for _, s := range w.logins {
		n, err := x11.ParseDisplay(s.Display)
		name := ":" + strconv.Itoa(n)
		if err == nil && s.Remote {
			remote = append(remote, name)
		}
		if !s.Person() || s.Type != "x11" || watched[name] && err == nil || err != nil && len(watched) > 0 {
			delete(bare, s.ID)
			continue
		}
		since, known := bare[s.ID]
		if !known {
			since = now
			bare[s.ID] = now
		}
		if wait := displayGrace - now.Sub(since); wait <= 0 {
			c.bare = append(c.bare, s)
		} else if c.due == 0 || wait < c.due {
			c.due = wait
		}
	}
	for id := range bare {
		if !slices.ContainsFunc(w.logins, func(s session.Session) bool { return s.ID == id }) {
			delete(bare, id)
		}
	}
	for _, s := range w.sources {
		if strings.HasPrefix(s.name, ":") {
			s.console = !slices.Contains(remote, s.name)
		}
	}
	w.noteCompositors(sockets)
	return c
}

// noteCompositors keeps w.compositors: the users with a compositor that is not known to be gone. The caller
// holds w.mu.
func (w *Watcher) noteCompositors(sockets map[uint32][]string) {
	now := make(map[uint32]bool)
	for uid := range sockets {
		if !w.serverless[uid] {
			now[uid] = true
		}
	}
	if !maps.Equal(now, w.compositors) {
		w.compositors = now
		nudge(w.displaysChanged)
	}
}

// next is when to take stock again although nothing has changed.
func (c census) next() <-chan time.Time {
	if c.due == 0 {
		return nil
	}
	return time.After(c.due)
}

// wanted decides for whom there must be a helper, and what to think of those who then cannot be seen.
func (c census) wanted() map[uint32]want {
	wanted := make(map[uint32]want)
	for uid, names := range c.sockets {
		if uid >= firstPersonUID || c.logind && c.has(uid) {
			wanted[uid] = want{sockets: strings.Join(names, " ")}
		}
	}
	for _, s := range c.logins {
		if _, already := wanted[s.UID]; !already && s.Person() && (s.Type == "wayland" || s.Type == "mir") {
			wanted[s.UID] = want{} // its compositor is not there yet
		}
	}
	for _, s := range c.bare {
		one := wanted[s.UID]
		if one.sockets == "" { // with a compositor it is that one's Xwayland
			one.display = s.Display
		}
		wanted[s.UID] = one
	}
	for uid, one := range wanted {
		one.presence, one.console, one.graphical = c.presence(uid)
		wanted[uid] = one
	}
	return wanted
}

func (c census) has(uid uint32) bool {
	return slices.ContainsFunc(c.logins, func(s session.Session) bool { return s.UID == uid && s.Person() })
}

// presence judges a user by the sessions that logind knows: those with a desktop or, if none has one since it
// was started by hand, all of them. Somebody whose sessions are all locked or in the background is not
// in front of one, and when that changes logind says so. Without logind nothing is known of that.
func (c census) presence(uid uint32) (p presence, console, graphical bool) {
	if !c.logind {
		if c.devices {
			return byDevices, true, false
		}
		return atWork, true, false
	}
	own := slices.DeleteFunc(slices.Clone(c.logins), func(s session.Session) bool { return s.UID != uid || !s.Person() })
	graphical = slices.ContainsFunc(own, session.Session.Graphical)
	for _, s := range own {
		if graphical && !s.Graphical() {
			continue
		}
		console = console || !s.Remote
		switch {
		case !s.Active || s.Locked:
		case s.Seat != "" && !s.Remote && c.devices:
			p = max(p, byDevices)
		default:
			p = max(p, atWork)
		}
	}
	return p, console, graphical
}

// waylandSockets lists the sockets of compositors by the user whose runtime directory they are in. What is no
// directory of that user's own is left out.
func waylandSockets(runUser string) map[uint32][]string {
	found := make(map[uint32][]string)
	for _, uid := range runtimeUsers(runUser) {
		f, err := os.Open(runtimeDir(runUser, uid))
		if err != nil {
			continue
		}
		entries, _ := f.ReadDir(socketsMost)
		f.Close()
		for _, e := range entries {
			if isCompositor(e.Name()) && e.Type() == os.ModeSocket {
				found[uid] = append(found[uid], e.Name())
			}
		}
		slices.Sort(found[uid])
	}
	return found
}

// isCompositor tells a compositor's socket by its name. Beside each is a lock, which is no socket.
func isCompositor(name string) bool {
	return strings.HasPrefix(name, "wayland-") && !strings.HasSuffix(name, ".lock")
}

// runtimeUsers lists the users that have a runtime directory.
func runtimeUsers(runUser string) []uint32 {
	entries, _ := os.ReadDir(runUser) // which only root can write
	var found []uint32
	for _, e := range entries {
		uid, err := strconv.ParseUint(e.Name(), 10, 32)
		if err != nil {
			continue
		}
		if _, err := groupOf(runUser, uint32(uid)); err == nil {
			found = append(found, uint32(uid))
		}
	}
	return found
}

func runtimeDir(runUser string, uid uint32) string {
	return filepath.Join(runUser, strconv.FormatUint(uint64(uid), 10))
}

// groupOf gives the user's group, as that of the user's runtime directory.
func groupOf(runUser string, uid uint32) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Lstat(runtimeDir(runUser, uid), &st); err != nil {
		return 0, err
	}
	if st.Uid != uid || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return 0, errors.New("not a runtime directory of that user")
	}
	return st.Gid, nil
}

// followLogind keeps w.logins, for as long as there is a logind. A machine without one is tried again now and then.
func (w *Watcher) followLogind(ctx context.Context) {
	again := busAgainFirst
	for ctx.Err() == nil {
		began := time.Now()
		err := session.FollowLogind(ctx, session.LogindConfig{
			Address: w.cfg.SystemBus, Sleep: w.cfg.OnSleep, Log: w.log,
			Changed: func(all []session.Session) { w.setLogins(all, true) },
		})
		w.setLogins(nil, false)
		w.log.Debug("logind is not followed", "error", err)
		if time.Since(began) > peopleAgain {
			again = busAgainFirst
			continue // it was restarted
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(rhythm.Next(time.Now(), again))):
		}
		again = min(2*again, busAgainLast)
	}
}

func (w *Watcher) setLogins(all []session.Session, known bool) {
	w.mu.Lock()
	news := !w.logindAsked || w.logind != known || !slices.Equal(w.logins, all)
	w.logins, w.logind, w.logindAsked = all, known, true
	w.mu.Unlock()
	if news {
		nudge(w.peopleChanged)
	}
}

// watchSessionSockets tells when compositors' sockets come or go.
func (w *Watcher) watchSessionSockets(ctx context.Context) {
	for ctx.Err() == nil {
		err := w.followSessionSockets(ctx)
		w.log.Debug("directory of users' sockets not watched", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(peopleAgain):
		}
		nudge(w.peopleChanged)
	}
}

func (w *Watcher) followSessionSockets(ctx context.Context) error {
	q, err := newInotify()
	if err != nil {
		return err
	}
	defer q.Close()
	defer context.AfterFunc(ctx, func() { q.Close() })()
	const changes = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_ONLYDIR
	top, err := q.add(w.cfg.RunUser, changes)
	if err != nil {
		return err
	}
	addUsers := func() {
		for _, uid := range runtimeUsers(w.cfg.RunUser) {
			if _, err := q.add(runtimeDir(w.cfg.RunUser, uid), changes); err != nil {
				w.log.Debug("user's sockets not watched", "uid", uid, "error", err)
			}
		}
	}
	addUsers()
	nudge(w.peopleChanged) // what came before the watch
	for {
		events, err := q.read()
		if err != nil {
			return err
		}
		look := false
		for ev := range events {
			switch {
			case ev.watch == top && ev.mask&unix.IN_IGNORED != 0:
				return os.ErrNotExist
			case ev.watch == top || ev.mask&unix.IN_Q_OVERFLOW != 0:
				addUsers()
				look = true
			case isCompositor(ev.name):
				look = true
			}
		}
		if look {
			nudge(w.peopleChanged)
		}
		select {
		case <-ctx.Done():
		case <-time.After(socketsHoldOff):
		}
	}
}
