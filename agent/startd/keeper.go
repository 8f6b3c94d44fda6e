package startd

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"skua/agent/control"
	"skua/agent/rhythm"
	"skua/agent/slot"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy"
)

// keeper keeps one slot: it feeds events to Step and carries out the effects. All that follows the
// channel belongs to the goroutine of run.
type keeper struct {
	d    *Daemon
	name string // "slot1@desk7"
	num  int
	log  *slog.Logger
	cfg  slot.Config

	events chan func(at time.Time, now job.Instant) slot.Event
	again  chan struct{} // has a value when the policy is to look again
	closed chan struct{} // closed when run has ended: nobody reads events any more

	// armed holds the init that the owner's first touch must freeze; nil while none.
	armed atomic.Pointer[Init]

	mu     sync.Mutex // guards what others read
	slot   slot.Slot
	user   string        // whose job it is, of the present claim
	yields bool          // its job makes room for the owner's programs
	free   chan struct{} // closed and replaced whenever the job in the slot is over, and when the slot becomes free

	offer    wire.Offer   // of the present claim
	next     wire.Offer   // that came with the answer to its report
	looked   time.Time    // when the policy last looked
	roomed   time.Time    // when what the owner's programs leave of the processors was last looked at
	farewell int          // the signal with which its job is dismissed
	told     int          // how many controls have come
	heeded   control.Kind // of the wish that held when the policy last looked
	tenant   *tenant      // nil while no claim
	wg       sync.WaitGroup
}

// eventBuffer is how many events may wait: more than all sources together have under way.
const eventBuffer = 64

func newKeeper(d *Daemon, num int) *keeper {
	name := fmt.Sprintf("slot%d@%s", num, d.cfg.Machine)
	if d.parts != nil {
		name = policy.DynamicName(num, d.cfg.Machine)
	}
	k := &keeper{
		d: d, num: num, name: name,
		log:    d.log.With(diag.KeySlot, name),
		events: make(chan func(time.Time, job.Instant) slot.Event, eventBuffer),
		again:  make(chan struct{}, 1),
		closed: make(chan struct{}),
		free:   make(chan struct{}),
		slot:   slot.Slot{Since: d.began, Entered: d.began},
		cfg: slot.Config{
			Bump:  d.cfg.Bump,
			Terms: job.DefaultTerms,
		},
	}
	k.follow(d.policy())
	return k
}

// post hands an event to the keeper. The event is made when its turn comes, so that its times are
// those of the step.
func (k *keeper) post(ev func(at time.Time, now job.Instant) slot.Event) {
	select {
	case k.events <- ev:
	case <-k.closed:
	}
}

// state gives the slot as it is now.
func (k *keeper) state() slot.Slot {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.slot
}

// waitFree waits until the slot has no claim.
func (k *keeper) waitFree(ctx context.Context) error {
	return k.waitFor(ctx, func(s slot.Slot) bool { return s.Tenancy.Phase == job.Free })
}

// waitOver waits until nothing of a job runs in the slot, whether or not its results are sent and the matchmaker knows.
func (k *keeper) waitOver(ctx context.Context) error {
	return k.waitFor(ctx, func(s slot.Slot) bool { return noJob(s.Tenancy.Phase) || s.Finished })
}

func noJob(p job.TenancyPhase) bool { return p == job.Free || p == job.Reporting }

// waitFor waits until the slot is such that its job is over.
func (k *keeper) waitFor(ctx context.Context, is func(slot.Slot) bool) error {
	for {
		k.mu.Lock()
		there, changed := is(k.slot), k.free
		k.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-changed:
		case <-k.closed:
			return context.Canceled
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// run keeps the slot until ctx ends. The job, if there is one, lives on in its init.
func (k *keeper) run(ctx context.Context) error {
	defer k.letGo()
	defer k.wg.Wait()
	defer close(k.closed)
	timer, room := time.NewTimer(0), time.NewTimer(k.untilRoom(time.Now()))
	defer timer.Stop()
	defer room.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev := <-k.events:
			k.step(ctx, ev(time.Now(), k.d.cfg.Clock()))
		case <-k.again:
			k.look(ctx)
		case <-timer.C:
			k.look(ctx)
		case <-room.C:
			k.makeRoom()
		}
		timer.Reset(k.wait())
		room.Reset(k.untilRoom(time.Now()))
	}
}

// letGo lets go of an init that is kept for the next job, at the agent's end.
func (k *keeper) letGo() {
	if k.tenant == nil {
		return
	}
	if h := k.tenant.takeHome(); h.init != nil {
		h.init.Close()
	}
}

// look lets time pass and the policy look again.
func (k *keeper) look(ctx context.Context) {
	at, now := time.Now(), k.d.cfg.Clock()
	wish := k.d.wished(at)
	if k.heeded != "" && wish.Kind == "" {
		k.d.advertiseNow() // the ad says that the machine is paused
	}
	k.heeded = wish.Kind
	if stayed, ok := k.d.owner.judge(at); ok {
		for _, other := range k.d.keepers {
			if other == k {
				continue
			}
			other.post(func(at time.Time, _ job.Instant) slot.Event { return judged(at, stayed) })
		}
		k.step(ctx, judged(at, stayed))
	}
	if stayed, ok := k.d.owner.settled(); ok && k.slot.Touched {
		k.step(ctx, judged(at, stayed)) // a touch that came just as the one before it was judged
	}
	k.step(ctx, slot.Looked{At: at, Verdicts: k.verdicts(at)})
	k.step(ctx, slot.Tick{At: at, Now: now})
	k.makeRoom()
	k.looked = at
}

func judged(at time.Time, stayed bool) slot.Event {
	if stayed {
		return slot.OwnerStayed{At: at}
	}
	return slot.OwnerLeft{At: at}
}

// wait is how long the keeper may sleep: until the claim, the slot or the owner has something due,
// or until the policy must look again.
func (k *keeper) wait() time.Duration {
	now, s := time.Now(), k.slot
	wait := k.untilLook(now)
	if at, ok := s.Due(k.cfg); ok {
		wait = min(wait, at.Sub(now))
	}
	if at, ok := k.d.owner.due(); ok {
		wait = min(wait, at.Sub(now))
	}
	if at, ok := s.Tenancy.Due(); ok {
		wait = min(wait, at.Sub(k.d.cfg.Clock()))
	}
	if wait <= 0 {
		return overdue
	}
	return max(wait, time.Millisecond)
}

// untilLook is how long the policy need not look: a while, but not beyond the moment at which the owner counts as away.
func (k *keeper) untilLook(now time.Time) time.Duration {
	s, each, after := k.slot, k.d.cfg.LookIdle, k.d.policy().IdleAfter
	switch {
	case s.State == slot.Claimed && s.Activity == slot.Suspended && !s.Touched:
		// Whoever has come has the machine. What the agent does meanwhile it does at once, as seldom as it can.
		each, after = k.d.cfg.LookStill, k.d.policy().ContinueAfter
	case s.State == slot.Claimed || s.State == slot.Preempting:
		return k.d.cfg.LookEach
	case k.d.parts != nil && s.Tenancy.Phase == job.Free && k.d.parts.rests(k):
		return rhythm.Next(now, wire.AdInterval).Sub(now) // it speaks for nothing
	case s.State == slot.Unclaimed:
		each = max(each, wire.AdInterval) // the policy looks again when a job is offered
	}
	wait := rhythm.Next(k.looked, each).Sub(now)
	if w := k.d.wished(now); w.Kind != "" {
		wait = min(wait, w.Until.Sub(now)+time.Millisecond)
	}
	return min(wait, k.untilAway(now, after))
}

// untilAway is how long it is until the owner has touched nothing for so long; very long if nobody watches, or if the policy
// has looked since.
func (k *keeper) untilAway(now time.Time, after time.Duration) time.Duration {
	if idle, ok := k.d.owner.idle(now); ok {
		if away := now.Add(after - idle + time.Second); away.After(k.looked) { // KeyboardIdle counts whole seconds
			return away.Sub(now)
		}
	}
	return math.MaxInt64
}

// overdue is how long the keeper waits for something that was due and has not come to pass.
const overdue = 20 * time.Millisecond

// step advances the slot and carries out what follows.
func (k *keeper) step(ctx context.Context, ev slot.Event) {
	before := k.slot
	after, effects := before.Step(ev, k.cfg)
	if k.tenant != nil && slices.Contains(effects, slot.Forget) {
		k.d.remains.add(k.tenant.offer.Claim) // before the slot is seen without it
	}
	k.mu.Lock()
	k.slot = after
	if _, ok := ev.(slot.Readopted); ok {
		k.d.remains.remove(after.Tenancy.Claim)
	}
	if after.Tenancy.Claim != before.Tenancy.Claim {
		k.user = userOf(k.offer)
	}
	if noJob(after.Tenancy.Phase) && after.Tenancy.Phase != before.Tenancy.Phase || after.Finished && !before.Finished {
		close(k.free)
		k.free = make(chan struct{})
	}
	k.mu.Unlock()
	if after.Tenancy.Phase == job.Free && before.Tenancy.Phase != job.Free {
		k.giveBack()
	}
	if after.State != before.State || after.Activity != before.Activity {
		k.log.Debug("slot changes", "from", before.String(), "to", after.String(), diag.KeyJob, after.Tenancy.Job)
	}
	for _, e := range effects {
		if e == slot.PersistClaim || e == slot.PersistNext {
			persist := k.persistClaim
			if e == slot.PersistNext {
				persist = k.persistNext
			}
			if err := persist(); err != nil {
				// An acceptance that is not on disk would be forgotten by a crash: there is none.
				k.log.Error("offer is refused: the claim file cannot be written", diag.KeyError, err)
				k.refuse(k.offer, "the machine cannot write its claim file")
				k.step(ctx, slot.Gone{At: time.Now(), Claim: k.offer.Claim})
				return
			}
			continue
		}
		k.carryOut(ctx, e)
	}
	if occupied(before) != occupied(after) {
		k.d.tellBusy()
	}
	if was, is := runs(before), runs(after); was != is {
		k.d.load.count(k.num, is)
	}
	if _, ok := ev.(slot.OwnerTouched); ok && k.tenant != nil && !k.slot.Frozen() && k.slot.State == slot.Claimed {
		k.tenant.thaw() // the short way froze a job that was just disarmed
	}
	k.arm()
}

// runs reports whether the slot's job uses the machine.
func runs(s slot.Slot) bool { return s.Running() && !s.Frozen() }

// arm makes the owner's next first touch freeze the job, or not.
func (k *keeper) arm() {
	if k.slot.Armed() && k.tenant != nil {
		k.armed.Store(k.tenant.init.Load())
	} else {
		k.armed.Store(nil)
	}
}

// carryOut does what one effect says. What takes long is handed to the tenant or to a goroutine that
// run waits for.
func (k *keeper) carryOut(ctx context.Context, e slot.Effect) {
	switch e {
	case slot.SendAccept:
		accept := wire.Accept{V: wire.Version, ClaimRef: k.ref(), Slot: k.carved()}
		k.ask(ctx, wire.VerbAccept, func() any { return accept })
	case slot.Renew, slot.Report:
		renew, t := wire.Renew{V: wire.Version, ClaimRef: k.ref(), Slot: k.carved(), Paused: k.paused()}, k.tenant
		k.ask(ctx, wire.VerbRenew, func() any {
			renew.Usage, renew.Executing, renew.Trial = t.usage(ctx), t.executing(), t.tested()
			if err := t.flush(); err != nil {
				// Should the machine go down now, its restarted agent cannot say that the job is lost.
				k.log.Warn("the claim file cannot be flushed", diag.KeyError, err)
			}
			return renew
		})
	case slot.SendReport:
		k.report(ctx)
	case slot.Start:
		k.log.Info("job starts", diag.KeyJob, k.offer.Job, diag.KeyEpoch, k.offer.Epoch)
		k.tenant.start(ctx)
	case slot.Freeze:
		k.tenant.freeze()
	case slot.Thaw:
		k.tenant.thaw()
	case slot.Throttle:
		k.tenant.throttle(k.inUse())
	case slot.Unthrottle:
		k.tenant.throttle(0)
		k.makeRoom()
	case slot.Vacate:
		k.log.Info("job leaves", diag.KeyJob, k.offer.Job, "why", k.slot.Why)
		k.tenant.vacate(k.slot.Why)
	case slot.Dismiss:
		k.tenant.dismiss(k.slot.Why, k.farewell)
	case slot.KeepPause:
		if err := k.writeClaim(); err != nil {
			k.log.Error("an agent that is started again will not know whether the job's user suspended it", diag.KeyError, err)
		}
	case slot.Kill:
		k.tenant.kill(k.slot.Why)
	case slot.Discard:
		k.log.Info("claim is gone", diag.KeyJob, k.offer.Job, diag.KeyEpoch, k.offer.Epoch)
		k.tenant.discard()
	case slot.Forget:
		k.forget()
	case slot.Advertise:
		k.d.advertiseNow()
	case slot.RefuseNext:
		k.refuse(k.next, "the machine is not free for another job")
	case slot.Refuse:
		k.decline(k.offer, "the machine is not free for a job")
	}
}

// paused says why the job is frozen, for the matchmaker; empty when it runs.
func (k *keeper) paused() string {
	if k.slot.ByUser {
		return wire.PausedByUser
	}
	// A suspended job that leaves has not gone on in between.
	if !k.slot.SuspendedAt.IsZero() && !k.slot.Touched {
		return k.slot.Why
	}
	if k.yields {
		return noRoom
	}
	return ""
}

func (k *keeper) ref() wire.ClaimRef {
	t := k.slot.Tenancy
	return wire.ClaimRef{Job: t.Job, Claim: t.Claim, Epoch: t.Epoch}
}
