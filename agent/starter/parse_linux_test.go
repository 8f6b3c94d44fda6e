package starter

import (
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const line = "1234 (evil) name) R 77 1 1 0 -1 4194560 100 0 0 0 12 34 56 78 39 19 1 0 100 1000 10"
	got, err := parseStat([]byte(line))
	want := procStat{state: 'R', ppid: 77, threads: 1, cpu: (12 + 56) * 10 * time.Millisecond, sys: (34 + 78) * 10 * time.Millisecond}
	if err != nil || got != want {
		t.Errorf("got %+v (%v), want %+v", got, err, want)
	}
	for _, bad := range []string{"", "1 (x) R 1", "no parenthesis at all but many many words in one line of text here"} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is %+v", bad, got)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (x) R 77 1 1 0 -1 4194560 100 0 0 0 12 34 56 78 39 19 1 0 100 1000 10"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseStat(b) })
}

func TestOffsetLine(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{0, "x 0 0\n"},
		{90*time.Second + 5, "x 90 5\n"},
		{-time.Nanosecond, "x -1 999999999\n"},
		{-1500 * time.Millisecond, "x -2 500000000\n"},
	} {
		if got := offsetLine("x", tt.d); got != tt.want {
			t.Errorf("%v is %q, want %q", tt.d, got, tt.want)
		}
	}
}

func TestFreePid(t *testing.T) {
	for _, used := range [][]int{{1, 2, 1000}, {1, 1000, 1001, 30000, 32767}, {1000, 16000, 40000}} {
		free := freePid(used)
		for _, n := range used {
			if n > free && n < free+1000 {
				t.Errorf("with %v in use, %d is followed by %d", used, free, n)
			}
		}
		if free < firstPid || free > 32767-1000 {
			t.Errorf("with %v in use, %d is too near an end", used, free)
		}
	}
}

func TestCgroupFiles(t *testing.T) {
	const mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
	if got := cgroup2Mount([]byte(mounts)); got != "/sys/fs/cgroup/unified" {
		t.Errorf("the mount point is %q", got)
	}
	if got := cgroup2Mount([]byte("proc /proc proc rw 0 0\n")); got != "" {
		t.Errorf("without one the mount point is %q", got)
	}
	if got := cgroup2Path([]byte("5:devices:/\n0::/system.slice/skua-agent.service\n")); got != "/system.slice/skua-agent.service" {
		t.Errorf("the path is %q", got)
	}
}

func TestJobEnv(t *testing.T) {
	env := jobEnv([]string{"PATH=/x", "A=b"})
	has := make(map[string]bool)
	for _, v := range env {
		has[v] = true
	}
	for _, want := range []string{"PATH=/x", "A=b", "HOME=/scratch", "TMPDIR=/tmp"} {
		if !has[want] {
			t.Errorf("%v lacks %s", env, want)
		}
	}
	if has["PATH="+jobPath] {
		t.Errorf("%v has two PATHs", env)
	}
}
