package election

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"skua/internal/bus"
	"skua/internal/diag"
)

// Keys is where the key is kept. *bus.Bucket is one, whose values have the time to live.
type Keys interface {
	Create(ctx context.Context, key string, value []byte) (revision uint64, err error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	Delete(ctx context.Context, key string, revision uint64) error
}

// Config is what an Elector is made of.
type Config struct {
	Keys Keys          // required
	Key  string        // required, the same for all
	Name string        // of this matchmaker; see [Name]
	TTL  time.Duration // of the key; required, the same for all

	// Lead leads until its context ends, and Follow stands by until then. They are never called at the same time. When
	// Lead returns by itself, another matchmaker is given the chance to lead; when Follow does, it is called again.
	// The error of either ends the election, unless its context has ended.
	Lead, Follow func(ctx context.Context) error

	Log *slog.Logger // nil means no logging
}

// Elector takes part in an election.
type Elector struct {
	cfg   Config
	log   *slog.Logger
	value []byte // of the key, while it is ours
}

// New makes an Elector. It starts nothing.
func New(cfg Config) (*Elector, error) {
	if cfg.Keys == nil || cfg.Key == "" || cfg.TTL <= 0 || cfg.Lead == nil || cfg.Follow == nil {
		return nil, errors.New("election: incomplete configuration")
	}
	e := &Elector{cfg: cfg, log: cfg.Log}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	// The word tells this process from one before it of the same name.
	e.value = []byte(rand.Text() + " " + cfg.Name)
	return e, nil
}

// Name gives the name of the one that leads, given the value of the key.
func Name(value []byte) string {
	_, name, _ := strings.Cut(string(value), " ")
	return name
}

// Run takes part until ctx ends or Lead or Follow fails. At its end it gives the key back.
func (e *Elector) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	r := &run{e: e, ctx: ctx, state: State{TTL: e.cfg.TTL}, answers: make(chan Answer)}
	r.role = r.begin(false)
	err := r.loop()
	cancel()
	err = errors.Join(err, r.role.end())
	r.asking.Wait()
	if r.state.Leads {
		e.release(r.state.Revision)
	}
	return err
}

// run is one call of [Elector.Run].
type run struct {
	e       *Elector
	ctx     context.Context
	state   State
	role    *role
	answers chan Answer
	asking  sync.WaitGroup
}

// loop takes one event after another, until the context ends.
func (r *run) loop() error {
	for {
		if err := r.take(Tick{At: time.Now()}); err != nil {
			return err
		}
		timer := time.NewTimer(r.wait())
		var err error
		select {
		case <-r.ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case a := <-r.answers:
			err = r.take(a)
		case <-r.role.done:
			if r.role.leads {
				r.e.log.Warn("this matchmaker leaves the lead to another")
			}
			if err = r.play(false); err == nil {
				err = r.take(Ended{At: time.Now()})
			}
		}
		timer.Stop()
		if err != nil {
			return err
		}
	}
}

// wait is how long there is nothing to do unless something happens.
func (r *run) wait() time.Duration {
	next := r.state.Next()
	if next.IsZero() {
		return time.Hour
	}
	return max(time.Until(next), 0)
}

// take lets the state take an event, and does what follows from it.
func (r *run) take(ev Event) error {
	var effects []Effect
	r.state, effects = r.state.Step(ev)
	for _, f := range effects {
		switch f {
		case Create, Renew:
			r.ask(f)
		case Release:
			r.e.release(r.state.Revision)
		case Lead:
			r.e.log.Info("this matchmaker has been elected to lead")
			if err := r.play(true); err != nil {
				return err
			}
		case Stop:
			r.e.log.Warn("this matchmaker leads no more")
			if err := r.play(false); err != nil {
				return err
			}
		}
	}
	return nil
}

// ask has a request made whose answer will come.
func (r *run) ask(f Effect) {
	revision := r.state.Revision
	r.asking.Go(func() {
		a := r.e.ask(r.ctx, f, revision)
		select {
		case r.answers <- a:
		case <-r.ctx.Done():
			if a.Outcome == Ours {
				r.e.release(a.Revision)
			}
		}
	})
}

// play ends the role there is, and begins another.
func (r *run) play(lead bool) error {
	err := r.role.end()
	r.role = r.begin(lead)
	return err
}

// role is Lead or Follow under way.
type role struct {
	leads  bool
	cancel context.CancelFunc
	done   chan struct{} // closed when it has returned
	err    error         // with which it has ended by itself
}

func (r *run) begin(lead bool) *role {
	f := r.e.cfg.Follow
	if lead {
		f = r.e.cfg.Lead
	}
	ctx, cancel := context.WithCancel(r.ctx)
	n := &role{leads: lead, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(n.done)
		if err := f(ctx); ctx.Err() == nil {
			n.err = err
		}
	}()
	return n
}

// end has it end, waits until it has, and gives the error by which it had ended before.
func (r *role) end() error {
	r.cancel()
	<-r.done
	return r.err
}

// ask makes a request about the key and judges what it led to.
func (e *Elector) ask(ctx context.Context, f Effect, revision uint64) Answer {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.TTL/2)
	defer cancel()
	a := Answer{Sent: time.Now()}
	var err error
	if f == Create {
		a.Revision, err = e.cfg.Keys.Create(ctx, e.cfg.Key, e.value)
	} else {
		a.Revision, err = e.cfg.Keys.Update(ctx, e.cfg.Key, e.value, revision)
	}
	switch {
	case err == nil:
		a.Outcome = Ours
	case errors.Is(err, bus.ErrConflict):
		a.Outcome, a.Revision = e.whose(ctx)
	default:
		e.log.Debug("the key of the election is not written", diag.KeyError, err)
	}
	a.At = time.Now()
	return a
}

// whose says whose the key is that somebody has written before us.
func (e *Elector) whose(ctx context.Context) (Outcome, uint64) {
	value, revision, err := e.cfg.Keys.Get(ctx, e.cfg.Key)
	switch {
	case err == nil && string(value) == string(e.value):
		return Found, revision
	case err == nil, errors.Is(err, bus.ErrNoKey):
		return Theirs, 0
	}
	return Unknown, 0
}

// release gives the key back, so that nobody has to wait until it vanishes.
func (e *Elector) release(revision uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), e.cfg.TTL/2)
	defer cancel()
	if err := e.cfg.Keys.Delete(ctx, e.cfg.Key, revision); err != nil {
		e.log.Debug("the key of the election is not given back", diag.KeyError, err)
	}
}
