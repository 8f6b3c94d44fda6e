package starter

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// forking starts and ends processes all the time, beside some with threads and some that spin.
const forking = `
while :; do /bin/true; done &
while :; do :; done &
(while :; do echo tick; sleep 0.002; done) &
python3 -c '
import threading, time
for _ in range(8): threading.Thread(target=lambda: [time.sleep(0.001) for _ in iter(int, 1)]).start()
' &
echo up
wait
`

func TestFreeze(t *testing.T) {
	eachFreezer(t, func(t *testing.T, s *Starter) {
		i := open(t, s, "freeze")
		pid := initPid(t, i)
		runShell(t, i, forking)
		for range 3 {
			grows(t, i, "out")
			if err := i.Freeze(); err != nil {
				t.Fatal(err)
			}
			stopped(t, pid, 4)
			if !standsStill(t, i, "out") {
				t.Error("the job writes while it is frozen")
			}
			if !i.Frozen() {
				t.Error("the claim does not say that it is frozen")
			}
			if err := i.Thaw(); err != nil {
				t.Fatal(err)
			}
		}
		grows(t, i, "out")
	})
}

func TestLeaseOver(t *testing.T) {
	eachFreezer(t, func(t *testing.T, s *Starter) {
		i := open(t, s, "lease")
		pid := initPid(t, i)
		runShell(t, i, "while :; do echo tick; sleep 0.002; done")
		if err := i.Grant(100 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
		grows(t, i, "out")
		await(t, "the job stops with its lease", func() bool { return frozen(t, i, pid, "out") })
		if err := i.Thaw(); !errors.Is(err, ErrLeaseOver) {
			t.Errorf("thawing past the lease gives %v, want ErrLeaseOver", err)
		}
		if err := i.Grant(time.Hour); err != nil {
			t.Fatal(err)
		}
		grows(t, i, "out")

		// What the agent froze is not thawed by a grant.
		if err := i.Freeze(); err != nil {
			t.Fatal(err)
		}
		for _, left := range []time.Duration{0, time.Hour} {
			if err := i.Grant(left); err != nil {
				t.Fatal(err)
			}
		}
		if !standsStill(t, i, "out") {
			t.Error("a grant thawed a job that the agent had frozen")
		}
		if err := i.Thaw(); err != nil {
			t.Fatal(err)
		}
		grows(t, i, "out")
	})
}

// An agent is killed: its job freezes, and goes on in the hands of the next one.
func TestAgentDies(t *testing.T) {
	eachFreezer(t, func(t *testing.T, s *Starter) {
		agent := startAgent(t, s)
		i := newInit(s, agentClaim, noHandle) // for its paths
		grows(t, i, "out")
		kill(t, agent)
		died := time.Now()

		conn, pidfd, err := dialInit(s.dir(agentClaim), s.uid)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close() // no sign of life was given
		i.pidfd = pidfd
		pid := initPid(t, i)
		before := jobPids(t, pid)
		await(t, "the job freezes", func() bool { return frozen(t, i, pid, "out") })
		t.Logf("known to be frozen %v after the agent's death", time.Since(died).Round(time.Millisecond))

		j, err := s.Adopt(t.Context(), agentClaim)
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		if id, running := j.Job(); id != testJob || !running {
			t.Errorf("the adopted claim runs %v: %v", id, running)
		}
		if err := j.Grant(time.Hour); err != nil {
			t.Fatal(err)
		}
		grows(t, j, "out")
		if after := jobPids(t, pid); before[0] != after[0] {
			t.Errorf("the job was process %d and is %d", before[0], after[0])
		}
		writeScratch(t, j, "stop", "")
		if e := awaitExit(t, j); e.Code != countExit {
			t.Errorf("the job ended with %v", e)
		}
		counted(t, j)
	})
}

// An agent that froze its job and died finds it frozen when it comes back.
func TestFrozenByTheAgentBefore(t *testing.T) {
	eachFreezer(t, func(t *testing.T, s *Starter) {
		i := open(t, s, "before")
		runShell(t, i, "while :; do echo tick; sleep 0.002; done")
		grows(t, i, "out")
		if err := i.Freeze(); err != nil {
			t.Fatal(err)
		}
		i.Close()
		j, err := s.Adopt(t.Context(), "before")
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		if !j.Frozen() {
			t.Error("the next agent is not told that the job is frozen")
		}
		if err := j.Grant(time.Hour); err != nil {
			t.Fatal(err)
		}
		if !standsStill(t, j, "out") {
			t.Error("the job was thawed by the agent's return")
		}
		if err := j.Thaw(); err != nil {
			t.Fatal(err)
		}
		grows(t, j, "out")
	})
}

// selfThawing has timers that send it SIGCONT, one after the other.
const selfThawing = `
import ctypes, os, signal, threading, time
libc = ctypes.CDLL(None, use_errno=True)
class Event(ctypes.Structure):
    _fields_ = [("value", ctypes.c_void_p), ("signo", ctypes.c_int), ("notify", ctypes.c_int), ("pad", ctypes.c_char * 48)]
class Spec(ctypes.Structure):
    _fields_ = [("each_s", ctypes.c_long), ("each_ns", ctypes.c_long), ("s", ctypes.c_long), ("ns", ctypes.c_long)]
signal.signal(signal.SIGCONT, lambda *_: None)
for n in range(1, 400): # one that expires just as it is stopped is lost
    timer, event = ctypes.c_void_p(), Event(None, signal.SIGCONT, 0)
    assert libc.timer_create(1, ctypes.byref(event), ctypes.byref(timer)) == 0, os.strerror(ctypes.get_errno())
    assert libc.timer_settime(timer, 0, ctypes.byref(Spec(0, 0, n * 3 // 10, n * 3 % 10 * 100000000)), None) == 0
while True:
    print("tick", flush=True)
    time.sleep(0.002)
`

// Where jobs are frozen by signals, one that thaws itself is stopped again, and ended when it does not leave off.
func TestJobThawsItself(t *testing.T) {
	capable(t)
	s := newStarter(t, func(c *Config) { c.CgroupBase = "none" })
	i := open(t, s, "thaws")
	run(t, i, JobSpec{Argv: []string{"python3", "-c", selfThawing}, Stdout: "out", Stderr: "out"})
	grows(t, i, "out")
	if err := i.Freeze(); err != nil {
		t.Fatal(err)
	}
	if e := awaitExit(t, i); e.Err == "" {
		t.Errorf("it ended with %v, and nobody says that it was ended", e)
	}
}

// A job that does nothing of the kind is left alone however long it is frozen.
func TestFrozenJobIsLeftAlone(t *testing.T) {
	capable(t)
	s := newStarter(t, func(c *Config) { c.CgroupBase = "none" })
	i := open(t, s, "patient")
	runShell(t, i, forking)
	grows(t, i, "out")
	for range 2 {
		if err := i.Freeze(); err != nil {
			t.Fatal(err)
		}
		for range 8 {
			if !standsStill(t, i, "out") {
				t.Error("the job writes while it is frozen")
			}
		}
		if err := i.Thaw(); err != nil {
			t.Fatal(err)
		}
		grows(t, i, "out")
	}
}

func BenchmarkFreeze(b *testing.B) {
	for _, base := range []string{"", "none"} {
		for _, spinning := range []int{1, 32} {
			s := newStarter(b, func(c *Config) { c.CgroupBase = base })
			name := "cgroup2"
			if s.cgroups == nil {
				name = "signal"
			}
			b.Run(fmt.Sprintf("%s/processes=%d", name, spinning), func(b *testing.B) {
				i := open(b, s, "bench")
				defer s.Remove("bench")
				pid := initPid(b, i)
				runShell(b, i, fmt.Sprintf("for i in $(seq %d); do while :; do :; done & done; wait", spinning))
				await(b, "all run", func() bool { return len(jobPids(b, pid)) > spinning })
				for b.Loop() {
					if err := i.Freeze(); err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					if err := i.Thaw(); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			})
		}
	}
}
