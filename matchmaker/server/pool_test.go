package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/fit"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/internal/wire"
	"skua/matchmaker/history"
	"skua/matchmaker/queue"
	"skua/policy/classad"
)

// pool is a matchmaker on an in-memory bus, for one synctest bubble.
type pool struct {
	t      *testing.T
	hub    *bus.Hub
	log    *bus.MemoryLog
	terms  job.Terms
	start  time.Time
	stop   func() // stops the matchmaker
	queue  *queue.Queue
	server *Server
	held   map[string]bool // "user/digest"
	ill    bool            // the matchmaker's disk
	away   bool            // another matchmaker, which may have what is not held
	lost   map[blob.Digest]bool
	full   bool     // the disk, nearly
	mute   bool     // the log takes nothing
	out    sync.Map // ids of members who have been put out

	limits   map[string]float64 // concurrency limits
	halfLife time.Duration
	worklife time.Duration // of claims; 0 for the default
	baseline fit.Baseline  // of jobs that say nothing

	past   *history.Store // nil for none
	memory int            // ended jobs that are kept there; 0 for the default
}

var testTerms = job.Terms{
	Lease: time.Minute, Renew: 10 * time.Second, Offer: 5 * time.Second, Resend: time.Second,
	Guard: time.Second, Skew: 0.01,
}

// inPool runs f in a bubble with a running matchmaker.
func inPool(t *testing.T, f func(t *testing.T, p *pool)) {
	t.Helper()
	inPoolWith(t, func(*pool) {}, f)
}

// inPoolWith does so with a pool that is set up otherwise.
func inPoolWith(t *testing.T, set func(*pool), f func(t *testing.T, p *pool)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &pool{
			t: t, hub: bus.NewMemory(), log: bus.NewMemoryLog(), terms: testTerms, start: time.Now(),
			held: map[string]bool{}, lost: map[blob.Digest]bool{},
		}
		set(p)
		p.run()
		defer func() { p.stop() }() // of the matchmaker that runs then
		f(t, p)
	})
}

// run starts a matchmaker over the pool's log.
func (p *pool) run() {
	p.t.Helper()
	q, err := queue.Open(p.t.Context(), queue.Config{Log: poolLog{p.log, p}, HalfLife: p.halfLife, History: p.past, MaxHistory: p.memory})
	if err != nil {
		p.t.Fatal(err)
	}
	conn := p.hub.Connect("matchmaker")
	var past Past
	if p.past != nil {
		past = p.past
	}
	s, err := New(Config{
		Past: past,
		Bus:  conn, Queue: q, Roster: fakeRoster{&p.out}, Terms: p.terms, Domain: "pool.example", Limits: p.limits, Worklife: p.worklife, Baseline: p.baseline,
		Clock: func() job.Instant { return job.Instant(time.Since(p.start)) },
		Sign: func(c trust.Capability) (string, error) {
			return fmt.Sprintf("%s %s %s %d", c.Mode, c.User, c.Job, c.Epoch), nil
		},
		Free: func() (int64, error) {
			if p.full {
				return 99 << 20, nil
			}
			return 100 << 20, nil
		},
		DiskFree: 100 << 20,
		Held: func(u job.UserID, d blob.Digest) error {
			switch {
			case p.ill:
				return errors.New("input/output error")
			case p.held[string(u)+"/"+string(d)]:
				return nil
			}
			return blob.ErrNotFound
		},
		Elsewhere: func(job.UserID, blob.Digest) error {
			if p.away {
				return errOtherLater
			}
			return blob.ErrNotFound
		},
		Settle: func(_ context.Context, _ job.ID, image blob.Digest) error {
			if p.lost[image] {
				return blob.ErrNotFound
			}
			return nil
		},
		ImageKey: func(id job.ID) blob.Key { return blob.Key{byte(id.Cluster), byte(id.Proc)} },
	})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(p.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	p.queue, p.server = q, s
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("the matchmaker ended with %v", err)
		}
		conn.Close()
	})
	synctest.Wait()
}

// poolLog is the pool's log, on servers that may have no leader.
type poolLog struct {
	*bus.MemoryLog
	p *pool
}

func (l poolLog) Append(ctx context.Context, expectLast uint64, records [][]byte) (uint64, error) {
	if l.p.mute {
		return 0, bus.ErrNoResponder
	}
	return l.MemoryLog.Append(ctx, expectLast, records)
}

func (l poolLog) AppendInOrder(ctx context.Context, expectLast uint64, records [][]byte) (uint64, error) {
	if l.p.mute {
		return 0, bus.ErrNoResponder
	}
	return l.MemoryLog.AppendInOrder(ctx, expectLast, records)
}

type fakeRoster struct{ out *sync.Map }

func (r fakeRoster) PutOut(id string) bool {
	_, out := r.out.Load(id)
	return out
}

func (fakeRoster) Members() []trust.Member {
	return []trust.Member{
		{ID: "u1", Kind: trust.User, Name: "ann"},
		{ID: "u2", Kind: trust.User, Name: "bob"},
		{ID: "enrolled", Kind: trust.Agent, Name: "enrolled", Approved: true},
	}
}

func (fakeRoster) Redeem(secret []byte, key string, _ time.Time, name string) (trust.Member, error) {
	if string(secret) != "sesame" {
		return trust.Member{}, trust.ErrTokenUnknown
	}
	return trust.Member{ID: "a9", Kind: trust.Agent, Name: name, PublicKey: key, Approved: true}, nil
}

// ask makes a request and decodes its answer.
func ask[A any](p *pool, conn bus.Conn, subject string, message any) A {
	p.t.Helper()
	data, err := wire.Encode(message)
	if err != nil {
		p.t.Fatal(err)
	}
	answer, err := conn.Request(p.t.Context(), subject, data)
	if err != nil {
		p.t.Fatalf("%s: %v", subject, err)
	}
	a, err := wire.Decode[A](answer)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

// user is a connection of a user.
type user struct {
	*pool
	id   job.UserID
	conn bus.Conn
}

func (p *pool) user(id job.UserID) *user {
	u := &user{p, id, p.hub.Connect(string(id))}
	p.t.Cleanup(func() { u.conn.Close() })
	return u
}

func clusterOf(t *testing.T, procs int, attrs string) wire.Submit {
	t.Helper()
	ad, err := classad.ParseAd(`[ Cmd = "/bin/sim"; Requirements = TARGET.Memory >= 100; JobLeaseDuration = 2400; ` + attrs + ` ]`)
	if err != nil {
		t.Fatal(err)
	}
	s := wire.Submit{V: wire.Version, Request: rand.Text(), Ad: ad}
	for range procs {
		s.Procs = append(s.Procs, classad.NewAd())
	}
	return s
}

// submit queues jobs and gives the id of the first.
func (u *user) submit(procs int, attrs string) job.ID {
	u.t.Helper()
	r := ask[wire.Submitted](u.pool, u.conn, wire.UserSubject(u.id, wire.VerbSubmit), clusterOf(u.t, procs, attrs))
	if r.Fail != nil {
		u.t.Fatal(r.Fail.What)
	}
	synctest.Wait()
	return job.ID{Cluster: r.Cluster}
}

func (u *user) act(do wire.ActionVerb, ids ...job.ID) wire.ActionResult {
	u.t.Helper()
	r := ask[wire.ActionResult](u.pool, u.conn, wire.UserSubject(u.id, wire.VerbAct),
		wire.Action{V: wire.Version, Do: do, Select: wire.Selection{Jobs: ids}})
	synctest.Wait()
	return r
}

func (u *user) query(q wire.Query) wire.QueryResult {
	u.t.Helper()
	q.V = wire.Version
	return ask[wire.QueryResult](u.pool, u.conn, wire.UserSubject(u.id, wire.VerbQuery), q)
}

// agent is a fake agent that speaks the wire protocol when told to.
type agent struct {
	*pool
	id       job.AgentID
	conn     *bus.MemoryConn
	offers   chan wire.Offer
	controls chan wire.Control
}

func (p *pool) agent(id job.AgentID) *agent {
	p.t.Helper()
	a := &agent{p, id, p.hub.Connect(string(id)), make(chan wire.Offer, 100), make(chan wire.Control, 100)}
	p.t.Cleanup(func() { a.conn.Close() })
	for subject, h := range map[string]func(bus.Msg){
		wire.OfferSubject(id): func(m bus.Msg) {
			o, err := wire.Decode[wire.Offer](m.Data)
			if err != nil {
				p.t.Error(err)
			}
			a.offers <- o
		},
		wire.ControlSubject(id): func(m bus.Msg) {
			c, err := wire.Decode[wire.Control](m.Data)
			if err != nil {
				p.t.Error(err)
			}
			a.controls <- c
		},
	} {
		if _, err := a.conn.Subscribe(subject, h); err != nil {
			p.t.Fatal(err)
		}
	}
	return a
}

// advertise sends an ad with one slot in a state.
func (a *agent) advertise(state string) {
	a.t.Helper()
	ad, err := classad.ParseAd(`[ Requirements = START; START = true; Memory = 1024; OpSys = "LINUX"; Arch = "X86_64"; HasCheckpointing = true ]`)
	if err != nil {
		a.t.Fatal(err)
	}
	a.advertiseAs(state, ad)
}

// advertiseAs sends an ad of its own kind with one slot in a state.
func (a *agent) advertiseAs(state string, ad *classad.Ad) {
	a.t.Helper()
	ad.SetString("Name", "slot1@"+string(a.id))
	ad.SetString("Machine", string(a.id))
	ad.SetString("State", state)
	a.send(wire.AdSubject(a.id), wire.Ad{V: wire.Version, Machine: string(a.id), Slots: []*classad.Ad{ad}})
}

func (a *agent) send(subject string, message any) {
	a.t.Helper()
	data, err := wire.Encode(message)
	if err == nil {
		err = a.conn.Publish(subject, data)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	synctest.Wait()
}

// offered takes the offer that must have come.
func (a *agent) offered() wire.Offer {
	a.t.Helper()
	synctest.Wait()
	select {
	case o := <-a.offers:
		return o
	default:
		a.t.Fatalf("agent %s got no offer", a.id)
		panic("unreachable")
	}
}

func (a *agent) noOffer() {
	a.t.Helper()
	synctest.Wait()
	select {
	case o := <-a.offers:
		a.t.Fatalf("agent %s got an offer of %v", a.id, o.Job)
	default:
	}
}

func refOf(o wire.Offer) wire.ClaimRef {
	return wire.ClaimRef{Job: o.Job, Claim: o.Claim, Epoch: o.Epoch}
}

func (a *agent) accept(o wire.Offer) wire.Grant {
	a.t.Helper()
	return ask[wire.Grant](a.pool, a.conn, wire.AgentSubject(a.id, wire.VerbAccept), wire.Accept{V: wire.Version, ClaimRef: refOf(o)})
}

func (a *agent) renew(o wire.Offer, paused string) wire.Grant {
	a.t.Helper()
	return ask[wire.Grant](a.pool, a.conn, wire.AgentSubject(a.id, wire.VerbRenew), wire.Renew{V: wire.Version, ClaimRef: refOf(o), Paused: paused})
}

func (a *agent) done(o wire.Offer, d wire.Done) wire.Ack {
	a.t.Helper()
	d.V, d.ClaimRef = wire.Version, refOf(o)
	ack := ask[wire.Ack](a.pool, a.conn, wire.AgentSubject(a.id, wire.VerbDone), d)
	synctest.Wait()
	return ack
}

func exited(code int) wire.Done {
	return wire.Done{Outcome: wire.Exited, Result: &job.Result{ExitCode: code}}
}

func (a *agent) checkpoint(o wire.Offer, c wire.Checkpoint) wire.Ack {
	a.t.Helper()
	c.V, c.ClaimRef = wire.Version, refOf(o)
	return ask[wire.Ack](a.pool, a.conn, wire.AgentSubject(a.id, wire.VerbCheckpoint), c)
}

// job gives a job that must be there.
func (p *pool) job(id job.ID) *job.Job {
	p.t.Helper()
	synctest.Wait()
	j, ok := p.queue.Job(id)
	if !ok {
		p.t.Fatalf("there is no job %v", id)
	}
	return j
}

func (p *pool) wantState(id job.ID, want job.State) {
	p.t.Helper()
	if got := p.job(id).State; got != want {
		p.t.Errorf("job %v is %v, want %v", id, got, want)
	}
}
