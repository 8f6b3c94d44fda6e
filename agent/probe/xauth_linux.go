package probe

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"skua/agent/x11"
	"skua/internal/peer"
)

const (
	cookiesMost  = 8       // tried on one server
	authFileMost = 1 << 16 // bytes
	cmdlineMost  = 1 << 12 // bytes that are read of a command line; a process can make its own as long as its memory
)

// cookie is a display's password and who may be shown it.
type cookie struct {
	value  []byte
	owner  uint32 // user whose file holds it
	anyone bool   // the administrator named the file
}

// allowed keeps a cookie from servers that have no business with it. The agent may read everybody's
// cookies, and anybody may run a program that looks like an X server and names somebody else's file.
func (c cookie) allowed(conn *net.UnixConn) error {
	if c.anyone {
		return nil
	}
	server, err := peer.Of(conn)
	if err != nil {
		return fmt.Errorf("user of the X server: %w", err)
	}
	if server.UID != 0 && server.UID != c.owner {
		return fmt.Errorf("cookie of user %d is not shown to an X server of user %d", c.owner, server.UID)
	}
	return nil
}

// cookies collects what may open display n: from the file that is configured, or else from the files
// that running servers name, and from this process's own.
func (w *Watcher) cookies(n int) []cookie {
	if w.cfg.XAuthority != "" {
		return w.fileCookies(w.cfg.XAuthority, n, true)
	}
	var found []cookie
	for _, s := range findServers(w.cfg.Proc) {
		if s.display == n || s.display == anyDisplay {
			found = append(found, w.fileCookies(s.auth, n, false)...)
		}
	}
	own := os.Getenv("XAUTHORITY")
	if home, err := os.UserHomeDir(); own == "" && err == nil {
		own = filepath.Join(home, ".Xauthority")
	}
	found = append(found, w.fileCookies(own, n, false)...)
	return found[:min(len(found), cookiesMost)]
}

// fileCookies reads the cookies for display n from path.
func (w *Watcher) fileCookies(path string, n int, anyone bool) []cookie {
	b, owner, err := readAuthFile(path)
	if err != nil {
		if anyone || !errors.Is(err, os.ErrNotExist) {
			w.log.Warn("cookie file of a display not read", "error", err)
		}
		return nil
	}
	var found []cookie
	for _, value := range x11.ParseAuthority(b, n) {
		found = append(found, cookie{value: value, owner: owner, anyone: anyone})
	}
	return found
}

// readAuthFile reads a file that a stranger may have named: never more than a cookie file can be,
// and nothing else than a regular file is opened, for that alone does something to a device.
func readAuthFile(path string) (b []byte, owner uint32, err error) {
	at, err := os.OpenFile(path, unix.O_PATH, 0)
	if err != nil {
		return nil, 0, err
	}
	defer at.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(at.Fd()), &st); err != nil {
		return nil, 0, fmt.Errorf("owner of %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > authFileMost {
		return nil, 0, fmt.Errorf("%s is not a cookie file", path)
	}
	f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(at.Fd())), os.O_RDONLY|unix.O_NONBLOCK, 0) // that one, whatever path leads to by now
	if err != nil {
		return nil, 0, fmt.Errorf("open %s: %w", path, err)
	}
	defer f.Close()
	b, err = io.ReadAll(io.LimitReader(f, authFileMost))
	return b, st.Uid, err
}

// anyDisplay stands for a server that chose its display itself.
const anyDisplay = -1

// xServer is what the command line of a running X server tells.
type xServer struct {
	display int
	auth    string // its cookie file
}

// findServers looks for X servers among the processes under proc.
func findServers(proc string) []xServer {
	processes, _ := os.ReadDir(proc) // without it nothing is found
	var found []xServer
	cmdline := make([]byte, cmdlineMost)
	for _, p := range processes {
		if c := p.Name()[0]; c < '1' || c > '9' {
			continue
		}
		f, err := os.Open(filepath.Join(proc, p.Name(), "cmdline"))
		if err != nil {
			continue // the process has ended
		}
		n, _ := io.ReadFull(f, cmdline) // it is mostly shorter
		f.Close()
		if s, ok := parseServer(cmdline[:n]); ok {
			found = append(found, s)
		}
	}
	return found
}

// parseServer reads the command line of an X server: "/usr/lib/xorg/Xorg :0 -auth FILE". It is false
// for other programs, and for servers that name no cookie file.
func parseServer(cmdline []byte) (xServer, bool) {
	program, rest, _ := strings.Cut(string(cmdline), "\x00")
	if !strings.HasPrefix(filepath.Base(program), "X") {
		return xServer{}, false
	}
	s := xServer{display: anyDisplay}
	before := ""
	for arg := range strings.SplitSeq(rest, "\x00") {
		if strings.HasPrefix(arg, ":") {
			if n, err := x11.ParseDisplay(arg); err == nil {
				s.display = n
			}
		}
		if before == "-auth" {
			s.auth = arg
		}
		before = arg
	}
	return s, filepath.IsAbs(s.auth)
}

// findDisplays lists the displays that have a socket in dir, those of the newest sockets first. Servers
// that were killed leave their sockets behind, and however many do, none hides a server that is alive.
func findDisplays(dir string) []int {
	entries, _ := os.ReadDir(dir) // without the directory there is no X
	type socket struct {
		display int
		made    time.Time
	}
	var found []socket
	for _, e := range entries {
		number, isX := strings.CutPrefix(e.Name(), "X")
		n, err := strconv.ParseUint(number, 10, 16)
		info, gone := e.Info()
		if isX && err == nil && gone == nil {
			found = append(found, socket{int(n), info.ModTime()})
		}
	}
	slices.SortFunc(found, func(a, b socket) int { return b.made.Compare(a.made) })
	found = found[:min(len(found), displaysMost)]
	displays := make([]int, len(found))
	for i, s := range found {
		displays[i] = s.display
	}
	return displays
}
