// Package election decides which of several matchmakers leads.
//
// They share a key that vanishes when nobody writes it for a while, its time to live. Whoever creates it leads, and
// leads on by writing it again and again; a leader that cannot stops by its own clock before the key can have
// vanished, and so before another one can create it. Clocks are never compared, only their pace counts on.
//
// [State] is what a matchmaker knows, and pure: an event and a state give the next state and what is to be done.
// [Elector] carries that out. Neither knows what leading means. That two never lead at once holds as long as clocks run
// at about the same pace and the servers keep the key for its time; what must hold whatever happens, that only one
// writes the queue log, is the log's own rule, not this package's.
package election

import "time"

// State is what a matchmaker knows of the election. The zero State stands by and asks at once.
type State struct {
	TTL time.Duration // of the key

	Leads    bool
	Revision uint64    // of the key, as we wrote it last; while Leads
	Until    time.Time // by then we stop leading; while Leads

	Asking bool      // a request about the key is under way
	Due    time.Time // when to ask next
}

// Event is something that happens to a [State]: a [Tick], [Answer] or [Ended].
type Event interface{ event() }

// Tick says what time it is. It is due at [State.Next].
type Tick struct{ At time.Time }

// Answer says what became of a request about the key.
type Answer struct {
	Sent, At time.Time
	Outcome  Outcome
	Revision uint64 // of the key, with Ours and Found
}

// Ended says that we have stopped leading by ourselves, and want to leave it to others for a while.
type Ended struct{ At time.Time }

func (Tick) event()   {}
func (Answer) event() {}
func (Ended) event()  {}

// Outcome is what became of a request about the key.
type Outcome int

// The outcomes.
const (
	Unknown Outcome = iota // no answer: it may have been written
	Ours                   // the key has been written by this request
	Found                  // it has not, but the key is ours, from a request whose answer was lost
	Theirs                 // the key belongs to another, or has vanished
)

// Effect is what is to be done.
type Effect int

// The effects.
const (
	Create  Effect = iota // create the key, and give the answer
	Renew                 // write the key again, given its revision, and give the answer
	Release               // remove the key, given its revision
	Lead                  // begin to lead
	Stop                  // stop leading, now
)

// margin is the part of the time to live that a leader keeps clear before its end: for clocks that do not run at the
// same pace, and for its own slowness.
func (s State) margin() time.Duration { return s.TTL / 8 }

// poll is how often one who stands by asks.
func (s State) poll() time.Duration { return s.TTL / 10 }

// Next is when the next [Tick] is due.
func (s State) Next() time.Time {
	if s.Leads && (s.Asking || s.Until.Before(s.Due)) {
		return s.Until
	}
	if s.Asking {
		return time.Time{} // an answer comes first
	}
	return s.Due
}

// Step gives the state after an event and what is to be done, in that order.
func (s State) Step(ev Event) (State, []Effect) {
	switch ev := ev.(type) {
	case Tick:
		return s.tick(ev.At)
	case Answer:
		s.Asking = false
		if s.Leads {
			return s.renewed(ev)
		}
		return s.created(ev)
	case Ended:
		if !s.Leads {
			return s, nil
		}
		// Twice the usual time: another one is to have the first go.
		s.Leads, s.Due = false, ev.At.Add(2*s.poll())
		return s, []Effect{Release}
	}
	return s, nil
}

func (s State) tick(at time.Time) (State, []Effect) {
	switch {
	case s.Leads && !at.Before(s.Until):
		s.Leads, s.Due = false, at.Add(s.poll())
		return s, []Effect{Stop}
	case s.Asking || at.Before(s.Due):
		return s, nil
	case s.Leads:
		s.Asking = true
		return s, []Effect{Renew}
	}
	s.Asking = true
	return s, []Effect{Create}
}

// hold notes that the key was ours when the request arrived, which was after it was sent.
func (s State) hold(sent time.Time, revision uint64) State {
	s.Revision, s.Until, s.Due = revision, sent.Add(s.TTL-s.margin()), sent.Add(s.TTL/3)
	return s
}

// created judges the answer of one who does not lead.
func (s State) created(a Answer) (State, []Effect) {
	s.Due = a.At.Add(s.poll())
	if a.Outcome != Ours && a.Outcome != Found {
		return s, nil
	}
	held := s.hold(a.Sent, a.Revision)
	if a.Outcome == Found || !a.At.Before(held.Until) {
		// We do not know since when the key is ours, or it is too late to lead on it.
		s.Revision = a.Revision
		return s, []Effect{Release}
	}
	held.Leads = true
	return held, []Effect{Lead}
}

// renewed judges the answer of one who leads.
func (s State) renewed(a Answer) (State, []Effect) {
	switch a.Outcome {
	case Ours:
		s = s.hold(a.Sent, a.Revision)
	case Found: // what it says of the time is not known, so that Until stays
		s.Revision, s.Due = a.Revision, a.At.Add(s.TTL/24)
	case Unknown:
		s.Due = a.At.Add(s.TTL / 24)
	case Theirs:
		s.Leads, s.Due = false, a.At.Add(s.poll())
		return s, []Effect{Stop}
	}
	return s, nil
}
