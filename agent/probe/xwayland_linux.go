package probe

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// isXwayland reports whether a display is a compositor's, where only some of its input is seen: its user's helper
// sees all of it. It is not connected to either, for that is what starts an Xwayland.
func (w *Watcher) isXwayland(n int) bool {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(w.cfg.X11, "X"+strconv.Itoa(n)), &st); err != nil {
		return false
	}
	w.mu.Lock()
	compositor := w.compositors[st.Uid]
	w.mu.Unlock()
	return compositor && !isServer(filepath.Join(filepath.Dir(w.cfg.X11), ".X"+strconv.Itoa(n)+"-lock"))
}

// isServer reports whether a display's lock is held by an X server with input of its own, such as VNC's. A compositor
// makes the locks of its displays itself, before there is an Xwayland. Whoever forges one has a display of their own
// watched.
func isServer(lock string) bool {
	fd, err := unix.Open(lock, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(fd), lock)
	defer f.Close()
	text := make([]byte, len("1234567890\n")) // all that servers write
	n, _ := f.Read(text)
	pid, err := strconv.ParseUint(strings.TrimSpace(string(text[:n])), 10, 31)
	if err != nil {
		return false
	}
	name, err := os.ReadFile("/proc/" + strconv.FormatUint(pid, 10) + "/comm")
	return err == nil && strings.HasPrefix(string(name), "X") && strings.TrimSpace(string(name)) != "Xwayland"
}
