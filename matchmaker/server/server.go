// Package server is the matchmaker: it answers agents and users, matches jobs with slots, and keeps the
// matchmaker's half of every claim.
//
// Two rules govern it. What it tells anybody is in the queue log first: an offer is logged before it is
// sent, a result before it is acknowledged. And it waits for nobody: messages are answered or dropped,
// a peer that talks nonsense is logged and left alone, and each claim has a keeper of its own, so that
// one of them never holds up another.
//
// [Server] is the core: it talks over a bus and a queue that are handed in, opens no socket and no
// file, and runs in a simulation as it runs in a pool. [Head] is a whole matchmaker process around
// it, with broker, files, HTTPS and the socket for local users.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/fit"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/internal/wire"
	"skua/matchmaker/collector"
	"skua/matchmaker/negotiate"
	"skua/matchmaker/queue"
)

// Config is what a Server is made of. Fields marked required have no default.
type Config struct {
	Bus    bus.Conn       // required
	Queue  *queue.Queue   // required: open; Run runs it
	Past   Past           // the jobs that are not in the queue's memory any more; nil for none
	Roster Roster         // required
	Clock  job.LeaseClock // required
	Terms  job.Terms      // of the claim protocol; the zero value means [job.DefaultTerms]
	Domain string         // names the pool to people; may be empty

	// Worklife is how long a claim goes on with further jobs of its user after it began; 0 means
	// [DefaultWorklife], and negative that each job has a claim of its own.
	Worklife time.Duration

	// RestartAfter is how long a job waits for a machine that its checkpoint fits before it starts over; 0
	// means [DefaultRestartAfter], and negative for ever.
	RestartAfter time.Duration

	// Baseline is what jobs keep to that say nothing of it; "" for none.
	Baseline fit.Baseline

	// DefaultFactor is the priority factor of users who have been given none; 0 means
	// [negotiate.DefaultFactor].
	DefaultFactor float64
	// Limits are the concurrency limits, by their names in lower case; see [negotiate.Snapshot].
	Limits map[string]float64

	// Sign makes a capability for the file service. Required.
	Sign func(trust.Capability) (string, error)
	// Held is nil when the user has uploaded that content, and [blob.ErrNotFound] when not; any other error says that this
	// cannot be told now. A nil function means a pool without a file service, which takes jobs and results with inline files
	// only.
	Held func(user job.UserID, d blob.Digest) error
	// Elsewhere looks for what is not held here at the pool's other matchmakers. The error is [blob.ErrNotFound] when
	// none of them has it; any other one says that this cannot be told now. Nil means that there are none.
	Elsewhere func(user job.UserID, d blob.Digest) error
	// Settle makes an image durable of which all parts have been uploaded; [blob.ErrNotFound] says that they have not, or
	// that some have been lost since. Nil means that they are durable.
	Settle func(ctx context.Context, id job.ID, image blob.Digest) error
	// Free says how many bytes the matchmaker's disk has left; new jobs are refused while they are fewer than
	// DiskFree. Nil means that nobody looks.
	Free     func() (int64, error)
	DiskFree int64
	// ImageKey derives the key that seals the images of a job. Required.
	ImageKey func(job.ID) blob.Key

	// Policy gives the signed central policy of a group of machines; nothing for a group that has never had
	// one. Nil means a pool without.
	Policy func(ctx context.Context, group string) ([]byte, error)

	// Runtimes gives the runtime roots that the pool has by name, in the order of names. Nil means none.
	Runtimes func(context.Context) ([]wire.RuntimeRow, error)

	Log *slog.Logger // nil means no logging
}

// Roster knows the members of the pool. *trust.Roster is one.
type Roster interface {
	Redeem(secret []byte, publicKey string, now time.Time, name string) (trust.Member, error)
	Members() []trust.Member
	// PutOut says whether a member has been put out of the pool, and not been let in again.
	PutOut(id string) bool
}

// Server is a matchmaker.
type Server struct {
	cfg   Config
	log   *slog.Logger
	slots *collector.Table
	names names
	rests rests[slotKey] // of slots
	again rests[job.ID]  // of jobs that are to run again

	memo        negotiate.Memo // of all cycles, see [Server.snapshot]
	vacancyMemo negotiate.Memo // of those over vacant slots alone
	vacancies   chan vacancy

	limits  limits
	peeks   peeks
	acted   repeats[wire.ActionResult]
	submits repeats[queue.Receipt]

	wake   chan struct{} // has the negotiator look again
	putOut chan struct{} // has the jobs looked for of users who have been put out

	requests   chan struct{} // holds a value for each request of a user that is being answered
	enrolments chan struct{} // the same of those who want to join

	mu      sync.Mutex
	closed  bool                  // guarded by mu, as all below: nothing more may be started
	running sync.WaitGroup        // handlers, loops and keepers; Add only under mu while not closed
	keepers map[job.ID]*keeper    // of the latest claim of each job that has one
	offers  uint64                // made so far
	served  map[job.UserID]uint64 // the number of the last offer of a job of each user

	leaving  map[job.AgentID]bool       // machines that are being put out, see [Server.SendAway]
	reserved map[job.ID]negotiate.Claim // jobs that a vacant slot is about to get
	given    map[job.ClaimID]job.ID     // the jobs that reports were answered with, by the claim reported
}

const (
	// maxRequests is how many requests of users are answered at a time. More make larger batches in the
	// queue; beyond this a user is told to try again.
	maxRequests = 1024
	// maxEnrolments is the same of those who want to join. These are strangers, whoever that is, and take no user's place.
	maxEnrolments = 256
)

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Server, error) {
	if cfg.Bus == nil || cfg.Queue == nil || cfg.Roster == nil || cfg.Clock == nil || cfg.Sign == nil || cfg.ImageKey == nil {
		return nil, errors.New("server: incomplete configuration")
	}
	if cfg.Terms == (job.Terms{}) {
		cfg.Terms = job.DefaultTerms
	}
	if cfg.DefaultFactor == 0 {
		cfg.DefaultFactor = negotiate.DefaultFactor
	}
	if cfg.Worklife == 0 {
		cfg.Worklife = DefaultWorklife
	}
	if cfg.RestartAfter == 0 {
		cfg.RestartAfter = DefaultRestartAfter
	}
	if err := checkTerms(cfg.Terms); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s := &Server{
		cfg: cfg, log: cfg.Log,
		slots:      collector.New(),
		names:      names{roster: cfg.Roster},
		wake:       make(chan struct{}, 1),
		putOut:     make(chan struct{}, 1),
		requests:   make(chan struct{}, maxRequests),
		enrolments: make(chan struct{}, maxEnrolments),
		keepers:    map[job.ID]*keeper{},
		served:     map[job.UserID]uint64{},
		submits:    repeats[queue.Receipt]{anew: true}, // there may be room now

		vacancies: make(chan vacancy, maxVacancies),
		leaving:   map[job.AgentID]bool{},
		reserved:  map[job.ID]negotiate.Claim{},
		given:     map[job.ClaimID]job.ID{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

func checkTerms(t job.Terms) error {
	switch {
	case t.Lease <= 0 || t.Renew <= 0 || t.Offer <= 0 || t.Guard < 0 || t.Skew < 0 || t.Skew >= 1:
		return fmt.Errorf("lease %v, renewal %v, offer %v, guard %v, skew %v: a duration is missing or negative", t.Lease, t.Renew, t.Offer, t.Guard, t.Skew)
	case t.Renew*2 > t.Lease:
		return fmt.Errorf("a lease of %v is too short for a renewal every %v: one lost message would end it", t.Lease, t.Renew)
	}
	return nil
}

// Run serves until ctx ends or something it needs fails, such as a queue whose log has a new leader.
// Every goroutine it started has ended when it returns.
func (s *Server) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	loop := func(f func(context.Context) error) {
		s.begin()
		go func() {
			defer s.running.Done()
			if err := f(ctx); err != nil {
				stop(err) // the first failure ends the others
			}
		}()
	}
	loop(s.cfg.Queue.Run)
	s.recover(ctx)
	unsubscribe, err := s.subscribe(ctx)
	if err != nil {
		stop(err)
	}
	s.callAgents()
	loop(s.negotiate)
	loop(s.succeed)
	loop(s.follow)
	loop(s.materialize)
	loop(s.enforce)
	loop(s.expel)
	loop(s.expire)
	loop(s.expireOutputs)
	loop(s.startOver)
	<-ctx.Done()
	unsubscribe()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// begin counts something that Run must wait for; the caller calls s.running.Done at its end. It is
// false when nothing more may begin.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	return true
}

// subscribe begins to listen. The function it returns ends that, also after an error.
func (s *Server) subscribe(ctx context.Context) (unsubscribe func(), err error) {
	var subs []bus.Subscription
	unsubscribe = func() {
		for _, sub := range subs {
			if err := sub.Unsubscribe(); err != nil {
				s.log.Debug("unsubscribe", diag.KeyError, err)
			}
		}
	}
	for _, to := range []struct {
		pattern string
		handle  func(context.Context, bus.Msg)
	}{
		{wire.AnyAd, s.onAd},
		{wire.AnyHeartbeat, s.onHeartbeat},
		{wire.AnyAgent, s.onAgent},
		{wire.AnyUser, s.onUser},
		{wire.AnyEnrol, s.onEnrol},
	} {
		sub, err := s.cfg.Bus.Subscribe(to.pattern, func(m bus.Msg) {
			if s.begin() {
				defer s.running.Done()
				to.handle(ctx, m)
			}
		})
		if err != nil {
			return unsubscribe, err
		}
		subs = append(subs, sub)
	}
	return unsubscribe, nil
}

// onAd takes an agent's full ad.
func (s *Server) onAd(_ context.Context, m bus.Msg) {
	agent, _ := wire.Sender(m.Subject)
	if s.leaves(job.AgentID(agent)) {
		return
	}
	ad, err := wire.Decode[wire.Ad](m.Data)
	if err == nil {
		err = s.slots.Update(job.AgentID(agent), ad, time.Now())
	}
	if err != nil {
		s.log.Warn("ad is not taken", diag.KeyAgent, agent, diag.KeyError, err)
		return
	}
	if ad.Bye {
		s.log.Info("machine has said goodbye", diag.KeyAgent, agent, diag.KeyMachine, ad.Machine)
	}
	s.matchAgain()
}

func (s *Server) onHeartbeat(_ context.Context, m bus.Msg) {
	agent, _ := wire.Sender(m.Subject)
	if _, err := wire.Decode[wire.Heartbeat](m.Data); err != nil {
		s.log.Warn("heartbeat is not taken", diag.KeyAgent, agent, diag.KeyError, err)
		return
	}
	if s.slots.Heartbeat(job.AgentID(agent), time.Now()) {
		return
	}
	// The agent does not know that this matchmaker is a new one, and would say nothing more of itself for
	// minutes.
	s.call(job.AgentID(agent))
}

// call has an agent say what it has.
func (s *Server) call(agent job.AgentID) {
	s.publish(wire.ControlSubject(agent), wire.Control{V: wire.Version, Do: wire.Advertise})
}

// doubt makes sure of an agent that has not answered an offer: its machine may be gone, which would else be noticed only
// minutes later, and jobs would wait for it one after the other.
func (s *Server) doubt(agent job.AgentID) {
	s.slots.Forget(agent)
	s.call(agent)
}

// callAgents has every agent say what it has: those that were connected before this matchmaker listened do not know that it
// is a new one, and would be silent for minutes.
func (s *Server) callAgents() {
	for _, m := range s.cfg.Roster.Members() {
		if m.Kind == trust.Agent && m.Active() {
			s.call(job.AgentID(m.ID))
		}
	}
}

// expire forgets machines that are silent. Matching does so itself; this is for the log and for
// memory.
func (s *Server) expire(ctx context.Context) error {
	tick := time.NewTicker(wire.HeartbeatInterval / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.forgetSilent()
			s.rests.prune(time.Now())
			s.again.prune(time.Now())
		}
	}
}

func (s *Server) forgetSilent() {
	for _, agent := range s.slots.Expire(time.Now()) {
		s.log.Info("machine is not heard of any more", diag.KeyAgent, agent)
	}
}

// follow tells users of events about their jobs, and the negotiator of those that may let it match.
// It reads them from the queue, so that it cannot miss any and nobody waits for it.
func (s *Server) follow(ctx context.Context) error {
	seen, more := s.cfg.Queue.Last()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-more:
		}
		var last uint64
		last, more = s.cfg.Queue.Last()
		users, match := map[job.UserID]bool{}, false
		for seen < last {
			page, err := s.cfg.Queue.Events(ctx, "", seen, 1000)
			if err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return fmt.Errorf("follow the queue: %w", err)
			}
			for _, ev := range page.Events {
				if user, ok := s.cfg.Queue.UserOf(ev); ok {
					users[user] = true
				}
				match = match || mayMatch(ev)
			}
			seen = page.Next
		}
		if match {
			s.matchAgain()
		}
		now := time.Now()
		for user := range users {
			s.publish(wire.NoteSubject(user), wire.Note{V: wire.Version, Seq: last, At: now})
		}
	}
}

// mayMatch says whether an event may have made a job or a slot available.
func mayMatch(ev job.Event) bool {
	switch ev.Body.(type) {
	case *job.Submitted, *job.Opened, *job.Declined, *job.Lapsed, *job.Evicted, *job.Requeued, *job.Ended, *job.HeldBack, *job.Released,
		*job.Withdrawn, *job.Departed, *job.Edited, *job.Factored:
		return true
	}
	return false
}

// publish sends a message that nobody waits for. Whoever misses it finds out by asking.
func (s *Server) publish(subject string, message any) {
	data, err := wire.Encode(message)
	if err == nil {
		err = s.cfg.Bus.Publish(subject, data)
	}
	if err != nil {
		s.log.Debug("message not sent", diag.KeySubject, subject, diag.KeyError, err)
	}
}

// reply answers m, if an answer is wanted.
func (s *Server) reply(m bus.Msg, message any) {
	if m.Reply == nil {
		return
	}
	data, err := wire.Encode(message)
	if err != nil {
		s.log.Warn("answer not sent", diag.KeySubject, m.Subject, diag.KeyError, err)
		return
	}
	s.send(m, data)
}

// send answers with a message that is encoded.
func (s *Server) send(m bus.Msg, data []byte) {
	if m.Reply == nil {
		return
	}
	if err := m.Reply(data); err != nil {
		s.log.Warn("answer not sent", diag.KeySubject, m.Subject, diag.KeyError, err)
	}
}
