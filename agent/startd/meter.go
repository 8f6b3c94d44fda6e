package startd

import (
	"sync"
	"time"
)

// meter tells how much of the agent's own processor time fell to each of several things that it does at a time. It
// cannot be seen whose a goroutine is, so all of the process's time is divided equally among those that are under way.
// An agent that does nothing uses next to none.
type meter struct {
	cpu func() time.Duration // of this process so far; nil means that nothing is measured

	mu    sync.Mutex // guards what follows
	under int
	last  time.Duration
	share time.Duration // what fell so far to one that has always been under way
}

// begin says that something begins. The function it returns says that it has ended, and gives what fell to it; called
// again, it gives nothing.
func (m *meter) begin() (end func() time.Duration) {
	if m.cpu == nil {
		return func() time.Duration { return 0 }
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle()
	m.under++
	began, ended := m.share, false
	return func() time.Duration {
		m.mu.Lock()
		defer m.mu.Unlock()
		if ended {
			return 0
		}
		m.settle()
		m.under--
		ended = true
		return m.share - began
	}
}

// settle divides what was used since the last time.
func (m *meter) settle() {
	now := m.cpu()
	if m.under > 0 {
		m.share += max(0, now-m.last) / time.Duration(m.under)
	}
	m.last = now
}

// moving says that files or images of the job are on their way. The function it returns ends that.
func (t *tenant) moving() (ended func()) {
	end := t.k.d.meter.begin()
	return func() {
		spent := end()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.used.Transfers += spent
	}
}
