package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/internal/wire"
	"skua/matchmaker/queue"
)

// answer gives each request a goroutine, up to as many as there are places, and its answer a place to go.
func (s *Server) answer(places chan struct{}, m bus.Msg, busy func(*wire.Failure) any, work func() any) {
	select {
	case places <- struct{}{}:
	default:
		s.reply(m, busy(&wire.Failure{What: "the matchmaker is busy", Hint: "try again in a moment", Again: true, Undone: true}))
		return
	}
	if !s.begin() {
		<-places
		return
	}
	go func() {
		defer s.running.Done()
		defer func() { <-places }()
		if answer := work(); answer != nil {
			s.reply(m, answer)
		}
	}()
}

// onUser answers a user's request.
func (s *Server) onUser(ctx context.Context, m bus.Msg) {
	id, verb := wire.Sender(m.Subject)
	user := job.UserID(id)
	switch verb {
	case wire.VerbSubmit:
		fail := func(f *wire.Failure) any { return wire.Submitted{V: wire.Version, Fail: f} }
		s.answer(s.requests, m, fail, func() any {
			r, err := s.submit(ctx, user, m.Data)
			if err != nil {
				return fail(s.failure(ctx, m, err))
			}
			return wire.Submitted{V: wire.Version, Cluster: r.Cluster, Seq: r.Seq}
		})
	case wire.VerbAct:
		fail := func(f *wire.Failure) any { return wire.ActionResult{V: wire.Version, Fail: f} }
		s.answer(s.requests, m, fail, func() any {
			r, err := s.act(ctx, user, m.Data)
			if err != nil {
				return fail(s.failure(ctx, m, err))
			}
			return r
		})
	case wire.VerbQuery:
		fail := func(f *wire.Failure) any { return wire.QueryResult{V: wire.Version, Fail: f} }
		s.answer(s.requests, m, fail, func() any {
			r, err := s.query(ctx, user, m.Data)
			if err != nil {
				return fail(s.failure(ctx, m, err))
			}
			return r
		})
	default:
		s.log.Warn("unknown request of a user", diag.KeyUser, user, diag.KeySubject, m.Subject)
		f := &wire.Failure{What: fmt.Sprintf("this matchmaker knows no request %.40q", verb), Hint: "it may be older than your skua"}
		s.reply(m, wire.ActionResult{V: wire.Version, Fail: f})
	}
}

// failure makes an error into what the user reads. What is not a problem of the user's goes to the log.
func (s *Server) failure(ctx context.Context, m bus.Msg, err error) *wire.Failure {
	var p *diag.Problem
	if errors.As(err, &p) {
		s.log.Debug("request refused", diag.KeySubject, m.Subject, diag.KeyError, err)
		return &wire.Failure{What: p.What, Hint: p.Hint, Again: passing(err), Undone: errors.As(err, new(undone))}
	}
	if ctx.Err() != nil {
		return &wire.Failure{What: "the matchmaker is stopping", Hint: "try again when it is back", Again: true}
	}
	s.log.Warn("request not answered", diag.KeySubject, m.Subject, diag.KeyError, err)
	f := wire.Fail(err)
	f.Again, f.Undone = passing(err), errors.As(err, new(undone))
	return f
}

// undone marks an error after which nothing has been done of what was asked.
type undone struct{ error }

func (u undone) Unwrap() error { return u.error }

// passing says that an error is none of what was asked, and that the same request may be answered in a moment, here or
// by the matchmaker that has taken over: the log has no leader, this matchmaker leads no more, or another one that may
// have a file does not answer. What was asked may have been done.
func passing(err error) bool {
	return slices.ContainsFunc([]error{queue.ErrStale, queue.ErrStopped, queue.ErrAway, errOtherLater, errUnknown, context.Canceled}, func(e error) bool {
		return errors.Is(err, e)
	})
}

// onEnrol lets somebody with a token join.
func (s *Server) onEnrol(ctx context.Context, m bus.Msg) {
	key, _ := wire.Sender(m.Subject)
	fail := func(f *wire.Failure) any { return wire.Enrolled{V: wire.Version, Fail: f} }
	s.answer(s.enrolments, m, fail, func() any {
		member, err := s.enrol(key, m.Data)
		if err != nil {
			s.log.Info("enrolment refused", "key", key, diag.KeyError, err)
			return fail(s.failure(ctx, m, err))
		}
		s.log.Info("member enrolled", "kind", member.Kind, "name", member.Name, "id", member.ID, "approved", member.Approved)
		return wire.Enrolled{V: wire.Version, ID: member.ID, Domain: s.cfg.Domain, Waits: !member.Approved}
	})
}

func (s *Server) enrol(key string, data []byte) (trust.Member, error) {
	e, err := wire.Decode[wire.Enrol](data)
	if err != nil {
		return trust.Member{}, err
	}
	secret, err := hex.DecodeString(e.Secret)
	if err != nil {
		return trust.Member{}, &diag.Problem{What: "the token's secret is not hexadecimal", Hint: "copy the token again"}
	}
	return s.cfg.Roster.Redeem(secret, key, time.Now(), e.Name)
}

// names remembers the names of users by their ids.
type names struct {
	roster Roster

	mu    sync.Mutex
	known map[job.UserID]string // guarded by mu
}

// of gives a user's name, the id for one that the roster does not know.
func (n *names) of(user job.UserID) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if name, ok := n.known[user]; ok {
		return name
	}
	n.known = map[job.UserID]string{}
	for _, m := range n.roster.Members() {
		if m.Kind == trust.User {
			n.known[job.UserID(m.ID)] = m.Name
		}
	}
	if name, ok := n.known[user]; ok {
		return name
	}
	return string(user)
}
