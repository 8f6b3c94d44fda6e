// Package slot decides what one slot of a machine does: whether it takes a job, and how the job gets
// out of the owner's way.
//
// [Slot.Step] is a pure function: an event and a slot go in, the slot after it and the effects to
// carry out come out. It reads no clock, evaluates no policy and does no I/O; the events bring times
// and verdicts with them. States and activities are HTCondor's.
package slot

import (
	"fmt"
	"slices"
	"time"

	"skua/internal/job"
)

// State is who has the slot.
type State int

// The states of a slot.
const (
	Owner      State = iota // the machine is its owner's; no job may start
	Unclaimed               // a job may start
	Claimed                 // a job has the slot
	Preempting              // the job is on its way out
	Drained                 // nobody has the slot, and no job may come: the machine is being emptied
)

func (s State) String() string {
	return [...]string{"Owner", "Unclaimed", "Claimed", "Preempting", "Drained"}[s]
}

// Activity is what goes on in the slot.
type Activity int

// The activities of a slot.
const (
	Idle      Activity = iota // nothing runs
	Busy                      // the job runs
	Suspended                 // the job is frozen where it is
	Vacating                  // the job is being checkpointed to leave
	Killing                   // the job is being ended without ado
	Retiring                  // the job runs, and is the last: it leaves when its time is up
)

func (a Activity) String() string {
	return [...]string{"Idle", "Busy", "Suspended", "Vacating", "Killing", "Retiring"}[a]
}

// Config holds the durations that govern a slot; they come from the machine's policy and the pool.
type Config struct {
	Bump       time.Duration // a first touch that is not followed up within this was a bumped desk
	SuspendFor time.Duration // how long a job may stay frozen before it moves on
	MaxVacate  time.Duration // how long a checkpoint for leaving may take
	MaxSend    time.Duration // how long it may still be sent after that, once nothing of the job runs
	Terms      job.Terms
}

// Verdicts are what the policy's expressions say of the slot at one moment.
type Verdicts struct {
	Start, Suspend, Continue, Preempt, Kill, WantSuspend, WantVacate bool
	// Open says that some job might start, Start that the slot's job or the one on offer may.
	Open bool
	// Throttle says that the job may go on with less of the machine only, since the owner is there.
	Throttle bool
	// Draining says that no further job may come.
	Draining bool
	// Retirement is how long a job may have run before Preempt counts. The owner does not wait for it.
	Retirement time.Duration

	// Evict says that no job may stay, not even one that its user has suspended.
	Evict bool

	// Armed is the verdict ahead: would the policy suspend or preempt if the owner touched a key now?
	Armed bool
	// Slows is another: would it throttle?
	Slows bool
	// Why says in plain words why Suspend holds, if that is not only the policy's expressions.
	Why string
}

// why is the reason that the verdicts give, or otherwise the usual one.
func (v Verdicts) why(usual string) string {
	if v.Why != "" {
		return v.Why
	}
	return usual
}

// Slot is one slot of the machine. The zero Slot belongs to the owner and has no claim.
type Slot struct {
	State    State
	Activity Activity
	Since    time.Time   // when State last changed
	Entered  time.Time   // when State or Activity last changed
	Tenancy  job.Tenancy // the agent's half of the claim
	Verdicts Verdicts    // the latest
	Why      string      // why the job is suspended or leaves, in plain words
	Began    time.Time   // when the job was started or adopted

	// Throttled is set while jobs of the slot get less of the machine, for the owner's sake; since when
	// says SlowedAt. Unthrottleable is set once that has failed: then they stand still instead.
	Throttled      bool
	SlowedAt       time.Time
	Unthrottleable bool

	// Touched is set while a first touch of the owner may still turn out to be a bumped desk; until
	// then nobody is told of the suspension.
	Touched     bool
	SuspendedAt time.Time // when the job was frozen for the owner or its user; zero while it is not

	// ByUser is set while the job's user wants it to stand still: whether the owner comes or goes, it neither
	// goes on nor moves. It leaves where no job may stay.
	ByUser bool
	// Asleep is set from just before the machine goes to sleep until it is awake again. A job that runs stands
	// still meanwhile, so that it does not run on before its lease has been looked at.
	Asleep bool
	// Imaged is set once the image of a job that leaves is whole, on the machine's own disk, and nothing of the
	// job is left but that: its owner has the machine, and the image may take some time to be sent.
	Imaged bool
	// Finished is set once the job has ended by itself. Nothing is left of it but its results, which may take some time
	// to be sent; nobody gains anything by it if they are lost.
	Finished bool
	// Until is when a job that was withdrawn is ended at the latest; zero for all others.
	Until time.Time
}

// Armed reports whether the first sign of the owner must freeze the slot's job at once.
func (s Slot) Armed() bool {
	return s.Running() && !s.Finished && (s.Verdicts.Armed || s.Verdicts.Slows && s.Unthrottleable)
}

// Running reports whether the job may use the machine, unless its lease is over.
func (s Slot) Running() bool {
	return s.State == Claimed && (s.Activity == Busy || s.Activity == Retiring)
}

// free reports whether nobody has the slot.
func (s Slot) free() bool { return s.State == Owner || s.State == Unclaimed || s.State == Drained }

// takes reports whether the verdicts let the job start that they are about.
func (s Slot) takes() bool {
	v := s.Verdicts
	return v.Start && !v.Draining && !(v.Throttle && s.Unthrottleable)
}

// Frozen reports whether the job must stand still: for the owner, because its lease ran out, or because the
// machine sleeps. A job that is leaving is in the hands of whoever carries out [Vacate].
func (s Slot) Frozen() bool {
	return s.Activity == Suspended || s.Tenancy.Phase == job.Overdue || s.Asleep && s.Running()
}

// Due gives the time of the next [Tick] that will do something, apart from the claim's own timers.
func (s Slot) Due(c Config) (time.Time, bool) {
	switch {
	case s.Touched:
		return s.SuspendedAt.Add(c.Bump), true
	case s.Activity == Suspended && !s.ByUser:
		return s.SuspendedAt.Add(c.SuspendFor), true
	case s.Activity == Retiring && s.mustLeave():
		return s.Began.Add(s.Verdicts.Retirement), true
	case s.Activity == Vacating && !s.Until.IsZero():
		return s.Until, true
	case s.Activity == Vacating:
		return s.vacatedBy(c), true
	}
	return time.Time{}, false
}

// sends reports whether nothing of the job runs any more, and what is left of it is being sent.
func (s Slot) sends() bool { return s.Imaged || s.Finished }

// vacatedBy is when a job that is leaving has had its time, and its image or its results too.
func (s Slot) vacatedBy(c Config) time.Time {
	end := s.Entered.Add(c.MaxVacate)
	if s.sends() {
		end = end.Add(c.MaxSend)
	}
	return end
}

// Step advances the slot by one event and says what must happen next, in order. An event that means
// nothing in the slot's state changes nothing.
func (s Slot) Step(ev Event, c Config) (Slot, []Effect) {
	before := s
	var effects []Effect
	switch ev := ev.(type) {
	case Looked:
		s.Verdicts = ev.Verdicts
		effects = s.judge(ev.At, c)
	case OwnerTouched:
		switch {
		case s.Armed():
			s.suspend(ev.At, ownerBack)
			s.Touched = true
		case s.Tenancy.Phase == job.Accepting && (s.Verdicts.Armed || s.Verdicts.Slows && s.Unthrottleable) && !s.ByUser:
			// The job that is about to start will start frozen.
			s.Touched, s.SuspendedAt, s.Why = true, ev.At, ownerBack
		case s.Verdicts.Slows && !s.Throttled:
			s.Throttled, s.SlowedAt = true, ev.At
		}
	case OwnerStayed:
		if s.Touched {
			s.Touched = false
			if s.Activity == Suspended {
				effects = append(effects, Report, Advertise) // the freeze itself tells nobody
			}
		}
	case OwnerLeft:
		switch {
		case s.Touched && s.Activity == Suspended:
			s.resume(ev.At)
		case s.Touched:
			s.Touched, s.SuspendedAt, s.Why = false, time.Time{}, ""
		}
	case Offered:
		t, acts, ok := s.take(ev, c)
		if !ok {
			return s, []Effect{Refuse}
		}
		s.Tenancy = t
		s.enter(Claimed, Idle, ev.At)
		effects = fromActs(acts)
	case Granted:
		t, acts := s.Tenancy.Granted(ev.Claim, ev.Sent, ev.Now, c.Terms)
		s.Tenancy = t
		effects = fromActs(acts)
		if s.State == Preempting { // it was made to leave before this came: nothing of it begins any more
			effects = slices.DeleteFunc(effects, func(e Effect) bool { return e == Start })
		}
		if t.Phase == job.Holding && s.State == Claimed && s.Activity == Idle {
			s.Began = ev.At
			if s.SuspendedAt.IsZero() {
				s.enter(Claimed, Busy, ev.At)
			} else {
				s.enter(Claimed, Suspended, ev.At)
				if !s.Touched {
					effects = append(effects, Report)
				}
			}
		}
	case Gone:
		if s.Activity == Vacating && !s.Until.IsZero() {
			break // that is known, and the job has a little time left
		}
		t, acts := s.Tenancy.Gone(ev.Claim)
		s.Tenancy = t
		effects = fromActs(acts)
	case VacateAsked:
		switch {
		case !s.tenanted(ev.Claim):
		case s.State == Claimed:
			effects = s.leave(ev.At, ev.Why, !ev.Now)
		case s.Activity == Vacating && ev.Now && s.Until.IsZero():
			effects = s.leave(ev.At, ev.Why, false)
		}
	case SuspendAsked:
		if s.State == Claimed && s.tenanted(ev.Claim) && !s.ByUser {
			effects = s.pause(ev.At)
		}
	case ContinueAsked:
		if s.State == Claimed && s.tenanted(ev.Claim) && s.ByUser {
			effects = s.unpause(ev.At)
		}
	case Withdrawn:
		if ev.Grace <= 0 || !s.tenanted(ev.Claim) || s.Finished || !s.Running() && s.Activity != Suspended {
			t, acts := s.Tenancy.Gone(ev.Claim)
			s.Tenancy = t
			effects = fromActs(acts)
			break
		}
		s.Why, s.Touched, s.ByUser, s.Until = ev.Why, false, false, ev.At.Add(ev.Grace)
		s.enter(Preempting, Vacating, ev.At)
		effects = []Effect{Dismiss}
	case Imaged:
		s.Imaged = s.Activity == Vacating && s.Tenancy.Claim == ev.Claim
	case Finished:
		s.Finished = s.Finished || s.Activity != Idle && s.tenanted(ev.Claim)
	case Ended:
		if ev.Claim != s.Tenancy.Claim {
			break // it was given up meanwhile, and the slot may have another
		}
		t, acts := s.Tenancy.End(ev.Now, c.Terms)
		s.Tenancy = t
		s.Touched, s.SuspendedAt, s.ByUser, s.Until = false, time.Time{}, false, time.Time{}
		s.Imaged, s.Finished = false, false
		s.enter(Claimed, Idle, ev.At)
		effects = fromActs(acts)
	case Acknowledged:
		t, acts := s.Tenancy.Acknowledged(ev.Claim)
		s.Tenancy = t
		effects = fromActs(acts)
	case Succeeded:
		effects = s.succeed(ev, c)
	case Readopted:
		s.Tenancy = ev.Tenancy
		s.enter(Claimed, Busy, ev.At)
		s.Began = ev.At
		if ev.Throttled && !s.Throttled {
			s.Throttled, s.SlowedAt = true, ev.At
		}
		switch {
		case ev.Tenancy.Phase == job.Reporting:
			s.Activity = Idle
		case ev.ByUser:
			s.suspend(ev.At, userSuspended)
			s.ByUser = true
		case ev.Suspended:
			s.suspend(ev.At, "the owner was there when the agent was started again")
		}
		effects = fromActs(ev.Acts)
	case ThrottleFailed:
		s.Unthrottleable = true
		effects = s.judge(ev.At, c)
	case SleepBegins:
		s.Asleep = true
	case SleepEnds:
		t, acts := s.Tenancy.Tick(ev.Now, c.Terms)
		s.Tenancy, s.Asleep = t, false
		effects = fromActs(acts)
	case Tick:
		t, acts := s.Tenancy.Tick(ev.Now, c.Terms)
		s.Tenancy = t
		effects = append(fromActs(acts), s.judge(ev.At, c)...)
	}
	if !s.free() && s.Tenancy.Phase == job.Free {
		s.vacant(ev.when())
	}
	return s, settle(before, s, effects)
}

// judge applies the latest verdicts and the deadlines that have passed.
func (s *Slot) judge(at time.Time, c Config) []Effect {
	v := s.Verdicts
	s.throttle(at, c)
	switch s.Activity {
	case Idle:
		if s.free() {
			s.open(at)
		}
	case Busy, Retiring:
		switch {
		case s.Finished && (v.WantSuspend && v.Suspend || v.Throttle && s.Unthrottleable):
			return s.leave(at, v.why(policySuspended), true) // there is nothing to suspend
		case v.WantSuspend && v.Suspend:
			s.suspend(at, v.why(policySuspended))
			return []Effect{Report}
		case v.Throttle && s.Unthrottleable:
			s.suspend(at, notThrottled)
			return []Effect{Report}
		case s.leavesNow(at):
			return s.leave(at, s.madeToLeave(), v.WantVacate)
		case s.mustLeave() || v.Draining:
			s.enter(Claimed, Retiring, at)
		default:
			s.enter(Claimed, Busy, at)
		}
	case Suspended:
		switch {
		case s.Touched:
		case s.ByUser && (v.Evict || s.leavesNow(at)):
			return s.leave(at, v.why(s.madeToLeave()), v.WantVacate)
		case s.ByUser:
		case v.Continue && !(v.Throttle && s.Unthrottleable):
			s.resume(at)
			return []Effect{Report}
		case v.Preempt || !at.Before(s.SuspendedAt.Add(c.SuspendFor)):
			// The owner has stayed, so waiting costs the user more than moving does.
			return s.leave(at, v.why(s.overstayed()), v.WantVacate)
		}
	case Vacating:
		over := s.vacatedBy(c)
		if !s.Until.IsZero() {
			over = s.Until
		}
		// KILL is about what runs. Of a job whose image is whole nothing does, nor of one that has ended.
		if v.Kill && !(s.sends() && c.MaxSend > 0) || !at.Before(over) {
			s.enter(Preempting, Killing, at)
			return []Effect{Kill}
		}
	}
	return nil
}

// mustLeave reports whether the policy wants the job gone. One that is to be suspended first is not.
func (s *Slot) mustLeave() bool { return !s.Verdicts.WantSuspend && s.Verdicts.Preempt }

// leavesNow reports whether that is so and its retirement is over, for which the owner does not wait.
func (s *Slot) leavesNow(at time.Time) bool {
	return s.mustLeave() && (s.Verdicts.Suspend || !at.Before(s.Began.Add(s.Verdicts.Retirement)))
}

// throttle has jobs get less of the machine, or all that they may again. The first touch counts until it
// is known whether it was the owner.
func (s *Slot) throttle(at time.Time, c Config) {
	switch v := s.Verdicts; {
	case v.Throttle && !s.Throttled:
		s.Throttled, s.SlowedAt = true, at
	case s.Throttled && !v.Throttle && !at.Before(s.SlowedAt.Add(c.Bump)):
		s.Throttled = false
	}
}

// open gives a slot without a claim to its owner, to the pool, or to nobody.
func (s *Slot) open(at time.Time) {
	switch v := s.Verdicts; {
	case v.Draining:
		s.enter(Drained, Idle, at)
	case v.Open && !(v.Throttle && s.Unthrottleable):
		s.enter(Unclaimed, Idle, at)
	default:
		s.enter(Owner, Idle, at)
	}
}

func (s *Slot) take(ev Offered, c Config) (job.Tenancy, []job.Act, bool) {
	if s.State != Unclaimed || !s.takes() || s.Asleep {
		return s.Tenancy, nil, false
	}
	return s.Tenancy.Take(ev.Job, ev.Claim, ev.Epoch, ev.Now, c.Terms)
}

// succeed ends the claim that was reported and goes on with the next, if the slot would take that.
func (s *Slot) succeed(ev Succeeded, c Config) []Effect {
	if ev.Claim == s.Tenancy.Claim && s.State == Claimed && s.takes() && !s.Asleep {
		if t, acts, ok := s.Tenancy.Succeed(ev.Claim, ev.Next, ev.Sent, ev.Now, c.Terms); ok {
			s.Tenancy, s.Why, s.Began = t, "", ev.At
			s.enter(Claimed, Busy, ev.At)
			return fromActs(acts)
		}
	}
	if ev.Next.Claim == s.Tenancy.Claim {
		return nil // an answer before this one has brought it
	}
	t, acts := s.Tenancy.Acknowledged(ev.Claim)
	s.Tenancy = t
	return append([]Effect{RefuseNext}, fromActs(acts)...)
}

func (s *Slot) suspend(at time.Time, why string) {
	s.enter(Claimed, Suspended, at)
	s.SuspendedAt, s.Why = at, why
}

// pause has the job stand still because its user says so. A job that is yet to start will start frozen.
func (s *Slot) pause(at time.Time) []Effect {
	s.ByUser, s.Touched = true, false
	if s.Activity == Idle {
		s.SuspendedAt, s.Why = at, userSuspended
		return []Effect{KeepPause}
	}
	s.suspend(at, userSuspended)
	return []Effect{KeepPause, Report}
}

// unpause ends the pause of its user. The job goes on if the policy lets it; else it waits from now on
// as one that the policy has just suspended.
func (s *Slot) unpause(at time.Time) []Effect {
	s.ByUser = false
	if s.Activity == Idle {
		s.SuspendedAt, s.Why = time.Time{}, ""
		return []Effect{KeepPause}
	}
	lets := s.Verdicts.Continue
	s.suspend(at, policySuspended)
	// The verdicts are about a job that has waited since its user suspended it; it waits since now.
	s.Entered, s.Verdicts.Preempt = at, false
	if lets {
		s.resume(at)
	}
	return []Effect{KeepPause, Report}
}

// tenanted reports whether the slot has a claim whose job has not ended, and it is the one that is
// meant; "" means any.
func (s *Slot) tenanted(claim job.ClaimID) bool {
	t := s.Tenancy
	return t.Phase != job.Free && t.Phase != job.Reporting && (claim == "" || claim == t.Claim)
}

func (s *Slot) resume(at time.Time) {
	s.enter(Claimed, Busy, at)
	s.Touched, s.SuspendedAt, s.Why = false, time.Time{}, ""
}

// leave begins the end of the claim: with a checkpoint, or without. That of a job which has ended is under way, and only
// its time begins to count.
func (s *Slot) leave(at time.Time, why string, vacate bool) []Effect {
	s.Why, s.Touched, s.ByUser = why, false, false
	if s.Finished {
		s.enter(Preempting, Vacating, at)
		return nil
	}
	if !vacate || s.Activity == Idle {
		s.enter(Preempting, Killing, at)
		return []Effect{Kill}
	}
	s.enter(Preempting, Vacating, at)
	return []Effect{Vacate}
}

// Why a job is suspended.
const (
	ownerBack       = "the owner came back"
	policySuspended = "the machine's policy suspended it"
	userSuspended   = "its user suspended it"
	notThrottled    = "the owner is there, and jobs cannot be slowed down on this machine"
)

// madeToLeave says why the policy has the job leave that it does not suspend first.
func (s *Slot) madeToLeave() string {
	if s.Verdicts.Draining {
		return "the machine is being drained"
	}
	return "the machine's policy made it leave"
}

// overstayed says why a job that was suspended leaves.
func (s *Slot) overstayed() string {
	if s.Why == ownerBack {
		return s.Why + " and stayed"
	}
	return s.Why + "; it has waited long enough"
}

// vacant gives the slot back after its claim is over.
func (s *Slot) vacant(at time.Time) {
	s.Touched, s.SuspendedAt, s.Why = false, time.Time{}, ""
	s.ByUser, s.Until, s.Began = false, time.Time{}, time.Time{}
	s.Imaged, s.Finished = false, false
	s.open(at)
}

func (s *Slot) enter(st State, a Activity, at time.Time) {
	if s.State == st && s.Activity == a {
		return
	}
	if s.State != st {
		s.Since = at
	}
	s.State, s.Activity, s.Entered = st, a, at
}

func (s Slot) String() string { return fmt.Sprintf("%v/%v", s.State, s.Activity) }
