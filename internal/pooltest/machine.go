package pooltest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"skua/agent/probe"
	"skua/agent/startd"
	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/fit"
	"skua/internal/job"
	"skua/policy"
	"skua/policy/classad"
)

// Machine is one machine of a simulated pool: a real agent, an owner, power, and a cable.
type Machine struct {
	Name string

	p     *Pool
	id    job.AgentID
	dir   string // its disk
	owner owner
	like  *likeness
	began time.Time
	slots int // of its next agent; belongs to the test

	// What follows is guarded by the book's mu.
	off       bool          // without power
	awake     chan struct{} // closed while the machine is awake
	asleep    bool
	unplugged bool
	clock     job.LeaseClock
	inits     map[job.ClaimID]*process // living and dead, until they are removed
	worked    time.Duration            // of a processor, by jobs that do not run now
	cooled    int                      // how often a job's memory was made to go first

	agent *agent // nil while none runs; belongs to the test
}

// agent is one run of a machine's agent.
type agent struct {
	conn   *bus.MemoryConn
	daemon *startd.Daemon
	ctx    context.Context
	stop   context.CancelFunc
	ended  chan struct{}
	killed bool // guarded by the book's mu: nothing that it still does has an effect
}

func newMachine(p *Pool, n int) *Machine {
	m := &Machine{
		Name: fmt.Sprintf("desk%d", n+1), p: p, id: job.AgentID(fmt.Sprintf("agent%d", n+1)),
		dir:   filepath.Join(p.dir, fmt.Sprintf("desk%d", n+1)),
		slots: p.cfg.Slots, began: time.Now(), awake: make(chan struct{}), clock: p.clock(), inits: map[job.ClaimID]*process{},
	}
	m.like = newLikeness(p.cfg, n)
	close(m.awake)
	m.owner = owner{m: m, last: time.Now().Add(-time.Hour)}
	return m
}

// StartAgent starts an agent over what is on the machine's disk. It does nothing when there is one, or
// no power.
func (m *Machine) StartAgent() {
	m.p.t.Helper()
	if m.agent != nil || m.isOff() {
		return
	}
	a := &agent{conn: m.p.hub.Connect(m.Name), ended: make(chan struct{})}
	a.ctx, a.stop = context.WithCancel(m.p.ctx)
	if m.isCut() {
		a.conn.Cut()
	}
	records := filepath.Join(m.dir, "records")
	if err := os.MkdirAll(records, 0o700); err != nil {
		m.p.t.Fatal(err)
	}
	d, err := startd.New(startd.Config{
		Agent: m.id, Machine: m.Name, Dir: records, Slots: m.slots, Partitionable: m.p.cfg.Parts,
		Bus: a.conn, Starter: starterOf{m, a}, Files: disk{m, m.p.store}, Policy: m.p.policy,
		Facts: m.facts, System: m.like, Clock: m.clockOf(a), LookEach: m.p.cfg.LookEach, Log: m.p.cfg.Log.With(diag.KeyMachine, m.Name),
		CopyTree: m.copyTree(), IdleTime: m.idle, TrialAfter: m.trialAfter(),
		Watch: func(on startd.Signs) (startd.Owner, error) {
			m.p.book.mu.Lock()
			defer m.p.book.mu.Unlock()
			m.owner.touched = on.Touched
			return &m.owner, nil
		},
	})
	if err != nil {
		m.p.t.Fatal(err)
	}
	a.daemon = d
	m.agent = a
	go func() {
		defer close(a.ended)
		if err := d.Run(a.ctx); err != nil {
			m.p.t.Errorf("agent of %s: %v", m.Name, err)
		}
	}()
}

// copyTree is what the agent makes images of running jobs with, if the pool's jobs are saved.
func (m *Machine) copyTree() func(_ context.Context, from, to string) error {
	if !m.p.cfg.Saves {
		return nil
	}
	return func(_ context.Context, from, to string) error {
		if m.p.cfg.Copying != nil {
			m.p.cfg.Copying(m)
		}
		return os.CopyFS(to, os.DirFS(from))
	}
}

// trialAfter is when it is tried whether a job can be checkpointed, for which it stands still: at the usual time if the
// pool's jobs are tried, and else when no test runs any more.
func (m *Machine) trialAfter() time.Duration {
	if m.p.cfg.Trials {
		return 0
	}
	return 10_000 * time.Hour
}

// SetSlots has the machine's next agent have so many slots.
func (m *Machine) SetSlots(n int) { m.slots = n }

// Daemon is the machine's agent, nil while none runs.
func (m *Machine) Daemon() *startd.Daemon {
	if m.agent == nil {
		return nil
	}
	return m.agent.daemon
}

// KillAgent ends the agent as SIGKILL does: it says nothing more, its jobs' inits live on.
func (m *Machine) KillAgent() {
	a := m.agent
	if a == nil {
		return
	}
	a.conn.Cut()
	m.p.book.mu.Lock()
	a.killed = true
	m.owner.touched = nil
	for _, x := range m.inits {
		x.detach(x.attached)
		for _, h := range x.handles {
			if h.agent == a {
				h.end()
			}
		}
	}
	m.p.book.mu.Unlock()
	a.stop()
	<-a.ended
	a.conn.Close()
	m.agent = nil
}

// StopAgent stops the agent as a person does: jobs leave first.
func (m *Machine) StopAgent() {
	m.p.t.Helper()
	a := m.agent
	if a == nil {
		return
	}
	ctx, cancel := context.WithTimeout(m.p.ctx, m.p.policy.MaxVacateTime+time.Minute)
	defer cancel()
	// Without a network, or while the machine sleeps, the jobs stay behind, frozen.
	if err := a.daemon.Vacate(ctx, "the agent was stopped"); err != nil && !m.isCut() {
		m.p.t.Errorf("stop the agent of %s: %v", m.Name, err)
	}
	a.stop()
	<-a.ended
	a.conn.Close()
	m.agent = nil
}

// Crash takes the power away. What is on the disk stays.
func (m *Machine) Crash() {
	m.KillAgent()
	m.powerOff()
}

func (m *Machine) powerOff() {
	m.p.book.mu.Lock()
	defer m.p.book.mu.Unlock()
	m.off = true
	for _, x := range m.inits {
		x.die("the machine lost its power")
		x.left = false
	}
	if m.asleep {
		m.asleep = false
		close(m.awake)
	}
}

// Restart brings power back; the machine's clock begins anew and its agent starts.
func (m *Machine) Restart() {
	m.p.t.Helper()
	m.p.book.mu.Lock()
	if m.off {
		m.off, m.clock = false, m.p.clock()
	}
	m.p.book.mu.Unlock()
	m.StartAgent()
}

// SetPolicy puts another policy into force, as a reload does.
func (m *Machine) SetPolicy(f policy.File) {
	m.p.t.Helper()
	p, err := policy.Derive(f)
	if err != nil {
		m.p.t.Fatal(err)
	}
	m.agent.daemon.SetPolicy(p)
}

// RefusePolicy tells the agent of a policy that is no good.
func (m *Machine) RefusePolicy(why error) { m.agent.daemon.RefusePolicy(why) }

// PullTheCable takes the machine off the network.
func (m *Machine) PullTheCable() {
	m.p.book.mu.Lock()
	m.unplugged = true
	m.p.book.mu.Unlock()
	m.link()
}

// PlugIn undoes PullTheCable.
func (m *Machine) PlugIn() {
	m.p.book.mu.Lock()
	m.unplugged = false
	m.p.book.mu.Unlock()
	m.link()
}

// Sleep suspends the machine to memory: nothing on it moves, except the lease clock.
func (m *Machine) Sleep() {
	m.p.book.mu.Lock()
	if !m.off && !m.asleep {
		m.asleep, m.awake = true, make(chan struct{})
		for _, x := range m.inits {
			x.settle()
		}
	}
	m.p.book.mu.Unlock()
	m.link()
}

// Wake undoes Sleep.
func (m *Machine) Wake() {
	m.p.book.mu.Lock()
	if m.asleep {
		m.asleep = false
		for _, x := range m.inits {
			x.guard() // the lease first, then the job
		}
		close(m.awake)
	}
	m.p.book.mu.Unlock()
	m.link()
}

// link makes the agent's connection what cable and sleep let it be.
func (m *Machine) link() {
	switch a := m.agent; {
	case a == nil:
	case m.isCut():
		a.conn.Cut()
	default:
		a.conn.Heal()
	}
}

// Off reports whether the machine has no power.
func (m *Machine) isOff() bool {
	m.p.book.mu.Lock()
	defer m.p.book.mu.Unlock()
	return m.off
}

func (m *Machine) isCut() bool {
	m.p.book.mu.Lock()
	defer m.p.book.mu.Unlock()
	return m.cut()
}

// cut and moves are called with the book's mu held.
func (m *Machine) cut() bool   { return m.off || m.asleep || m.unplugged }
func (m *Machine) moves() bool { return !m.off && !m.asleep }

// clockOf is the machine's lease clock as an agent reads it: a reader on a machine that sleeps waits
// until it wakes.
func (m *Machine) clockOf(a *agent) job.LeaseClock {
	return func() job.Instant {
		m.p.book.mu.Lock()
		awake, clock := m.awake, m.clock
		m.p.book.mu.Unlock()
		select {
		case <-awake:
		case <-a.ctx.Done():
		}
		return clock()
	}
}

// cpus is how many processors a machine has.
const cpus = 4

func (m *Machine) facts(context.Context) (*classad.Ad, error) {
	ad := classad.NewAd()
	ad.SetString("OpSys", "LINUX")
	ad.SetString("Arch", "X86_64")
	ad.SetInt("TotalCpus", cpus)
	ad.SetInt("TotalMemory", 16<<10)
	ad.SetInt("TotalDisk", 100<<20)
	ad.SetBool("HasCheckpointing", true)
	if m.like.Features != "" {
		ad.SetString(fit.AttrFeatures, m.like.Features)
		if m.like.Microarch != "" {
			ad.SetString(fit.AttrMicroarch, m.like.Microarch)
		}
	}
	return ad, nil
}

// Touch is one input: a key, or a bumped desk. It returns when the agent has been told.
func (m *Machine) Touch() { m.owner.input(0) }

// Type is input without a pause for d. It returns at once.
func (m *Machine) Type(d time.Duration) { m.owner.input(d) }

// Compute has the owner's programs want so many of the machine's processors from now on.
func (m *Machine) Compute(processors float64) {
	m.p.book.mu.Lock()
	defer m.p.book.mu.Unlock()
	now := time.Now()
	m.owner.computed += m.owner.computing(now)
	m.owner.wants, m.owner.since = processors, now
}

// idle is for how long nobody has used the machine's processors. Of what both the owner's programs and a job want, both
// are counted.
func (m *Machine) idle() (time.Duration, error) {
	m.p.book.mu.Lock()
	defer m.p.book.mu.Unlock()
	now := time.Now()
	idle := cpus*now.Sub(m.began) - m.owner.computed - m.owner.computing(now) - m.worked
	for _, x := range m.inits {
		if x.job != nil && !x.job.since.IsZero() {
			idle -= now.Sub(x.job.since)
		}
	}
	return idle, nil
}

// owner is the person at the machine, and the watcher that sees the input.
type owner struct {
	m       *Machine
	touched func(probe.Active) // guarded by the book's mu, as all below; nil while no agent watches
	from    time.Time          // of the latest input without a pause
	last    time.Time          // end of it; in the future while typing goes on

	wants    float64       // processors, for programs of the owner's
	since    time.Time     // when that began
	computed time.Duration // by the owner's programs, until then
}

// computing is what the owner's programs have used since they want as much as they do.
func (o *owner) computing(now time.Time) time.Duration {
	return time.Duration(o.wants * float64(now.Sub(o.since)))
}

func (o *owner) input(d time.Duration) {
	mu := &o.m.p.book.mu
	mu.Lock()
	now := time.Now()
	touched := o.touched
	if now.Sub(o.last) < probe.DefaultQuiet || !o.m.moves() {
		touched = nil // it goes on, or nobody sees it
	} else {
		o.from = now
	}
	if end := now.Add(d); end.After(o.last) {
		o.last = end
	}
	mu.Unlock()
	if touched != nil {
		touched(probe.Active{At: now, Source: "keyboard"})
	}
}

// typing is called with the book's mu held.
func (o *owner) typing(now time.Time) bool {
	return o.m.moves() && o.touched != nil && !now.Before(o.from) && now.Before(o.last)
}

// Run implements [startd.Owner].
func (o *owner) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Idle implements [startd.Owner].
func (o *owner) Idle(now time.Time) time.Duration {
	o.m.p.book.mu.Lock()
	defer o.m.p.book.mu.Unlock()
	return max(0, now.Sub(o.last))
}

// Settle implements [startd.Owner].
func (o *owner) Settle(context.Context) {}

// ConsoleIdle implements [startd.Owner].
func (o *owner) ConsoleIdle(now time.Time) (time.Duration, bool) { return o.Idle(now), true }

// Unseen implements [startd.Owner].
func (o *owner) Unseen() []probe.SourceState { return nil }
