package startd

import (
	"maps"
	"math"
	"sync"
	"time"

	"skua/internal/diag"
)

// A job that is throttled has the processors only when nobody else wants them, and of those no more than its share. That
// is not enough for an owner whose programs want all of them: the kernel spreads many threads of a job and the few of a
// compile over the processors alike, and two of the compile's wait for each other on one while the job has the other. A
// compile on two processors beside two hundred busy processes was seen to take 12 % longer. So a job stands still while
// the owner's programs do not leave it its share.

// Of the looks at it.
const (
	roomEach  = 250 * time.Millisecond // beside a job that runs: the owner is to wait for no job that makes room too late
	roomStill = time.Second            // beside one that stands still: a moment in which a compile waits for its disk is no room
)

// room follows what the owner's programs leave of the processors.
type room struct {
	at     time.Time
	free   time.Duration // by then, for which processors were idle or worked on jobs
	scarce bool          // it is less than jobs are to have
}

// step learns what was free by now. want is how many processors the jobs are to have that are throttled; 0 if there are
// none.
func (r room) step(at time.Time, free time.Duration, want float64) room {
	const stale = time.Minute // what was free for so long on average says nothing about now
	took := at.Sub(r.at)
	left := (free - r.free).Seconds() / took.Seconds()
	switch {
	case want <= 0 || r.at.IsZero() || took > stale: // nothing is known
		r.scarce = false
	case took <= 0:
	case left < want*3/4:
		r.scarce = true
	case left >= want:
		r.scarce = false
	}
	r.at, r.free = at, free
	return r
}

// roomMeter measures the room, no more often than once in [roomEach] or [roomStill] however many slots ask.
type roomMeter struct {
	idle func() (time.Duration, error) // for which nobody used the processors, so far; nil means that there is always room
	cpus func() int64                  // that the machine has

	mu     sync.Mutex // guards what follows
	jobs   map[int]*sharer
	worked time.Duration // what all jobs have used that were asked about
	room   room
}

// sharer is a slot's job that runs.
type sharer struct {
	in   Init
	want float64       // processors that it is to have while it is throttled; 0 while it is not
	used time.Duration // of them, as far as is counted in worked
}

// scarce reports whether the job of a slot, which is to have so many processors, is to stand still for the owner's
// programs. An error means that it cannot be told, and that the job may run.
func (m *roomMeter) scarce(slot int, in Init, want float64, now time.Time) (bool, error) {
	if m.idle == nil {
		return false, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.jobs[slot]
	if s == nil || s.in != in {
		s = &sharer{in: in}
		s.used, _ = in.ProcessorTime() // if it cannot be told, measure says so
		if m.jobs == nil {
			m.jobs = make(map[int]*sharer)
		}
		m.jobs[slot] = s
	}
	s.want = want
	if want <= 0 {
		return false, nil
	}
	each := roomEach
	if m.room.scarce {
		each = roomStill
	}
	if now.Sub(m.room.at) >= each {
		if err := m.measure(now); err != nil {
			m.room = room{}
			return false, err
		}
	}
	return m.room.scarce, nil
}

// forget says that no job runs in a slot.
func (m *roomMeter) forget(slot int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.jobs, slot)
}

// measure is called with mu held.
func (m *roomMeter) measure(now time.Time) error {
	want := 0.0
	for s := range maps.Values(m.jobs) {
		used, err := s.in.ProcessorTime()
		if err != nil {
			return err
		}
		m.worked += max(0, used-s.used)
		s.used = used
		want += s.want
	}
	idle, err := m.idle()
	if err != nil {
		return err
	}
	const most = 0.25 // of the machine: where jobs may have more an owner may leave them less before they stand still
	m.room = m.room.step(now, idle+m.worked, min(want, float64(m.cpus())*most))
	return nil
}

// untilRoom is how long nobody need look whether the owner's programs leave the job its room; very long unless it runs and
// is throttled. Beside a job that stands still for want of it the policy's looks are enough.
func (k *keeper) untilRoom(now time.Time) time.Duration {
	if k.d.room.idle == nil || !k.slot.Throttled || !runs(k.slot) || k.yields {
		return math.MaxInt64
	}
	return max(0, k.roomed.Add(roomEach).Sub(now))
}

// makeRoom has a job that is throttled stand still while the owner's programs leave it no room. One that is leaving is in
// the hands of its tenant.
func (k *keeper) makeRoom() {
	k.roomed = time.Now()
	var in *Init
	if k.tenant != nil {
		in = k.tenant.init.Load()
	}
	switch {
	case in != nil && runs(k.slot):
		want := 0.0
		if k.slot.Throttled {
			want = k.inUse()
		}
		scarce, err := k.d.room.scarce(k.num, *in, want, k.roomed)
		if err != nil {
			k.log.Debug("what the owner's programs leave of the processors cannot be told", diag.KeyError, err)
		}
		k.yield(scarce)
	case k.slot.Frozen(): // and not for this
		k.d.room.forget(k.num)
		k.yield(false)
	default:
		k.d.room.forget(k.num)
		k.say(false)
	}
}

// noRoom is why a job stands still that makes room.
const noRoom = "the owner's programs use all processors of the machine"

func (k *keeper) yield(scarce bool) {
	k.say(scarce)
	k.tenant.yield(scarce)
}

// say notes for others whether the job makes room.
func (k *keeper) say(yields bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.yields = yields
}
