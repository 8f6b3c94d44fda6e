package starter

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// throttlers are the ways to keep a job to a share: a controller, the init with a cgroup, the init without.
func throttlers(t *testing.T, test func(t *testing.T, s *Starter)) {
	capable(t)
	t.Run("controller", func(t *testing.T) {
		s := newStarter(t, nil)
		i := open(t, s, "try")
		if done, _ := func() (bool, error) {
			if i.cg == nil {
				return false, nil
			}
			return i.cg.throttle(0)
		}(); !done {
			t.Skip("there is no cpu controller that can be used")
		}
		test(t, s)
	})
	t.Run("cgroup2 without a controller", func(t *testing.T) {
		s := newStarter(t, nil)
		if s.cgroups == nil {
			t.Skip("there is no cgroup v2 that can be written")
		}
		s.legacy = nil
		if _, err := os.Stat(filepath.Join(s.baseFor(false), "cpu.max")); err == nil {
			t.Skip("it has a controller")
		}
		test(t, s)
	})
	t.Run("signal", func(t *testing.T) {
		test(t, newStarter(t, func(c *Config) { c.CgroupBase = "none" }))
	})
}

const spin = `
while :; do :; done &
while :; do :; done &
while :; do echo tick; sleep 0.002; done`

// processorTimeOf is what everything behind an init has used of the processors.
func processorTimeOf(t *testing.T, i *Init) time.Duration {
	t.Helper()
	r, err := i.Look(t.Context(), 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	return r.Used.User + r.Used.System
}

// A throttled job gets its share and no more, stays frozen when it is frozen, and is free again afterwards.
func TestThrottle(t *testing.T) {
	throttlers(t, func(t *testing.T, s *Starter) {
		i := open(t, s, "throttle")
		pid := initPid(t, i)
		if err := i.Throttle(t.Context(), 0.2); err != nil { // before there is a job
			t.Fatal(err)
		}
		runShell(t, i, spin)
		grows(t, i, "out")
		const share, most, limit = 0.2, 0.35, 2500 * time.Millisecond
		began, before := time.Now(), processorTimeOf(t, i)
		var used, took time.Duration
		await(t, "time enough to see the share", func() bool {
			used, took = processorTimeOf(t, i)-before, time.Since(began)
			return took > limit
		})
		if got := used.Seconds() / took.Seconds(); got > most {
			t.Errorf("of %v cpus it had %.2f", share, got)
		} else {
			t.Logf("of %v cpus it had %.2f", share, got)
		}
		for range 3 {
			grows(t, i, "out")
			if err := i.Freeze(); err != nil {
				t.Fatal(err)
			}
			stopped(t, pid, 3)
			if !standsStill(t, i, "out") {
				t.Error("the job writes while it is frozen")
			}
			if err := i.Thaw(); err != nil {
				t.Fatal(err)
			}
		}
		grows(t, i, "out")
		if err := i.Throttle(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		// Afterwards it may have all; whether it gets that is for the machine to say.
		grows(t, i, "out")
		if i.cg != nil {
			for _, name := range []string{"cpu.max", "cpu.cfs_quota_us"} {
				for _, dir := range []string{i.cg.path, i.cg.legacy["cpu"]} {
					b, err := os.ReadFile(filepath.Join(dir, name))
					if err == nil && dir != "" && !strings.HasPrefix(string(b), "max") && !strings.HasPrefix(string(b), "-1") {
						t.Errorf("%s is still %s", name, b)
					}
				}
			}
		}
		await(t, "the job is not held back", func() bool {
			b, err := os.ReadFile(filepath.Join(s.baseFor(false), "throttle", paceName, "cgroup.freeze"))
			return err != nil || b[0] == '0'
		})
	})
}

// A throttled job can be checkpointed and goes on elsewhere, where it is not.
func TestThrottledJobMoves(t *testing.T) {
	capableOfCheckpoints(t)
	throttlers(t, func(t *testing.T, s *Starter) {
		from := open(t, s, "from")
		run(t, from, counter(t, from, "python3"))
		grows(t, from, "out")
		if err := from.Throttle(t.Context(), 0.05); err != nil {
			t.Fatal(err)
		}
		for range 3 { // a checkpoint that it goes on from here
			grows(t, from, "out")
			if _, err := from.Checkpoint(t.Context(), true); err != nil {
				b, _ := os.ReadFile(filepath.Join(from.ImageDir(), "dump.log"))
				t.Fatalf("%v\n%s", err, b)
			}
			if err := from.Thaw(); err != nil {
				t.Fatal(err)
			}
		}
		to := move(t, from, s, "to")
		grows(t, to, "out")
		writeScratch(t, to, "stop", "")
		if e := awaitExit(t, to); e.Code != countExit {
			t.Errorf("the job ended with %v", e)
		}
		counted(t, to)
	})
}

// The agent of a throttled job dies: the job freezes, and is throttled still when the next one has it.
func TestThrottledJobsAgentDies(t *testing.T) {
	throttlers(t, func(t *testing.T, s *Starter) {
		i := open(t, s, "dies")
		pid := initPid(t, i)
		runShell(t, i, spin)
		if err := i.Throttle(t.Context(), 0.2); err != nil {
			t.Fatal(err)
		}
		grows(t, i, "out")
		i.Close() // it hears no more of us
		await(t, "the job freezes", func() bool { return frozen(t, i, pid, "out") })
		j, err := s.Adopt(t.Context(), "dies")
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		if err := j.Grant(time.Hour); err != nil {
			t.Fatal(err)
		}
		grows(t, j, "out")
		before, began := processorTimeOf(t, j), time.Now()
		await(t, "time enough to see the share", func() bool { return time.Since(began) > 2*time.Second })
		if got := (processorTimeOf(t, j) - before).Seconds() / time.Since(began).Seconds(); got > 0.35 {
			t.Errorf("of 0.2 cpus it has %.2f", got)
		}
		if err := j.Signal(int(unix.SIGKILL)); err != nil {
			t.Fatal(err)
		}
		if e := awaitExit(t, j); e.Signal != int(unix.SIGKILL) {
			t.Errorf("it ended with %v", e)
		}
	})
}

func TestPacer(t *testing.T) {
	type look struct {
		at, used time.Duration
		still    bool
	}
	ms := time.Millisecond
	for _, tt := range []struct {
		name  string
		cpus  float64
		looks []look
	}{
		{"below its share", 1, []look{{20 * ms, 10 * ms, false}, {40 * ms, 20 * ms, false}}},
		{"four threads, one cpu", 1, []look{{20 * ms, 80 * ms, true}, {40 * ms, 80 * ms, true}, {60 * ms, 80 * ms, true}, {80 * ms, 80 * ms, false}, {100 * ms, 160 * ms, true}}},
		{"what it did not use is not saved up", 0.5, []look{{10_000 * ms, 0, false}, {10_020 * ms, 40 * ms, true}, {10_060 * ms, 40 * ms, false}}},
		{"a count that goes back", 1, []look{{20 * ms, 80 * ms, true}, {100 * ms, 10 * ms, false}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := pacer{cpus: tt.cpus}
			for n, l := range tt.looks {
				if got := c.step(l.at, l.used); got != l.still {
					t.Errorf("look %d: it stands still: %v, want %v (credit %v)", n, got, l.still, c.credit)
				}
			}
		})
	}
	c := pacer{cpus: 0.01}
	c.step(20*ms, time.Hour)
	if c.step(20*ms+31*time.Second, time.Hour) {
		t.Error("it stands still for more than half a minute at a time")
	}
}

func BenchmarkThrottle(b *testing.B) {
	capable(b)
	i := open(b, newStarter(b, nil), "bench")
	runShell(b, i, "sleep 1000")
	for n := 0; b.Loop(); n++ {
		if err := i.Throttle(b.Context(), float64(n%2)); err != nil {
			b.Fatal(err)
		}
	}
}
