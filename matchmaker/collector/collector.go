// Package collector keeps what the pool's machines say of themselves.
//
// It is soft state: an agent that could have been heard of three times is forgotten, and nothing
// of it is on disk. Forgetting a machine makes it unmatchable and does no more; what becomes of a claim
// is decided by its lease. The package reads no clock: the caller says what time it is. It bounds how
// many slots an agent may have and how many agents there may be, and keeps for each agent only what
// it said last.
package collector

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy"
	"skua/policy/classad"
)

// Bounds of a table. They are far above any pool and keep a mad agent from filling memory.
const (
	maxAgents = 100_000
	maxSlots  = 1024 // of one agent
)

// longestEvery is how seldom an agent may be heard of, whatever it says.
const longestEvery = wire.AdInterval

// expiry is how long an agent is remembered after it was last heard of, which says that it is heard of so often.
func expiry(every time.Duration) time.Duration {
	return wire.MissedHeartbeats * min(max(every, wire.HeartbeatInterval), longestEvery)
}

// Slot is one slot as its agent last described it.
type Slot struct {
	Agent   job.AgentID
	Name    string // "slot1@desk7"
	Machine string // "desk7"
	Ad      *classad.Ad
	Heard   time.Time // when the agent was last heard of

	Partitionable bool   // jobs take a part of it, and more than one may
	Job           string // of a dynamic slot: the job that it was carved out for, as its agent says
}

// Table is the machines of a pool. Its methods may be called from any goroutine.
type Table struct {
	mu     sync.Mutex
	agents map[job.AgentID]*machine // guarded by mu
}

type machine struct {
	slots  []Slot
	heard  time.Time
	expiry time.Duration // after it was heard of
}

// New makes an empty table.
func New() *Table { return &Table{agents: map[job.AgentID]*machine{}} }

// Update takes an agent's full ad, which replaces what it said before. A farewell removes it. The
// ad becomes the table's.
func (t *Table) Update(agent job.AgentID, ad wire.Ad, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ad.Bye {
		delete(t.agents, agent)
		return nil
	}
	if t.agents[agent] == nil && len(t.agents) >= maxAgents {
		return fmt.Errorf("ad of agent %s: there are %d agents already", agent, maxAgents)
	}
	m := &machine{heard: now, expiry: expiry(ad.Every)}
	var err error
	if m.slots, err = slotsOf(agent, ad); err != nil {
		return fmt.Errorf("ad of agent %s: %w", agent, err)
	}
	t.agents[agent] = m
	return nil
}

// Heartbeat notes that an agent is there. It is false for one whose ad is not known.
func (t *Table) Heartbeat(agent job.AgentID, now time.Time) (known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.agents[agent]
	if m == nil {
		return false
	}
	m.heard = now
	return true
}

// Expire forgets the agents that have been silent for longer than they said they would be, and returns them in order.
func (t *Table) Expire(now time.Time) []job.AgentID {
	t.mu.Lock()
	defer t.mu.Unlock()
	var gone []job.AgentID
	for agent, m := range t.agents {
		if now.Sub(m.heard) >= m.expiry {
			gone = append(gone, agent)
			delete(t.agents, agent)
		}
	}
	slices.Sort(gone)
	return gone
}

// Forget forgets an agent until it says again what it has.
func (t *Table) Forget(agent job.AgentID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.agents, agent)
}

// Slots gives all slots in the order of machines and names. The ads must not be changed.
func (t *Table) Slots() []Slot {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []Slot
	for m := range maps.Values(t.agents) {
		for _, s := range m.slots {
			s.Heard = m.heard
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b Slot) int {
		return cmp.Or(cmp.Compare(a.Machine, b.Machine), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Agent, b.Agent))
	})
	return all
}

// slotsOf checks a full ad.
func slotsOf(agent job.AgentID, ad wire.Ad) ([]Slot, error) {
	if ad.Machine == "" || len(ad.Machine) > 255 {
		return nil, fmt.Errorf("machine name %.300q", ad.Machine)
	}
	if len(ad.Slots) > maxSlots {
		return nil, fmt.Errorf("%d slots, at most %d are allowed", len(ad.Slots), maxSlots)
	}
	seen := map[string]bool{}
	var all []Slot
	for i, s := range ad.Slots {
		if s == nil {
			return nil, fmt.Errorf("slot %d has no ad", i+1)
		}
		name, _ := s.Str("Name")
		if name == "" || len(name) > 255 || seen[name] {
			return nil, fmt.Errorf("slot %d: name %.300q is empty, too long or taken", i+1, name)
		}
		seen[name] = true
		slot := Slot{Agent: agent, Name: name, Machine: ad.Machine, Ad: s}
		slot.Partitionable, _ = s.Bool(policy.AttrPartitionable)
		if dynamic, _ := s.Bool(policy.AttrDynamic); dynamic {
			slot.Job, _ = s.Str("JobId")
		}
		all = append(all, slot)
	}
	return all, nil
}
