package slot

import (
	"slices"

	"skua/internal/job"
)

// Effect is something the daemon must do for the slot, in the order given.
type Effect int

// The effects of a step.
const (
	PersistClaim Effect = iota // write the claim file, fsync
	PersistNext                // make the next job the slot's, and put its claim into the place of the one before
	RefuseNext                 // tell the matchmaker that the slot does not want the next job
	SendAccept                 // send the acceptance, noting when
	Renew                      // send a renewal, noting when
	SendReport                 // send the report, which is on disk
	Refuse                     // tell the matchmaker that the offer is refused
	Start                      // bring in the job's files and run it
	Freeze                     // stop every thread of the job; it may be stopped already
	Thaw                       // let it go on
	Throttle                   // let the job have less of the machine, while it runs and when it goes on
	Unthrottle                 // let it have all that it may again
	Vacate                     // checkpoint, store the image, end the job, then report Ended
	Dismiss                    // ask the job to end, then end it and report Ended; no result is wanted
	Kill                       // end the job at once, then report Ended
	Discard                    // end the job at once; nobody waits for a report
	Forget                     // remove the claim file and all that belongs to the claim
	KeepPause                  // write to the claim file whether its user has suspended the job
	Report                     // tell the matchmaker at once that the job was frozen or goes on
	Advertise                  // the slot's ad has changed
)

func (e Effect) String() string {
	return [...]string{
		"PersistClaim", "PersistNext", "RefuseNext", "SendAccept", "Renew", "SendReport", "Refuse", "Start", "Freeze", "Thaw",
		"Throttle", "Unthrottle", "Vacate", "Dismiss", "Kill", "Discard", "Forget", "KeepPause", "Report", "Advertise",
	}[e]
}

// fromActs translates what the agent's half of the claim asks for. Freezing for an overdue lease is
// not among the results: settle derives it from the slot.
func fromActs(acts []job.Act) []Effect {
	var effects []Effect
	for _, a := range acts {
		switch a {
		case job.PersistClaim:
			effects = append(effects, PersistClaim)
		case job.PersistNext:
			effects = append(effects, PersistNext)
		case job.SendAccept:
			effects = append(effects, SendAccept)
		case job.SendRenew:
			effects = append(effects, Renew)
		case job.SendReport:
			effects = append(effects, SendReport)
		case job.StartJob:
			effects = append(effects, Start)
		case job.KillJob:
			effects = append(effects, Discard)
		case job.ForgetClaim:
			effects = append(effects, Forget)
		case job.FreezeOverdue, job.ThawOverdue:
		}
	}
	return effects
}

// settle completes the effects of a step with those that follow from the difference it made. A freeze
// comes before everything else, and a job that is to be throttled is so before it goes on or starts.
func settle(before, after Slot, effects []Effect) []Effect {
	switch {
	case after.Frozen() && !before.Frozen():
		effects = slices.Insert(effects, 0, Freeze)
	case before.Frozen() && !after.Frozen() && after.Running():
		effects = slices.Insert(effects, 0, Thaw)
	}
	starts := slices.Contains(effects, Start)
	switch {
	case after.free():
	case after.Throttled && (!before.Throttled || starts):
		effects = slices.Insert(effects, first(effects), Throttle)
	case before.Throttled && !after.Throttled:
		effects = append(effects, Unthrottle)
	}
	if before.State != after.State || before.Activity != after.Activity {
		if !after.Touched && !before.Touched {
			effects = append(effects, Advertise)
		}
	}
	return effects
}

// first is where an effect goes that must come after a freeze, after what makes the slot's job the next
// one, and before everything else.
func first(effects []Effect) int {
	i := 0
	for i < len(effects) && (effects[i] == Freeze || effects[i] == PersistClaim || effects[i] == PersistNext) {
		i++
	}
	return i
}
