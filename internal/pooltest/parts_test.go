package pooltest_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/agent/control"
	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/pooltest"
	"skua/policy"
)

// partsPool is a pool of partitionable machines with 4 cpus and 8 GB for jobs each.
func partsPool(t *testing.T, machines int, with func(*pooltest.Config)) *pooltest.Pool {
	t.Helper()
	cfg := pooltest.Config{Machines: machines, Slots: 4, Parts: true}
	if with != nil {
		with(&cfg)
	}
	return pooltest.Start(t, cfg)
}

// part is what a job asks for, as submit says it.
func part(cpus, memory int) string {
	return fmt.Sprintf("RequestCpus = %d\nRequestMemory = %d\nRequestDisk = 1000\n"+
		"Requirements = TARGET.CanRunJobs && TARGET.Cpus >= RequestCpus && TARGET.Memory >= RequestMemory", cpus, memory)
}

// asked adds up what the jobs that run on each machine have asked for.
func asked(p *pooltest.Pool, all []job.ID) (cpus, memory map[string]int64, running int) {
	cpus, memory = map[string]int64{}, map[string]int64{}
	for _, id := range all {
		on := p.Running(id)
		if on == "" {
			continue
		}
		ad := p.Job(id).Ad
		c, _ := ad.Int("RequestCpus")
		m, _ := ad.Int("RequestMemory")
		cpus[on] += c
		memory[on] += m
		running++
	}
	return cpus, memory, running
}

// Jobs of different sizes run side by side, as many as there is room for, and never more than that.
func TestPartsSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := partsPool(t, 2, nil)
		var all []job.ID
		for _, of := range []struct{ n, cpus, memory int }{{6, 1, 900}, {3, 2, 3000}, {2, 1, 5000}, {1, 4, 1000}} {
			all = append(all, p.SubmitAs(t, "sleep 10m", of.n, part(of.cpus, of.memory))...)
		}
		full := false
		for range 160 {
			time.Sleep(15 * time.Second)
			cpus, memory, _ := asked(p, all)
			for on := range cpus {
				if cpus[on] > 4 || memory[on] > 8192 {
					t.Fatalf("jobs on %s have %d cpus and %d MB of 4 and 8192", on, cpus[on], memory[on])
				}
			}
			full = full || cpus["desk1"] == 4 && cpus["desk2"] == 4
		}
		if !full {
			t.Error("the machines were never full")
		}
		p.CheckCompleted(t)
		for _, id := range all {
			if got := p.Job(id).LastHost; !strings.HasPrefix(got, "slot1_") {
				t.Errorf("job %v ran on %s", id, got)
			}
		}
	})
}

// One cycle fills a machine, and what is free again goes to those who wait.
func TestPartsInOneCycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := partsPool(t, 1, nil)
		long := p.SubmitAs(t, "sleep 2h", 4, part(1, 1000))
		for _, id := range long {
			p.AwaitState(t, id, job.Running, 2*time.Second)
		}
		slots := map[string]bool{}
		for _, id := range long {
			slots[p.Job(id).Claim.Slot] = true
		}
		for _, want := range []string{"slot1_1@desk1", "slot1_2@desk1", "slot1_3@desk1", "slot1_4@desk1"} {
			if !slots[want] {
				t.Errorf("no job has %s: %v", want, slots)
			}
		}
		// A fifth waits until two of them have gone.
		wide := p.SubmitAs(t, "sleep 10m", 1, part(2, 2000))[0]
		time.Sleep(time.Minute)
		if got := p.State(wide); got != job.Idle {
			t.Errorf("with no cpu left the wide job is %v", got)
		}
		w := p.Why(t, wide)
		if want := "the only machine that matches has too little left beside other jobs of its user: " +
			"slot1@desk1 has 0 cpus left, and the job asks for 2 cpus"; w.Sentence(time.UTC) != want {
			t.Errorf("the wide job waits because %q, want %q", w.Sentence(time.UTC), want)
		}
		p.Act(t, "remove", long[1])
		p.Act(t, "remove", long[3])
		p.AwaitState(t, wide, job.Running, 10*time.Second)
		p.AwaitState(t, wide, job.Completed, time.Hour)
	})
}

// A claim goes on with the next job of its user in the same part of the machine.
func TestPartsAreReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := partsPool(t, 1, nil)
		all := p.SubmitAs(t, "sleep 1m", 8, part(1, 1000))
		p.Await(t, "all have ended", time.Second, 10*time.Minute, func() bool {
			for _, id := range all {
				if p.State(id) != job.Completed {
					return false
				}
			}
			return true
		})
		given := 0
		for _, id := range all {
			if p.Given(id) {
				given++
			}
		}
		if given != 4 {
			t.Errorf("%d of 8 jobs came with the end of another, want the second 4", given)
		}
		p.CheckCompleted(t)
	})
}

// What an agent's jobs have of the machine they still have when it is killed and started again.
func TestPartsOutliveTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := partsPool(t, 1, nil)
		desk := p.Machines()[0]
		wide := p.SubmitAs(t, "sleep 12m", 1, part(3, 5000))[0]
		p.AwaitState(t, wide, job.Running, time.Minute)
		desk.KillAgent()
		time.Sleep(5 * time.Second)
		desk.StartAgent()
		more := p.SubmitAs(t, "sleep 12m", 3, part(1, 1000))
		time.Sleep(2 * time.Minute)
		if cpus, _, n := asked(p, append(more, wide)); n != 2 || cpus["desk1"] != 4 {
			t.Errorf("after the restart %d jobs run with %d cpus, want 2 with 4", n, cpus["desk1"])
		}
		if got, want := p.Job(wide).Claim.Slot, "slot1_1@desk1"; got != want {
			t.Errorf("the adopted job is in %s, want %s", got, want)
		}
		if got := p.Job(wide).Starts; got != 1 {
			t.Errorf("the adopted job has started %d times", got)
		}
		p.Await(t, "all have ended", time.Minute, time.Hour, func() bool { return p.State(more[2]) == job.Completed })
		p.CheckCompleted(t)

		// A machine that loses its power has all of itself again.
		lost := p.SubmitAs(t, "sleep 12m", 2, part(2, 1000))
		p.AwaitState(t, lost[1], job.Running, time.Minute)
		desk.Crash()
		time.Sleep(time.Minute)
		desk.Restart()
		p.AwaitState(t, lost[1], job.Running, 10*time.Minute)
		p.AwaitState(t, lost[1], job.Completed, time.Hour)
		p.CheckCompleted(t)
	})
}

// Every part stands still while the owner is there, and no other job comes.
func TestPartsMakeWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := partsPool(t, 1, nil)
		desk := p.Machines()[0]
		all := p.SubmitAs(t, "sleep 40m", 2, part(1, 1000))
		p.AwaitState(t, all[1], job.Running, time.Minute)
		time.Sleep(time.Minute)
		desk.Type(4 * time.Minute)
		all = append(all, p.SubmitAs(t, "sleep 10m", 1, part(1, 1000))...)
		time.Sleep(3 * time.Minute)
		if _, _, n := asked(p, all); n != 0 {
			t.Errorf("%d jobs run while the owner types", n)
		}
		p.Check(t)
		if got := p.State(all[2]); got != job.Idle {
			t.Errorf("a job that came while the owner was there is %v", got)
		}
		p.Await(t, "all go on", time.Second, 30*time.Minute, func() bool { _, _, n := asked(p, all); return n == 3 })
		p.Await(t, "all have ended", time.Minute, 2*time.Hour, func() bool { return p.State(all[0]) == job.Completed && p.State(all[1]) == job.Completed })
		p.CheckCompleted(t)
	})
}

// In the office each part has as much of what the owner leaves as it has of the machine.
func TestPartsAreThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := partsPool(t, 1, func(cfg *pooltest.Config) { cfg.Policy = policy.File{Preset: policy.Office} })
		desk := p.Machines()[0]
		narrow := p.SubmitAs(t, "sleep 1h", 1, part(1, 1000))[0]
		wide := p.SubmitAs(t, "sleep 1h", 1, part(2, 1000))[0]
		p.AwaitState(t, wide, job.Running, time.Minute)
		p.AwaitState(t, narrow, job.Running, time.Minute)
		time.Sleep(time.Minute)
		desk.Type(30 * time.Minute)
		// A quarter of the machine's 4 cpus is one, for all 4 that jobs may have.
		if a, b := p.Throttled(narrow), p.Throttled(wide); a != 0.25 || b != 0.5 {
			t.Errorf("beside the owner the jobs have %v and %v cpus, want 0.25 and 0.5", a, b)
		}
	})
}

// The parts apart from the keyboard go on when the owner comes, and take further jobs.
func TestPartsConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := partsPool(t, 1, func(cfg *pooltest.Config) { cfg.Policy.Owner.SlotsConnected = new(2) })
		desk := p.Machines()[0]
		all := p.SubmitAs(t, "sleep 3h", 3, part(1, 1000))
		p.AwaitState(t, all[2], job.Running, time.Minute)
		time.Sleep(time.Minute)
		desk.Type(20 * time.Minute)
		time.Sleep(time.Minute)
		more := p.SubmitAs(t, "sleep 3h", 1, part(1, 1000))
		time.Sleep(time.Minute)
		var runs []string
		for _, id := range append(all, more...) {
			if p.Running(id) != "" {
				runs = append(runs, p.Job(id).Claim.Slot)
			}
		}
		if got := strings.Join(runs, " "); got != "slot1_3@desk1 slot1_4@desk1" {
			t.Errorf("while the owner types jobs run in %q, want slot1_3 and slot1_4", got)
		}
	})
}

// Messages are lost, doubled and late, agents, machines and the matchmaker fall over, owners come: never do
// jobs have more of a machine than it has, and all complete.
func TestPartsUnderFaults(t *testing.T) {
	const seed = 1
	synctest.Test(t, func(t *testing.T) {
		p := pooltest.Start(t, pooltest.Config{Machines: 3, Slots: 4, Parts: true, Seed: seed, Fate: func(rng *rand.Rand, _ bus.Packet) bus.Fate {
			f := bus.Fate{}
			switch rng.IntN(20) {
			case 0:
				f.Drop = true
			case 1:
				f.Twice = true
			case 2:
				f.Delay = time.Duration(rng.IntN(4000)) * time.Millisecond
			}
			return f
		}})
		r := rand.New(rand.NewPCG(seed, 9))
		var all []job.ID
		for range 20 {
			all = append(all, p.SubmitAs(t, "sleep 7m", 1, part(1+r.IntN(4), 500+r.IntN(5000)))...)
		}
		for step := range 2000 {
			time.Sleep(5 * time.Second)
			cpus, memory, _ := asked(p, all)
			for on := range cpus {
				if cpus[on] > 4 || memory[on] > 8192 {
					t.Fatalf("jobs on %s have %d cpus and %d MB of 4 and 8192", on, cpus[on], memory[on])
				}
			}
			m := p.Machines()[r.IntN(3)]
			switch r.IntN(150) {
			case 0:
				m.KillAgent()
				time.Sleep(time.Duration(r.IntN(30)) * time.Second)
				m.StartAgent()
			case 1:
				m.Crash()
				time.Sleep(time.Duration(r.IntN(100)) * time.Second)
				m.Restart()
			case 2:
				m.Type(time.Duration(r.IntN(600)) * time.Second)
			case 3:
				p.RestartMatchmaker(time.Duration(r.IntN(60)) * time.Second)
			}
			if step%100 == 0 {
				p.Check(t)
				done := 0
				for _, id := range all {
					if p.State(id) == job.Completed {
						done++
					}
				}
				if done == len(all) {
					break
				}
			}
		}
		p.Await(t, "all have completed", time.Minute, 50*time.Hour, func() bool {
			for _, id := range all {
				if p.State(id) != job.Completed {
					return false
				}
			}
			return true
		})
		p.CheckCompleted(t)
	})
}

// Small jobs that come one after another keep a large one from a partitionable machine, whatever its priority. When the machine
// has been left to empty, it is the large one's turn.
func TestLargeJobComesToAMachineThatWasEmptied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := partsPool(t, 1, nil)
		var small []job.ID
		for i := range 30 {
			small = append(small, p.SubmitAs(t, fmt.Sprintf("sleep %dm", 7+i%5), 1, part(1, 500))...)
		}
		p.AwaitState(t, small[3], job.Running, 2*time.Minute)
		large := p.SubmitAs(t, "sleep 20m", 1, part(4, 1000)+"\nJobPrio = 10")[0]
		time.Sleep(30 * time.Minute)
		if got := p.State(large); got != job.Idle {
			t.Fatalf("beside small jobs the large one is %v", got)
		}
		now := time.Now()
		p.Machines()[0].Daemon().Heed(control.Wish{Kind: control.Finish, At: now, Until: now.Add(15 * time.Minute)})
		p.AwaitState(t, large, job.Running, 20*time.Minute)
		if last := small[len(small)-1]; p.State(last) != job.Idle {
			t.Errorf("the last small job is %v: the large one came when there were no others", p.State(last))
		}
		p.Check(t)
	})
}
