package startd

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"skua/agent/slot"
	"skua/agent/starter"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
)

// tenant is the job of one claim, from its files to its report. One goroutine does the work; the
// methods tell it what the keeper wants.
type tenant struct {
	k     *keeper
	offer wire.Offer
	chain job.ClaimID // the first of the claims that have followed each other in the slot: names directory and init
	dir   string
	log   *slog.Logger
	cmd   job.Command
	bad   error // why there is no cmd

	limits   limits
	patience time.Duration // how long to wait for an answer of the matchmaker

	running atomic.Pointer[Init] // set while there is a job
	init    atomic.Pointer[Init] // set while there is one, or about to be: what has to be frozen for the owner
	leave   chan departure       // a wish to leave; holds one
	over    chan *holdError      // that the job has more than it may; holds one
	cancel  context.CancelCauseFunc
	ended   chan struct{} // closed when the work is over, or will never begin
	turned  chan struct{} // has room for one word that the job stands still now, or no longer
	leaves  bool          // an earlier agent has had the job dumped to leave, or was about to
	walking atomic.Bool   // somebody measures the scratch directory
	dropped atomic.Bool   // the claim is gone: nobody waits for a report
	peeks   chan struct{} // as many as may be under way
	slow    throttle

	mu      sync.Mutex // guards what follows
	begun   bool       // or it never will
	read    string     // the newest capabilities
	write   string
	frozen  bool              // the keeper wants the job to stand still
	yields  bool              // it makes room for the owner's programs
	imaging bool              // the job stands still for an image, whatever the keeper wants
	still   time.Time         // since when; zero while it does not
	hurry   func()            // ends what the work's goroutine does that is not urgent; nil while there is nothing
	lease   job.Instant       // when the lease ends, as far as is known
	brought job.Usage         // what the job had used when it came here, in its image
	earlier job.Usage         // times that it used here before it saved itself and was started again
	used    job.Usage         // in this claim, as far as is known
	counted time.Time         // when the init was last asked what that is
	spec    starter.ClaimSpec // for which the claim's init was opened, if that was here
	kept    home              // of the job that has ended, for the next
	flushed bool              // what the claim's directory says is on disk for good
	report  wire.Done
	since   time.Time // when the program began; zero in an agent that adopted it
	tried   bool      // whether it can be checkpointed has been tried, or is about to be
	trial   *job.Trial
	release func() // lets go of the job's runtime root; nil if it has none

	set *job.Image // that the job has saved itself and was started from; nil once it has saved another. Of its work's goroutine

	cold time.Time // since when the job stood still whose memory was made to go first; zero for none. Of its work's goroutine

	surveyed time.Time // when the job's processes were last counted. Of its work's goroutine

	saves saves // images that are made while the job runs

	disk diskWatch // when to measure the scratch directory
}

// departure is a wish to have the job leave.
type departure struct {
	why string
	// farewell is the signal that a job gets which was removed or held; 0 for one that goes on elsewhere.
	farewell int
}

// Why a tenant's work was cut short. Anything else means that the agent stops and the job lives on.
var errDiscarded = errors.New("the claim is gone")

type killedError struct{ why string }

func (e *killedError) Error() string { return e.why }

// home is an init and what it was opened for. The zero home is none.
type home struct {
	init Init
	spec starter.ClaimSpec
}

// newTenant makes the tenant of a claim that has followed others since chain.
func newTenant(k *keeper, offer wire.Offer, chain job.ClaimID) *tenant {
	t := &tenant{
		k: k, offer: offer, chain: chain, dir: k.d.claimDir(chain),
		log:   k.log.With(diag.KeyJob, offer.Job.String(), diag.KeyEpoch, offer.Epoch),
		leave: make(chan departure, 1), over: make(chan *holdError, 1), ended: make(chan struct{}),
		turned: make(chan struct{}, 1), cancel: func(error) {}, patience: k.cfg.Terms.Resend,
		read: offer.Read, write: offer.Write,
		peeks: make(chan struct{}, maxPeeks),
	}
	ad, err := job.Filled(offer.Ad, func() *classad.Ad { return k.ad(time.Now(), k.state()) })
	if err == nil {
		t.offer.Ad = ad
	}
	t.cmd, t.bad = job.CommandOf(t.offer.Ad)
	if err != nil {
		t.bad = err
	}
	return t
}

// start begins the work. The claim has been granted.
func (t *tenant) start(ctx context.Context) { t.begin(ctx, nil) }

// adopt begins the work in the middle, with a job that an earlier agent started.
func (t *tenant) adopt(ctx context.Context, in Init) { t.begin(ctx, in) }

func (t *tenant) begin(ctx context.Context, in Init) {
	if !t.first() {
		return
	}
	ctx, t.cancel = context.WithCancelCause(ctx)
	if in != nil {
		_ = os.RemoveAll(filepath.Join(tree(in), savingName)) // what an earlier agent was sending
		t.saves.last = time.Now()                             // nobody knows when that was made
		t.running.Store(&in)
		t.init.Store(&in)
		t.holdRuntime()
	}
	t.k.wg.Go(func() {
		defer t.cancel(nil)
		done, ok := t.work(ctx, in)
		t.holds(nil)
		dropped := t.dropped.Load() // it may have been killed before
		if ok || dropped {
			t.account(done)
		}
		ok = ok && !dropped
		if ok {
			t.conclude(done) // before the directory can be removed
		}
		close(t.ended)
		if ok {
			t.k.post(func(at time.Time, now job.Instant) slot.Event {
				return slot.Ended{At: at, Now: now, Claim: t.offer.Claim}
			})
		}
	})
}

// work does everything from the job's files to its report. It is false when there is nothing to
// report: the claim is gone, or the agent stops and the job lives on.
func (t *tenant) work(ctx context.Context, in Init) (wire.Done, bool) {
	if t.bad != nil {
		return hold(job.HoldStartFailed, t.bad.Error()), true
	}
	if in == nil {
		var err error
		if in, err = t.prepare(ctx); err != nil {
			return t.failed(ctx, in, err)
		}
	}
	defer t.gone()
	defer t.stopSaving()
	look := time.NewTicker(t.lookEach(in))
	defer look.Stop()
	for {
		ended := in.Done()
		if t.leaves {
			ended = nil // all that is left for it to do is to leave, and the keeper is about to say so
		}
		select {
		case <-ctx.Done():
			return t.failed(ctx, in, ctx.Err())
		case d := <-t.leave:
			t.stopSaving()
			if d.farewell != 0 {
				return t.dismissed(ctx, in, d.why, d.farewell)
			}
			return t.depart(ctx, in, d.why)
		case err := <-t.over:
			return t.failed(ctx, in, err)
		case <-look.C:
			t.look(ctx, in)
			if t.tryDue(time.Now()) {
				t.tryOut(ctx, in)
			}
			if t.saveDue(time.Now()) {
				t.save(ctx, in)
			}
			t.cool(ctx, in)
			look.Reset(t.lookEach(in))
		case <-t.turned:
			look.Reset(t.lookEach(in))
		case <-ended:
			exit := in.Exit()
			if t.savedItself(exit) {
				t.ranOnce(exit.Usage)
				if err := t.storeOwnFiles(ctx, in); err != nil {
					return t.failed(ctx, in, err)
				}
				if err := t.again(ctx, in); err != nil {
					return t.failed(ctx, in, err)
				}
				t.noteUsage() // not before: until then an agent that finds the job as it has ended counts it itself
				continue
			}
			return t.finish(ctx, in, exit)
		}
	}
}

// vacate asks the job to leave with a checkpoint. A job that is still being prepared is given up.
func (t *tenant) vacate(why string) {
	if t.running.Load() == nil {
		t.kill(why)
		return
	}
	t.part(departure{why: why})
}

// dismiss asks the job to end, with the signal that it wants when its user has removed or held it.
func (t *tenant) dismiss(why string, signal int) {
	if t.running.Load() == nil {
		t.kill(why)
		return
	}
	t.part(departure{why, signal})
}

func (t *tenant) part(d departure) {
	select {
	case t.leave <- d:
	default: // it is leaving already
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hurry != nil {
		t.hurry()
	}
}

// farewell is the signal that the job wants before it is ended for a cause, and how long it may take
// then. Without one it is ended at once.
func (t *tenant) farewell(cause wire.Cause) (signal int, wait time.Duration) {
	switch cause {
	case wire.ForRemove:
		signal = t.cmd.Stop.Removed
	case wire.ForHold:
		signal = t.cmd.Stop.Held
	}
	switch most := t.k.cfg.MaxVacate; {
	case signal == 0:
		return 0, 0
	case t.cmd.Stop.Wait == 0:
		return signal, most
	default:
		return signal, min(t.cmd.Stop.Wait, most)
	}
}

// kill ends the job at once; the claim is then reported as evicted.
func (t *tenant) kill(why string) {
	switch {
	case t == nil:
	case t.preclude():
		t.conclude(wire.Done{Outcome: wire.Evicted, Reason: why})
		t.k.post(func(at time.Time, now job.Instant) slot.Event {
			return slot.Ended{At: at, Now: now, Claim: t.offer.Claim}
		})
	default:
		t.cancel(&killedError{why})
	}
}

// discard ends the job at once; nothing is reported.
func (t *tenant) discard() {
	if t != nil && !t.preclude() {
		t.dropped.Store(true)
		t.cancel(errDiscarded)
	}
}

// abandon ends a tenant whose work has not begun and never will: nobody has granted its claim in time, or it was
// over before this agent.
func (t *tenant) abandon() { t.preclude() }

// preclude keeps work from beginning that has not begun yet, and is false if it has.
func (t *tenant) preclude() bool {
	first := t.first()
	if first {
		close(t.ended)
	}
	return first
}

// first reports whether the work has neither begun nor been precluded so far. From now on it has.
func (t *tenant) first() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	begun := t.begun
	t.begun = true
	return !begun
}

func (t *tenant) freeze() {
	if t != nil {
		t.stand(func() { t.frozen = true })
	}
}

func (t *tenant) thaw() {
	if t != nil {
		t.stand(func() { t.frozen = false })
	}
}

// yield has the job stand still for the owner's programs, or no longer, whatever the keeper wants besides.
func (t *tenant) yield(scarce bool) {
	if t == nil {
		return
	}
	t.mu.Lock()
	same := t.yields == scarce
	t.mu.Unlock()
	if same {
		return
	}
	t.log.Debug("job makes room for the owner's programs", "stands_still", scarce)
	if scarce {
		t.k.d.load.sampled(t.k.num, 0)
	}
	t.stand(func() { t.yields = scarce })
}

// stand notes why the job is to stand still, for a job that is still being prepared or of which an image is being made,
// and has its init do so, or let it go on if there is no reason left.
func (t *tenant) stand(note func()) {
	t.mu.Lock()
	stood := t.stands()
	note()
	still := t.stands()
	switch {
	case !still:
		t.still = time.Time{}
	case t.still.IsZero():
		t.still = time.Now()
		if t.hurry != nil {
			t.hurry()
		}
	}
	later := t.imaging && !still
	t.mu.Unlock()
	if still != stood {
		select {
		case t.turned <- struct{}{}:
		default:
		}
	}
	in := t.init.Load()
	if in == nil || later {
		return
	}
	what, do := "thaw the job", Init.Thaw
	if still {
		what, do = "freeze the job", Init.Freeze
	}
	if err := do(*in); err != nil {
		t.log.Warn(what, diag.KeyError, err)
	}
}

// stands reports whether the job is to stand still. Called with mu held.
func (t *tenant) stands() bool { return t.frozen || t.yields }

// expect makes an init known in which a job is about to start, so that it starts frozen if the owner comes
// before that.
func (t *tenant) expect(in Init) {
	t.init.Store(&in)
	t.mu.Lock()
	still := t.stands()
	t.mu.Unlock()
	if still {
		t.stand(func() {})
	}
	t.applyThrottle()
	t.k.post(func(at time.Time, now job.Instant) slot.Event { return slot.Tick{At: at, Now: now} }) // arms the slot
}

// gone says that there is no job to freeze any more.
func (t *tenant) gone() {
	t.running.Store(nil)
	t.init.Store(nil)
}

// runs makes the job known that has been started in an init which knew so much of the lease.
func (t *tenant) runs(in Init, told job.Instant) {
	t.init.Store(&in)
	t.running.Store(&in)
	t.mu.Lock()
	still, lease := t.stands(), t.lease
	if t.since.IsZero() {
		t.since = time.Now()
	}
	t.mu.Unlock()
	t.log.Info("job runs")
	if lease != told {
		if err := in.Grant(lease.Sub(t.k.d.cfg.Clock())); err != nil {
			t.log.Warn("tell the init of the lease", diag.KeyError, err)
		}
	}
	if still { // the owner came while the job was being prepared
		t.stand(func() {})
	}
	t.applyThrottle()
	t.k.post(func(at time.Time, now job.Instant) slot.Event { return slot.Tick{At: at, Now: now} }) // arms the slot
}

// executing is when the job's program began; zero if it has not, or if nobody here knows.
func (t *tenant) executing() time.Time {
	if t == nil {
		return time.Time{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.since.UTC().Round(0)
}

// grant tells the init how long the lease still is.
func (t *tenant) grant(remaining time.Duration) {
	ends := t.k.d.cfg.Clock().Add(remaining)
	t.mu.Lock()
	t.lease = ends
	t.mu.Unlock()
	if in := t.running.Load(); in != nil {
		if err := (*in).Grant(remaining); err != nil {
			t.log.Warn("tell the init of the lease", diag.KeyError, err)
		}
	}
}

// refresh takes newer capabilities.
func (t *tenant) refresh(read, write string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if read != "" {
		t.read = read
	}
	if write != "" {
		t.write = write
	}
}

func (t *tenant) capabilities() (read, write string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.read, t.write
}
