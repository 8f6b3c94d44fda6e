package startd

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"skua/agent/probe"
)

// What counts as ours are the threads of the jobs that run: one each until they are counted.
func TestLoadOfJobs(t *testing.T) {
	l := newLoadMeter()
	ours := func() (sum int) {
		for _, n := range l.jobs {
			sum += n
		}
		return sum
	}
	for _, tt := range []struct {
		what string
		do   func()
		want int
	}{
		{"no job", func() {}, 0},
		{"a job begins", func() { l.count(1, true) }, 1},
		{"it has eight threads", func() { l.sampled(1, 8) }, 8},
		{"another begins", func() { l.count(2, true) }, 9},
		{"it waits for a file", func() { l.sampled(2, 0) }, 8},
		{"the first is frozen", func() { l.count(1, false) }, 0},
		{"a sample of it comes late", func() { l.sampled(1, 8) }, 0},
		{"it goes on", func() { l.count(1, true) }, 1},
	} {
		if tt.do(); ours() != tt.want {
			t.Errorf("%s: %d threads are ours, want %d", tt.what, ours(), tt.want)
		}
	}
}

// Short jobs begin and end all the time, and the system's load is not read each time.
func TestLoadIsReadOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proc := t.TempDir()
		system := func(text string) {
			if err := os.WriteFile(filepath.Join(proc, "loadavg"), []byte(text+" 0.00 0.00 1/100 1000\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l := newLoadMeter()
		l.meter = probe.NewLoadMeter(proc)
		system("1.00")
		l.now()
		system("2.00")
		l.count(1, true)
		time.Sleep(time.Second / 2)
		l.count(2, true)
		if got, ok := l.now(); !ok || got.Total != 1 || got.Ours <= 0 {
			t.Errorf("within a second it is %+v, %v", got, ok)
		}
		time.Sleep(time.Second / 2)
		if got, ok := l.now(); !ok || got.Total != 2 {
			t.Errorf("after a second it is %+v, %v", got, ok)
		}
	})
}
