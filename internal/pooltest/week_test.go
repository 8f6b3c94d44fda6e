package pooltest_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/pooltest"
	"skua/internal/wire"
)

// A week of owners at their desks, with everything that happens to machines, networks and programs in a
// week. After every step all rules hold, and in the end every job has completed exactly once.
func TestWeek(t *testing.T) {
	for seed := range seeds() {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := week{rng: rand.New(rand.NewPCG(seed, 7))}
				w.p = start(t, pooltest.Config{Machines: 4, Seed: seed, Skew: 0.01, LookEach: 15 * time.Second, Fate: rough})
				days := 7
				if raceDetector {
					days = 1
				}
				for end := time.Now().AddDate(0, 0, days); time.Now().Before(end) && !t.Failed(); {
					w.step(t)
					time.Sleep(time.Duration(w.rng.Int64N(int64(20 * time.Minute))))
					w.p.Check(t)
				}
				w.calm(t)
				w.p.Await(t, "all jobs have completed", time.Minute, 4*24*time.Hour, func() bool {
					w.p.Check(t)
					return w.left() == 0 || t.Failed()
				})
				w.p.CheckCompleted(t)
				t.Logf("%d jobs, %d runs, %d events that happened", len(w.jobs), w.runs(), w.events)
			})
		})
	}
}

// seeds are few, unless SKUA_SEEDS asks for more.
func seeds() uint64 {
	n, err := strconv.ParseUint(os.Getenv("SKUA_SEEDS"), 10, 32)
	if err != nil {
		return 2
	}
	return n
}

// rough is a bad network: a message in fifty is lost, one in fifty comes twice, one in ten late.
func rough(rng *rand.Rand, _ bus.Packet) bus.Fate {
	fate := bus.Fate{Drop: rng.IntN(50) == 0, Twice: rng.IntN(50) == 0}
	if rng.IntN(10) == 0 {
		fate.Delay = time.Duration(rng.Int64N(int64(5 * time.Second)))
	}
	return fate
}

type week struct {
	p      *pooltest.Pool
	rng    *rand.Rand
	jobs   []job.ID
	events int
}

// step is one thing that happens somewhere.
func (w *week) step(t *testing.T) {
	w.events++
	machines := w.p.Machines()
	m := machines[w.rng.IntN(len(machines))]
	upTo := func(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d))) }
	atWork := time.Now().Hour() >= 9 && time.Now().Hour() < 18
	if len(w.jobs) > 0 && w.rng.IntN(5) == 0 { // their user has wishes, too
		wishes := []wire.ActionVerb{wire.Suspend, wire.Suspend, wire.Continue, wire.Vacate, wire.Vacate, wire.Evict, wire.HoldJob, wire.Release, wire.Release}
		w.p.Try(t, wishes[w.rng.IntN(len(wishes))], w.jobs[max(0, len(w.jobs)-20):][w.rng.IntN(min(20, len(w.jobs)))])
	}
	switch n := w.rng.IntN(100); {
	case n < 20: // more work, while there is not too much of it
		if w.left() < 30 {
			d := time.Minute + upTo(3*time.Hour).Truncate(time.Second)
			w.jobs = append(w.jobs, w.p.SubmitN(t, "sleep "+d.String(), 1+w.rng.IntN(4))...)
		}
	case n < 55:
		if atWork || w.rng.IntN(5) == 0 {
			m.Type(time.Second + upTo(40*time.Minute))
		}
	case n < 70:
		m.Touch()
	case n < 74:
		m.PullTheCable()
	case n < 82:
		m.PlugIn()
	case n < 84:
		m.KillAgent()
	case n < 85:
		m.StopAgent()
	case n < 89:
		m.StartAgent()
	case n < 91:
		m.Crash()
	case n < 94:
		m.Restart()
	case n < 96:
		m.Sleep()
	case n < 99:
		m.Wake()
	default:
		w.p.RestartMatchmaker(upTo(10 * time.Minute))
	}
}

// calm ends all trouble.
func (w *week) calm(t *testing.T) {
	for _, m := range w.p.Machines() {
		m.Wake()
		m.PlugIn()
		m.Restart()
	}
	time.Sleep(time.Hour) // what was suspended is heard of
	for _, id := range w.jobs {
		w.p.Try(t, wire.Release, id)
		w.p.Try(t, wire.Continue, id)
	}
}

func (w *week) left() (n int) {
	for _, id := range w.jobs {
		if w.p.State(id) != job.Completed {
			n++
		}
	}
	return n
}

func (w *week) runs() (n int) {
	for _, id := range w.jobs {
		n += len(w.p.Runs(id))
	}
	return n
}
