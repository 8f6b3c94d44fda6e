package job

import "time"

// Instant is a reading of a lease clock: time since some fixed moment of this machine's uptime, on a
// clock that goes on while the machine sleeps. Instants of different machines are never compared.
type Instant time.Duration

// Add gives the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub gives the time from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// LeaseClock reads the present instant. It is the one injected clock: a simulation moves it by hand,
// a machine uses CLOCK_BOOTTIME or Windows' interrupt time.
type LeaseClock func() Instant

// Terms are the durations of the claim protocol. Both sides must use the same Lease; the matchmaker
// sends it with every grant.
type Terms struct {
	Lease  time.Duration // how long a claim stands unrenewed at the agent (JobLeaseDuration)
	Renew  time.Duration // how often an agent renews
	Offer  time.Duration // how long an offer stands unanswered
	Resend time.Duration // how long an agent waits for an answer before it asks again
	Guard  time.Duration // what the matchmaker adds to a lease on its own side
	Skew   float64       // how much two clocks may differ in speed, as a fraction
}

// DefaultTerms are those of a pool that sets none.
var DefaultTerms = Terms{
	Lease:  2400 * time.Second, // HTCondor's default: a switch outage must not stop a pool
	Renew:  60 * time.Second,
	Offer:  10 * time.Second,
	Resend: 2 * time.Second,
	Guard:  5 * time.Second,
	Skew:   0.01,
}

// Outlives is how long the matchmaker waits after hearing of a claim before it takes the claim for
// lapsed: longer than the agent can take it for good, whatever the two clocks do.
func (t Terms) Outlives() time.Duration { return t.outlives(t.Lease) }

// First is how long a claim stands at the agent that came in the answer to a report, until it is renewed: no
// longer than an offer would. A short job ends within it.
func (t Terms) First() time.Duration { return min(t.Offer, t.Lease) }

func (t Terms) outlives(lease time.Duration) time.Duration {
	return time.Duration(float64(lease)*(1+2*t.Skew)) + t.Guard
}
