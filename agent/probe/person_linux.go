package probe

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"sync"
	"time"

	"skua/agent/session"
	"skua/agent/x11"
)

const (
	// A helper that has ended is started again after helperFirst, and then after longer and longer up to helperLast. A
	// change of the user's sessions or sockets ends the waiting.
	helperFirst = time.Second
	helperLast  = 5 * time.Minute
)

// person is a user with a desktop session, of whose input a helper tells.
type person struct {
	w     *Watcher
	uid   uint32
	src   *source
	stop  func()
	again chan struct{} // has a value when a helper is worth while that was not

	settling sync.Mutex // held while settle runs; taken before the watcher's

	// Guarded by the watcher's mutex.
	want    want
	view    view
	why     error  // of a view that is not seeing
	restart func() // ends the helper that runs
}

// view is how much can be seen of a person.
type view int

const (
	unknown view = iota // the first helper has not said yet
	seeing
	blind  // there is a session that shows nothing, or no helper can be had
	nobody // there is no session to show anything
)

func newPerson(w *Watcher, uid uint32, first want) *person {
	return &person{
		w: w, uid: uid, want: first, again: make(chan struct{}, 1),
		src: w.addSource("session of user "+strconv.FormatUint(uint64(uid), 10), first.console),
	}
}

// update takes what is wanted from now on.
func (p *person) update(now want) {
	p.w.mu.Lock()
	before := p.want
	p.want, p.src.console = now, now.console
	restart := p.restart
	p.w.mu.Unlock()
	if before == now {
		return
	}
	nudge(p.again)
	if restart != nil && (before.sockets != now.sockets || before.display != now.display) {
		restart()
	}
	p.settle()
}

// run keeps a helper until ctx ends.
func (p *person) run(ctx context.Context) {
	defer p.src.remove()
	wait := helperFirst
	for {
		began := time.Now()
		err := p.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		p.lost(err)
		if time.Since(began) > helperLast {
			wait = helperFirst
		}
		again := time.After(wait)
		p.w.mu.Lock()
		if p.view == nobody && !p.want.graphical && wait == helperLast {
			again = nil // left by a compositor that was killed; a new one makes itself known
		}
		p.w.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-again:
			wait = min(2*wait, helperLast)
		case <-p.again:
			wait = helperFirst
		}
	}
}

// follow runs one helper until it ends or something else is wanted.
func (p *person) follow(ctx context.Context) error {
	group, err := groupOf(p.w.cfg.RunUser, p.uid)
	if err != nil {
		return fmt.Errorf("runtime directory of user %d: %w", p.uid, err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p.w.mu.Lock()
	p.restart = stop
	display := p.want.display
	p.w.mu.Unlock()
	cfg := session.HelperConfig{
		UID: p.uid, GID: group, RuntimeDir: runtimeDir(p.w.cfg.RunUser, p.uid),
		Display: display, Quiet: p.w.cfg.Quiet, Tell: p.report,
	}
	if display != "" {
		cfg.Home, cfg.XAuthority = homeOf(p.uid), authorityOf(p.w.cfg.Proc, display)
	}
	return session.RunHelper(ctx, cfg)
}

// homeOf gives the user's home directory, "" if it is not known here.
func homeOf(uid uint32) string {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return ""
	}
	return u.HomeDir
}

// authorityOf gives the cookie file that a running server of the display names. It is read by the helper, with
// the user's rights.
func authorityOf(proc, display string) string {
	n, err := x11.ParseDisplay(display)
	if err != nil {
		return ""
	}
	for _, s := range findServers(proc) {
		if s.display == n {
			return s.auth
		}
	}
	return ""
}

// report takes what the helper says.
func (p *person) report(r session.Report) {
	now := time.Now()
	p.w.mu.Lock()
	first := p.view != seeing
	p.view = seeing
	delete(p.w.serverless, p.uid)
	boot := p.w.boot
	p.w.mu.Unlock()
	last := now.Add(-r.Idle)
	if last.Before(boot) {
		last = boot // as far as its word goes
	}
	if first {
		p.src.watched(last)
		p.w.log.Debug("a session tells of its input", keySource, p.src.name, "by", r.Source.String())
		nudge(p.w.peopleChanged) // its Xwayland need not be watched
	}
	if r.Kind == session.Busy {
		p.src.touched(now, true)
	} else {
		p.src.inputWas(last)
	}
}

// lost notes that there is no helper any more.
func (p *person) lost(err error) {
	p.w.mu.Lock()
	switch {
	case errors.Is(err, context.Canceled): // it is started anew at once
		p.w.mu.Unlock()
		nudge(p.again)
		return
	case errors.Is(err, session.ErrNobody):
		p.view = nobody
		p.w.serverless[p.uid] = true
	default:
		p.view = blind
	}
	p.why, p.restart = err, nil
	p.src.watching, p.src.err = false, err
	p.w.mu.Unlock()
	nudge(p.w.peopleChanged)
	p.settle()
}

// settle has a person who cannot be seen count as present or not.
func (p *person) settle() {
	p.settling.Lock()
	defer p.settling.Unlock()
	p.w.mu.Lock()
	view, now, why := p.view, p.want, p.why
	never, busy := p.src.since.IsZero(), p.src.busy
	p.w.mu.Unlock()
	present := now.presence == atWork && (view == blind || view == nobody && now.graphical)
	switch {
	case view == unknown || view == seeing:
	case present && (never || !busy):
		p.src.unseen(why)
	case !present && never:
		// Whether somebody sat there before the agent came, nobody knows: the devices see from now on only.
		p.src.unseenFrom(now.presence == byDevices && view == blind, why)
	case !present && busy:
		p.src.unseenFrom(true, why)
	}
}

// unseen notes that somebody is there whose input cannot be seen, until unseenFrom says otherwise or a
// helper can see.
func (s *source) unseen(why error) {
	s.w.mu.Lock()
	s.since, s.watching, s.err = time.Now(), false, fmt.Errorf("it counts as the owner at work: %w", why)
	s.w.mu.Unlock()
	s.w.log.Warn("owner input cannot be seen", keySource, s.name, "error", why)
	s.touched(time.Now(), true)
}

// unseenFrom notes that nobody is in front of what cannot be seen; until now somebody may have been.
func (s *source) unseenFrom(untilNow bool, why error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.since.IsZero() {
		s.since = time.Now()
	}
	if untilNow {
		s.last = time.Now()
	}
	s.busy, s.watching, s.err = false, false, why
}
