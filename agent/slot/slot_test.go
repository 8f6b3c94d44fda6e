package slot_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"skua/agent/slot"
	"skua/internal/job"
)

var (
	noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	cfg  = slot.Config{Bump: time.Second, SuspendFor: time.Minute, MaxVacate: 2 * time.Minute, MaxSend: time.Hour, Terms: job.DefaultTerms}

	quiet = slot.Verdicts{Start: true, Open: true, Continue: true, WantSuspend: true, WantVacate: true, Armed: true}
	inUse = slot.Verdicts{Suspend: true, WantSuspend: true, WantVacate: true}
)

func TestStep(t *testing.T) {
	id := job.ID{Cluster: 7}
	busy := run(slot.Slot{},
		slot.Looked{At: noon, Verdicts: quiet},
		slot.Offered{At: noon, Job: id, Claim: "c", Epoch: 1},
		slot.Granted{At: noon, Claim: "c"})
	touched := run(busy, slot.OwnerTouched{At: noon})
	suspended := run(touched, slot.OwnerStayed{At: noon.Add(time.Second)}, slot.Looked{At: noon.Add(time.Second), Verdicts: inUse})
	paused := run(busy, slot.SuspendAsked{At: noon, Claim: "c"})
	dismissed := run(busy, slot.Withdrawn{At: noon, Claim: "c", Why: "removed", Grace: 20 * time.Second})
	overstayed := slot.Verdicts{Suspend: true, Preempt: true, WantSuspend: true, WantVacate: true}
	reporting := run(busy, slot.Ended{At: noon, Claim: "c"})
	next := job.Next{Job: job.ID{Cluster: 8}, Claim: "d", Epoch: 4}
	beside := quiet
	beside.Armed, beside.Slows = false, true
	throttled := beside
	throttled.Throttle = true
	officeBusy := run(busy, slot.Looked{At: noon, Verdicts: beside})
	officeUsed := run(officeBusy, slot.Looked{At: noon, Verdicts: throttled})
	draining, lastCall, displaced := quiet, quiet, quiet
	draining.Draining, draining.Start = true, false
	lastCall.Draining, lastCall.Start, lastCall.Preempt, lastCall.WantSuspend = true, false, true, false
	displaced.Preempt, displaced.WantSuspend, displaced.Retirement = true, false, time.Hour
	displacedByOwner := displaced
	displacedByOwner.Suspend = true
	evicted := overstayed
	evicted.Evict = true
	killAtOnce := lastCall
	killAtOnce.WantVacate = false
	retiring := run(busy, slot.Looked{At: noon, Verdicts: draining})
	vacating := run(suspended, slot.Looked{At: noon.Add(time.Hour), Verdicts: inUse})
	imaged := run(vacating, slot.Imaged{At: noon.Add(time.Hour), Claim: "c"})
	finished := run(busy, slot.Finished{At: noon, Claim: "c"})
	finishedLate := run(suspended, slot.Finished{At: noon.Add(2 * time.Second), Claim: "c"})
	hasty := inUse
	hasty.Kill = true

	for _, tt := range []struct {
		name     string
		from     slot.Slot
		event    slot.Event
		state    slot.State
		activity slot.Activity
		effects  []slot.Effect
	}{
		{
			"the policy opens the machine",
			slot.Slot{},
			slot.Looked{At: noon, Verdicts: quiet},
			slot.Unclaimed, slot.Idle,
			[]slot.Effect{slot.Advertise},
		},
		{
			"an offer to the owner's machine is refused",
			slot.Slot{},
			slot.Offered{At: noon, Job: id, Claim: "c", Epoch: 1},
			slot.Owner, slot.Idle,
			[]slot.Effect{slot.Refuse},
		},
		{
			"an offer is taken: on disk, then accepted", run(slot.Slot{}, slot.Looked{At: noon, Verdicts: quiet}),
			slot.Offered{At: noon, Job: id, Claim: "c", Epoch: 1},
			slot.Claimed, slot.Idle,
			[]slot.Effect{slot.PersistClaim, slot.SendAccept, slot.Advertise},
		},
		{
			"a second offer is refused", busy,
			slot.Offered{At: noon, Job: id, Claim: "d", Epoch: 1},
			slot.Claimed, slot.Busy,
			[]slot.Effect{slot.Refuse},
		},
		{
			"the first touch freezes, and nobody is told yet", busy,
			slot.OwnerTouched{At: noon},
			slot.Claimed, slot.Suspended,
			[]slot.Effect{slot.Freeze},
		},
		{
			"a job stands still while the machine sleeps, and nobody is told", busy,
			slot.SleepBegins{At: noon},
			slot.Claimed, slot.Busy,
			[]slot.Effect{slot.Freeze},
		},
		{
			"awake again it goes on", run(busy, slot.SleepBegins{At: noon}),
			slot.SleepEnds{At: noon.Add(time.Minute), Now: instant(noon.Add(time.Second))},
			slot.Claimed, slot.Busy,
			[]slot.Effect{slot.Thaw},
		},
		{
			"a suspended job sleeps on", run(suspended, slot.SleepBegins{At: noon}),
			slot.SleepEnds{At: noon.Add(time.Minute), Now: instant(noon.Add(time.Second))},
			slot.Claimed, slot.Suspended, nil,
		},
		{
			"who woke the machine has the job stand still", run(busy, slot.SleepBegins{At: noon}, slot.OwnerTouched{At: noon}),
			slot.SleepEnds{At: noon.Add(time.Minute), Now: instant(noon.Add(time.Second))},
			slot.Claimed, slot.Suspended, nil,
		},
		{
			"a machine that goes to sleep takes no job", run(slot.Slot{}, slot.Looked{At: noon, Verdicts: quiet}, slot.SleepBegins{At: noon}),
			slot.Offered{At: noon, Job: id, Claim: "c", Epoch: 1},
			slot.Unclaimed, slot.Idle,
			[]slot.Effect{slot.Refuse},
		},
		{
			"a bump thaws, and nobody is told", touched,
			slot.OwnerLeft{At: noon.Add(time.Second)},
			slot.Claimed, slot.Busy,
			[]slot.Effect{slot.Thaw},
		},
		{
			"a job that is about to start as the owner touches the machine starts frozen",
			run(slot.Slot{}, slot.Looked{At: noon, Verdicts: quiet}, slot.Offered{At: noon, Job: id, Claim: "c", Epoch: 1},
				slot.OwnerTouched{At: noon}),
			slot.Granted{At: noon, Claim: "c"},
			slot.Claimed, slot.Suspended,
			[]slot.Effect{slot.Freeze, slot.Start},
		},
		{
			"an owner who stays is reported", touched,
			slot.OwnerStayed{At: noon.Add(time.Second)},
			slot.Claimed, slot.Suspended,
			[]slot.Effect{slot.Report, slot.Advertise},
		},
		{
			"the owner has left again", suspended,
			slot.Looked{At: noon.Add(30 * time.Second), Verdicts: quiet},
			slot.Claimed, slot.Busy,
			[]slot.Effect{slot.Thaw, slot.Report, slot.Advertise},
		},
		{
			"the owner is still there after suspend_for", suspended,
			slot.Looked{At: noon.Add(time.Minute), Verdicts: inUse},
			slot.Preempting, slot.Vacating,
			[]slot.Effect{slot.Vacate, slot.Advertise},
		},
		{
			"a checkpoint that takes too long is cut short", vacating,
			slot.Tick{At: noon.Add(2 * time.Hour)},
			slot.Preempting, slot.Killing,
			[]slot.Effect{slot.Kill, slot.Advertise},
		},
		{
			"nor does KILL wait for it", run(vacating, slot.Imaged{At: noon.Add(time.Hour), Claim: "another"}),
			slot.Looked{At: noon.Add(time.Hour + time.Second), Verdicts: hasty},
			slot.Preempting, slot.Killing,
			[]slot.Effect{slot.Kill, slot.Advertise},
		},
		{
			"one that is whole, and all that is left of the job, may still be sent", imaged,
			slot.Looked{At: noon.Add(2 * time.Hour), Verdicts: hasty},
			slot.Preempting, slot.Vacating, nil,
		},
		{
			"but not for ever", imaged,
			slot.Tick{At: noon.Add(2*time.Hour + 2*time.Minute)},
			slot.Preempting, slot.Killing,
			[]slot.Effect{slot.Kill, slot.Advertise},
		},
		{
			"and not if its user wants the job gone at once", imaged,
			slot.VacateAsked{At: noon.Add(time.Hour), Why: "skua vacate --fast", Now: true},
			slot.Preempting, slot.Killing,
			[]slot.Effect{slot.Kill, slot.Advertise},
		},
		{
			"the image of a job does not count for the next", run(imaged, slot.Ended{At: noon.Add(time.Hour), Claim: "c"}, slot.Acknowledged{At: noon.Add(time.Hour), Claim: "c"},
				slot.Looked{At: noon.Add(time.Hour), Verdicts: quiet}, slot.Offered{At: noon.Add(time.Hour), Job: id, Claim: "d", Epoch: 2},
				slot.Granted{At: noon.Add(time.Hour), Claim: "d"}, slot.VacateAsked{At: noon.Add(time.Hour)}),
			slot.Tick{At: noon.Add(time.Hour + 2*time.Minute)},
			slot.Preempting, slot.Killing,
			[]slot.Effect{slot.Kill, slot.Advertise},
		},
		{
			"the owner's first touch is nothing to a job that has ended and has only to send its results", finished,
			slot.OwnerTouched{At: noon},
			slot.Claimed, slot.Busy, nil,
		},
		{
			"for an owner who stays it leaves by itself", finished,
			slot.Looked{At: noon, Verdicts: inUse},
			slot.Preempting, slot.Vacating,
			[]slot.Effect{slot.Advertise},
		},
		{
			"one that was suspended as it ended has the time of any other", finishedLate,
			slot.Looked{At: noon.Add(30 * time.Second), Verdicts: inUse},
			slot.Claimed, slot.Suspended, nil,
		},
		{
			"and then leaves by itself, too", finishedLate,
			slot.Looked{At: noon.Add(time.Minute), Verdicts: inUse},
			slot.Preempting, slot.Vacating,
			[]slot.Effect{slot.Advertise},
		},
		{
			"no matter how it is asked", finished,
			slot.VacateAsked{At: noon, Claim: "c", Why: "asked", Now: true},
			slot.Preempting, slot.Vacating,
			[]slot.Effect{slot.Advertise},
		},
		{
			"nor how often", run(finished, slot.VacateAsked{At: noon, Claim: "c", Why: "asked", Now: true}),
			slot.VacateAsked{At: noon.Add(30 * time.Second), Claim: "c", Why: "asked", Now: true},
			slot.Preempting, slot.Vacating, nil,
		},
		{
			"it is not killed either where there is no WANT_VACATE", finished,
			slot.Looked{At: noon, Verdicts: killAtOnce},
			slot.Preempting, slot.Vacating,
			[]slot.Effect{slot.Advertise},
		},
		{
			"its results have the time that an image has", run(finished, slot.Looked{At: noon, Verdicts: hasty}),
			slot.Tick{At: noon.Add(time.Hour)},
			slot.Preempting, slot.Vacating, nil,
		},
		{
			"and no more", run(finished, slot.Looked{At: noon, Verdicts: hasty}),
			slot.Tick{At: noon.Add(time.Hour + 2*time.Minute)},
			slot.Preempting, slot.Killing,
			[]slot.Effect{slot.Kill, slot.Advertise},
		},
		{
			"a job that ended as it was asked to leave is not ended for taking long", run(vacating, slot.Finished{At: noon.Add(time.Hour), Claim: "c"}),
			slot.Looked{At: noon.Add(90 * time.Minute), Verdicts: hasty},
			slot.Preempting, slot.Vacating, nil,
		},
		{
			"nobody waits for the results of one that was removed", finished,
			slot.Withdrawn{At: noon, Claim: "c", Grace: 20 * time.Second},
			slot.Unclaimed, slot.Idle,
			[]slot.Effect{slot.Discard, slot.Forget, slot.Advertise},
		},
		{
			"that a job has ended is not said of the next", run(finished, slot.Ended{At: noon, Claim: "c"}, slot.Succeeded{At: noon, Claim: "c", Next: next}),
			slot.OwnerTouched{At: noon},
			slot.Claimed, slot.Suspended,
			[]slot.Effect{slot.Freeze},
		},
		{
			"the job has left: the report goes out", vacating,
			slot.Ended{At: noon.Add(time.Hour), Now: 5, Claim: "c"},
			slot.Claimed, slot.Idle,
			[]slot.Effect{slot.SendReport, slot.Advertise},
		},
		{
			"the end of a job that was discarded is not the next one's",
			run(vacating, slot.Gone{At: noon, Claim: "c"}, slot.Looked{At: noon, Verdicts: quiet}, slot.Offered{At: noon, Job: id, Claim: "d", Epoch: 2}),
			slot.Ended{At: noon, Claim: "c"},
			slot.Claimed, slot.Idle, nil,
		},
		{
			"a job that was told to leave before its grant came does not start",
			run(slot.Slot{}, slot.Looked{At: noon, Verdicts: quiet}, slot.Offered{At: noon, Job: id, Claim: "c", Epoch: 1},
				slot.VacateAsked{At: noon, Claim: "c", Why: "asked"}),
			slot.Granted{At: noon, Claim: "c"},
			slot.Preempting, slot.Killing, nil,
		},
		{
			"a dead claim is discarded, even a suspended one", suspended,
			slot.Gone{At: noon, Claim: "c"},
			slot.Owner, slot.Idle,
			[]slot.Effect{slot.Discard, slot.Forget, slot.Advertise},
		},
		{
			"word of another claim changes nothing", busy,
			slot.Gone{At: noon, Claim: "other"},
			slot.Claimed, slot.Busy, nil,
		},
		{
			"the lease runs out: the job stands still", busy,
			slot.Tick{At: noon, Now: job.Instant(cfg.Terms.Lease)},
			slot.Claimed, slot.Busy,
			[]slot.Effect{slot.Freeze, slot.Renew},
		},
		{
			"its user suspends it: on disk, and told", busy,
			slot.SuspendAsked{At: noon, Claim: "c"},
			slot.Claimed, slot.Suspended,
			[]slot.Effect{slot.Freeze, slot.KeepPause, slot.Report, slot.Advertise},
		},
		{
			"a second time nothing happens", paused,
			slot.SuspendAsked{At: noon, Claim: "c"},
			slot.Claimed, slot.Suspended, nil,
		},
		{
			"another job's user does not", busy,
			slot.SuspendAsked{At: noon, Claim: "d"},
			slot.Claimed, slot.Busy, nil,
		},
		{
			"an absent owner does not let a job go on that its user suspended", paused,
			slot.Looked{At: noon.Add(time.Hour), Verdicts: quiet},
			slot.Claimed, slot.Suspended, nil,
		},
		{
			"nor does one who stays make it leave", paused,
			slot.Looked{At: noon.Add(time.Hour), Verdicts: overstayed},
			slot.Claimed, slot.Suspended, nil,
		},
		{
			"no job may stay: not that one either", paused,
			slot.Looked{At: noon.Add(time.Hour), Verdicts: lastCall},
			slot.Preempting, slot.Vacating,
			[]slot.Effect{slot.Vacate, slot.Advertise},
		},
		{
			"it has its retirement, as one that runs", paused,
			slot.Looked{At: noon.Add(time.Minute), Verdicts: displaced},
			slot.Claimed, slot.Suspended, nil,
		},
		{
			"which the owner does not wait for", paused,
			slot.Looked{At: noon.Add(time.Minute), Verdicts: displacedByOwner},
			slot.Preempting, slot.Vacating,
			[]slot.Effect{slot.Vacate, slot.Advertise},
		},
		{
			"the owner's long pause sends it away, too", paused,
			slot.Looked{At: noon.Add(time.Minute), Verdicts: evicted},
			slot.Preempting, slot.Vacating,
			[]slot.Effect{slot.Vacate, slot.Advertise},
		},
		{
			"a machine that is being emptied leaves it alone before the last call", paused,
			slot.Looked{At: noon.Add(time.Minute), Verdicts: draining},
			slot.Claimed, slot.Suspended, nil,
		},
		{
			"its user lets it go on", run(paused, slot.Looked{At: noon.Add(time.Hour), Verdicts: quiet}),
			slot.ContinueAsked{At: noon.Add(time.Hour), Claim: "c"},
			slot.Claimed, slot.Busy,
			[]slot.Effect{slot.Thaw, slot.KeepPause, slot.Report, slot.Advertise},
		},
		{
			"but the owner is there: it waits for the policy", run(paused, slot.Looked{At: noon.Add(time.Hour), Verdicts: overstayed}),
			slot.ContinueAsked{At: noon.Add(time.Hour), Claim: "c"},
			slot.Claimed, slot.Suspended,
			[]slot.Effect{slot.KeepPause, slot.Report},
		},
		{
			"and waits its whole time", run(paused, slot.Looked{At: noon.Add(time.Hour), Verdicts: overstayed}, slot.ContinueAsked{At: noon.Add(time.Hour), Claim: "c"}),
			slot.Tick{At: noon.Add(time.Hour + 59*time.Second)},
			slot.Claimed, slot.Suspended, nil,
		},
		{
			"a job suspended by its user before it starts starts frozen",
			run(slot.Slot{}, slot.Looked{At: noon, Verdicts: quiet}, slot.Offered{At: noon, Job: id, Claim: "c", Epoch: 1},
				slot.SuspendAsked{At: noon, Claim: "c"}),
			slot.Granted{At: noon, Claim: "c"},
			slot.Claimed, slot.Suspended,
			[]slot.Effect{slot.Freeze, slot.Start, slot.Report, slot.Advertise},
		},
		{
			"a restarted agent remembers the pause of its user",
			slot.Slot{},
			slot.Readopted{At: noon, Tenancy: busy.Tenancy, ByUser: true},
			slot.Claimed, slot.Suspended,
			[]slot.Effect{slot.Freeze, slot.Advertise},
		},
		{
			"its user has it leave", paused,
			slot.VacateAsked{At: noon, Claim: "c", Why: "asked"},
			slot.Preempting, slot.Vacating,
			[]slot.Effect{slot.Vacate, slot.Advertise},
		},
		{
			"and leave at once, even while it is leaving", vacating,
			slot.VacateAsked{At: noon, Claim: "c", Why: "asked", Now: true},
			slot.Preempting, slot.Killing,
			[]slot.Effect{slot.Kill, slot.Advertise},
		},
		{
			"a removed job is ended at once", busy,
			slot.Withdrawn{At: noon, Claim: "c"},
			slot.Unclaimed, slot.Idle,
			[]slot.Effect{slot.Discard, slot.Forget, slot.Advertise},
		},
		{
			"unless it wants to be asked first", busy,
			slot.Withdrawn{At: noon, Claim: "c", Grace: 20 * time.Second},
			slot.Preempting, slot.Vacating,
			[]slot.Effect{slot.Dismiss, slot.Advertise},
		},
		{
			"that the claim is gone is no news then", dismissed,
			slot.Gone{At: noon, Claim: "c"},
			slot.Preempting, slot.Vacating, nil,
		},
		{
			"a dismissed job has its time and no more", dismissed,
			slot.Tick{At: noon.Add(20 * time.Second)},
			slot.Preempting, slot.Killing,
			[]slot.Effect{slot.Kill, slot.Advertise},
		},
		{
			"the answer to a report brings the next job: in the claim file, then started", reporting,
			slot.Succeeded{At: noon, Claim: "c", Next: next},
			slot.Claimed, slot.Busy,
			[]slot.Effect{slot.PersistNext, slot.Start, slot.Advertise},
		},
		{
			"a next job that the policy does not want now is refused",
			run(reporting, slot.Looked{At: noon, Verdicts: inUse}),
			slot.Succeeded{At: noon, Claim: "c", Next: next},
			slot.Owner, slot.Idle,
			[]slot.Effect{slot.RefuseNext, slot.Forget, slot.Advertise},
		},
		{
			"a next job whose answer was too long on its way is refused", reporting,
			slot.Succeeded{At: noon, Claim: "c", Next: next, Now: job.Instant(cfg.Terms.First())},
			slot.Unclaimed, slot.Idle,
			[]slot.Effect{slot.RefuseNext, slot.Forget, slot.Advertise},
		},
		{
			"a second answer with the job that runs changes nothing",
			run(reporting, slot.Succeeded{At: noon, Claim: "c", Next: next}),
			slot.Succeeded{At: noon, Claim: "c", Next: next},
			slot.Claimed, slot.Busy,
			nil,
		},
		{
			"the next job is armed like the one before: the first touch freezes it",
			run(reporting, slot.Succeeded{At: noon, Claim: "c", Next: next}),
			slot.OwnerTouched{At: noon},
			slot.Claimed, slot.Suspended,
			[]slot.Effect{slot.Freeze},
		},
		{
			"in the office the owner's first touch throttles", officeBusy,
			slot.OwnerTouched{At: noon},
			slot.Claimed, slot.Busy,
			[]slot.Effect{slot.Throttle},
		},
		{
			"the policy may not know of the owner yet", run(officeBusy, slot.OwnerTouched{At: noon}),
			slot.Looked{At: noon.Add(500 * time.Millisecond), Verdicts: beside},
			slot.Claimed, slot.Busy, nil,
		},
		{
			"if it was a bump the job goes on as before", run(officeBusy, slot.OwnerTouched{At: noon}),
			slot.Looked{At: noon.Add(time.Second), Verdicts: beside},
			slot.Claimed, slot.Busy,
			[]slot.Effect{slot.Unthrottle},
		},
		{
			"the policy throttles", officeBusy,
			slot.Looked{At: noon, Verdicts: throttled},
			slot.Claimed, slot.Busy,
			[]slot.Effect{slot.Throttle},
		},
		{
			"and lets go", officeUsed,
			slot.Looked{At: noon.Add(time.Minute), Verdicts: beside},
			slot.Claimed, slot.Busy,
			[]slot.Effect{slot.Unthrottle},
		},
		{
			"a machine that cannot throttle suspends", officeUsed,
			slot.ThrottleFailed{At: noon},
			slot.Claimed, slot.Suspended,
			[]slot.Effect{slot.Freeze, slot.Report, slot.Advertise},
		},
		{
			"and goes on when the owner has gone",
			run(officeUsed, slot.ThrottleFailed{At: noon}, slot.Looked{At: noon, Verdicts: throttled}),
			slot.Looked{At: noon.Add(time.Minute / 2), Verdicts: beside},
			slot.Claimed, slot.Busy,
			[]slot.Effect{slot.Thaw, slot.Report, slot.Unthrottle, slot.Advertise},
		},
		{
			"from then on it is armed",
			run(officeUsed, slot.ThrottleFailed{At: noon}, slot.Looked{At: noon.Add(time.Minute / 2), Verdicts: beside}),
			slot.OwnerTouched{At: noon.Add(time.Minute)},
			slot.Claimed, slot.Suspended,
			[]slot.Effect{slot.Freeze},
		},
		{
			"and takes no job beside the owner",
			run(officeUsed, slot.ThrottleFailed{At: noon}, slot.Gone{At: noon, Claim: "c"}),
			slot.Offered{At: noon, Job: id, Claim: "d", Epoch: 2},
			slot.Owner, slot.Idle,
			[]slot.Effect{slot.Refuse},
		},
		{
			"a job that starts beside the owner starts throttled",
			run(slot.Slot{}, slot.Looked{At: noon, Verdicts: throttled}, slot.Offered{At: noon, Job: id, Claim: "c", Epoch: 1}),
			slot.Granted{At: noon, Claim: "c"},
			slot.Claimed, slot.Busy,
			[]slot.Effect{slot.Throttle, slot.Start, slot.Advertise},
		},
		{
			"so does the next",
			run(officeUsed, slot.Ended{At: noon, Claim: "c"}),
			slot.Succeeded{At: noon, Claim: "c", Next: next},
			slot.Claimed, slot.Busy,
			[]slot.Effect{slot.PersistNext, slot.Throttle, slot.Start, slot.Advertise},
		},
		{
			"a restarted agent throttles until it knows better",
			run(slot.Slot{}, slot.Looked{At: noon, Verdicts: beside}),
			slot.Readopted{At: noon, Tenancy: busy.Tenancy, Throttled: true},
			slot.Claimed, slot.Busy,
			[]slot.Effect{slot.Throttle, slot.Advertise},
		},
		{
			"a machine that is drained takes nothing", run(slot.Slot{}, slot.Looked{At: noon, Verdicts: quiet}),
			slot.Looked{At: noon, Verdicts: draining},
			slot.Drained, slot.Idle,
			[]slot.Effect{slot.Advertise},
		},
		{
			"not even what was offered before", run(slot.Slot{}, slot.Looked{At: noon, Verdicts: draining}),
			slot.Offered{At: noon, Job: id, Claim: "c", Epoch: 1},
			slot.Drained, slot.Idle,
			[]slot.Effect{slot.Refuse},
		},
		{
			"until the drain is over", run(slot.Slot{}, slot.Looked{At: noon, Verdicts: draining}),
			slot.Looked{At: noon, Verdicts: quiet},
			slot.Unclaimed, slot.Idle,
			[]slot.Effect{slot.Advertise},
		},
		{
			"its job is the last", busy,
			slot.Looked{At: noon, Verdicts: draining},
			slot.Claimed, slot.Retiring,
			[]slot.Effect{slot.Advertise},
		},
		{
			"the owner comes first all the same", retiring,
			slot.OwnerTouched{At: noon},
			slot.Claimed, slot.Suspended,
			[]slot.Effect{slot.Freeze},
		},
		{
			"no other follows it", run(retiring, slot.Ended{At: noon, Claim: "c"}),
			slot.Succeeded{At: noon, Claim: "c", Next: next},
			slot.Drained, slot.Idle,
			[]slot.Effect{slot.RefuseNext, slot.Forget, slot.Advertise},
		},
		{
			"last call", retiring,
			slot.Looked{At: noon, Verdicts: lastCall},
			slot.Preempting, slot.Vacating,
			[]slot.Effect{slot.Vacate, slot.Advertise},
		},
		{
			"last call for a suspended job", run(retiring, slot.OwnerTouched{At: noon}, slot.OwnerStayed{At: noon}),
			slot.Looked{At: noon.Add(time.Second), Verdicts: slot.Verdicts{Suspend: true, Preempt: true, WantVacate: true, Draining: true}},
			slot.Preempting, slot.Vacating,
			[]slot.Effect{slot.Vacate, slot.Advertise},
		},
		{
			"without WANT_VACATE the job is killed", retiring,
			slot.Looked{At: noon, Verdicts: killAtOnce},
			slot.Preempting, slot.Killing,
			[]slot.Effect{slot.Kill, slot.Advertise},
		},
		{
			"the drain is called off", retiring,
			slot.Looked{At: noon, Verdicts: quiet},
			slot.Claimed, slot.Busy,
			[]slot.Effect{slot.Advertise},
		},
		{
			"a retiring job's lease runs out", retiring,
			slot.Tick{At: noon, Now: job.Instant(cfg.Terms.Lease)},
			slot.Claimed, slot.Retiring,
			[]slot.Effect{slot.Freeze, slot.Renew},
		},
		{
			"a job that must leave has its retirement first", busy,
			slot.Looked{At: noon.Add(time.Minute), Verdicts: displaced},
			slot.Claimed, slot.Retiring,
			[]slot.Effect{slot.Advertise},
		},
		{
			"counted from its start", run(busy, slot.Looked{At: noon.Add(time.Minute), Verdicts: displaced}),
			slot.Tick{At: noon.Add(time.Hour)},
			slot.Preempting, slot.Vacating,
			[]slot.Effect{slot.Vacate, slot.Advertise},
		},
		{
			"a job that has run for longer leaves at once", busy,
			slot.Looked{At: noon.Add(time.Hour), Verdicts: displaced},
			slot.Preempting, slot.Vacating,
			[]slot.Effect{slot.Vacate, slot.Advertise},
		},
		{
			"the owner does not wait for it", busy,
			slot.Looked{At: noon.Add(time.Minute), Verdicts: displacedByOwner},
			slot.Preempting, slot.Vacating,
			[]slot.Effect{slot.Vacate, slot.Advertise},
		},
		{
			"PREEMPT says nothing about a job that is suspended first", busy,
			slot.Looked{At: noon, Verdicts: slot.Verdicts{Preempt: true, WantSuspend: true, WantVacate: true}},
			slot.Claimed, slot.Busy, nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, effects := tt.from.Step(tt.event, cfg)
			if got.State != tt.state || got.Activity != tt.activity {
				t.Errorf("%v went to %v, want %v/%v", tt.from, got, tt.state, tt.activity)
			}
			if !slices.Equal(effects, tt.effects) {
				t.Errorf("effects are %v, want %v", effects, tt.effects)
			}
		})
	}
}

func TestOverdueJobThawsOnGrant(t *testing.T) {
	s := run(slot.Slot{}, slot.Looked{At: noon, Verdicts: quiet},
		slot.Offered{At: noon, Claim: "c", Epoch: 1}, slot.Granted{At: noon, Claim: "c"},
		slot.Tick{At: noon, Now: job.Instant(cfg.Terms.Lease)})
	if !s.Frozen() {
		t.Fatalf("%v with an overdue lease is not frozen", s)
	}
	now := job.Instant(cfg.Terms.Lease + time.Minute)
	s, effects := s.Step(slot.Granted{At: noon, Claim: "c", Sent: now - 1, Now: now}, cfg)
	if s.Frozen() || !slices.Contains(effects, slot.Thaw) {
		t.Errorf("after a grant the slot is %v, frozen %v, effects %v", s, s.Frozen(), effects)
	}
}

// A job whose lease ran out while the machine slept does not run on before it is renewed.
func TestLeaseRunsOutInSleep(t *testing.T) {
	s := run(slot.Slot{},
		slot.Looked{At: noon, Verdicts: quiet},
		slot.Offered{At: noon, Job: job.ID{Cluster: 7}, Claim: "c", Epoch: 1},
		slot.Granted{At: noon, Claim: "c"},
		slot.SleepBegins{At: noon})
	morning := noon.Add(20 * time.Hour)
	s, effects := s.Step(slot.SleepEnds{At: morning, Now: instant(morning)}, cfg)
	if !s.Frozen() || slices.Contains(effects, slot.Thaw) || !slices.Contains(effects, slot.Renew) {
		t.Errorf("after a night's sleep the slot is %v, frozen %v, effects %v; want it frozen and renewing", s, s.Frozen(), effects)
	}
	s, effects = s.Step(slot.Granted{At: morning, Now: instant(morning), Sent: instant(morning), Claim: "c"}, cfg)
	if s.Frozen() || !slices.Contains(effects, slot.Thaw) {
		t.Errorf("after a grant the slot is %v, frozen %v, effects %v", s, s.Frozen(), effects)
	}
}

// Whatever happens in whatever order, nothing of a job begins once it was told to leave or given up.
func TestNothingStartsThatLeaves(t *testing.T) {
	overstayed, late := inUse, noon.Add(time.Hour)
	overstayed.Preempt = true
	evicted := overstayed
	evicted.Evict = true
	events := []slot.Event{
		slot.Looked{At: noon, Verdicts: quiet},
		slot.Looked{At: noon, Verdicts: inUse},
		slot.Looked{At: noon, Verdicts: overstayed},
		slot.Looked{At: noon, Verdicts: evicted},
		slot.OwnerTouched{At: noon},
		slot.OwnerStayed{At: noon},
		slot.OwnerLeft{At: noon},
		slot.Offered{At: noon, Claim: "c", Epoch: 1},
		slot.Granted{At: noon, Claim: "c"},
		slot.Gone{At: noon, Claim: "c"},
		slot.VacateAsked{At: noon},
		slot.VacateAsked{At: noon, Now: true},
		slot.SuspendAsked{At: noon},
		slot.ContinueAsked{At: noon},
		slot.Withdrawn{At: noon, Claim: "c"},
		slot.Withdrawn{At: noon, Claim: "c", Grace: time.Second},
		slot.Imaged{At: noon, Claim: "c"},
		slot.Finished{At: noon, Claim: "c"},
		slot.Ended{At: noon, Claim: "c"},
		slot.Acknowledged{At: noon, Claim: "c"},
		slot.Succeeded{At: noon, Claim: "c", Next: job.Next{Claim: "d", Epoch: 2}},
		slot.Granted{At: noon, Claim: "d"},
		slot.Gone{At: noon, Claim: "d"},
		slot.Ended{At: noon, Claim: "d"},
		slot.Acknowledged{At: noon, Claim: "d"},
		slot.Tick{At: noon},
		slot.Tick{At: late},
		slot.Tick{At: noon, Now: instant(late)},
	}
	type node struct {
		slot   slot.Slot
		leaves bool // the slot's job, or the one before
	}
	seen := map[node]bool{{}: true}
	for todo := []node{{}}; len(todo) > 0; todo = todo[1:] {
		for _, ev := range events {
			next, effects := todo[0].slot.Step(ev, cfg)
			n := node{next, todo[0].leaves}
			for _, e := range effects {
				switch e {
				case slot.PersistClaim, slot.PersistNext:
					n.leaves = false
				case slot.Vacate, slot.Dismiss, slot.Kill, slot.Discard:
					n.leaves = true
				case slot.Start:
					if n.leaves || next.State != slot.Claimed {
						t.Fatalf("after %T%+v in %+v comes %v", ev, ev, todo[0].slot, effects)
					}
				}
			}
			if !seen[n] {
				seen[n] = true
				todo = append(todo, n)
			}
		}
	}
	t.Logf("%d states", len(seen))
}

// Whatever happens in whatever order: a job is only let go on when nothing holds it back, a free slot
// has no claim, and every claim is brought to an end when the world calms down.
func TestRandomEventsKeepInvariants(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 2))
		s, at, frozen, slowed := slot.Slot{}, noon, false, false
		for range 60 {
			at = at.Add(time.Duration(rng.IntN(40_000)) * time.Millisecond)
			next, effects := s.Step(randomEvent(rng, at), cfg)
			for _, e := range effects {
				switch e {
				case slot.Freeze:
					frozen = true
				case slot.Thaw, slot.PersistClaim, slot.PersistNext: // a new claim's job; frozen before it starts, it starts frozen
					frozen = false
				case slot.Throttle, slot.Unthrottle:
					slowed = e == slot.Throttle
				}
				if e == slot.PersistClaim {
					slowed = false // a new init
				}
			}
			if next.Running() && next.Throttled != slowed {
				t.Fatalf("seed %d: %v is to be throttled: %v, and is: %v after %v", seed, next, next.Throttled, slowed, effects)
			}
			if next.State == slot.Claimed && next.Activity != slot.Idle && next.Frozen() && !frozen {
				t.Fatalf("seed %d: %v should be frozen after %v", seed, next, effects)
			}
			free := next.Tenancy.Phase == job.Free
			if free != (next.State == slot.Owner || next.State == slot.Unclaimed || next.State == slot.Drained) {
				t.Fatalf("seed %d: slot %v with claim phase %v", seed, next, next.Tenancy.Phase)
			}
			s = next
		}
		s, _ = s.Step(slot.Ended{At: at, Now: instant(at), Claim: s.Tenancy.Claim}, cfg)
		s, _ = s.Step(slot.Acknowledged{At: at, Claim: s.Tenancy.Claim}, cfg)
		if s.Tenancy.Phase != job.Free && s.Tenancy.Phase != job.Accepting {
			t.Fatalf("seed %d: the claim is still %v", seed, s.Tenancy.Phase)
		}
	}
}

func randomEvent(rng *rand.Rand, at time.Time) slot.Event {
	now := instant(at)
	claims := []job.ClaimID{"a", "b"}
	claim := claims[rng.IntN(2)]
	verdicts := func() slot.Verdicts {
		yes := func() bool { return rng.IntN(3) == 0 }
		return slot.Verdicts{
			Start: yes(), Suspend: yes(), Continue: yes(), Preempt: yes(), Kill: yes(), WantSuspend: !yes(), WantVacate: !yes(), Open: !yes(),
			Throttle: yes(), Draining: yes(), Evict: yes(), Retirement: time.Duration(rng.IntN(3)) * time.Minute, Armed: yes(), Slows: yes(),
		}
	}
	switch rng.IntN(25) {
	case 0, 1:
		return slot.Looked{At: at, Verdicts: quiet}
	case 2:
		return slot.Looked{At: at, Verdicts: inUse}
	case 3:
		return slot.OwnerTouched{At: at}
	case 4:
		return slot.OwnerStayed{At: at}
	case 5:
		return slot.OwnerLeft{At: at}
	case 6, 7:
		return slot.Offered{At: at, Now: now, Claim: claim, Epoch: 1}
	case 8:
		return slot.Granted{At: at, Now: now, Sent: now, Claim: claim}
	case 9:
		return slot.Gone{At: at, Claim: claim}
	case 10:
		return slot.SuspendAsked{At: at, Claim: claim}
	case 11:
		return slot.ContinueAsked{At: at, Claim: claim}
	case 12:
		return slot.VacateAsked{At: at, Claim: claim, Now: rng.IntN(2) == 0}
	case 13:
		return slot.Withdrawn{At: at, Claim: claim, Grace: time.Duration(rng.IntN(2)) * time.Minute}
	case 14:
		return slot.Ended{At: at, Now: now, Claim: claim}
	case 15:
		return slot.Acknowledged{At: at, Claim: claim}
	case 16:
		return slot.Succeeded{At: at, Now: now, Sent: now, Claim: claim, Next: job.Next{Claim: claims[rng.IntN(2)], Epoch: 1}}
	case 17, 18:
		return slot.Looked{At: at, Verdicts: verdicts()}
	case 19:
		return slot.ThrottleFailed{At: at}
	case 20:
		return slot.SleepBegins{At: at}
	case 21:
		return slot.SleepEnds{At: at, Now: now}
	case 22:
		return slot.Imaged{At: at, Claim: claim}
	case 23:
		return slot.Finished{At: at, Claim: claim}
	default:
		return slot.Tick{At: at, Now: now}
	}
}

func instant(at time.Time) job.Instant { return job.Instant(at.Sub(noon)) }

func run(s slot.Slot, events ...slot.Event) slot.Slot {
	for _, ev := range events {
		s, _ = s.Step(ev, cfg)
	}
	return s
}
