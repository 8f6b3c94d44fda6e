package startd

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"skua/agent/probe"
)

// What counts as ours are the threads of the jobs that run: one each until they are counted.
func TestLoadOfJobs(t *testing.T) {
	l := newLoadMeter(nil)
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
		l := newLoadMeter(nil)
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

// What the agent computes, and what CRIU does for it, is ours as it is in the system's load: averaged over a minute.
func TestLoadOfTheAgentItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boot := time.Now().Add(-time.Hour)
		computes := true
		var idle time.Duration
		l := newLoadMeter(func() time.Duration { return time.Since(boot) - idle })
		minute := func(what string, want float64) {
			t.Helper()
			for range 60 {
				time.Sleep(time.Second)
				if !computes {
					idle += time.Second
				}
				l.now()
			}
			if got, _ := l.now(); math.Abs(got.Ours-want) > 0.01 {
				t.Errorf("%s: of the load %.3f is ours, want %.3f", what, got.Ours, want)
			}
		}
		l.now()
		e := 1 / math.E
		value := 1 - e
		minute("the agent packs for a minute", value)
		ended := l.helping()
		value = value*e + 2*(1-e)
		minute("beside it CRIU makes an image", value)
		ended()
		value = value*e + 1 - e
		minute("that is made", value)
		computes = false
		value *= e
		minute("and sent", value)
	})
}
