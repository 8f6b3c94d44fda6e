package starter

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"skua/internal/job"
)

// What jobs try that are not content with what they are given. Each test checks that they do not get it, and
// that nothing of them is left.

// escapeBase is where the ids of these tests begin, so that whatever has one of them is theirs and this run's.
var escapeBase = DefaultUIDBase + uint32(900+escapeSlots*(os.Getpid()%50))*idCount

const escapeSlots = 2

// escapeStarter is a starter for them. At the end the machine must be clean.
func escapeStarter(t *testing.T, base string) *Starter {
	t.Helper()
	capable(t)
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var s *Starter
	t.Cleanup(func() { checkClean(t, s, string(mounts)) }) // after the one of newStarter, which removes the claims
	s = newStarter(t, func(c *Config) { c.CgroupBase, c.UIDBase = base, escapeBase })
	return s
}

func checkClean(t *testing.T, s *Starter, mounts string) {
	t.Helper()
	if s == nil {
		return
	}
	ours := func(uid uint32) bool {
		return s.mapped && uid >= escapeBase && uid < escapeBase+escapeSlots*idCount
	}
	for _, pid := range pids() {
		var st unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d", pid), &st) == nil && ours(st.Uid) {
			cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			t.Errorf("process %d (%q) is left", pid, cmd)
		}
	}
	now, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(now)) {
		if strings.Contains(line, s.cfg.Dir) && !strings.Contains(mounts, line) {
			t.Errorf("a mount is left: %s", line)
		}
	}
	bases := append([]string(nil), s.cgroups...)
	for _, base := range s.legacy {
		bases = append(bases, base)
	}
	for _, base := range bases {
		entries, _ := os.ReadDir(base)
		for _, e := range entries {
			var st unix.Stat_t
			name := filepath.Join(base, e.Name())
			if e.IsDir() && (strings.HasPrefix(e.Name(), "escape-") || unix.Stat(name, &st) == nil && ours(st.Uid)) {
				t.Errorf("the cgroup %s is left", name)
			}
		}
	}
	if entries, _ := os.ReadDir(s.cfg.Dir); len(entries) > 0 {
		t.Errorf("of the claims %v is left", entries)
	}
	for _, dir := range []string{"/tmp", "/var/tmp", "/dev/shm", "/run", "/"} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if fi, err := e.Info(); err == nil {
				if st, ok := fi.Sys().(*syscall.Stat_t); ok && ours(st.Uid) {
					t.Errorf("the file %s is left", filepath.Join(dir, e.Name()))
				}
			}
		}
	}
}

// openEscape opens a claim in a slot.
func openEscape(t *testing.T, s *Starter, name string, slot int, limits Limits) *Init {
	t.Helper()
	i, err := s.Open(t.Context(), ClaimSpec{Claim: job.ClaimID("escape-" + name), Lease: time.Hour, Slot: slot, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Close)
	return i
}

// runPython runs a program with a value, as JSON, in the variable given.
func runPython(t *testing.T, i *Init, given any, program string) {
	t.Helper()
	b, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	writeScratch(t, i, "given.json", string(b))
	run(t, i, JobSpec{
		Argv:   []string{"python3", "-u", "-c", "import os, sys, json, time, socket, signal, ctypes, errno\ngiven = json.load(open('given.json'))\n" + program},
		Stdout: "out", Stderr: "out",
	})
}

// A job that forks without end has its limit, and the machine's other programs have theirs.
func TestEscapeForkBomb(t *testing.T) {
	for _, base := range []string{"", "none"} {
		t.Run(map[string]string{"": "by a controller", "none": "without one"}[base], func(t *testing.T) {
			const limit = 150
			s := escapeStarter(t, base)
			i := openEscape(t, s, "bomb", 1, Limits{Pids: limit})
			other := openEscape(t, s, "beside", 2, Limits{Pids: limit})
			pid := initPid(t, i)
			runPython(t, i, nil, `
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    try: os.fork()
    except OSError: time.sleep(0.05)
`)
			most := 0
			await(t, "the bomb meets its limit", func() bool {
				most = max(most, len(jobPids(t, pid)))
				if p := i.Processes(); i.cg != nil && i.cg.hasPids() {
					return p.Refused && p.Peak >= limit
				}
				r, err := i.Look(t.Context(), 1<<40)
				return err == nil && r.Pids >= limit
			})
			for range 20 {
				most = max(most, len(jobPids(t, pid)))
			}
			if most > limit {
				t.Errorf("there were %d processes, the limit is %d", most, limit)
			}
			// The slot beside it is not short of anything.
			runShell(t, other, "for i in 1 2 3 4 5; do sleep 0.01 & done; wait; echo fine")
			if e := awaitExit(t, other); e.Code != 0 || !contains(t, other, "fine") {
				t.Errorf("the job beside it ended with %v: %s", e, readScratch(t, other, "out"))
			}
			if err := i.Kill(); err != nil {
				t.Fatal(err)
			}
			if left := jobPids(t, pid); len(left) > 0 {
				t.Errorf("%d processes are left", len(left))
			}
		})
	}
}

// Processes that leave their parent, their session and their group, ignore signals, or stay when the job's
// first process has ended.
func TestEscapeStaysBehind(t *testing.T) {
	for _, base := range []string{"", "none"} {
		for _, tt := range []struct{ name, program string }{
			{"forks twice, in a new session", `
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setpgid(0, 0)
        open("up", "w").close()
        while True: time.sleep(1000)
    os._exit(0)
while not os.path.exists("up"): time.sleep(0.005)
print("ends")`},
			{"ignores signals", `
for s in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(s, signal.SIG_IGN)
if os.fork() == 0:
    open("up", "w").close()
    while True: time.sleep(1000)
while not os.path.exists("up"): time.sleep(0.005)
print("ends")`},
			{"stops itself", `
if os.fork() == 0:
    open("up", "w").close()
    os.kill(os.getpid(), signal.SIGSTOP)
while not os.path.exists("up"): time.sleep(0.005)
print("ends")`},
			{"waits in a pipe to its parent's parent", `
r, w = os.pipe()
if os.fork() == 0:
    open("up", "w").close()
    os.read(r, 1)
    while True: time.sleep(1000)
while not os.path.exists("up"): time.sleep(0.005)
print("ends")`},
		} {
			t.Run(tt.name+map[string]string{"": "", "none": ", no cgroup"}[base], func(t *testing.T) {
				s := escapeStarter(t, base)
				i := openEscape(t, s, "stays", 1, Limits{})
				pid := initPid(t, i)
				runPython(t, i, nil, tt.program)
				if e := awaitExit(t, i); e.Code != 0 || !contains(t, i, "ends") {
					t.Errorf("the job ended with %v: %s", e, readScratch(t, i, "out"))
				}
				if left := jobPids(t, pid); len(left) > 0 {
					t.Errorf("processes %v outlive the job", left)
				}
			})
		}
		t.Run("will not end"+map[string]string{"": "", "none": ", no cgroup"}[base], func(t *testing.T) {
			s := escapeStarter(t, base)
			i := openEscape(t, s, "stays", 1, Limits{})
			pid := initPid(t, i)
			runPython(t, i, nil, `
for s in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(s, signal.SIG_IGN)
print("up")
while True: time.sleep(1000)`)
			await(t, "it is up", func() bool { return contains(t, i, "up") })
			if err := i.Signal(int(unix.SIGTERM)); err != nil {
				t.Fatal(err)
			}
			if err := i.Kill(); err != nil {
				t.Fatal(err)
			}
			if e := awaitExit(t, i); e.Err == "" || len(jobPids(t, pid)) > 0 {
				t.Errorf("it ended with %+v, left are %v", e, jobPids(t, pid))
			}
		})
	}
}

// Two slots: a job finds no way to the one beside it, nor to the agent.
func TestEscapeToOthers(t *testing.T) {
	s := escapeStarter(t, "")
	victim := openEscape(t, s, "victim", 1, Limits{})
	writeScratch(t, victim, "secret", "secret\n")
	runShell(t, victim, "echo up; umask 0; echo mine > /tmp/mine; while [ ! -e stop ]; do sleep 0.01; done; echo whole")
	await(t, "the other job is up", func() bool { return contains(t, victim, "up") })
	i := openEscape(t, s, "thief", 2, Limits{})
	theirs := append(jobPids(t, initPid(t, victim)), initPid(t, victim))
	runPython(t, i, map[string]any{
		"paths":  []string{victim.Scratch(), filepath.Join(victim.Scratch(), "secret"), s.cfg.Dir, s.dir("escape-victim")},
		"pids":   append(theirs, os.Getpid(), os.Getppid(), initPid(t, i)),
		"socket": filepath.Join(s.dir("escape-victim"), stateName, socketName),
	}, `
for p in given["paths"]:
    for what in (os.listdir, lambda p: open(p).read(), lambda p: open(p + "/x", "w")):
        try: what(p); print("reached", p)
        except OSError: pass
for n in given["pids"]:
    if n <= 1000 or os.path.exists("/proc/%d" % n): continue # such a number is one of its own
    for sig in (0, signal.SIGSTOP, signal.SIGKILL):
        try: os.kill(n, sig); print("signalled", n)
        except OSError: pass
    for f in ("root", "cwd", "environ", "mem", "fd"):
        try: os.stat("/proc/%d/%s" % (n, f)); print("sees", n, f)
        except OSError: pass
for sig in (signal.SIGSTOP, signal.SIGKILL):
    try: os.kill(1, sig)
    except OSError: pass
for f in ("root", "cwd", "environ", "mem", "fd/0", "ns/pid"):
    try: open("/proc/1/" + f).read(); print("opens", f, "of its init")
    except OSError: pass
try: os.listdir("/proc/1/root"); print("lists its init's root")
except OSError: pass
s = socket.socket(socket.AF_UNIX)
try: s.connect(given["socket"]); print("connected")
except OSError: pass
print([p for p in os.listdir("/tmp")])
print("uid", os.getuid())
print("done")`)
	awaitExit(t, i)
	if got, want := readScratch(t, i, "out"), fmt.Sprintf("[]\nuid %d\ndone\n", map[bool]int{true: jobID}[s.mapped]); got != want {
		t.Errorf("the job says\n%s\nwant\n%s", got, want)
	}
	writeScratch(t, victim, "stop", "")
	if e := awaitExit(t, victim); e.Code != 0 || !contains(t, victim, "whole") {
		t.Errorf("the other job ended with %v", e)
	}
	if s.mapped {
		a, b := owner(t, victim.Scratch()), owner(t, i.Scratch())
		if a == b || a != escapeBase+jobID || b != escapeBase+idCount+jobID {
			t.Errorf("the jobs of two slots have the ids %d and %d", a, b)
		}
	}
}

func owner(t *testing.T, path string) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Uid
}

// What is outside of the scratch directory can neither be read, if it is somebody's, nor written.
func TestEscapeFiles(t *testing.T) {
	s := escapeStarter(t, "")
	i := openEscape(t, s, "files", 1, Limits{})
	outside := t.TempDir()
	for dir := outside; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o666); err != nil {
		t.Fatal(err)
	}
	runPython(t, i, map[string]any{
		"read": []string{
			secret, outside, "/home", "/root", "/run", "/run/user", "/var/log", "/var/lib", "/boot", "/srv", "/mnt", "/media",
			"/etc/shadow", "/etc/ssh", "/etc/machine-id", "/etc/fstab", "/proc/1/environ", "/proc/1/mem", "/proc/kcore", "/proc/kmsg",
			"/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/input", "/dev/dri", "/dev/snd", "/dev/video0", "/dev/tty", "/dev/pts",
			"/sys/kernel", "/sys/fs/cgroup", "/sys/fs/bpf", "/sys/kernel/debug", "/proc/self/root/../../home",
		},
		"write": []string{
			outside, "/", "/usr", "/usr/bin", "/etc", "/opt", "/dev", "/proc", "/sys/devices/system/cpu", "/.skua", "/.skua/cgroup", "/var", "/lib",
		},
		"change": []string{
			secret, "/usr/bin/env", "/etc/passwd", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/ns_last_pid", "/proc/sysrq-trigger",
			"/proc/sys/user/max_user_namespaces", "/proc/sys/net/ipv4/ip_forward", "/proc/1/oom_score_adj", "/proc/self/uid_map", "/proc/timer_list",
			"/sys/devices/system/cpu/cpu0/online", "/dev/full/x",
		},
	}, `
def attempt(what, *args):
    try: what(*args)
    except OSError: return
    print("could", what.__name__, *args)
def read(p):
    if os.path.isdir(p): os.listdir(p)
    else: open(p, "rb").read(1)
def make(p): open(p + "/skua-escape", "w").close()
def link(p): os.symlink("/", p + "/skua-escape")
def mkdir(p): os.mkdir(p + "/skua-escape")
def change(p):
    f = os.open(p, os.O_WRONLY)
    try: os.write(f, b"1")
    finally: os.close(f)
def chmod(p): os.chmod(p, 0o777)
def unlink(p): os.unlink(p)
for p in given["read"]: attempt(read, p)
for p in given["write"]:
    for what in make, link, mkdir: attempt(what, p)
for p in given["change"]:
    for what in change, chmod, unlink: attempt(what, p)
# Names that lead out of scratch, for those who bring its files back.
os.symlink("/etc/passwd", "link"); os.symlink("../../../..", "up")
attempt(os.link, "/usr/bin/env", "hard")
attempt(os.mknod, "device", 0o666 | 0o020000, os.makedev(1, 1))
print("done")`)
	awaitExit(t, i)
	if got := readScratch(t, i, "out"); got != "done\n" {
		t.Errorf("the job says\n%s", got)
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != "secret" {
		t.Errorf("the file outside is %q (%v)", b, err)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("outside are %v (%v)", entries, err)
	}
}

// A job that takes all memory gets no further than its limit.
func TestEscapeMemory(t *testing.T) {
	for _, base := range []string{"", "none"} {
		t.Run(map[string]string{"": "by a controller", "none": "without one"}[base], func(t *testing.T) {
			const limit = 128 << 20
			s := escapeStarter(t, base)
			i := openEscape(t, s, "memory", 1, Limits{Memory: limit})
			runPython(t, i, nil, `
hold = []
while True:
    hold.append(bytearray(b"x" * (8 << 20)))
    print(len(hold) * 8)
`)
			e := awaitExit(t, i)
			if e.Code == 0 && e.Signal == 0 && !e.OverMemory {
				t.Errorf("the job ended with %v", e)
			}
			if kernel := i.cg != nil && i.cg.hasMemory(); kernel != e.OverMemory || e.Usage.MaxRSS > 3*limit {
				t.Errorf("it ended with %+v, a controller: %v", e, kernel)
			}
		})
	}
}

// The owner's own servers: one on the loopback, sockets with and without a place in the file system, a display.
func TestEscapeNetwork(t *testing.T) {
	s := escapeStarter(t, "")
	listen := func(network, address string) net.Listener {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	name := fmt.Sprintf("skua-escape-%d", os.Getpid())
	socketPath := filepath.Join(os.TempDir(), name)
	targets := [][2]string{
		{"tcp", listen("tcp", "127.0.0.1:0").Addr().String()},
		{"unix", listen("unix", "@"+name).Addr().String()},
		{"unix", listen("unix", socketPath).Addr().String()},
	}
	if display := startX(t); display != "" {
		targets = append(targets, [2]string{"unix", "/tmp/.X11-unix/X" + display}, [2]string{"unix", "@/tmp/.X11-unix/X" + display})
	}
	for _, target := range targets { // else the job's failure would show nothing
		c, err := net.Dial(target[0], target[1])
		if err != nil {
			t.Fatalf("outside of the sandbox: %v", err)
		}
		c.Close()
	}
	i := openEscape(t, s, "network", 1, Limits{})
	runPython(t, i, targets, `
for kind, address in given:
    try:
        if kind == "tcp":
            host, port = address.rsplit(":", 1)
            socket.create_connection((host, int(port)), 5)
        else:
            s = socket.socket(socket.AF_UNIX)
            s.connect(address.replace("@", "\0", 1))
        print("reached", kind, address)
    except OSError: pass
for family in (16, 17, 38, 40, 29, 31): # netlink is allowed; packet, alg, vsock, can, bluetooth are not
    try: socket.socket(family, socket.SOCK_RAW if family == 17 else socket.SOCK_DGRAM if family != 38 else socket.SOCK_SEQPACKET, 0); print("family", family)
    except OSError as e: pass
print("done")`)
	awaitExit(t, i)
	if got := readScratch(t, i, "out"); got != "family 16\ndone\n" {
		t.Errorf("the job says\n%s", got)
	}
}

// startX starts a display that admits everybody, and returns its number.
func startX(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("Xvfb")
	if err != nil {
		t.Log("there is no Xvfb: displays are left out")
		return ""
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, path, "-displayfd", "3", "-ac", "-screen", "0", "64x64x8")
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Start()
	w.Close()
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb does not say which display it is: %v", err)
	}
	display := strings.TrimSpace(line)
	t.Cleanup(func() { // it was killed, and leaves these
		for _, f := range []string{"/tmp/.X11-unix/X" + display, "/tmp/.X" + display + "-lock"} {
			if err := os.Remove(f); err != nil && !os.IsNotExist(err) {
				t.Error(err)
			}
		}
	})
	return display
}

// forbidden are system calls with arguments that would do something, and the error that a job gets.
var forbidden = []struct {
	Name string   `json:"name"`
	Nr   int      `json:"nr"`
	Args []int64  `json:"args"`
	Errs []string `json:"errs"`
}{
	{"mount", unix.SYS_MOUNT, []int64{0, 0, 0, unix.MS_REC | unix.MS_PRIVATE}, []string{"EPERM"}},
	{"umount2", unix.SYS_UMOUNT2, nil, []string{"EPERM"}},
	{"pivot_root", unix.SYS_PIVOT_ROOT, nil, []string{"EPERM"}},
	{"chroot", unix.SYS_CHROOT, nil, []string{"EPERM"}},
	{"open_tree", unix.SYS_OPEN_TREE, []int64{-100}, []string{"EPERM"}},
	{"move_mount", unix.SYS_MOVE_MOUNT, nil, []string{"EPERM"}},
	{"fsopen", unix.SYS_FSOPEN, nil, []string{"EPERM"}},
	{"mount_setattr", unix.SYS_MOUNT_SETATTR, nil, []string{"EPERM"}},
	{"setns", unix.SYS_SETNS, []int64{0, 0}, []string{"EPERM"}},
	{"unshare of users", unix.SYS_UNSHARE, []int64{unix.CLONE_NEWUSER}, []string{"EPERM"}},
	{"unshare of mounts", unix.SYS_UNSHARE, []int64{unix.CLONE_NEWNS}, []string{"EPERM"}},
	{"clone of users", unix.SYS_CLONE, []int64{unix.CLONE_NEWUSER | int64(unix.SIGCHLD), 0, 0, 0, 0}, []string{"EPERM"}},
	{"bpf", unix.SYS_BPF, []int64{0, 0, 0}, []string{"EPERM"}},
	{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, []int64{0, 0, -1, -1, 0}, []string{"EPERM"}},
	{"userfaultfd", unix.SYS_USERFAULTFD, []int64{1}, []string{"EPERM"}},
	{"keyctl", unix.SYS_KEYCTL, []int64{unix.KEYCTL_GET_KEYRING_ID, unix.KEY_SPEC_USER_KEYRING, 1}, []string{"EPERM"}},
	{"add_key", unix.SYS_ADD_KEY, nil, []string{"EPERM"}},
	{"request_key", unix.SYS_REQUEST_KEY, nil, []string{"EPERM"}},
	{"ptrace of the init", unix.SYS_PTRACE, []int64{unix.PTRACE_SEIZE, 1, 0, 0}, []string{"EPERM"}},
	{"init_module", unix.SYS_INIT_MODULE, nil, []string{"EPERM"}},
	{"finit_module", unix.SYS_FINIT_MODULE, nil, []string{"EPERM"}},
	{"kexec_load", unix.SYS_KEXEC_LOAD, nil, []string{"EPERM"}},
	{"reboot", unix.SYS_REBOOT, nil, []string{"EPERM"}},
	{"settimeofday", unix.SYS_SETTIMEOFDAY, nil, []string{"EPERM"}},
	{"swapon", unix.SYS_SWAPON, nil, []string{"EPERM"}},
	{"sethostname", unix.SYS_SETHOSTNAME, nil, []string{"EPERM"}},
	{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, nil, []string{"EPERM"}},
	{"syslog", unix.SYS_SYSLOG, []int64{10, 0, 0}, []string{"EPERM"}},
	{"io_uring_setup", unix.SYS_IO_URING_SETUP, []int64{1, 0}, []string{"ENOSYS"}},
	{"memfd_secret", unix.SYS_MEMFD_SECRET, []int64{0}, []string{"ENOSYS"}},
	{"a socket to the hypervisor", unix.SYS_SOCKET, []int64{unix.AF_VSOCK, unix.SOCK_STREAM, 0}, []string{"EAFNOSUPPORT"}},
	{"a pair of sockets", unix.SYS_SOCKETPAIR, []int64{unix.AF_TIPC, unix.SOCK_STREAM, 0, 0}, []string{"EAFNOSUPPORT"}},
	{"input pushed into a terminal", unix.SYS_IOCTL, []int64{0, unix.TIOCSTI, 0}, []string{"EPERM"}},
}

const trySyscalls = `
libc = ctypes.CDLL(None, use_errno=True)
def call(nr, *args):
    ctypes.set_errno(0)
    r = libc.syscall(ctypes.c_long(nr), *[ctypes.c_long(a) for a in args])
    return r, errno.errorcode.get(ctypes.get_errno(), "")
def clone3(flags): # what it is to make is behind a pointer
    buf = (ctypes.c_uint64 * 11)(flags, 0, 0, 0, int(signal.SIGCHLD))
    r, e = call(435, ctypes.addressof(buf), 88)
    if r == 0: os._exit(0)
    return r, e
def look():
    for c in given:
        r, e = call(c["nr"], *(c["args"] or []))
        if r == 0 and c["name"].startswith("clone"): os._exit(0)
        if r >= 0 or e not in c["errs"]: print(c["name"], "gives", r, e)
    r, e = clone3(0x10000000)
    if r >= 0 or e not in ("ENOSPC", "EPERM", "ENOSYS"): print("clone3 of users gives", r, e)
    # What programs do every day goes on.
    pid = os.fork()
    if pid == 0:
        time.sleep(1000)
    r, e = call(given_ptrace, 16, pid, 0, 0) # PTRACE_ATTACH
    if r != 0: print("its own child cannot be traced:", e)
    os.kill(pid, signal.SIGKILL)
    while not os.WIFSIGNALED(os.waitpid(pid, 0)[1]): pass
    import threading, subprocess
    t = threading.Thread(target=lambda: None); t.start(); t.join()
    subprocess.run(["true"], check=True)
    socket.socketpair()[0].close(); socket.socket(socket.AF_INET6).close()
    with open("/proc/self/status") as f:
        print([l.split()[1] for l in f if l.startswith(("Seccomp:", "NoNewPrivs:"))])
`

// The filter of system calls is in force from the job's beginning, and when it goes on elsewhere.
func TestEscapeSystemCalls(t *testing.T) {
	if len(abis) == 0 {
		t.Skip("there is no filter on this architecture")
	}
	program := strings.ReplaceAll(trySyscalls, "given_ptrace", fmt.Sprint(unix.SYS_PTRACE)) + `
look()
open("ready", "w").close()
while not os.path.exists("go"): time.sleep(0.005)
look()
print("done")
`
	const once = "['1', '2']\n"
	for _, base := range []string{"", "none"} {
		t.Run(map[string]string{"": "stays", "none": "stays, no cgroup"}[base], func(t *testing.T) {
			s := escapeStarter(t, base)
			i := openEscape(t, s, "calls", 1, Limits{})
			writeScratch(t, i, "go", "")
			runPython(t, i, forbidden, program)
			awaitExit(t, i)
			if got := readScratch(t, i, "out"); got != once+once+"done\n" {
				t.Errorf("the job says\n%s", got)
			}
		})
		t.Run(map[string]string{"": "moves", "none": "moves, no cgroup"}[base], func(t *testing.T) {
			capableOfCheckpoints(t)
			s := escapeStarter(t, base)
			a := openEscape(t, s, "here", 1, Limits{})
			runPython(t, a, forbidden, program)
			await(t, "it is ready", func() bool { return readScratch(t, a, "out") != "" && exists(filepath.Join(a.Scratch(), "ready")) })
			if _, err := a.Checkpoint(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			b := openEscape(t, s, "there", 2, Limits{})
			carry(t, a, b)
			if err := b.Resume(t.Context(), JobSpec{Job: testJob}); err != nil {
				t.Fatal(err)
			}
			for _, pid := range jobPids(t, initPid(t, b)) {
				if n, err := filtersOf(fmt.Sprintf("/proc/%d/status", pid)); err == nil && n < 1 {
					t.Errorf("process %d has no filter", pid)
				}
			}
			writeScratch(t, b, "go", "")
			awaitExit(t, b)
			if got := readScratch(t, b, "out"); got != once+once+"done\n" {
				t.Errorf("the job says\n%s", got)
			}
		})
	}
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

// A job's own filters would be lost with its checkpoint, so there is none, and the job goes on.
func TestOwnFilterIsNotLost(t *testing.T) {
	capableOfCheckpoints(t)
	s := escapeStarter(t, "")
	i := openEscape(t, s, "filter", 1, Limits{})
	runPython(t, i, nil, `
class Filter(ctypes.Structure): _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]
class Prog(ctypes.Structure): _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.POINTER(Filter))]
f = Filter(6, 0, 0, 0x7fff0000); p = Prog(1, ctypes.pointer(f))
print(ctypes.CDLL(None).prctl(22, 2, ctypes.byref(p)))
while not os.path.exists("stop"): time.sleep(0.005)
print("whole")`)
	await(t, "it has its filter", func() bool { return contains(t, i, "0") })
	_, err := i.Checkpoint(t.Context(), false)
	if err == nil || !strings.Contains(err.Error(), "filter of system calls of its own") {
		t.Errorf("a checkpoint gives %v", err)
	}
	if err := i.Thaw(); err != nil {
		t.Fatal(err)
	}
	writeScratch(t, i, "stop", "")
	if e := awaitExit(t, i); e.Code != 0 || !contains(t, i, "whole") {
		t.Errorf("the job ended with %v", e)
	}
}

// 32-bit programs run, and the filter knows their numbers.
func TestFilterOf32BitPrograms(t *testing.T) {
	capable(t)
	cc, err := exec.LookPath("cc")
	if err != nil || len(abis) < 2 {
		t.Skip("no such programs here")
	}
	// mount, bpf, keyctl, socketcall, socket(AF_VSOCK), socket(AF_INET), getpid: their errors, or 0.
	const program = `
static long call(long nr, long a, long b, long c) { long r; __asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory"); return r; }
void _start(void) {
	static const long calls[][4] = {{21}, {357}, {288}, {102, 1}, {359, 40, 1}, {359, 2, 1}, {20}};
	for (int i = 0; i < 7; i++) {
		long r = call(calls[i][0], calls[i][1], calls[i][2], calls[i][3]);
		r = r < 0 ? -r : 0;
		char out[4] = {'0' + r / 100, '0' + r / 10 % 10, '0' + r % 10, '\n'};
		call(4, 1, (long)out, 4);
	}
	call(1, 0, 0, 0);
}`
	i := open(t, newStarter(t, nil), "b32")
	src := filepath.Join(t.TempDir(), "p.c")
	if err := os.WriteFile(src, []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(cc, "-m32", "-nostdlib", "-static", "-fno-pie", "-no-pie", "-O", "-fno-stack-protector", "-o", filepath.Join(i.Scratch(), "p"), src).CombinedOutput()
	if err != nil {
		t.Skipf("the compiler makes no 32-bit programs: %s", out)
	}
	if err := exec.Command(filepath.Join(i.Scratch(), "p")).Run(); errors.Is(err, unix.ENOEXEC) {
		t.Skip("this machine's kernel runs no 32-bit programs")
	}
	run(t, i, JobSpec{Argv: []string{"./p"}, Stdout: "out", Stderr: "out"})
	awaitExit(t, i)
	if got, want := readScratch(t, i, "out"), "001\n001\n001\n038\n097\n000\n000\n"; got != want {
		t.Errorf("the errors are %q, want %q", got, want)
	}
}
