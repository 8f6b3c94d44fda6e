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
// matchmaker that restarts. There are a few jobs, and the answer to the report of one may bring the next.
// Whatever happens, no two agents may let a job run at one moment, and one result of each counts.

// simTerms are short, so that a run of a few minutes sees many leases.
var simTerms = job.Terms{
	Lease: 10 * time.Second, Renew: 3 * time.Second, Offer: 2 * time.Second,
	Resend: time.Second, Guard: time.Second, Skew: 0.01,
}

func TestClaimProtocolKeepsOneCopy(t *testing.T) {
	const seeds = 1000
	completed, given := 0, 0
	for seed := range uint64(seeds) {
		n, m, err := simulate(seed, simulation{})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		completed, given = completed+n, given+m
	}
	if completed < seeds*simJobs/2 {
		t.Errorf("only %d of %d jobs came to a result: the simulation is too hard to show anything", completed, seeds*simJobs)
	}
	if given < seeds/2 {
		t.Errorf("only %d claims were taken from the answer to a report: the simulation shows nothing of that", given)
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
		{"a given claim with a full lease at the agent", simulation{longFirst: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(1000) {
				if _, _, err := simulate(seed, tt.sim); err != nil {
					return
				}
			}
			t.Error("1000 seeds found nothing wrong")
		})
	}
}

type simulation struct {
	leaseFromArrival, noGrace, blindClock, noFence, longFirst bool // mutations
}

const (
	simAgents = 3
	simJobs   = 5
	simLength = 5 * time.Minute
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

	jobs   [simJobs]simJob
	given  int // claims that agents took from the answer to a report
	mmRate float64
}

// simJob is a job as the matchmaker knows it.
type simJob struct {
	id        job.ID
	grant     *job.Grant
	after     job.ClaimID // the claim whose report was answered with the present one
	epoch     job.Epoch
	completed int
}

// idle says whether the job can be offered.
func (j *simJob) idle() bool {
	return j.completed == 0 && (j.grant == nil || j.grant.Phase != job.Offering && j.grant.Phase != job.Granted)
}

func (w *world) job(id job.ID) *simJob { return &w.jobs[id.Cluster-1] }

type simAgent struct {
	id      job.AgentID
	rate    float64
	tenancy job.Tenancy
	slept   time.Duration // what a clock that stands still in sleep has missed
	wakes   time.Duration // asleep until then
	work    time.Duration // how long the job has run here
	ticked  time.Duration
}

// simulate plays one run and gives how many results counted, and how many claims came with the answer to a
// report.
func simulate(seed uint64, mutation simulation) (completed, given int, err error) {
	w := &world{simulation: mutation, rng: rand.New(rand.NewPCG(seed, 1)), mmRate: 1}
	for i := range w.agents {
		w.agents[i] = simAgent{id: job.AgentID(fmt.Sprint("a", i)), rate: 1 + (w.rng.Float64()*2-1)*simTerms.Skew}
	}
	for i := range w.jobs {
		w.jobs[i].id = job.ID{Cluster: i + 1}
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
	for _, j := range w.jobs {
		if w.err == nil && j.completed > 1 {
			w.err = fmt.Errorf("%d results of job %v counted", j.completed, j.id)
		}
		completed += j.completed
	}
	return completed, w.given, w.err
}

// check looks for two copies: agents that are awake and hold a claim of one job by their own clocks.
func (w *world) check() {
	running := map[job.ID][]job.AgentID{}
	for i := range w.agents {
		a := &w.agents[i]
		if id := a.tenancy.Job; a.wakes <= w.now && a.tenancy.Phase == job.Holding {
			running[id] = append(running[id], a.id)
		}
	}
	for id, on := range running {
		if len(on) > 1 {
			w.err = fmt.Errorf("at %v job %v runs on %v", w.now, id, on)
		}
	}
}

func (w *world) mishaps() {
	if w.rng.IntN(2000) == 0 { // the matchmaker restarts
		for i := range w.jobs {
			j := &w.jobs[i]
			if j.grant == nil || j.grant.Phase == job.Over {
				continue
			}
			c := job.Claim{
				ID: j.grant.Claim, Agent: j.grant.Agent, After: j.after,
				Started: j.grant.Phase != job.Offering, Lapsed: j.grant.Phase == job.Expired,
			}
			g := job.Recover(j.id, j.grant.Epoch, c, w.mmClock(), simTerms)
			if w.noGrace && g.Phase == job.Granted {
				g.Until = w.mmClock()
			}
			j.grant = &g
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
	for i := range w.jobs {
		j := &w.jobs[i]
		if j.grant != nil {
			g, _ := j.grant.Tick(now)
			j.grant = &g
		}
		if j.idle() && w.rng.IntN(40) == 0 { // else it waits a moment, and may come with an answer
			w.offer(j, &w.agents[w.rng.IntN(simAgents)])
		}
	}
}

// offer makes an offer of its own.
func (w *world) offer(j *simJob, a *simAgent) {
	g := job.Offer(j.id, w.newClaim(j), j.epoch, a.id, w.mmClock(), simTerms)
	j.grant, j.after = &g, ""
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

func (w *world) newClaim(j *simJob) job.ClaimID {
	j.epoch++
	return job.ClaimID(fmt.Sprint("c", j.id.Cluster, ".", j.epoch))
}

// next is what the answer to a report brings, if it brings anything: the claim that it brought before, or
// one of a job that waits.
func (w *world) next(a job.AgentID, claim job.ClaimID, counts bool) *job.Grant {
	for i := range w.jobs {
		if j := &w.jobs[i]; j.after == claim && j.grant != nil {
			g, ok := j.grant.GiveAgain(a, w.mmClock(), simTerms)
			if j.grant = &g; ok {
				return &g
			}
		}
	}
	if !counts || w.rng.IntN(10) == 0 {
		return nil
	}
	for i := range w.jobs {
		if j := &w.jobs[i]; j.idle() {
			g := job.Give(j.id, w.newClaim(j), j.epoch, a, w.mmClock(), simTerms)
			j.grant, j.after = &g, claim
			return &g
		}
	}
	return nil
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
		id, claim, sent := a.tenancy.Job, a.tenancy.Claim, w.clock(a)
		switch act {
		case job.SendAccept, job.SendRenew:
			j := w.job(id)
			w.send(func() {
				if w.noFence {
					claim = j.grant.Claim
				}
				g, _, ruling := j.grant.Renew(w.sender(a, j), claim, w.mmClock(), simTerms)
				j.grant = &g
				w.send(func() { w.answered(a, claim, sent, ruling) })
			})
		case job.SendReport:
			j := w.job(id)
			w.send(func() {
				g, ruling := j.grant.Finish(a.id, claim)
				j.grant = &g
				if ruling == job.Counts {
					j.completed++
				}
				next := w.next(a.id, claim, ruling == job.Counts)
				w.send(func() {
					if a.wakes <= w.now {
						w.acknowledged(a, claim, next, sent)
					}
				})
			})
		}
	}
}

// acknowledged takes the answer to a report, with what it brings. Now and then the agent does not want that.
func (w *world) acknowledged(a *simAgent, claim job.ClaimID, next *job.Grant, sent job.Instant) {
	if next != nil && w.rng.IntN(10) > 0 {
		terms := simTerms
		if w.longFirst {
			terms.Offer = terms.Lease
		}
		if w.leaseFromArrival {
			sent = w.clock(a)
		}
		t, acts, ok := a.tenancy.Succeed(claim, job.Next{Job: next.Job, Claim: next.Claim, Epoch: next.Epoch}, sent, w.clock(a), terms)
		if ok {
			w.given++
			a.tenancy, a.work = t, 0
			w.act(a, acts)
			return
		}
	}
	if next != nil && a.tenancy.Claim != next.Claim && a.tenancy.Claim == claim {
		j := w.job(next.Job)
		w.send(func() {
			g, _ := j.grant.Returned(a.id, next.Claim)
			j.grant = &g
		})
	}
	t, acts := a.tenancy.Acknowledged(claim)
	a.tenancy = t
	w.act(a, acts)
}

func (w *world) sender(a *simAgent, j *simJob) job.AgentID {
	if w.noFence {
		return j.grant.Agent
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
