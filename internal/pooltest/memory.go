package pooltest

import (
	"context"
	"testing/synctest"

	"skua/agent/starter"
)

// Cooled says how often the memory of a job on the machine was made to go first.
func (m *Machine) Cooled() int {
	synctest.Wait()
	m.p.book.mu.Lock()
	defer m.p.book.mu.Unlock()
	return m.cooled
}

// Cool implements [startd.Init].
func (h *handle) Cool(context.Context) error {
	defer h.lock()()
	if h.agent.killed || h.x.dead {
		return starter.ErrGone
	}
	if h.x.wish {
		h.x.machine.cooled++
	}
	return nil
}
