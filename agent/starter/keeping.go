package starter

import "time"

// keeping is what a claim's init, or its runner on Windows, knows of its agent and its lease, and what follows for
// its job: whether it may run. It is pure; every instant is one of the clock on which leases are counted,
// which goes on while the machine sleeps.
type keeping struct {
	lease    time.Duration // until when the job may run
	lastBeat time.Duration // when the agent was last heard of
	wish     bool          // the agent wants the job frozen
	held     bool          // the init does: the lease is over, or nobody watches
	working  bool          // there is a job, or about to be
}

// frozen says whether the job must stand still.
func (k *keeping) frozen() bool { return k.wish || k.held }

// heard notes a sign of life of the agent. One that comes after the machine has slept may be known before the
// timer that should have frozen the job.
func (k *keeping) heard(now time.Duration) {
	if k.working && now >= min(k.lease, k.lastBeat+Silence) {
		k.held = true
	}
	k.lastBeat = now
}

// beat notes what the agent wants. That a frozen job may go on is only said by thaw.
func (k *keeping) beat(now time.Duration, frozen bool) {
	k.wish = k.wish || frozen
	k.release(now)
}

// grant notes what is left of the lease.
func (k *keeping) grant(now, left time.Duration) {
	k.lease = now + left
	if left <= 0 && k.working {
		k.held = true
	}
	k.release(now)
}

// thaw lets the job go on, or says that it cannot without a lease.
func (k *keeping) thaw(now time.Duration) error {
	k.wish = false
	k.release(now)
	if k.held {
		return ErrLeaseOver
	}
	return nil
}

// start notes that there is a job from now on.
func (k *keeping) start(now time.Duration, frozen bool) {
	k.working, k.wish = true, frozen
	k.held = now >= k.lease || now-k.lastBeat >= Silence
}

// release ends the init's own hold if there are an agent and a lease.
func (k *keeping) release(now time.Duration) {
	if k.held && now < k.lease && now-k.lastBeat < Silence {
		k.held = false
	}
}

// due does what is due at an instant, and says when to ask again. An init that nobody needs any more ends.
func (k *keeping) due(now time.Duration) (next time.Duration, end bool) {
	switch {
	case !k.working:
		next = k.lastBeat + unneeded
		return next, now >= next
	case k.held:
		return now + unneeded, false // only the agent can change anything now
	}
	next = min(k.lastBeat+Silence, k.lease)
	if now >= next {
		k.held = true
		next = now + unneeded
	}
	return next, false
}

// unneeded is how long an init without a job waits for an agent before it ends.
const unneeded = time.Minute
