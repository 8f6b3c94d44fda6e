package pooltest_test

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/pooltest"
	"skua/internal/wire"
)

func TestLostMachineFreesItsJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 1})
		id, m := running(t, p, "sleep 30m")
		m.PullTheCable()
		time.Sleep(p.Lease - p.RenewedEvery() - time.Second)
		synctest.Wait()
		if got := p.State(id); got != job.Running {
			t.Errorf("within its lease the job is %v, want %v", got, job.Running)
		}
		time.Sleep(p.RenewedEvery() + 2*time.Second)
		synctest.Wait()
		if got := p.State(id); got != job.Idle {
			t.Errorf("after the lease ran out the job is %v, want %v", got, job.Idle)
		}
		if on := p.Running(id); on != "" {
			t.Errorf("after the lease ran out the job runs on %s", on)
		}
		m.PlugIn() // nobody else has been offered the job: it goes on where it is
		p.AwaitState(t, id, job.Completed, time.Hour)
		if got, want := p.Events(id), []string{"submitted", "started", "lapsed", "revived", "ended"}; !slices.Equal(got, want) {
			t.Errorf("events are %v, want %v", got, want)
		}
		if again := p.RepeatedWork(id); again != 0 {
			t.Errorf("%v of work were done twice", again)
		}
		p.CheckCompleted(t)
	})
}

func TestLostMachinesJobRunsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 2})
		id, m := running(t, p, "sleep 30m")
		m.PullTheCable()
		p.Await(t, "the job runs elsewhere", time.Second, p.Lease+time.Minute, func() bool {
			p.Check(t)
			on := p.Running(id)
			return on != "" && on != m.Name
		})
		m.PlugIn()
		time.Sleep(time.Minute)
		p.Check(t)
		p.AwaitState(t, id, job.Completed, time.Hour)
		if got, want := p.Events(id), []string{"submitted", "started", "lapsed", "started", "ended"}; !slices.Equal(got, want) {
			t.Errorf("events are %v, want %v", got, want)
		}
		p.CheckCompleted(t)
	})
}

// A job is held and released while its machine cannot be told. It must not run elsewhere before the lease
// is over, and if the machine can be told it runs again at once.
func TestHeldAndReleased(t *testing.T) {
	for _, tt := range []struct {
		name string
		cut  bool
	}{
		{"the machine is told", false},
		{"the machine is away", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := start(t, pooltest.Config{Machines: 2})
				id, m := running(t, p, "sleep 30m")
				if tt.cut {
					m.PullTheCable()
				}
				began := time.Now()
				p.Act(t, wire.HoldJob, id)
				p.Act(t, wire.Release, id)
				p.Await(t, "the job runs again", time.Second, p.Lease+time.Minute, func() bool {
					p.Check(t)
					return p.State(id) == job.Running && p.Running(id) != ""
				})
				if took := time.Since(began); !tt.cut && took > 10*time.Second {
					t.Errorf("it ran again after %v", took)
				}
				if tt.cut {
					m.PlugIn()
				}
				p.AwaitState(t, id, job.Completed, time.Hour)
				got := p.Events(id)
				departed := slices.DeleteFunc(slices.Clone(got), func(kind string) bool { return kind == "released" })
				if want := []string{"submitted", "started", "held", "departed", "started", "ended"}; !slices.Equal(departed, want) {
					t.Errorf("events are %v, want %v with the release in between", got, want)
				}
				p.CheckCompleted(t)
			})
		})
	}
}

// A matchmaker that is started again does not forget the run of a job that was held and released.
func TestHeldReleasedAndRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 2})
		id, m := running(t, p, "sleep 30m")
		m.PullTheCable()
		p.Act(t, wire.HoldJob, id)
		p.Act(t, wire.Release, id)
		p.RestartMatchmaker(time.Second)
		p.Await(t, "the job runs elsewhere", time.Second, p.Lease+time.Minute, func() bool {
			p.Check(t)
			on := p.Running(id)
			return p.State(id) == job.Running && on != "" && on != m.Name
		})
		p.AwaitState(t, id, job.Completed, time.Hour)
		p.CheckCompleted(t)
	})
}

// The job ends on a machine of which nothing is heard any more, and its result arrives after the lease.
func TestLateResult(t *testing.T) {
	for _, tt := range []struct {
		name     string
		machines int
		want     []string
	}{
		{"counts when there was no new offer", 1, []string{"submitted", "started", "lapsed", "ended"}},
		{"is discarded when there was one", 2, []string{"submitted", "started", "lapsed", "started", "ended"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mute atomic.Value // the machine whose messages are lost
				mute.Store("")
				p := start(t, pooltest.Config{Machines: tt.machines, Fate: func(_ *rand.Rand, m bus.Packet) bus.Fate {
					return bus.Fate{Drop: m.From == mute.Load()}
				}})
				id, m := running(t, p, "sleep 4m")
				time.Sleep(3*time.Minute + 59*time.Second)
				mute.Store(m.Name)
				time.Sleep(2 * time.Second)
				if on := p.Running(id); on != "" {
					t.Fatalf("the job still runs on %s", on)
				}
				p.Await(t, "the claim lapses", time.Second, p.Lease+time.Minute, func() bool {
					return slices.Contains(p.Events(id), "lapsed")
				})
				time.Sleep(10 * time.Second)
				mute.Store("")
				p.AwaitState(t, id, job.Completed, time.Hour)
				time.Sleep(10 * time.Minute) // whoever has something to say says it
				if got := p.Events(id); !slices.Equal(got, tt.want) {
					t.Errorf("events are %v, want %v", got, tt.want)
				}
				p.CheckCompleted(t)
			})
		})
	}
}

// The job ends while its outputs cannot be brought out, for longer than its lease.
func TestResultWaitsForTheNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 1})
		id, m := running(t, p, "sleep 4m")
		time.Sleep(3*time.Minute + 59*time.Second)
		m.PullTheCable()
		time.Sleep(20 * time.Minute)
		m.PlugIn()
		p.AwaitState(t, id, job.Completed, 5*time.Minute)
		if again := p.RepeatedWork(id); again != 0 {
			t.Errorf("%v of work were done twice: %v", again, p.Events(id))
		}
		p.CheckCompleted(t)
	})
}

// The job ends, and its owner comes before its outputs could be brought out, and stays.
func TestOwnerReturnsBeforeTheResultIsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 1, Lease: time.Hour, Complains: 1 << 20})
		id, m := running(t, p, "sleep 4m")
		time.Sleep(3*time.Minute + 59*time.Second)
		m.PullTheCable()
		time.Sleep(2 * time.Second)
		m.Type(50 * time.Minute)
		time.Sleep(40 * time.Minute)
		m.PlugIn()
		p.AwaitState(t, id, job.Completed, 5*time.Minute)
		if again := p.RepeatedWork(id); again != 0 {
			t.Errorf("%v of work were done twice: %v", again, p.Events(id))
		}
		p.CheckCompleted(t)
	})
}

func TestAgentRestartAdoptsItsJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 2})
		id, m := running(t, p, "sleep 30m")
		time.Sleep(time.Minute)
		m.KillAgent()
		time.Sleep(1900 * time.Millisecond)
		if p.Running(id) == "" {
			t.Error("the job does not wait two seconds for its agent")
		}
		time.Sleep(200 * time.Millisecond)
		if on := p.Running(id); on != "" {
			t.Errorf("two seconds after its agent died the job runs on %s", on)
		}
		time.Sleep(30 * time.Second)
		m.StartAgent()
		p.Await(t, "the job runs", time.Second, 10*time.Second, func() bool { return p.Running(id) == m.Name })
		p.AwaitState(t, id, job.Completed, time.Hour)
		if got, want := p.Events(id), []string{"submitted", "started", "ended"}; !slices.Equal(got, want) {
			t.Errorf("events are %v, want %v", got, want)
		}
		if again := p.RepeatedWork(id); again != 0 {
			t.Errorf("%v of work were done twice", again)
		}
		p.CheckCompleted(t)
	})
}

// The agent dies at every moment from the offer on, and comes back.
func TestAgentRestartWhileJobStarts(t *testing.T) {
	for after := time.Duration(0); after <= 6*time.Second; after += 500 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			p := start(t, pooltest.Config{Machines: 2})
			id, first := running(t, p, "sleep 30m")
			first.Type(30 * time.Minute) // so that the next start takes a while
			p.Await(t, "the job is on its way elsewhere", 100*time.Millisecond, 15*time.Minute, func() bool {
				m := p.Machine(id)
				return m != nil && m != first
			})
			m := p.Machine(id)
			time.Sleep(after)
			m.KillAgent()
			time.Sleep(5 * time.Second)
			m.StartAgent()
			p.AwaitState(t, id, job.Completed, 2*time.Hour)
			if again := p.RepeatedWork(id); again != 0 {
				t.Errorf("agent killed %v after the offer: %v of work were done twice: %v", after, again, p.Events(id))
			}
			p.CheckCompleted(t)
		})
	}
}

// The agent dies while its job is suspended; the owner goes before it is back.
func TestAgentRestartWhileSuspended(t *testing.T) {
	for _, typing := range []time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			p := start(t, pooltest.Config{Machines: 1})
			id, m := running(t, p, "sleep 30m")
			m.Type(typing)
			p.AwaitState(t, id, job.Suspended, 5*time.Second)
			m.KillAgent()
			time.Sleep(2 * time.Minute)
			p.Check(t)
			m.StartAgent()
			for range 100 {
				p.Check(t)
				time.Sleep(100 * time.Millisecond)
			}
			p.AwaitState(t, id, job.Completed, 3*time.Hour)
			if again := p.RepeatedWork(id); again != 0 {
				t.Errorf("owner there for %v: %v of work were done twice: %v", typing, again, p.Events(id))
			}
			p.CheckCompleted(t)
		})
	}
}

// The owner comes while no agent is there; the agent comes back to an owner who types.
func TestOwnerReturnsWhileAgentIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 2})
		id, m := running(t, p, "sleep 30m")
		m.KillAgent()
		time.Sleep(5 * time.Second)
		m.Type(time.Hour)
		time.Sleep(5 * time.Second)
		p.Check(t)
		m.StartAgent()
		for range 100 {
			p.Check(t)
			time.Sleep(100 * time.Millisecond)
		}
		p.AwaitState(t, id, job.Completed, 2*time.Hour)
		if again := p.RepeatedWork(id); again != 0 {
			t.Errorf("%v of work were done twice: %v", again, p.Events(id))
		}
		p.CheckCompleted(t)
	})
}

func TestMachineLosesPower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 1})
		id, m := running(t, p, "sleep 10m")
		time.Sleep(5 * time.Minute)
		m.Crash()
		time.Sleep(30 * time.Second)
		m.Restart() // and says at once that the job is lost, rather than leave it to the lease
		p.Await(t, "the job runs again", time.Second, time.Minute, func() bool { return p.Running(id) != "" })
		p.AwaitState(t, id, job.Completed, time.Hour)
		if got, want := p.Events(id), []string{"submitted", "started", "evicted", "started", "ended"}; !slices.Equal(got, want) {
			t.Errorf("events are %v, want %v", got, want)
		}
		p.CheckCompleted(t)
	})
}

func TestAgentStopMovesItsJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 2})
		id, m := running(t, p, "sleep 30m")
		time.Sleep(10 * time.Minute)
		m.StopAgent()
		p.AwaitState(t, id, job.Completed, time.Hour)
		if again := p.RepeatedWork(id); again != 0 {
			t.Errorf("%v of work were done twice: %v", again, p.Events(id))
		}
		p.CheckCompleted(t)
	})
}

// A laptop sleeps for less and for longer than its lease.
func TestSleep(t *testing.T) {
	for _, asleep := range []time.Duration{time.Minute, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			p := start(t, pooltest.Config{Machines: 2})
			id, m := running(t, p, "sleep 30m")
			time.Sleep(time.Minute)
			m.Sleep()
			if on := p.Running(id); on != "" {
				t.Fatalf("the job runs on %s, which sleeps", on)
			}
			time.Sleep(asleep)
			m.Wake()
			for range 50 {
				p.Check(t)
				time.Sleep(time.Second)
			}
			p.AwaitState(t, id, job.Completed, 2*time.Hour)
			if asleep < p.Lease && len(p.Runs(id)) != 2 {
				t.Errorf("asleep for %v the job moved: %v", asleep, p.Events(id))
			}
			p.CheckCompleted(t)
		})
	}
}

func TestMatchmakerRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 5, Slots: 4})
		ids := p.SubmitN(t, "sleep 5m", 120)
		count := func(state job.State) (n int) {
			for _, id := range ids {
				if p.State(id) == state {
					n++
				}
			}
			return n
		}
		p.Await(t, "20 jobs run", time.Second, time.Minute, func() bool { return count(job.Running) == 20 })
		if n := count(job.Idle); n != 100 {
			t.Fatalf("%d jobs wait, want 100", n)
		}
		time.Sleep(4*time.Minute + 55*time.Second)
		p.RestartMatchmaker(30 * time.Second) // the twenty end meanwhile, and report to nobody
		p.Check(t)
		time.Sleep(7 * time.Minute)
		p.RestartMatchmaker(10 * time.Second)
		p.Await(t, "all complete", time.Second, time.Hour, func() bool { return count(job.Completed) == len(ids) })
		for _, id := range ids {
			if n := len(p.Runs(id)); n != 1 {
				t.Errorf("job %v ran %d times: %v", id, n, p.Events(id))
			}
		}
		p.CheckCompleted(t)
	})
}

// A job that was leaving when its agent was killed, with its image not brought out yet, goes on from that image. Its init
// makes that to the end without an agent, and then ends itself if none comes.
func TestAgentIsKilledWhileTheJobLeaves(t *testing.T) {
	for _, tt := range []struct {
		name         string
		killed, back time.Duration // after the dump has begun; after that
	}{
		{"after the dump", 10 * time.Second, time.Second},
		{"after the dump, and away for a while", 10 * time.Second, 10 * time.Minute},
		{"during the dump, and back before its end", 0, 500 * time.Millisecond},
		{"during the dump, and back after its end", 0, 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := start(t, pooltest.Config{Machines: 2, Lease: time.Hour})
				id := p.Submit(t, "sleep 1h")
				p.Await(t, "it runs", time.Second, time.Hour, func() bool { return p.Running(id) != "" })
				time.Sleep(30 * time.Minute)
				desk := p.Machine(id)
				p.Act(t, wire.Vacate, id)
				desk.PullTheCable()
				p.Await(t, "it is dumped", 100*time.Millisecond, time.Minute, func() bool { return p.Running(id) == "" })
				time.Sleep(tt.killed)
				desk.KillAgent()
				time.Sleep(tt.back)
				desk.StartAgent()
				time.Sleep(time.Minute)
				desk.PlugIn()
				p.AwaitState(t, id, job.Completed, 2*time.Hour)
				p.CheckCompleted(t)
				if again := p.RepeatedWork(id); again > time.Minute {
					t.Errorf("%v of its work were done again; its events are %v", again, p.Events(id))
				}
			})
		})
	}
}
