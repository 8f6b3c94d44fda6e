package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	MaybeHelper()
	os.Exit(m.Run())
}

const testWait = time.Minute

// newUser makes the runtime directory of a user who is nobody else on this machine, or of this process's own.
func newUser(t *testing.T) HelperConfig {
	t.Helper()
	uid := uint32(os.Getuid())
	if uid == 0 {
		uid = 61000 + uint32(os.Getpid())%4000
	}
	dir, err := os.MkdirTemp("/tmp", "skua-session-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, int(uid), int(uid)); err != nil {
		t.Fatal(err)
	}
	return HelperConfig{UID: uid, GID: uid, RuntimeDir: dir, Quiet: 100 * time.Millisecond, Tell: func(Report) {}}
}

func await[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(testWait):
		t.Fatalf("%v: not in %v", what, testWait)
		panic("unreachable")
	}
}

// eventually looks again and again until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(testWait); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("after %v: %s", testWait, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// idle is as much of a compositor as to tell of an interface for idle times and a seat, and then of nothing more.
func idle(t *testing.T, path string, uid uint32) <-chan int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 5), os.Chown(path, int(uid), int(uid))); err != nil {
		t.Fatal(err)
	}
	came := make(chan int, 5)
	go func() {
		for {
			conn, _, err := unix.Accept(fd)
			if err != nil {
				return
			}
			unix.Write(conn, slices.Concat(
				event(2, 0, "\x01\x00\x00\x00\x15\x00\x00\x00ext_idle_notifier_v1\x00\x00\x00\x00\x01\x00\x00\x00"),
				event(2, 0, "\x02\x00\x00\x00\x08\x00\x00\x00wl_seat\x00\x01\x00\x00\x00"),
				event(3, 0, "\x00\x00\x00\x00"), // that is all
			))
			came <- conn
		}
	}()
	t.Cleanup(func() { unix.Shutdown(fd, unix.SHUT_RDWR); unix.Close(fd) })
	return came
}

// event is one of Wayland's, of a machine that counts from the lower end.
func event(object uint32, opcode uint16, body string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, object)
	b = binary.LittleEndian.AppendUint32(b, uint32(8+len(body))<<16|uint32(opcode))
	return append(b, body...)
}

// The helper has the user's rights and no others, cannot be looked into by that user, and ends when its agent does not
// want it any more.
func TestHelperRights(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can have a helper of another user")
	}
	cfg := newUser(t)
	came := idle(t, filepath.Join(cfg.RuntimeDir, "wayland-0"), cfg.UID)
	pids := make(chan int, 1)
	reports := make(chan Report, 16)
	cfg.Started = func(pid int) { pids <- pid }
	cfg.Tell = func(r Report) { reports <- r }
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- RunHelper(ctx, cfg) }()
	pid := await(t, "the helper runs", pids)
	conn := await(t, "the helper connects", came)
	defer unix.Close(conn)
	if r := await(t, "the helper reports", reports); r != (Report{Kind: Busy, Source: Wayland}) {
		t.Errorf("the first report is %+v", r)
	}
	cred, err := unix.GetsockoptUcred(conn, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || cred.Uid != cfg.UID || cred.Gid != cfg.GID {
		t.Errorf("the server sees %+v, %v, want user %d", cred, err, cfg.UID)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	said := make(map[string]string)
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		said[name] = strings.Join(strings.Fields(value), " ")
	}
	id := fmt.Sprint(cfg.UID)
	all := strings.Join([]string{id, id, id, id}, " ")
	const none = "0000000000000000"
	for name, want := range map[string]string{
		"Uid": all, "Gid": all, "Groups": "", "NoNewPrivs": "1", "Seccomp": "2", "CapPrm": none, "CapEff": none, "CapAmb": none,
	} {
		if said[name] != want {
			t.Errorf("%s of the helper is %q, want %q", name, said[name], want)
		}
	}
	// What belongs to a process that its user may trace belongs to that user.
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/mem", pid), &st); err != nil || st.Uid != 0 {
		t.Errorf("the helper's memory belongs to user %d, %v", st.Uid, err)
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
		switch {
		case to == "/dev/null", strings.HasPrefix(to, "socket:"), strings.HasPrefix(to, "anon_inode:[event"):
		default:
			t.Errorf("the helper has %s open", to)
		}
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil || strings.Contains(string(environ), "PATH=") {
		t.Errorf("the helper's environment is %q, %v", environ, err)
	}
	stop()
	if err := await(t, "the helper is stopped", ended); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the helper is still there: %v", err)
	}
}

// A killed agent does not end its helpers: they see the end of the socket.
func TestHelperEndsWithItsAgent(t *testing.T) {
	cfg := newUser(t)
	came := idle(t, filepath.Join(cfg.RuntimeDir, "wayland-0"), cfg.UID)
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	cmd := cfg.command(theirs)
	if err := startPlain(cmd); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	await(t, "the helper connects", came)
	ours.Close()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	await(t, "the helper ends", ended)
}

func TestNothingToFollow(t *testing.T) {
	cfg := newUser(t)
	if err := RunHelper(t.Context(), cfg); !errors.Is(err, ErrNobody) {
		t.Errorf("without a server: %v, want %v", err, ErrNobody)
	}
	// A compositor that was killed leaves its socket.
	left := filepath.Join(cfg.RuntimeDir, "wayland-0")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: left}), unix.Close(fd), os.Chown(left, int(cfg.UID), int(cfg.GID))); err != nil {
		t.Fatal(err)
	}
	if err := RunHelper(t.Context(), cfg); !errors.Is(err, ErrNobody) {
		t.Errorf("with a dead socket: %v, want %v", err, ErrNobody)
	}
	cfg.Display = ":60999"
	if err := RunHelper(t.Context(), cfg); !errors.Is(err, ErrBlind) {
		t.Errorf("with a display that cannot be opened: %v, want %v", err, ErrBlind)
	}
}

func TestOtherUsersNeedRoot(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("this is root")
	}
	cfg := newUser(t)
	cfg.UID++
	if err := RunHelper(t.Context(), cfg); !errors.Is(err, ErrBlind) {
		t.Errorf("a helper of another user: %v, want %v", err, ErrBlind)
	}
}

// Whatever a helper that was taken over says, the agent hears reports or hangs up.
func TestListenHangsUp(t *testing.T) {
	busy := Report{Kind: Busy, Source: Wayland}.encode()
	for name, tt := range map[string]struct {
		say  [][]byte
		want string
	}{
		"nonsense":         {[][]byte{[]byte("owner is idle, go on")}, "not a report"},
		"two at once":      {[][]byte{append(busy, busy...)}, "not a report"},
		"an empty message": {[][]byte{busy, {}}, "ended"},
		"without end":      {repeat(busy, reportsMost+1), "without end"},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs, err := socketPair()
			if err != nil {
				t.Fatal(err)
			}
			defer ours.Close()
			go func() {
				defer theirs.Close()
				for _, b := range tt.say {
					if _, err := theirs.Write(b); err != nil {
						return
					}
				}
			}()
			if err := listen(ours, func(Report) {}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("it hears %v, want %q", err, tt.want)
			}
		})
	}
}

func repeat(b []byte, n int) (all [][]byte) {
	for range n {
		all = append(all, b)
	}
	return all
}
