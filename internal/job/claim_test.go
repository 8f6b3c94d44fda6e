package job_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"skua/internal/job"
)

// The two halves of the claim protocol are run against each other over a network that loses,
// duplicates and delays, with clocks that differ in speed, agents that crash or sleep, and a
// matchmaker that restarts. Whatever happens, no two agents may let the job run at one moment, and
// one result counts.

// simTerms are short, so that a run of a few minutes sees many leases.
var simTerms = job.Terms{
	Lease: 10 * time.Second, Renew: 3 * time.Second, Offer: 2 * time.Second,
	Resend: time.Second, Guard: time.Second, Skew: 0.01,
}

func TestClaimProtocolKeepsOneCopy(t *testing.T) {
	const seeds = 1000
	completed := 0
	for seed := range uint64(seeds) {
		n, err := simulate(seed, simulation{})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		completed += n
	}
	if completed < seeds/2 {
		t.Errorf("only %d of %d runs came to a result: the simulation is too hard to show anything", completed, seeds)
	}
}

// A protocol check that cannot fail is worth nothing: each mutation breaks one rule, and the
// simulation must notice.
func TestSimulationCatchesMutations(t *testing.T) {
	for _, tt := range []struct {
		name string
		sim  simulation
	}{
		{"lease counted from the answer's arrival", simulation{leaseFromArrival: true}},
		{"no grace after a restart", simulation{noGrace: true}},
		{"clock that stands still in sleep", simulation{blindClock: true}},
		{"no fence by claim", simulation{noFence: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(1000) {
				if _, err := simulate(seed, tt.sim); err != nil {
					return
				}
			}
			t.Error("1000 seeds found nothing wrong")
		})
	}
}

type simulation struct {
	leaseFromArrival, noGrace, blindClock, noFence bool // mutations
}

const (
	simAgents = 3
	simLength = 4 * time.Minute
)

// world is one run. True time is now; every machine has a clock of its own speed.
type world struct {
	simulation
	rng    *rand.Rand
	now    time.Duration
	queue  deliveries
	order  int
	agents [simAgents]simAgent
	err    error

	grant     *job.Grant
	epoch     job.Epoch
	completed int
	mmRate    float64
}

type simAgent struct {
	id      job.AgentID
	rate    float64
	tenancy job.Tenancy
	slept   time.Duration // what a clock that stands still in sleep has missed
	wakes   time.Duration // asleep until then
	work    time.Duration // how long the job has run here
	ticked  time.Duration
}

// simulate plays one run and gives how many results counted.
func simulate(seed uint64, mutation simulation) (completed int, err error) {
	w := &world{simulation: mutation, rng: rand.New(rand.NewPCG(seed, 1)), mmRate: 1}
	for i := range w.agents {
		w.agents[i] = simAgent{id: job.AgentID(fmt.Sprint("a", i)), rate: 1 + (w.rng.Float64()*2-1)*simTerms.Skew}
	}
	for w.now = 0; w.now < simLength && w.err == nil; w.now += 50 * time.Millisecond {
		w.mishaps()
		for len(w.queue) > 0 && w.queue[0].at <= w.now {
			heap.Pop(&w.queue).(delivery).do()
		}
		w.matchmaker()
		for i := range w.agents {
			w.agent(&w.agents[i])
		}
		w.check()
	}
	if w.err == nil && w.completed > 1 {
		w.err = fmt.Errorf("%d results counted", w.completed)
	}
	return w.completed, w.err
}

// check looks for two copies: agents that are awake and hold the claim by their own clocks.
func (w *world) check() {
	var running []job.AgentID
	for i := range w.agents {
		a := &w.agents[i]
		if a.wakes <= w.now && a.tenancy.Phase == job.Holding {
			running = append(running, a.id)
		}
	}
	if len(running) > 1 {
		w.err = fmt.Errorf("at %v the job runs on %v", w.now, running)
	}
}

func (w *world) mishaps() {
	if w.rng.IntN(2000) == 0 { // the matchmaker restarts
		if w.grant != nil && w.grant.Phase != job.Over {
			c := job.Claim{
				ID: w.grant.Claim, Agent: w.grant.Agent,
				Started: w.grant.Phase != job.Offering, Lapsed: w.grant.Phase == job.Expired,
			}
			g := job.Recover(w.grant.Job, w.grant.Epoch, c, w.mmClock(), simTerms)
			if w.noGrace && g.Phase == job.Granted {
				g.Until = w.mmClock()
			}
			w.grant = &g
		}
	}
	for i := range w.agents {
		a := &w.agents[i]
		switch {
		case a.wakes > w.now:
		case w.rng.IntN(1500) == 0: // it sleeps
			nap := time.Duration(w.rng.IntN(40)) * time.Second
			a.wakes, a.slept = w.now+nap, a.slept+nap
			if !w.blindClock { // an agent that wakes looks at its lease before the job goes on
				a.ticked = 0
			}
		case w.rng.IntN(3000) == 0: // it crashes, and its machine with it
			a.tenancy, a.work = job.Tenancy{}, 0
		}
	}
}

func (w *world) mmClock() job.Instant { return job.Instant(float64(w.now) * w.mmRate) }

func (w *world) clock(a *simAgent) job.Instant {
	t := w.now
	if w.blindClock {
		t -= a.slept
	}
	return job.Instant(float64(t) * a.rate)
}

// send delivers after a delay, perhaps never, perhaps twice.
func (w *world) send(do func()) {
	for {
		if w.rng.IntN(5) > 0 {
			delay := time.Duration(w.rng.IntN(400)) * time.Millisecond
			if w.rng.IntN(10) == 0 {
				delay = time.Duration(w.rng.IntN(20_000)) * time.Millisecond
			}
			w.order++
			heap.Push(&w.queue, delivery{w.now + delay, w.order, do})
		}
		if w.rng.IntN(10) > 0 {
			return
		}
	}
}

func (w *world) matchmaker() {
	now := w.mmClock()
	if w.grant != nil {
		g, _ := w.grant.Tick(now)
		w.grant = &g
		if g.Phase == job.Offering || g.Phase == job.Granted {
			return
		}
	}
	if w.completed > 0 {
		return
	}
	a := &w.agents[w.rng.IntN(simAgents)]
	w.epoch++
	g := job.Offer(job.ID{Cluster: 1}, job.ClaimID(fmt.Sprint("c", w.epoch)), w.epoch, a.id, now, simTerms)
	w.grant = &g
	w.send(func() {
		if a.wakes > w.now {
			return
		}
		t, acts, ok := a.tenancy.Take(g.Job, g.Claim, g.Epoch, w.clock(a), simTerms)
		if ok {
			a.tenancy, a.work = t, 0
			w.act(a, acts)
		}
	})
}

func (w *world) agent(a *simAgent) {
	if a.wakes > w.now {
		return
	}
	t, acts := a.tenancy.Tick(w.clock(a), simTerms)
	a.tenancy = t
	w.act(a, acts)
	if a.tenancy.Phase != job.Holding {
		return
	}
	if a.work += 50 * time.Millisecond; a.work > 45*time.Second {
		t, acts := a.tenancy.End(w.clock(a), simTerms)
		a.tenancy = t
		w.act(a, acts)
	}
}

func (w *world) act(a *simAgent, acts []job.Act) {
	for _, act := range acts {
		claim, sent := a.tenancy.Claim, w.clock(a)
		switch act {
		case job.SendAccept, job.SendRenew:
			w.send(func() {
				if w.noFence {
					claim = w.grant.Claim
				}
				g, _, ruling := w.grant.Renew(w.sender(a), claim, w.mmClock(), simTerms)
				w.grant = &g
				w.send(func() { w.answered(a, claim, sent, ruling) })
			})
		case job.SendReport:
			w.send(func() {
				g, ruling := w.grant.Finish(a.id, claim)
				w.grant = &g
				if ruling == job.Counts {
					w.completed++
				}
				w.send(func() {
					if t, acts := a.tenancy.Acknowledged(claim); a.wakes <= w.now {
						a.tenancy = t
						w.act(a, acts)
					}
				})
			})
		}
	}
}

func (w *world) sender(a *simAgent) job.AgentID {
	if w.noFence {
		return w.grant.Agent
	}
	return a.id
}

func (w *world) answered(a *simAgent, claim job.ClaimID, sent job.Instant, ruling job.Ruling) {
	if a.wakes > w.now {
		return
	}
	var t job.Tenancy
	var acts []job.Act
	if ruling == job.Grants {
		if w.leaseFromArrival {
			sent = w.clock(a)
		}
		if w.noFence {
			claim = a.tenancy.Claim
		}
		t, acts = a.tenancy.Granted(claim, sent, w.clock(a), simTerms)
	} else {
		t, acts = a.tenancy.Gone(claim)
	}
	a.tenancy = t
	w.act(a, acts)
}

// deliveries is a heap of messages by time of arrival.
type deliveries []delivery

type delivery struct {
	at    time.Duration
	order int
	do    func()
}

func (d deliveries) Len() int { return len(d) }
func (d deliveries) Less(i, j int) bool {
	return d[i].at < d[j].at || d[i].at == d[j].at && d[i].order < d[j].order
}
func (d deliveries) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *deliveries) Push(x any)   { *d = append(*d, x.(delivery)) }
func (d *deliveries) Pop() any {
	last := len(*d) - 1
	x := (*d)[last]
	*d = slices.Delete(*d, last, last+1)
	return x
}
