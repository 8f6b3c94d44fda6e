// Package control lets the person at the machine speak to its agent: what the agent does, what ran
// here, and to be left in peace for a while.
//
// The agent listens on a unix socket, on Windows on a named pipe, and asks the kernel who is at the other end. Who may ask for what
// is decided by [Rights.Decide], which is pure: an administrator may do everything, and whoever sits
// at the machine may do what the policy's owner.may_pause grants. The package runs no jobs and evaluates
// no policy.
package control

import (
	"fmt"
	"slices"
	"time"

	"skua/internal/diag"
)

// Kind is what is wished for.
type Kind string

// The kinds of wishes.
const (
	// Pause wants the machine for oneself: no job starts, and those that run are frozen now and leave.
	Pause Kind = "pause"
	// Finish lets those that run come to their end, and no job starts.
	Finish Kind = "finish"
	// Resume takes back the wish before.
	Resume Kind = "resume"
)

// Wish is what a person wants of the agent, until a time. The zero Wish is none.
type Wish struct {
	Kind  Kind      `json:"kind,omitempty"`
	At    time.Time `json:"at,omitzero"`
	Until time.Time `json:"until,omitzero"`
	By    string    `json:"by,omitempty"`    // the person's user name
	Admin bool      `json:"admin,omitempty"` // an administrator wants it, and nobody else takes it back

	// Under is what an administrator had wished for when the person at the machine wished for more. It holds on when
	// that is over.
	Under *Wish `json:"under,omitempty"`
}

// Holds reports whether the wish is still to be heeded.
func (w Wish) Holds(now time.Time) bool { return w.Kind != "" && now.Before(w.Until) }

// Current is what is to be heeded at a time: the wish, or what is under it. The zero Wish is nothing.
func (w Wish) Current(now time.Time) Wish {
	switch {
	case w.Holds(now):
		return w
	case w.Under != nil:
		return w.Under.Current(now)
	}
	return Wish{}
}

// covers reports whether somebody who wishes for o gets what he wants by w.
func (w Wish) covers(o Wish) bool {
	return (w.Kind == Pause || w.Kind == o.Kind) && !o.Until.After(w.Until)
}

// String says in plain words what keeps jobs away.
func (w Wish) String() string {
	until := w.Until.Local().Format("15:04")
	if w.Until.Sub(w.At) > 12*time.Hour {
		until = w.Until.Local().Format("Mon 2 Jan 15:04")
	}
	if w.Kind == Finish {
		return fmt.Sprintf("%s lets no further jobs come until %s", w.By, until)
	}
	return fmt.Sprintf("%s paused this machine until %s", w.By, until)
}

// Ask is what a person asks for.
type Ask struct {
	Kind Kind          `json:"kind"`
	For  time.Duration `json:"for_ns"` // 0 means as long as is granted, an hour at most
}

// Peer is who asks, as the kernel knows it.
type Peer struct {
	Seat  uint32 // what tells who sits at the machine: the user's number, on Windows the session
	Name  string // the user's name, or the number
	Admin bool   // may do everything
}

// Rights say who may ask for what.
type Rights struct {
	Seated   []uint32      // who sits at the machine, as [Peer.Seat] says it
	MayPause time.Duration // the longest wish that those are granted; 0 means none
}

const (
	usual   = time.Hour                 // a wish without a duration
	longest = 10 * 365 * 24 * time.Hour // of an administrator's wish
)

// Decide gives the wish that becomes of an Ask, or says why there is none. What an administrator has wished for before
// holds on under that of the person at the machine, who may only want more, and takes back only that.
func (r Rights) Decide(p Peer, a Ask, before Wish, now time.Time) (Wish, error) {
	most := r.MayPause
	before = before.Current(now)
	var bound Wish // by an administrator, whom nobody else overrules
	switch {
	case p.Admin:
	case before.Admin:
		bound = before
	case before.Under != nil:
		bound = before.Under.Current(now)
	}
	switch {
	case a.Kind != Pause && a.Kind != Finish && a.Kind != Resume:
		return Wish{}, &diag.Problem{What: fmt.Sprintf("an agent cannot %q", a.Kind)}
	case a.For < 0:
		return Wish{}, &diag.Problem{What: fmt.Sprintf("%v is no duration", a.For), Hint: `write for example "30m" or "2h"`}
	case p.Admin:
		most = longest
	case !r.IsSeated(p):
		return Wish{}, &diag.Problem{
			What: fmt.Sprintf("%s does not sit at this machine", p.Name),
			Hint: "only the person at its screen and keyboard, or an administrator, may " + string(a.Kind),
		}
	case most <= 0:
		return Wish{}, &diag.Problem{
			What: "the machine's policy lets only an administrator " + string(a.Kind),
			Hint: `an administrator can grant it with may_pause = "4h" in [owner] of the policy`,
		}
	case a.For > most:
		return Wish{}, &diag.Problem{
			What: fmt.Sprintf("the machine's policy grants %v at a time, and %v was asked for", most, a.For),
			Hint: "ask for less, and again when it is over",
		}
	case before.Admin && a.Kind == Resume:
		return Wish{}, &diag.Problem{What: before.String(), Hint: "only an administrator takes back what an administrator asked for"}
	}
	if a.Kind == Resume {
		return bound, nil
	}
	long := min(a.For, most)
	if a.For == 0 {
		long = min(usual, most)
	}
	w := Wish{Kind: a.Kind, At: now.UTC().Round(0), Until: now.Add(long).UTC().Round(0), By: p.Name, Admin: p.Admin}
	switch {
	case bound.Kind == "":
	case bound.covers(w):
		return bound, nil
	default:
		if bound.Kind == Pause {
			w.Kind = Pause
		}
		w.Under = &bound
	}
	return w, nil
}

// most is for how long a peer may keep jobs away at a time; 0 means not at all.
func (r Rights) most(p Peer) time.Duration {
	switch {
	case p.Admin:
		return longest
	case !r.IsSeated(p):
		return 0
	}
	return r.MayPause
}

// Unbounded reports whether a duration that is granted is an administrator's, who may take any time.
func Unbounded(granted time.Duration) bool { return granted >= longest }

// MayRead reports whether the peer may see what ran here, and for whom.
func (r Rights) MayRead(p Peer) bool { return p.Admin || r.IsSeated(p) }

// IsSeated reports whether the peer sits at the machine.
func (r Rights) IsSeated(p Peer) bool { return slices.Contains(r.Seated, p.Seat) }
