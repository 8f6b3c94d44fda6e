package slot

import (
	"time"

	"skua/internal/job"
)

// Event is something that happened to a slot. At is the wall clock, Now the lease clock.
type Event interface{ when() time.Time }

// The events of a slot.
type (
	// Looked brings new verdicts of the policy.
	Looked struct {
		At       time.Time
		Verdicts Verdicts
	}
	// OwnerTouched is the first sign of the owner after quiet. An armed job is frozen already.
	OwnerTouched struct{ At time.Time }
	// OwnerStayed says that the first touch was followed up: the owner is there.
	OwnerStayed struct{ At time.Time }
	// OwnerLeft says that it was not: somebody bumped the desk.
	OwnerLeft struct{ At time.Time }
	// Offered brings an offer of the matchmaker.
	Offered struct {
		At    time.Time
		Now   job.Instant
		Job   job.ID
		Claim job.ClaimID
		Epoch job.Epoch
	}
	// Granted brings a grant that answers the request sent at Sent.
	Granted struct {
		At        time.Time
		Now, Sent job.Instant
		Claim     job.ClaimID
	}
	// Gone says that the claim is dead.
	Gone struct {
		At    time.Time
		Claim job.ClaimID
	}
	// VacateAsked asks the job to leave: somebody stops the agent, or a user asked for it. Without a
	// claim whatever job there is is meant. Now has it leave at once, without a checkpoint.
	VacateAsked struct {
		At    time.Time
		Claim job.ClaimID
		Why   string
		Now   bool
	}
	// SuspendAsked says that its user wants the job to stand still until ContinueAsked.
	SuspendAsked struct {
		At    time.Time
		Claim job.ClaimID
	}
	// ContinueAsked ends the pause that its user asked for.
	ContinueAsked struct {
		At    time.Time
		Claim job.ClaimID
	}
	// Withdrawn says that the job was removed or held. The matchmaker has given the claim up, and
	// nobody waits for the job's results. It has until Grace is over to end by itself.
	Withdrawn struct {
		At    time.Time
		Claim job.ClaimID
		Why   string
		Grace time.Duration
	}
	// Imaged says that the image of the job that leaves is whole, on this machine, and that nothing of the job runs
	// any more. It is yet to be sent.
	Imaged struct {
		At    time.Time
		Claim job.ClaimID
	}
	// Finished says that the job has ended by itself. Its results are yet to be sent.
	Finished struct {
		At    time.Time
		Claim job.ClaimID
	}
	// Ended says that nothing of the job runs any more and that the report is on disk.
	Ended struct {
		At    time.Time
		Now   job.Instant
		Claim job.ClaimID
	}
	// Acknowledged says that the matchmaker has the report.
	Acknowledged struct {
		At    time.Time
		Claim job.ClaimID
	}
	// Succeeded says that the matchmaker has the report of Claim, which was sent at Sent, and that the slot
	// has another job with that.
	Succeeded struct {
		At        time.Time
		Now, Sent job.Instant
		Claim     job.ClaimID
		Next      job.Next
	}
	// Readopted brings back the claim that a restarted agent found.
	Readopted struct {
		At      time.Time
		Tenancy job.Tenancy
		Acts    []job.Act
		// Suspended says that the job must stand still until the policy lets it go on.
		Suspended bool
		// ByUser says that it must stand still until its user lets it go on.
		ByUser bool
		// Throttled says that the agent before may have throttled it.
		Throttled bool
	}
	// ThrottleFailed says that jobs cannot be throttled here.
	ThrottleFailed struct{ At time.Time }
	// SleepBegins says that the machine is about to go to sleep.
	SleepBegins struct{ At time.Time }
	// SleepEnds says that it is awake again. The lease may have run out meanwhile.
	SleepEnds struct {
		At  time.Time
		Now job.Instant
	}
	// Tick lets time pass.
	Tick struct {
		At  time.Time
		Now job.Instant
	}
)

func (e Looked) when() time.Time         { return e.At }
func (e OwnerTouched) when() time.Time   { return e.At }
func (e OwnerStayed) when() time.Time    { return e.At }
func (e OwnerLeft) when() time.Time      { return e.At }
func (e Offered) when() time.Time        { return e.At }
func (e Granted) when() time.Time        { return e.At }
func (e Gone) when() time.Time           { return e.At }
func (e VacateAsked) when() time.Time    { return e.At }
func (e SuspendAsked) when() time.Time   { return e.At }
func (e ContinueAsked) when() time.Time  { return e.At }
func (e Withdrawn) when() time.Time      { return e.At }
func (e Imaged) when() time.Time         { return e.At }
func (e Finished) when() time.Time       { return e.At }
func (e Ended) when() time.Time          { return e.At }
func (e Acknowledged) when() time.Time   { return e.At }
func (e Succeeded) when() time.Time      { return e.At }
func (e Readopted) when() time.Time      { return e.At }
func (e ThrottleFailed) when() time.Time { return e.At }
func (e SleepBegins) when() time.Time    { return e.At }
func (e SleepEnds) when() time.Time      { return e.At }
func (e Tick) when() time.Time           { return e.At }
