package negotiate

import (
	"math"
	"time"
)

// The figures of fair share, HTCondor's by default.
const (
	// MinPriority is the best real priority, that of somebody who has used nothing lately.
	MinPriority = 0.5
	// DefaultFactor is what a user's real priority is multiplied by unless an administrator says otherwise.
	DefaultFactor = 1000
	// DefaultHalfLife is the time after which past usage counts half.
	DefaultHalfLife = 86_400 * time.Second
)

// Account is what a user has used of the pool, for fair share. The zero Account is a new user's.
//
// The real priority follows the number of cpus in use: it moves towards it and covers half of the way
// in one half-life. Lower is better. Suspended time is not use: whoever keeps the account says so with
// [Account.Use] when a job is frozen and when it goes on.
type Account struct {
	Priority float64   `json:"priority,omitempty"` // the real priority at At, before its lower bound
	Factor   float64   `json:"factor,omitempty"`   // 0 means [DefaultFactor]
	InUse    float64   `json:"in_use,omitempty"`   // cpus in use since At
	Hours    float64   `json:"hours,omitempty"`    // cpu hours used until At
	At       time.Time `json:"at,omitzero"`        // until when usage has been charged
	First    time.Time `json:"first,omitzero"`     // when the user first used a cpu
	Last     time.Time `json:"last,omitzero"`      // until when the user last used one
}

// Charge gives the account with all usage up to now in it. Time that runs backwards charges nothing, and what comes
// after it is charged: a clock that was ahead once does not keep an account as it is until that time.
func (a Account) Charge(now time.Time, halfLife time.Duration) Account {
	if a.At.IsZero() {
		a.At = now
		return a
	}
	d := now.Sub(a.At)
	if d <= 0 {
		a.At = now
		return a
	}
	if halfLife <= 0 {
		halfLife = DefaultHalfLife
	}
	keep := math.Exp2(-d.Seconds() / halfLife.Seconds())
	a.Priority = keep*max(a.Priority, MinPriority) + (1-keep)*a.InUse
	a.Hours += a.InUse * d.Hours()
	if a.InUse > 0 {
		a.Last = now
	}
	a.At = now
	return a
}

// Use charges the account up to now and from then on counts by more cpus as in use; less, when by is
// negative.
func (a Account) Use(by float64, now time.Time, halfLife time.Duration) Account {
	a = a.Charge(now, halfLife)
	a.InUse = max(0, a.InUse+by)
	if by > 0 && a.First.IsZero() {
		a.First = now
	}
	if by != 0 {
		a.Last = now
	}
	return a
}

// Real is the real user priority, at least [MinPriority].
func (a Account) Real() float64 { return max(a.Priority, MinPriority) }

// Effective is the priority that decides: the real one times the user's factor. Lower is better, and
// users' shares of the pool are in inverse proportion to it.
func (a Account) Effective() float64 {
	if a.Factor <= 0 {
		return a.Real() * DefaultFactor
	}
	return a.Real() * a.Factor
}
