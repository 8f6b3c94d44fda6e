package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/internal/wire"
	"skua/matchmaker/queue"
	"skua/policy/classad"
)

// pool is a matchmaker on an in-memory bus, for one synctest bubble.
type pool struct {
	t     *testing.T
	hub   *bus.Hub
	log   *bus.MemoryLog
	terms job.Terms
	start time.Time
	stop  func() // stops the matchmaker
	queue *queue.Queue
	held  map[string]bool // "user/digest"
}

var testTerms = job.Terms{
	Lease: time.Minute, Renew: 10 * time.Second, Offer: 5 * time.Second, Resend: time.Second,
	Guard: time.Second, Skew: 0.01,
}

// inPool runs f in a bubble with a running matchmaker.
func inPool(t *testing.T, f func(t *testing.T, p *pool)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &pool{
			t: t, hub: bus.NewMemory(), log: bus.NewMemoryLog(), terms: testTerms, start: time.Now(),
			held: map[string]bool{},
		}
		p.run()
		defer func() { p.stop() }() // of the matchmaker that runs then
		f(t, p)
	})
}

// run starts a matchmaker over the pool's log.
func (p *pool) run() {
	p.t.Helper()
	q, err := queue.Open(p.t.Context(), queue.Config{Log: p.log})
	if err != nil {
		p.t.Fatal(err)
	}
	conn := p.hub.Connect("matchmaker")
	s, err := New(Config{
		Bus: conn, Queue: q, Roster: fakeRoster{}, Terms: p.terms, Domain: "pool.example",
		Clock: func() job.Instant { return job.Instant(time.Since(p.start)) },
		Sign: func(c trust.Capability) (string, error) {
			return fmt.Sprintf("%s %s %s %d", c.Mode, c.User, c.Job, c.Epoch), nil
		},
		Held:     func(u job.UserID, d blob.Digest) bool { return p.held[string(u)+"/"+string(d)] },
		ImageKey: func(id job.ID) blob.Key { return blob.Key{byte(id.Cluster), byte(id.Proc)} },
	})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(p.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	p.queue = q
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("the matchmaker ended with %v", err)
		}
		conn.Close()
	})
	synctest.Wait()
}

type fakeRoster struct{}

func (fakeRoster) Members() []trust.Member {
	return []trust.Member{{ID: "u1", Kind: trust.User, Name: "ann"}, {ID: "u2", Kind: trust.User, Name: "bob"}}
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
	ad, err := classad.ParseAd(`[ Requirements = START; START = true; Memory = 1024 ]`)
	if err != nil {
		a.t.Fatal(err)
	}
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

func TestOneJob(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		notes := 0
		ann.conn.Subscribe(wire.NoteSubject("u1"), func(bus.Msg) { notes++ })
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		switch {
		case o.Job != id || o.Epoch != 1 || o.Slot != "slot1@desk" || o.User != "u1" || o.Claim == "":
			t.Errorf("offer of %v, epoch %d, for %s of %s", o.Job, o.Epoch, o.Slot, o.User)
		case o.Read != "read u1 1.0 1" || o.Write != "write u1 1.0 1" || len(o.Key) != 32:
			t.Errorf("capabilities %q and %q, key of %d bytes", o.Read, o.Write, len(o.Key))
		case o.Terms.Lease != testTerms.Lease || o.Terms.Renew != testTerms.Renew || o.Terms.Offer != testTerms.Offer:
			t.Errorf("terms %+v", o.Terms)
		}
		if owner, _ := o.Ad.Str("Owner"); owner != "ann" {
			t.Errorf("the job's owner is %q", owner)
		}
		p.wantState(id, job.Idle)
		if g := desk.accept(o); g.Gone || g.Read == "" || g.Write == "" {
			t.Fatalf("accepting gave %+v", g)
		}
		p.wantState(id, job.Running)
		if g := desk.accept(o); g.Gone {
			t.Error("a repeated acceptance was told that the claim is gone")
		}
		desk.advertise("Claimed")
		for range 20 { // far beyond one lease
			time.Sleep(testTerms.Renew)
			if g := desk.renew(o, ""); g.Gone {
				t.Fatal("a renewal was told that the claim is gone")
			}
		}
		if ack := desk.done(o, exited(3)); ack.Stale || ack.Fail != nil {
			t.Fatalf("the result got %+v", ack)
		}
		p.wantState(id, job.Completed)
		if ack := desk.done(o, exited(4)); !ack.Stale {
			t.Errorf("the repeated result got %+v", ack)
		}
		if j := p.job(id); j.Result.ExitCode != 3 || j.Starts != 1 {
			t.Errorf("exit code %d after %d starts", j.Result.ExitCode, j.Starts)
		}
		if g := desk.renew(o, ""); !g.Gone {
			t.Error("a claim that is over was renewed")
		}
		if notes < 4 {
			t.Errorf("ann heard of %d events, there were four", notes)
		}
	})
}

func TestPauseIsLoggedOnce(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)
		for _, step := range []struct {
			paused string
			want   job.State
		}{
			{"the owner is back", job.Suspended},
			{"the owner is still there", job.Suspended},
			{"", job.Running},
			{"", job.Running},
		} {
			desk.renew(o, step.paused)
			p.wantState(id, step.want)
		}
		page, err := p.queue.Events(t.Context(), "u1", 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for _, ev := range page.Events {
			kinds = append(kinds, ev.Body.Kind())
		}
		if got := strings.Join(kinds, " "); got != "submitted offered started paused continued" {
			t.Errorf("logged: %s", got)
		}
	})
}

func TestLeaseLapsesAndRevives(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)
		desk.advertise("Claimed")
		time.Sleep(testTerms.Outlives() - time.Millisecond)
		p.wantState(id, job.Running)
		time.Sleep(time.Millisecond)
		p.wantState(id, job.Idle)
		if g := desk.renew(o, "the owner is back"); g.Gone {
			t.Fatal("nobody else has the job, but its claim did not revive")
		}
		p.wantState(id, job.Suspended)
		if j := p.job(id); j.Epoch != 1 || j.Starts != 1 {
			t.Errorf("epoch %d, %d starts", j.Epoch, j.Starts)
		}
	})
}

func TestLapsedJobRunsElsewhere(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk, lab := p.user("u1"), p.agent("desk"), p.agent("lab")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		old := desk.offered()
		desk.accept(old)
		desk.conn.Cut()
		lab.advertise("Unclaimed")
		time.Sleep(testTerms.Outlives())
		o := lab.offered()
		if o.Epoch != 2 || o.Claim == old.Claim {
			t.Errorf("the second offer has epoch %d", o.Epoch)
		}
		lab.accept(o)
		desk.conn.Heal()
		if g := desk.renew(old, ""); !g.Gone {
			t.Error("the superseded claim was renewed")
		}
		if ack := desk.done(old, exited(1)); !ack.Stale {
			t.Error("the superseded claim's result counted")
		}
		if ack := desk.checkpoint(old, wire.Checkpoint{Image: &job.Image{Kind: job.CRIUImage}}); !ack.Stale {
			t.Error("the superseded claim's checkpoint counted")
		}
		p.wantState(id, job.Running)
		if ack := lab.done(o, exited(0)); ack.Stale || ack.Fail != nil {
			t.Errorf("the result got %+v", ack)
		}
		if j := p.job(id); j.Result == nil || j.Result.ExitCode != 0 {
			t.Errorf("result %+v", j.Result)
		}
	})
}

func TestLateResultOfALapsedClaimCounts(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)
		desk.advertise("Claimed")
		time.Sleep(2 * testTerms.Outlives())
		p.wantState(id, job.Idle)
		if ack := desk.done(o, exited(0)); ack.Stale || ack.Fail != nil {
			t.Errorf("the result got %+v", ack)
		}
		p.wantState(id, job.Completed)
	})
}

func TestUnansweredOfferGoesElsewhere(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, dead, lab := p.user("u1"), p.agent("dead"), p.agent("lab")
		dead.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := dead.offered()
		lab.advertise("Unclaimed")
		lab.noOffer()
		time.Sleep(testTerms.Offer)
		if second := lab.offered(); second.Epoch != 2 {
			t.Errorf("epoch %d", second.Epoch)
		}
		if g := dead.accept(o); !g.Gone {
			t.Error("an offer that was given up was granted")
		}
		if avoid := p.job(id).Avoid; len(avoid) != 1 || avoid[0] != "dead" {
			t.Errorf("the job avoids %v", avoid)
		}
	})
}

func TestRefusingMachineRests(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		offers := 0
		for deadline := time.Now().Add(10 * time.Minute); time.Now().Before(deadline); {
			select {
			case o := <-desk.offers:
				offers++
				desk.send(wire.AgentSubject("desk", wire.VerbAccept), wire.Accept{V: wire.Version, ClaimRef: refOf(o), Refused: "not now"})
				desk.advertise("Unclaimed") // as an agent does when its slot is free again
			default:
				time.Sleep(time.Second)
				desk.send(wire.HeartbeatSubject("desk"), wire.Heartbeat{V: wire.Version})
			}
		}
		// After 0, 1, 3, 7, ... seconds, and then every five minutes.
		if offers < 8 || offers > 12 {
			t.Errorf("%d offers in ten minutes", offers)
		}
		row := ann.query(wire.Query{Kind: wire.QueryJobs}).Rows[0]
		if !strings.Contains(string(row), "gave a job back a moment ago") {
			t.Errorf("ann is told %s", row)
		}
		p.wantState(id, job.Idle)
	})
}

func TestEvictedJobGoesOnFromItsImage(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk, lab := p.user("u1"), p.agent("desk"), p.agent("lab")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)
		image := job.Image{Kind: job.CRIUImage, Digest: blob.Sum([]byte("image")), Bytes: 5, At: time.Now().UTC()}
		if ack := desk.checkpoint(o, wire.Checkpoint{Image: &image}); ack.Fail == nil {
			t.Error("an image that nobody has uploaded was taken")
		}
		p.held["u1/"+string(image.Digest)] = true
		for range 2 {
			if ack := desk.checkpoint(o, wire.Checkpoint{Image: &image}); ack.Fail != nil || ack.Stale {
				t.Fatalf("the checkpoint got %+v", ack)
			}
		}
		lab.advertise("Unclaimed")
		desk.advertise("Owner")
		if ack := desk.done(o, wire.Done{Outcome: wire.Evicted, Reason: "the owner is back", Usage: job.Usage{Wall: time.Minute}}); ack.Fail != nil {
			t.Fatalf("the eviction got %+v", ack)
		}
		o = lab.offered()
		if len(o.Images) != 1 || o.Images[0].Digest != image.Digest || o.Images[0].Agent != "desk" {
			t.Errorf("images offered: %+v", o.Images)
		}
		lab.accept(o)
		if ack := lab.checkpoint(o, wire.Checkpoint{Dropped: image.Digest, Reason: "damaged"}); ack.Fail != nil {
			t.Errorf("dropping got %+v", ack)
		}
		if j := p.job(id); len(j.Images) != 0 || j.Evictions != 1 || j.Usage.Wall != time.Minute {
			t.Errorf("images %v, %d evictions, usage %+v", j.Images, j.Evictions, j.Usage)
		}
	})
}

func TestOutcomes(t *testing.T) {
	digest := blob.Sum([]byte("out"))
	file := func(name string) job.File { return job.File{Name: name, Digest: digest, Size: 3} }
	for _, tt := range []struct {
		name string
		done wire.Done
		want job.State
		says string // part of HoldReason or LastReason
	}{
		{"held by the machine", wire.Done{Outcome: wire.Hold, Reason: "no such input", Code: job.HoldTransferInput}, job.Held, "no such input"},
		{"good outputs", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: []job.File{file("a"), file("d/b"), {Name: "c", Size: 1, Inline: []byte("x")}}}}, job.Completed, ""},
		{"outputs that climb out", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: []job.File{file("../a")}}}, job.Held, "not a plain relative path"},
		{"an absolute output", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: []job.File{file("/etc/passwd")}}}, job.Held, "not a plain relative path"},
		{"a Windows path", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: []job.File{file(`a\..\b`)}}}, job.Held, "not a plain relative path"},
		{"an output twice", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: []job.File{file("a"), file("a")}}}, job.Held, "listed twice"},
		{"an output nobody uploaded", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: []job.File{{Name: "a", Digest: blob.Sum(nil)}}}}, job.Held, "has not been uploaded"},
		{"an inline file that lies", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: []job.File{{Name: "a", Size: 9, Inline: []byte("x")}}}}, job.Held, "1 bytes inline"},
		{"an exit without a result", wire.Done{Outcome: wire.Exited}, job.Idle, "does not know"},
		{"an outcome of the future", wire.Done{Outcome: "transcended"}, job.Idle, `"transcended"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inPool(t, func(t *testing.T, p *pool) {
				p.held["u1/"+string(digest)] = true
				ann, desk := p.user("u1"), p.agent("desk")
				desk.advertise("Unclaimed")
				id := ann.submit(1, "")
				o := desk.offered()
				desk.accept(o)
				desk.advertise("Claimed")
				if ack := desk.done(o, tt.done); ack.Fail != nil || ack.Stale {
					t.Fatalf("the report got %+v", ack)
				}
				p.wantState(id, tt.want)
				if j := p.job(id); !strings.Contains(j.HoldReason+j.LastReason, tt.says) {
					t.Errorf("the job says %q and %q", j.HoldReason, j.LastReason)
				}
			})
		})
	}
}

func TestRestartInTheMiddle(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)

		time.Sleep(testTerms.Outlives() - time.Second) // the lease is about to end
		p.stop()
		time.Sleep(time.Hour) // and would be long over
		p.run()
		p.wantState(id, job.Running)
		if g := desk.renew(o, ""); g.Gone {
			t.Error("the claim is gone after the restart")
		}
		p.stop()
		p.run()
		time.Sleep(testTerms.Outlives() - time.Millisecond)
		p.wantState(id, job.Running)
		time.Sleep(time.Millisecond)
		p.wantState(id, job.Idle)
	})
}

func TestAcceptanceAfterRestart(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		p.stop()
		p.run()
		if g := desk.accept(o); g.Gone {
			t.Error("an offer that stood before the restart was not granted after it")
		}
		p.wantState(id, job.Running)
		p.stop()
		p.run()
		if ack := desk.done(o, exited(0)); ack.Stale || ack.Fail != nil {
			t.Errorf("the result got %+v", ack)
		}
		p.wantState(id, job.Completed)
		p.stop()
		p.run()
		if ack := desk.done(o, exited(0)); !ack.Stale {
			t.Errorf("the result of a completed job got %+v", ack)
		}
	})
}

func TestHeartbeatOfAnUnknownAgent(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		desk := p.agent("desk")
		desk.advertise("Unclaimed")
		desk.send(wire.HeartbeatSubject("desk"), wire.Heartbeat{V: wire.Version})
		if n := len(desk.controls); n != 0 {
			t.Errorf("%d controls for an agent that is known", n)
		}
		p.stop()
		p.run()
		desk.send(wire.HeartbeatSubject("desk"), wire.Heartbeat{V: wire.Version})
		if c := <-desk.controls; c.Do != wire.Advertise {
			t.Errorf("got control %q", c.Do)
		}
	})
}

func TestRemoveHoldRelease(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, bob, desk := p.user("u1"), p.user("u2"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)

		if r := bob.act(wire.Remove, id); len(r.Done) != 0 || r.Not["1.0"] != "you have no such job" {
			t.Errorf("bob removing ann's job got %+v", r)
		}
		p.wantState(id, job.Running)

		if r := ann.act(wire.HoldJob, id); len(r.Done) != 1 {
			t.Fatalf("holding got %+v", r)
		}
		p.wantState(id, job.Held)
		if c := <-desk.controls; c.Do != wire.KillClaim || c.ClaimRef != refOf(o) {
			t.Errorf("the agent was told %+v", c)
		}
		if g := desk.renew(o, ""); !g.Gone {
			t.Error("the claim of a held job was renewed")
		}
		if r := ann.act(wire.HoldJob, id); r.Not["1.0"] != "it is held already" {
			t.Errorf("holding twice got %+v", r)
		}
		desk.noOffer()

		ann.act(wire.Release, id)
		o = desk.offered()
		if o.Epoch != 2 {
			t.Errorf("epoch %d", o.Epoch)
		}
		desk.accept(o)
		ann.act(wire.Remove, id)
		p.wantState(id, job.Removed)
		if c := <-desk.controls; c.Do != wire.KillClaim || c.Claim != o.Claim {
			t.Errorf("the agent was told %+v", c)
		}
		if ack := desk.done(o, exited(0)); !ack.Stale {
			t.Error("the result of a removed job counted")
		}
		if r := ann.act(wire.Remove, id); r.Not["1.0"] != "it has been removed" {
			t.Errorf("removing twice got %+v", r)
		}
		if r := ann.act(wire.Deliver, id); r.Not["1.0"] != "it has not completed" {
			t.Errorf("delivering a removed job got %+v", r)
		}
	})
}

func TestActOnSelections(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		ann.submit(2, "JobPrio = 1")
		ann.submit(2, "JobPrio = 2")
		act := func(sel wire.Selection) wire.ActionResult {
			return ask[wire.ActionResult](p, ann.conn, wire.UserSubject("u1", wire.VerbAct), wire.Action{V: wire.Version, Do: wire.HoldJob, Select: sel})
		}
		for _, tt := range []struct {
			sel       wire.Selection
			done, not string
		}{
			{wire.Selection{Constraint: "JobPrio == 2 && ProcId == 1"}, "[2.1]", "map[]"},
			{wire.Selection{Clusters: []int{2, 7}}, "[2.0]", "map[7:you have no such cluster]"},
			{wire.Selection{Jobs: []job.ID{{Cluster: 2}}, Clusters: []int{1}}, "[1.0 1.1]", "map[2.0:it is held already]"},
			{wire.Selection{}, "[]", "map[]"},
		} {
			r := act(tt.sel)
			if fmt.Sprint(r.Done) != tt.done || fmt.Sprint(r.Not) != tt.not {
				t.Errorf("holding %+v: %v, not %v; want %s, not %s", tt.sel, r.Done, r.Not, tt.done, tt.not)
			}
		}
		if r := act(wire.Selection{Constraint: "JobPrio =="}); r.Fail == nil || !strings.Contains(r.Fail.What, "constraint") {
			t.Errorf("a bad constraint got %+v", r)
		}
	})
}

func TestGoodbyeAndSilence(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk, lab := p.user("u1"), p.agent("desk"), p.agent("lab")
		desk.advertise("Unclaimed")
		desk.send(wire.AdSubject("desk"), wire.Ad{V: wire.Version, Machine: "desk", Bye: true})
		lab.advertise("Unclaimed")
		for range 5 {
			time.Sleep(wire.HeartbeatInterval)
			lab.send(wire.HeartbeatSubject("lab"), wire.Heartbeat{V: wire.Version})
		}
		if n := len(ann.query(wire.Query{Kind: wire.QueryMachines}).Rows); n != 1 {
			t.Errorf("%d machines, want 1", n)
		}
		time.Sleep(wire.MissedHeartbeats * wire.HeartbeatInterval)
		if n := len(ann.query(wire.Query{Kind: wire.QueryMachines}).Rows); n != 0 {
			t.Errorf("%d machines after a long silence", n)
		}
		ann.submit(1, "")
		desk.noOffer()
		lab.noOffer()
		row := ann.query(wire.Query{Kind: wire.QueryJobs}).Rows[0]
		if !strings.Contains(string(row), "no machine is in the pool") {
			t.Errorf("ann is told %s", row)
		}
	})
}

func TestSubmitIsChecked(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		digest := blob.Sum([]byte("in"))
		p.held["u1/"+string(digest)] = true
		for _, tt := range []struct {
			name   string
			change func(*wire.Submit)
			want   string
		}{
			{"good", func(*wire.Submit) {}, ""},
			{"good with inputs", func(s *wire.Submit) { s.Inputs = [][]job.File{{{Name: "in", Digest: digest, Size: 2}}} }, ""},
			{"no request id", func(s *wire.Submit) { s.Request = "" }, "request id"},
			{"no ad", func(s *wire.Submit) { s.Ad = nil }, "no ad"},
			{"no procs", func(s *wire.Submit) { s.Procs = nil }, "0 jobs"},
			{"a null proc", func(s *wire.Submit) { s.Procs[0] = nil }, "no ad"},
			{"no Requirements", func(s *wire.Submit) { s.Ad.Delete("Requirements") }, "no Requirements"},
			{"quoted Requirements", func(s *wire.Submit) { s.Ad.SetString("Requirements", "true") }, "text in quotes"},
			{"no Cmd", func(s *wire.Submit) { s.Ad.Delete("Cmd") }, "Cmd"},
			{"bad Requirements of one proc", func(s *wire.Submit) { s.Procs[1].SetString("Requirements", "x") }, "job 1"},
			{"inputs of another user", func(s *wire.Submit) { s.Inputs = [][]job.File{{{Name: "in", Digest: blob.Sum(nil)}}} }, "not been uploaded"},
			{"inputs that climb out", func(s *wire.Submit) { s.Inputs = [][]job.File{{{Name: "../in", Digest: digest, Size: 2}}} }, "relative path"},
			{"too few input lists", func(s *wire.Submit) {
				s.Procs = append(s.Procs, classad.NewAd())
				s.Inputs = make([][]job.File, 2)
			}, "2 lists of inputs for 3 jobs"},
			{"a huge ad", func(s *wire.Submit) { s.Ad.SetString("Note", strings.Repeat("x", 200<<10)) }, "at most"},
		} {
			s := clusterOf(t, 2, "")
			s.Request = tt.name
			tt.change(&s)
			r := ask[wire.Submitted](p, ann.conn, wire.UserSubject("u1", wire.VerbSubmit), s)
			switch {
			case tt.want == "" && r.Fail != nil:
				t.Errorf("%s: %s", tt.name, r.Fail.What)
			case tt.want != "" && (r.Fail == nil || !strings.Contains(r.Fail.What, tt.want)):
				t.Errorf("%s: got %+v, want something with %q", tt.name, r.Fail, tt.want)
			}
		}
		if n := len(p.queue.Jobs("")); n != 4 {
			t.Errorf("%d jobs in the queue, want 4", n)
		}
	})
}

func TestQueriesComeInPages(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, bob, desk := p.user("u1"), p.user("u2"), p.agent("desk")
		bob.submit(1, "")
		for range 4 {
			ann.submit(3, fmt.Sprintf("Note = %q", strings.Repeat("n", 40<<10)))
		}
		for range 5 {
			desk.advertise("Unclaimed")
			o := desk.offered()
			desk.accept(o)
			desk.advertise("Owner")
			desk.done(o, exited(0))
		}
		// all reads every page of a query and gives the ids of its rows.
		all := func(u *user, q wire.Query) string {
			var ids []string
			for {
				r := u.query(q)
				if r.Fail != nil {
					t.Fatal(r.Fail.What)
				}
				for _, row := range r.Rows {
					var jr wire.JobRow
					if err := json.Unmarshal(row, &jr); err != nil {
						t.Fatal(err)
					}
					ids = append(ids, jr.ID.String())
				}
				if !r.More {
					return strings.Join(ids, " ")
				}
				q.After = r.Next
			}
		}
		for _, limit := range []int{0, 1, 2} {
			for _, tt := range []struct {
				name string
				u    *user
				q    wire.Query
				want string
			}{
				{"jobs", ann, wire.Query{Kind: wire.QueryJobs}, "3.1 3.2 4.0 4.1 4.2 5.0 5.1 5.2"},
				{"all jobs", bob, wire.Query{Kind: wire.QueryJobs, Select: wire.Selection{AllUsers: true}}, "3.1 3.2 4.0 4.1 4.2 5.0 5.1 5.2"},
				{"history", ann, wire.Query{Kind: wire.QueryHistory}, "3.0 2.2 2.1 2.0"},
				{"other history", bob, wire.Query{Kind: wire.QueryHistory}, "1.0"},
				{"fetch", ann, wire.Query{Kind: wire.QueryFetch}, "3.0 2.2 2.1 2.0"},
				{"some", ann, wire.Query{Kind: wire.QueryJobs, Select: wire.Selection{Constraint: "ProcId == 1"}}, "3.1 4.1 5.1"},
			} {
				tt.q.Limit = limit
				if got := all(tt.u, tt.q); got != tt.want {
					t.Errorf("%s, %d at a time: %s, want %s", tt.name, limit, got, tt.want)
				}
			}
		}
		if r := ann.query(wire.Query{Kind: wire.QueryFetch}); r.Capability != "read u1  0" {
			t.Errorf("capability to fetch: %q", r.Capability)
		}
		if r := ann.query(wire.Query{Kind: wire.QueryUpload}); r.Capability != "write u1  0" {
			t.Errorf("capability to upload: %q", r.Capability)
		}
		if r := ann.query(wire.Query{Kind: "horoscope"}); r.Fail == nil {
			t.Error("an unknown query was answered")
		}
		n := 0
		for q := (wire.Query{Kind: wire.QueryEvents, Limit: 3}); ; {
			r := ann.query(q)
			n += len(r.Rows)
			if !r.More {
				break
			}
			q.After = r.Next
		}
		if n != 4+4*3 { // four clusters; four jobs offered, started and ended
			t.Errorf("ann was told of %d events, want 16", n)
		}
	})
}

func TestEnrol(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		conn := p.hub.Connect("stranger")
		defer conn.Close()
		enrol := func(secret string) wire.Enrolled {
			return ask[wire.Enrolled](p, conn, wire.EnrolSubject("UKEY"), wire.Enrol{V: wire.Version, Secret: secret, Name: "desk"})
		}
		if r := enrol(hex.EncodeToString([]byte("sesame"))); r.ID != "a9" || r.Domain != "pool.example" || r.Fail != nil {
			t.Errorf("a good secret got %+v", r)
		}
		for _, bad := range []string{hex.EncodeToString([]byte("guess")), "not hex", ""} {
			if r := enrol(bad); r.Fail == nil || r.ID != "" {
				t.Errorf("secret %q got %+v", bad, r)
			}
		}
	})
}

// TestNonsense sends what no program of ours would, and finds the matchmaker in good health.
func TestNonsense(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		conn := p.hub.Connect("vandal")
		defer conn.Close()
		messages := []string{
			"", "{", "null", "[]", "17", `{"v":0}`, `{"v":99}`, `{"v":1}`, "\x00\xff",
			`{"v":1,"job":"0.0"}`, `{"v":1,"job":"1.0","claim":"x","epoch":18446744073709551615}`,
			`{"v":1,"slots":[null]}`, `{"v":1,"machine":"m","slots":[{"Name":"\/Expr(Name)\/"}]}`,
			`{"v":1,"request":"r","ad":{},"procs":[null,{}],"inputs":[null]}`,
			`{"v":1,"do":"remove","select":{"jobs":["1.0","9.9"],"clusters":[-1]}}`,
			`{"v":1,"kind":"events","since":18446744073709551615}`, `{"v":1,"kind":"jobs","after":"x/y"}`,
			`{"v":1,"kind":"history","after":"1/2"}`, `{"v":1,"kind":"events","after":"-1"}`,
			strings.Repeat("[", 100_000), `{"v":1,"kind":"jobs","select":{"constraint":"` + strings.Repeat("(", 10_000) + `"}}`,
		}
		for _, subject := range []string{
			"skua.ad.x", "skua.hb.x", "skua.a.x.accept", "skua.a.x.renew", "skua.a.x.done", "skua.a.x.ckpt", "skua.a.x.dance",
			"skua.u.u1.submit", "skua.u.u1.act", "skua.u.u1.query", "skua.u.u1.dance", "skua.enrol.x",
		} {
			for _, m := range messages {
				if err := conn.Publish(subject, []byte(m)); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_, err := conn.Request(ctx, subject, []byte(m))
				cancel()
				if strings.HasPrefix(subject, "skua.u.") && err != nil {
					t.Errorf("%s %.40q was not answered: %v", subject, m, err)
				}
			}
		}
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)
		p.wantState(id, job.Running)
	})
}

func TestNewLeaderEndsTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pool{t: t, hub: bus.NewMemory(), log: bus.NewMemoryLog(), terms: testTerms, start: time.Now()}
		q, err := queue.Open(t.Context(), queue.Config{Log: p.log})
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(Config{
			Bus: p.hub.Connect("old"), Queue: q, Roster: fakeRoster{},
			Clock:    func() job.Instant { return job.Instant(time.Since(p.start)) },
			Sign:     func(trust.Capability) (string, error) { return "", nil },
			ImageKey: func(job.ID) blob.Key { return blob.Key{} },
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Run(t.Context()) }()
		synctest.Wait()
		if _, err := queue.Open(t.Context(), queue.Config{Log: p.log}); err != nil {
			t.Fatal(err)
		}
		ann := p.user("u1")
		r := ask[wire.Submitted](p, ann.conn, wire.UserSubject("u1", wire.VerbSubmit), clusterOf(t, 1, ""))
		if r.Fail == nil {
			t.Error("a stale matchmaker took a submit")
		}
		if err := <-done; !errors.Is(err, queue.ErrStale) {
			t.Errorf("it ended with %v", err)
		}
		ann.conn.Close()
		s.cfg.Bus.Close()
	})
}
