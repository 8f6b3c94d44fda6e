// Package jobpolicy decides what a job's own expressions want done with it: hold, release, remove,
// vacate or run again.
//
// The expressions, their order and the codes of holds are HTCondor's. They are evaluated in the job's
// ad as it is now (job.CurrentAd), against nothing. Only a clear yes counts: an expression that is
// undefined or an error does nothing, except that a job whose on_exit_remove cannot be told leaves the
// queue. [Periodic] is asked when something about a job has changed and once a minute, [Exit] when a run
// has ended by itself, and [Due] says when time alone may change the answer of Periodic.
//
// The package reads no clock, changes no job, and does not look at machines. What an administrator may
// want of all jobs (SYSTEM_PERIODIC_HOLD) is not known to it.
package jobpolicy

// Verdict is what is to be done with a job. The zero Verdict is to leave it as it is.
type Verdict struct {
	Action  Action
	Reason  string // for people and the job's ad
	Code    int    // HoldReasonCode, of a hold
	SubCode int    // HoldReasonSubCode, of a hold
}

// Action is something that can be done with a job.
type Action int

// The actions.
const (
	Stay     Action = iota // nothing is to be done
	Hold                   // park it, ending its run
	Release                // let it run again
	Remove                 // take it out of the queue
	Vacate                 // take it from its machine
	Requeue                // run it again from its beginning, after a run that ended by itself
	Complete               // it is done, after such a run
)

func (a Action) String() string {
	return [...]string{"stay", "hold", "release", "remove", "vacate", "requeue", "complete"}[a]
}
