package startd

import (
	"sync"
	"time"

	"skua/agent/probe"
	"skua/internal/transfer"
)

// presence tells the owner from a bumped desk. A first touch after quiet counts only if more input
// follows within the bump time, or somebody has touched the machine not long before: who reads presses a key now and then.
// Until it counts, and if it does not, the owner counts as away as before.
type presence struct {
	bump    time.Duration
	gone    func() time.Duration // how long the owner has touched nothing when a job goes on
	watcher Owner                // nil: nobody to watch

	mu      sync.Mutex // guards what follows
	touchAt time.Time  // the first touch that is not judged yet; zero for none
	bumpAt  time.Time  // the latest touch that turned out a bump
	seen    time.Time  // the owner's last input before touchAt or bumpAt
	stayed  bool       // the latest verdict
}

func newPresence(bump time.Duration, gone func() time.Duration) *presence {
	return &presence{bump: bump, gone: gone}
}

// touch notes a first input after quiet. It keeps the time of the input before it, to fall back on.
func (p *presence) touch(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.touchAt.IsZero() {
		p.touchAt = at
	}
}

// judge says whether the touch of a bump time ago was followed up. It is false for ok while there is
// nothing to judge yet.
func (p *presence) judge(now time.Time) (stayed, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.touchAt.IsZero() || now.Before(p.touchAt.Add(p.bump)) {
		return false, false
	}
	last := now.Add(-p.watcher.Idle(now))
	before := p.seen
	if p.bumpAt.After(before) {
		before = p.bumpAt
	}
	// Press and release of one key, or one push of the desk, are over in half the bump time.
	stayed = last.Sub(p.touchAt) > p.bump/2 || !before.IsZero() && p.touchAt.Sub(before) < p.gone()
	if stayed {
		p.seen, p.bumpAt = last, time.Time{}
	} else {
		p.bumpAt = last
	}
	p.touchAt, p.stayed = time.Time{}, stayed
	return stayed, true
}

// settled gives the latest verdict. It is false for ok while a touch is not judged yet.
func (p *presence) settled() (stayed, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stayed, p.touchAt.IsZero()
}

// due gives the time at which judge will have something to say.
func (p *presence) due() (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.touchAt.Add(p.bump), !p.touchAt.IsZero()
}

// undecided reports whether there is a touch that may turn out to be the owner's.
func (p *presence) undecided() bool {
	_, pending := p.due()
	return pending
}

// undecided reports whether somebody may just have come for whom the slot would make way. Beside its owner
// a job may start at any time.
func (k *keeper) undecided() bool {
	return k.d.owner.undecided() && k.connected() && !k.slot.Verdicts.Slows
}

// idle says how long the owner has been away, bumps left out: KeyboardIdle. Without a watcher there
// is no owner, and the second result is false.
func (p *presence) idle(now time.Time) (time.Duration, bool) {
	if p.watcher == nil {
		return 0, false
	}
	raw := p.watcher.Idle(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	last := now.Add(-raw)
	switch {
	case !p.touchAt.IsZero(): // not judged: as before the touch
	case !p.bumpAt.IsZero() && !last.After(p.bumpAt.Add(p.bump/10)): // nothing since the bump, give or take
	default:
		p.seen = last
	}
	if p.seen.IsZero() {
		p.seen = last
	}
	return max(0, now.Sub(p.seen)), true
}

// ownerNear reports whether somebody works at the machine, or has until a moment ago.
func (d *Daemon) ownerNear() bool {
	idle, watched := d.owner.idle(time.Now())
	return watched && idle < d.policy().ContinueAfter
}

// processors reads what transfers go by that leave the processors to the owner.
func processors() (transfer.Processors, error) {
	idle, err := probe.IdleTime()
	return transfer.Processors{At: time.Now(), Own: ProcessorTime(), Idle: idle}, err
}
