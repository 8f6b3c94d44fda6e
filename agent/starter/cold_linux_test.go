package starter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// holding has memory of its own and some that it shares with two children, and says when all of it has been used. When it may
// go on it says what is in it.
const holding = `
import hashlib, mmap, os, sys, time
mb = int(sys.argv[1]) << 20
ours = bytes(bytearray(os.urandom(1 << 20)) * (mb >> 20))
for _ in range(2):
    if os.fork() == 0:
        ours.count(b"x")
        while True: time.sleep(0.01)
own = bytearray(os.urandom(1 << 20)) * (mb >> 20)
all = mmap.mmap(-1, 1 << 20); all.write(own[:1 << 20])
def sum(): return hashlib.sha256(own + ours + all[:]).hexdigest()
print(sum(), flush=True)
while not os.path.exists("stop"): time.sleep(0.005)
print(sum(), flush=True)
os.kill(0, 9)
`

func hold(t testing.TB, i *Init, megabytes int) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("there is no python3")
	}
	run(t, i, JobSpec{Argv: []string{"/usr/bin/env", "python3", "-c", holding, fmt.Sprint(megabytes)}, Stdout: "out", Stderr: "err"})
	await(t, "the job has used its memory", func() bool { return strings.Count(readScratch(t, i, "out"), "\n") == 1 })
}

// use is how the kernel sees the pages that the processes have for themselves, in bytes.
type use struct{ all, referenced, active int64 }

func usedPages(t testing.TB, pids []int) (u use) {
	t.Helper()
	flags, err := os.Open("/proc/kpageflags")
	if err != nil {
		t.Skipf("what the kernel thinks of pages cannot be read here: %v", err)
	}
	defer flags.Close()
	page := int64(os.Getpagesize())
	for _, pid := range pids {
		smaps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
		if err != nil {
			t.Fatal(err)
		}
		var a area
		entries := map[int64]bool{} // by frame: a page that was forked counts once for each process
		for line := range strings.Lines(string(smaps)) {
			if m, ok := parseMapping(line); ok {
				if a = m; a.own() {
					for _, frame := range frames(t, pid, a) {
						entries[frame] = true
					}
				}
			} else if a.own() {
				sizes := parseSizes([]byte(line), "Rss", "Referenced")
				u.all += sizes["Rss"]
				u.referenced += sizes["Referenced"]
			}
		}
		for frame := range entries {
			var b [8]byte
			if _, err := flags.ReadAt(b[:], frame*8); err != nil {
				t.Skipf("what the kernel thinks of pages cannot be read here: %v", err)
			}
			const active = 1 << 6 // KPF_ACTIVE
			if binary.NativeEndian.Uint64(b[:])&active != 0 {
				u.active += page
			}
		}
	}
	return u
}

// frames are the numbers of the pages that are present in an area.
func frames(t testing.TB, pid int, a area) (found []int64) {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", pid))
	if err != nil {
		t.Skipf("which pages a process has cannot be read here: %v", err)
	}
	defer f.Close()
	page := uintptr(os.Getpagesize())
	b := make([]byte, (a.to-a.from)/page*8)
	if _, err := f.ReadAt(b, int64(a.from/page*8)); err != nil {
		t.Fatal(err)
	}
	for ; len(b) >= 8; b = b[8:] {
		const present, number = 1 << 63, 1<<55 - 1
		if e := binary.NativeEndian.Uint64(b); e&present != 0 {
			found = append(found, int64(e&number))
		}
	}
	return found
}

// look has the kernel use the memory of a process, as an image does. (To read it with process_vm_readv would end the sharing of
// what is shared since a fork.)
func look(t testing.TB, pid int) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		if a, ok := parseMapping(line); ok && a.own() {
			// What cannot be read is not used either.
			_, _ = io.Copy(io.Discard, io.NewSectionReader(mem, int64(a.from), int64(a.to-a.from)))
		}
	}
}

func TestCool(t *testing.T) {
	eachFreezer(t, func(t *testing.T, s *Starter) {
		i := open(t, s, "cool")
		hold(t, i, 16)
		pids := jobPids(t, initPid(t, i))
		if err := i.Cool(t.Context()); err != nil {
			t.Fatal(err)
		}
		if u := usedPages(t, pids); u.referenced < u.all/2 {
			t.Errorf("of the %d bytes of a job that runs %d count as used", u.all, u.referenced)
		}
		if err := i.Freeze(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			for _, pid := range pids {
				look(t, pid)
			}
		}
		before := usedPages(t, pids)
		if before.active < before.all/2 {
			t.Errorf("of %d bytes %d are on the list of what is in use, and the test means to see them go from there", before.all, before.active)
		}
		if err := i.Cool(t.Context()); err != nil {
			t.Fatal(err)
		}
		after := usedPages(t, pids)
		t.Logf("all, referenced, active: %v before and %v after", before, after)
		const few = 1 << 20
		if after.referenced > few {
			t.Errorf("%d bytes of a job that stands still count as used", after.referenced)
		}
		// What was forked stays there.
		if own := int64(16 << 20); os.Getuid() == 0 && before.active-after.active < own {
			t.Errorf("%d bytes are on the list of what is in use, and %d were before", after.active, before.active)
		}
		if !i.Frozen() {
			t.Error("the job is not frozen any more")
		}
		if err := i.Thaw(); err != nil {
			t.Fatal(err)
		}
		goesOn(t, i)
	})
}

// goesOn has the job say once more what is in its memory, which must be as before.
func goesOn(t testing.TB, i *Init) {
	t.Helper()
	writeScratch(t, i, "stop", "")
	awaitExit(t, i)
	said := strings.Fields(readScratch(t, i, "out"))
	if len(said) != 2 || said[0] != said[1] {
		t.Errorf("it said of its memory %q (%s)", said, readScratch(t, i, "err"))
	}
}

// The processes of others are not touched, nor is what runs.
func TestCoolOfAThawedJob(t *testing.T) {
	capable(t)
	s := newStarter(t, nil)
	i := open(t, s, "thawed")
	hold(t, i, 1)
	w := i.cooling()
	seen := 0
	count := func(process) error { seen++; return nil }
	if err := w.each(t.Context(), count); err != nil || seen > 0 {
		t.Errorf("of a job that runs %d processes were visited (%v)", seen, err)
	}
	if err := i.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := w.each(t.Context(), count); err != nil || seen != 3 {
		t.Errorf("of the job's 3 processes %d were visited (%v)", seen, err)
	}
	seen = 0
	err := w.each(t.Context(), func(process) error { seen++; return i.Thaw() })
	if err != nil || seen != 1 {
		t.Errorf("%d processes were visited of a job that was thawed at the first (%v)", seen, err)
	}
}

func TestAllowSwap(t *testing.T) {
	capable(t)
	s := newStarter(t, nil)
	i, err := s.Open(t.Context(), ClaimSpec{Claim: "swap", Lease: time.Hour, Limits: Limits{Memory: 256 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if i.cg == nil || !i.cg.has("memory.swap.max") {
		t.Skip("there is no memory controller of cgroup v2 that counts swap")
	}
	allowed := func(want string) {
		t.Helper()
		b, err := os.ReadFile(i.cg.path + "/memory.swap.max")
		if got := strings.TrimSpace(string(b)); got != want {
			t.Errorf("of swap the job may have %q (%v), want %q", got, err, want)
		}
	}
	runShell(t, i, "while [ ! -e stop ]; do sleep 0.01; done; exit 7")
	allowed("0")
	if err := i.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := i.Cool(t.Context()); err != nil {
		t.Fatal(err)
	}
	allowed("max")
	if err := i.Thaw(); err != nil {
		t.Fatal(err)
	}
	allowed("0")
	writeScratch(t, i, "stop", "")
	if e := awaitExit(t, i); e.Code != 7 {
		t.Errorf("the job ended with %v", e)
	}
}

func TestParseMapping(t *testing.T) {
	for _, tt := range []struct {
		line string
		own  bool
	}{
		{"55d0c0a00000-55d0c0a21000 rw-p 00000000 00:00 0                          [heap]", true},
		{"7f1be8000000-7f1be8021000 rw-p 00000000 00:00 0 ", true},
		{"7f1be8021000-7f1bec000000 ---p 00000000 00:00 0 ", false},
		{"7f1bec000000-7f1bec001000 rw-s 00000000 00:01 3074                       /dev/zero (deleted)", true},
		{"7f1bec000000-7f1bec001000 rw-s 00000000 00:01 12                         /memfd:x y (deleted)", true},
		{"7f1bec000000-7f1bec001000 rw-s 00000000 fe:00 12                         /scratch/data", false},
		{"7f1bec000000-7f1bec001000 r-xp 00000000 fe:00 12                         /usr/lib/libc.so.6", false},
		{"7f1bec000000-7f1bec001000 rw-p 00000000 fe:00 12                         /usr/lib/libc.so.6", true},
		{"7ffd3a5f0000-7ffd3a5f2000 r-xp 00000000 00:00 0                          [vdso]", false},
	} {
		if a, ok := parseMapping(tt.line); !ok || a.own() != tt.own {
			t.Errorf("%q is %+v (%v), its own: %v, want %v", tt.line, a, ok, a.own(), tt.own)
		}
	}
	for _, bad := range []string{"", "x", "Rss:   12 kB", "10-10 rw-p 0 0:0 0", "20-10 rw-p 0 0:0 0", "0-ffffffffffffffff rw-p 0 0:0 0"} {
		if a, ok := parseMapping(bad); ok {
			t.Errorf("%q is %+v", bad, a)
		}
	}
}

func FuzzParseMapping(f *testing.F) {
	f.Add("55d0c0a00000-55d0c0a21000 rw-p 00000000 00:00 0                          [heap]")
	f.Fuzz(func(t *testing.T, line string) {
		if a, ok := parseMapping(line); ok && (a.from >= a.to || a.perms == "") {
			t.Errorf("%q is %+v", line, a)
		}
	})
}

// A pass over 500 MB of one process, and over 200 processes.
func BenchmarkCool(b *testing.B) {
	for _, tt := range []struct {
		name, script string
		processes    int
	}{
		{"bytes=500M", "m = bytearray(os.urandom(1 << 20)) * 500", 1},
		{"processes=200", "m = bytearray(1 << 20)\nfor _ in range(199):\n    if os.fork() == 0: break", 200},
	} {
		b.Run(tt.name, func(b *testing.B) {
			capable(b)
			s := newStarter(b, nil)
			i := open(b, s, "bench")
			run(b, i, JobSpec{Argv: []string{"/usr/bin/env", "python3", "-c", "import os, time\n" + tt.script + "\nopen('up%d' % os.getpid(), 'w')\ntime.sleep(1000)"}})
			await(b, "all are up", func() bool {
				up, err := fs.Glob(os.DirFS(i.Scratch()), "up*")
				return err == nil && len(up) == tt.processes
			})
			if err := i.Freeze(); err != nil {
				b.Fatal(err)
			}
			before := processorTime(b)
			for b.Loop() {
				if err := i.Cool(b.Context()); err != nil && !errors.Is(err, ErrBusy) {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(processorTime(b)-before)/float64(b.N)/1e6, "cpu-ms/op")
			_ = i.Kill()
		})
	}
}

func processorTime(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
