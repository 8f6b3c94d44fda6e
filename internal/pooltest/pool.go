// Package pooltest is TEST ONLY: a whole pool in one process and in simulated time.
//
// A pool is a real matchmaker (server, queue and negotiation over a log in memory) and real agents
// (keepers, slots, policy, claim files on disk) on the in-memory bus, inside a testing/synctest bubble:
// a week at a desk takes seconds. What a test cannot own is simulated: the owner's hands, the
// machine's power and its cable, the lease clock, and the jobs. A job is "sleep D": it must be awake
// and unfrozen for D, can be checkpointed and resumed, and the pool keeps the book of when and where
// it ran, so that [Pool.Check] can say at any moment whether a rule has been broken:
//
//   - a job never has two copies that run, on whatever machines;
//   - no job runs while the owner of its machine types;
//   - a job that was accepted is never lost, and completes exactly once.
//
// Time in a bubble is exact, the order of goroutines at one instant is not. What a test asserts must
// hold for any order.
package pooltest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/bus"
	"skua/internal/fit"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/internal/why"
	"skua/internal/wire"
	"skua/policy"
	"skua/policy/classad"
)

// Config describes a pool. Fields marked required have no default.
type Config struct {
	Machines int           // required
	Slots    int           // of each machine; 0 means 1
	Parts    bool          // the machines are partitionable, for Slots jobs at a time
	Lease    time.Duration // at the agents; 0 means 5 minutes
	Seed     uint64        // of all chance in the pool

	// Policy is every machine's; the zero value is the desktop preset. The load of the machine that the
	// test runs on never counts.
	Policy policy.File
	// NoThrottle is set for machines that cannot slow jobs down.
	NoThrottle bool
	// Saves has images made of jobs while they run.
	Saves bool
	// Copying is called while files are copied for such an image; nil means that this takes no time.
	Copying func(*Machine)
	// Trials has jobs tried early whether they can be checkpointed.
	Trials bool
	// Link is how long an image takes to be sent on a link that all machines share, which carries one after another; 0
	// means that each machine has one of its own, as fast as any.
	Link time.Duration
	// NoImages is why no job can be checkpointed; empty if all can.
	NoImages string
	// Complains is how many bytes each job writes to its standard error. What is little travels in the report.
	Complains int
	// LookEach is how often policies look at a slot; 0 means the agent's default.
	LookEach time.Duration
	// Fate decides what becomes of each message; nil delivers all at once.
	Fate func(rng *rand.Rand, p bus.Packet) bus.Fate
	// Skew is the greatest difference of a machine's lease clock from true, as a fraction. The claim
	// protocol allows for 0.01.
	Skew float64

	// Likeness says what a machine, counted from 0, has of what images need; nil means that they say nothing
	// of it.
	Likeness func(machine int) Likeness
	// Restores says why an image cannot be restored that was made after so much of the job's work; nil when it can. Nil
	// means that all can.
	Restores func(done time.Duration) error
	// RestartAfter is that of server.Config.
	RestartAfter time.Duration
	// Baseline is that of server.Config.
	Baseline fit.Baseline

	Log *slog.Logger // nil means no logging
}

// Likeness is what a machine has that images of jobs need: all of it, in this pool.
type Likeness struct {
	Features  string     // of its processor, separated by commas
	Microarch string     // of its processor, as in x86_64-v3; empty for a machine that does not tell
	Usual     []fit.File // files that its ad always tells
	Other     []fit.File // files that it tells once somebody has asked

	CannotRestore bool // for a reason that no ad tells
}

// Pool is a simulated pool.
type Pool struct {
	// Lease is how long after a machine was last heard of its jobs may be offered to others.
	Lease time.Duration

	cfg      Config
	t        testing.TB
	ctx      context.Context
	rng      *rand.Rand
	dir      string
	hub      *bus.Hub
	terms    job.Terms
	policy   *policy.Policy
	key      *trust.CapabilityKey
	store    *store
	user     *bus.MemoryConn
	queueLog *queueLog
	machines []*Machine
	accepted map[job.ID]time.Duration // every job that a submit was acknowledged for, and its length
	requests int

	head *head // the matchmaker; it stays here, stopped, while it is down

	book book
}

// userID is the user that submits everything.
const userID = job.UserID("user1")

// Start starts a pool in the bubble that it is called from. It is stopped at the end of the test, and
// checked a last time.
func Start(t testing.TB, cfg Config) *Pool {
	t.Helper()
	if cfg.Machines < 1 {
		t.Fatal("pooltest: a pool needs machines")
	}
	if cfg.Lease == 0 {
		cfg.Lease = 5 * time.Minute
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Pool{
		cfg: cfg, t: t, ctx: ctx,
		rng:      rand.New(rand.NewPCG(cfg.Seed, 0)),
		dir:      t.TempDir(),
		hub:      bus.NewMemory(),
		queueLog: &queueLog{MemoryLog: bus.NewMemoryLog()},
		store:    newStore(cfg.Link),
		accepted: map[job.ID]time.Duration{},
		book:     book{running: map[job.ID]*process{}, runs: map[job.ID][]Run{}},
	}
	p.terms = job.DefaultTerms
	p.terms.Lease, p.terms.Renew = cfg.Lease, min(p.terms.Renew, cfg.Lease/4)
	p.Lease = p.terms.Outlives()
	var err error
	if p.key, err = trust.OpenCapabilityKey(filepath.Join(p.dir, "capability.key")); err != nil {
		t.Fatal(err)
	}
	if cfg.Policy.Preset != policy.Dedicated {
		any := 1e6
		cfg.Policy.Owner.BackgroundLoad = &any
	}
	if p.policy, err = policy.Derive(cfg.Policy); err != nil {
		t.Fatal(err)
	}
	if cfg.Fate != nil {
		fates := rand.New(rand.NewPCG(cfg.Seed, 1)) // the hub asks for one packet at a time
		p.hub.Intercept(func(m bus.Packet) bus.Fate { return cfg.Fate(fates, m) })
	}
	t.Cleanup(func() {
		p.Check(t)
		for _, m := range p.machines {
			m.KillAgent()
			m.powerOff()
		}
		p.StopMatchmaker()
		p.user.Close()
		stop()
	})
	p.user = p.hub.Connect("user")
	p.StartMatchmaker()
	for i := range cfg.Machines {
		p.machines = append(p.machines, newMachine(p, i))
	}
	for _, m := range p.machines {
		m.StartAgent()
	}
	synctest.Wait()
	return p
}

// RenewedEvery is how often an agent renews a lease.
func (p *Pool) RenewedEvery() time.Duration { return p.terms.Renew }

// Machines gives all machines.
func (p *Pool) Machines() []*Machine { return p.machines }

// Submit submits one job, such as "sleep 10m", as a user does, and gives its id once the matchmaker has
// acknowledged it.
func (p *Pool) Submit(t testing.TB, command string) job.ID {
	t.Helper()
	return p.SubmitN(t, command, 1)[0]
}

// SubmitN submits a cluster of n such jobs. It asks again until it is answered.
func (p *Pool) SubmitN(t testing.TB, command string, n int) []job.ID {
	t.Helper()
	return p.SubmitAs(t, command, n, "")
}

// SubmitAs submits a cluster of n jobs "sleep D", or "sleep CODE D" for one that ends with that exit code,
// with further attributes: "Name = expression", one to a line.
func (p *Pool) SubmitAs(t testing.TB, command string, n int, attrs string) []job.ID {
	t.Helper()
	args, ok := strings.CutPrefix(command, "sleep ")
	words := strings.Fields(args)
	if !ok || len(words) < 1 || len(words) > 2 {
		t.Fatalf("pooltest: job %q is neither \"sleep D\" nor \"sleep CODE D\"", command)
	}
	d, err := time.ParseDuration(words[len(words)-1])
	if err != nil || d <= 0 {
		t.Fatalf("pooltest: job %q: bad duration", command)
	}
	ad, err := classad.ParseOldAd("Requirements = TARGET.CanRunJobs\n" + attrs)
	if err != nil {
		t.Fatal(err)
	}
	ad.SetString("Cmd", "/bin/sleep")
	ad.SetBool("TransferExecutable", false)
	ad.SetString("Args", args)
	p.requests++
	m := wire.Submit{V: wire.Version, Request: fmt.Sprint("request ", p.requests), Ad: ad}
	for range n {
		m.Procs = append(m.Procs, classad.NewAd())
	}
	answer := ask[wire.Submitted](t, p, wire.VerbSubmit, m, func(a wire.Submitted) *wire.Failure { return a.Fail })
	ids := make([]job.ID, n)
	for i := range ids {
		ids[i] = job.ID{Cluster: answer.Cluster, Proc: i}
		p.accepted[ids[i]] = d
	}
	return ids
}

// Edit sets an attribute of a job, as its user does.
func (p *Pool) Edit(t testing.TB, id job.ID, name, expr string) {
	t.Helper()
	m := wire.Action{
		V: wire.Version, Do: wire.Edit, Select: wire.Selection{Jobs: []job.ID{id}}, Set: []job.Assigned{{Name: name, Expr: expr}},
	}
	res := ask[wire.ActionResult](t, p, wire.VerbAct, m, func(a wire.ActionResult) *wire.Failure { return a.Fail })
	if len(res.Done) != 1 {
		t.Fatalf("edit job %v: %+v", id, res)
	}
}

// Act does something to a job, as its user does.
func (p *Pool) Act(t testing.TB, do wire.ActionVerb, id job.ID) {
	t.Helper()
	if not := p.Try(t, do, id); not != "" {
		t.Fatalf("%s job %v: %s", do, id, not)
	}
}

// Try does something to a job, as its user does, and gives the reason if it cannot be done.
func (p *Pool) Try(t testing.TB, do wire.ActionVerb, id job.ID) (not string) {
	t.Helper()
	m := wire.Action{V: wire.Version, Do: do, Select: wire.Selection{Jobs: []job.ID{id}}}
	res := ask[wire.ActionResult](t, p, wire.VerbAct, m, func(a wire.ActionResult) *wire.Failure { return a.Fail })
	if len(res.Done) == 1 {
		return ""
	}
	return res.Not[id.String()]
}

// Why asks why a job waits.
func (p *Pool) Why(t testing.TB, id job.ID) *why.Explanation {
	t.Helper()
	m := wire.Query{V: wire.Version, Kind: wire.QueryWhy, Select: wire.Selection{Jobs: []job.ID{id}}}
	res := ask[wire.QueryResult](t, p, wire.VerbQuery, m, func(a wire.QueryResult) *wire.Failure { return a.Fail })
	e := new(why.Explanation)
	if len(res.Rows) != 1 {
		t.Fatalf("why %v: %d answers", id, len(res.Rows))
	}
	if err := json.Unmarshal(res.Rows[0], e); err != nil {
		t.Fatal(err)
	}
	return e
}

// ask makes a request of the user until it is answered, for at most an hour.
func ask[A any](t testing.TB, p *Pool, verb string, message any, failure func(A) *wire.Failure) A {
	t.Helper()
	data, err := wire.Encode(message)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Hour); ; {
		ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
		var a A
		answer, err := p.user.Request(ctx, wire.UserSubject(userID, verb), data)
		cancel()
		if err == nil {
			a, err = wire.Decode[A](answer)
		}
		if err == nil {
			err = failure(a).Err()
		}
		if err == nil {
			return a
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not answered: %v", verb, err)
		}
		time.Sleep(time.Second)
	}
}

// Job gives a job as the matchmaker's queue has it; as it had it, while the matchmaker is down.
func (p *Pool) Job(id job.ID) *job.Job {
	p.t.Helper()
	j, ok := p.head.queue.Job(id)
	if !ok {
		p.t.Fatalf("job %v is lost", id)
	}
	return j
}

// State gives the state of a job.
func (p *Pool) State(id job.ID) job.State {
	p.t.Helper()
	return p.Job(id).State
}

// Machine gives the machine that has the job's claim, or nil.
func (p *Pool) Machine(id job.ID) *Machine {
	p.t.Helper()
	j := p.Job(id)
	if j.Claim == nil {
		return nil
	}
	for _, m := range p.machines {
		if m.id == j.Claim.Agent {
			return m
		}
	}
	return nil
}

// Output gives what a completed job wrote.
func (p *Pool) Output(id job.ID) string {
	p.t.Helper()
	j := p.Job(id)
	if j.Result == nil {
		p.t.Fatalf("job %v is %v and has no result", id, j.State)
	}
	for _, f := range j.Result.Outputs {
		switch {
		case f.Name != job.StdoutFile:
		case f.Digest == "":
			return string(f.Inline)
		default:
			content, err := p.store.content(f.Digest)
			if err != nil {
				p.t.Fatalf("output of job %v: %v", id, err)
			}
			return string(content)
		}
	}
	p.t.Fatalf("job %v brought no output back", id)
	return ""
}

// Events gives the kinds of a job's events in order, the Offered and Measured ones left out.
func (p *Pool) Events(id job.ID) []string {
	p.t.Helper()
	var kinds []string
	for ev := range p.events() {
		for _, of := range ev.Body.Jobs() {
			_, offered := ev.Body.(*job.Offered)
			_, measured := ev.Body.(*job.Measured)
			if of == id && !offered && !measured {
				kinds = append(kinds, ev.Body.Kind())
			}
		}
	}
	return kinds
}

// Offered names the machines to which the job has been offered, in order.
func (p *Pool) Offered(id job.ID) []string {
	p.t.Helper()
	var machines []string
	for ev := range p.events() {
		if o, ok := ev.Body.(*job.Offered); ok && o.Job == id {
			machines = append(machines, o.Machine)
		}
	}
	return machines
}

// events reads the queue log itself.
func (p *Pool) events() func(func(job.Event) bool) {
	return func(yield func(job.Event) bool) {
		enough := errors.New("enough")
		err := p.queueLog.Read(context.Background(), 1, func(seq uint64, data []byte) error {
			var ev job.Event
			if err := ev.UnmarshalJSON(data); err != nil {
				return err
			}
			ev.Seq = seq
			if !yield(ev) {
				return enough
			}
			return nil
		})
		if err != nil && err != enough {
			p.t.Errorf("read the queue log: %v", err)
		}
	}
}

// Await lets time pass until ok holds. It looks every step and gives up after limit.
func (p *Pool) Await(t testing.TB, what string, step, limit time.Duration, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(step) {
		synctest.Wait()
		if ok() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", limit, what)
		}
	}
}

// AwaitState lets time pass until a job is in a state.
func (p *Pool) AwaitState(t testing.TB, id job.ID, want job.State, limit time.Duration) {
	t.Helper()
	p.Await(t, fmt.Sprintf("job %v is %v", id, want), time.Second, limit, func() bool { return p.State(id) == want })
}

// Check waits until nothing can happen without time passing, and reports every rule that is or was
// broken since the last check.
func (p *Pool) Check(t testing.TB) {
	t.Helper()
	synctest.Wait()
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	for _, v := range p.book.violations {
		t.Error(v)
	}
	p.book.violations = nil
	for id, x := range p.book.running {
		if m := x.machine; m.owner.typing(time.Now()) && x.cpus == 0 && p.policy.SlotsConnected == 0 {
			t.Errorf("%v: job %v runs on %s while its owner types", time.Now(), id, m.Name)
		}
	}
	for id := range p.accepted {
		if _, ok := p.head.queue.Job(id); !ok {
			t.Errorf("%v: job %v was accepted and is lost", time.Now(), id)
		}
	}
}

// Given says whether the latest claim of the job came with the answer to the report of another job.
func (p *Pool) Given(id job.ID) bool {
	given := false
	for ev := range p.events() {
		if o, ok := ev.Body.(*job.Offered); ok && o.Job == id {
			given = o.After != ""
		}
	}
	return given
}

// CheckCompleted reports jobs that have not completed exactly once, or not with all their work done.
func (p *Pool) CheckCompleted(t testing.TB) {
	t.Helper()
	p.Check(t)
	ends := map[job.ID]int{}
	for ev := range p.events() {
		if _, ok := ev.Body.(*job.Ended); ok {
			ends[ev.Body.Jobs()[0]]++
		}
	}
	for id, length := range p.accepted {
		j := p.Job(id)
		if j.State != job.Completed || ends[id] != 1 {
			t.Errorf("job %v is %v with %d completions, want one: %v", id, j.State, ends[id], p.Events(id))
			continue
		}
		if got, want := p.Output(id), fmt.Sprintf("slept %v\n", length); got != want {
			t.Errorf("job %v wrote %q, want %q", id, got, want)
		}
	}
}
