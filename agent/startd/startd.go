// Package startd is the machine's daemon: it owns the slots, advertises them, answers offers, and
// gets jobs out of the owner's way.
//
// What a slot does is decided by package slot, and the agent's half of a claim by package job; both
// are pure. Here their effects are carried out: each slot has a keeper, one goroutine that feeds its
// events to Step, and each claim a tenant, one goroutine that brings the job's files in, runs it, and
// takes its results or its image out. Only the freeze at the owner's first touch takes another way:
// straight from the watcher to the job's init, with no decision left to make.
//
// The package makes no policy, starts no process itself, and keeps nothing in memory that a killed
// agent would need: claims and reports are on disk before anybody is told of them.
package startd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"skua/agent/checkpoint"
	"skua/agent/control"
	"skua/agent/probe"
	"skua/agent/slot"
	"skua/agent/starter"
	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/transfer"
	"skua/policy"
	"skua/policy/classad"
)

// Config is what a Daemon is made of. Fields marked required have no default.
type Config struct {
	Agent     job.AgentID        // required: the id that the matchmaker issued
	Machine   string             // required: the machine's name
	Dir       string             // required: what must survive a killed agent: one directory per claim
	Slots     int                // number of slots; 0 means 1, and on a partitionable machine as many as there are cpus
	Bus       bus.Conn           // required
	Starter   Starter            // required
	Files     Files              // required
	Policy    *policy.Policy     // required; SetPolicy changes it
	Facts     Facts              // required
	Transfers *transfer.Throttle // follows the policy's TransferRate, and Files may share it; nil makes one
	Watch     Watch              // nil means a machine without an owner to watch
	Clock     job.LeaseClock     // required
	Bump      time.Duration      // see slot.Config; 0 means one second
	Log       *slog.Logger       // nil means no logging
	LookEach  time.Duration      // how often the policy looks at a slot with a job; 0 means one second
	LookStill time.Duration      // the same for one whose job stands still; 0 means ten seconds, or LookEach if that is longer
	LookIdle  time.Duration      // the same for one that takes no job now, which is looked at on every change that is told, too; 0 means two minutes
	Probes    Probes             // nil means none
	Runtimes  Runtimes           // nil means that no job comes with a runtime root
	System    SystemFiles        // nil means that nothing is known of the system's files

	Central    Central                   // nil means that no central policy is asked for
	Conditions Conditions                // nil means that nothing changes
	WhenIdle   func(ctx context.Context) // done once, in an idle moment, before the facts are read again; nil means nothing

	// MaxProcesses is how many processes and threads a job may have at a time; 0 means 4096. That is far more
	// than programs use and far less than a machine has room for: it bounds a job that forks without end.
	MaxProcesses int

	// Partitionable machines have one slot, of which each job takes what it asks for, up to Slots at a time.
	Partitionable bool

	// TrialAfter is how long a job has run when it is tried whether it can be checkpointed; 0 means ten seconds.
	TrialAfter time.Duration

	// CopyTree copies a directory for an image that is made while a job runs; nil means that none are made.
	CopyTree func(ctx context.Context, from, to string) error

	// Rest is called with true again and again while the agent has no job, and with false when there is one again; by
	// one goroutine at a time. nil means that nobody wants to know.
	Rest func(rests bool)

	// ProcessorTime is what the agent's process has used so far; nil means that nobody knows.
	ProcessorTime func() time.Duration

	// IdleTime is for how long so far nobody has used the machine's processors, all of them together; nil means that
	// nobody knows, and that a job which is throttled may always have its share.
	IdleTime func() (time.Duration, error)

	MeasureEach time.Duration // how often a job's scratch directory is measured at most; 0 means a minute
}

// Facts gives the machine's part of the slots' ads.
type Facts func(ctx context.Context) (*classad.Ad, error)

// Owner says how long ago the owner was last seen.
type Owner interface {
	Run(ctx context.Context) error
	Settle(ctx context.Context) // waits, not long, until Idle knows what there is to know
	Idle(now time.Time) time.Duration
	ConsoleIdle(now time.Time) (time.Duration, bool)
	Unseen() []probe.SourceState // what counts as the owner at work since nothing tells of its input
}

// Watch makes the watcher that tells of the signs it sees.
type Watch func(on Signs) (Owner, error)

// Signs are what a watcher calls.
type Signs struct {
	Touched func(probe.Active) // at the owner's first input after quiet
	Sleep   func(begins bool)  // before the machine goes to sleep, which waits for it, and when it is awake again
}

// Starter runs the claims' inits.
type Starter interface {
	Open(ctx context.Context, spec starter.ClaimSpec) (Init, error)
	Adopt(ctx context.Context, claim job.ClaimID) (Init, error)
	// Leftover stands for an init that is gone and has left the whole image of a job that was to leave.
	Leftover(claim job.ClaimID) (Init, error)
	Remove(claim job.ClaimID) error
	CanRun() error       // why no job can be run on this machine; nil if jobs can
	CanCheckpoint() bool // by image, not by the job's own files
}

// Init is the process that runs a claim's jobs.
type Init interface {
	Scratch() string
	ImageDir() string
	// Settle waits until the init is done with what an earlier agent has asked it for. The job, if Job says that there still
	// is one, stands still then.
	Settle(ctx context.Context) error
	Refresh(ctx context.Context) error // as new for another job; after an error it must not be used again
	Run(ctx context.Context, spec starter.JobSpec) error
	Resume(ctx context.Context, spec starter.JobSpec) error
	Job() (id job.ID, running bool)
	Frozen() bool // as the agent, this one or the one before, wishes
	Freeze() error
	Thaw() error
	// Cool has the memory of the job, which is frozen, be the first that goes to the swap when memory is short. It ends
	// early when the job is thawed.
	Cool(ctx context.Context) error
	Grant(remaining time.Duration) error
	Checkpoint(ctx context.Context, keep bool) (checkpoint.Stats, error)
	Look(ctx context.Context, limit int64) (starter.Reading, error)
	LimitsMemory() bool // the kernel keeps the job to its memory
	Processes() starter.Processes
	Signal(sig int) error
	// Throttle has the job get so many cpus at most, from now on and whatever runs in it; 0 or less lets it
	// have all that it may. It fails where the machine has no means for that.
	Throttle(ctx context.Context, cpus float64) error
	// ProcessorTime is what all that ran in the claim has used of the processors so far. It fails where the machine
	// does not count that.
	ProcessorTime() (time.Duration, error)
	Kill() error
	Done() <-chan struct{}
	Exit() starter.Exit
	Close()
}

// Daemon is the agent of one machine.
type Daemon struct {
	cfg       Config
	log       *slog.Logger
	began     time.Time
	owner     *presence
	load      *loadMeter
	web       *http.Client // fetches inputs that are named by URLs
	keepers   []*keeper
	parts     *parting                   // among them; nil unless the machine is partitionable
	adNow     chan struct{}              // wakes the advertiser
	policyNow chan struct{}              // has the central policy asked for
	facts     atomic.Pointer[classad.Ad] // the machine's part of the ads
	rules     atomic.Pointer[policy.Policy]
	badPolicy atomic.Pointer[string] // why a newer policy is not in force
	shared    *mountWatch
	unshared  atomic.Bool                  // a shared directory of the policy is missing
	leaving   atomic.Bool                  // Vacate has begun: no offer is taken any more
	wish      atomic.Pointer[control.Wish] // of the person at the machine, the latest
	unkept    atomic.Bool                  // it could not be written
	ran       ranLog
	remains   remains
	meter     meter
	room      roomMeter
	zone      zone
	waking    sync.WaitGroup // connections that are made anew after a sleep
	restMu    sync.Mutex     // held while Rest is called
	rests     bool           // what it was told last
	factsMu   sync.Mutex     // guards what follows, and is held while facts is replaced
	ownFacts  *classad.Ad    // without what probes say
	idleDone  bool           // WhenIdle has been called; the advertiser's own, as is what follows
	calm      bool           // there has been no job for a while, and nothing is left to do
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Daemon, error) {
	switch {
	case cfg.Agent == "" || cfg.Machine == "":
		return nil, errors.New("startd: an agent needs an id and a machine name")
	case cfg.Dir == "":
		return nil, errors.New("startd: no directory for claims")
	case cfg.Bus == nil || cfg.Starter == nil || cfg.Files == nil || cfg.Policy == nil || cfg.Facts == nil || cfg.Clock == nil:
		return nil, errors.New("startd: incomplete configuration")
	}
	if cfg.Partitionable && cfg.Slots <= 0 {
		cfg.Slots = runtime.NumCPU()
	}
	cfg.Slots = max(cfg.Slots, 1)
	if cfg.Bump == 0 {
		cfg.Bump = time.Second
	}
	if cfg.LookEach == 0 {
		cfg.LookEach = time.Second
	}
	if cfg.LookStill == 0 {
		cfg.LookStill = max(10*time.Second, cfg.LookEach)
	}
	if cfg.TrialAfter == 0 {
		cfg.TrialAfter = 10 * time.Second
	}
	if cfg.LookIdle == 0 {
		cfg.LookIdle = 2 * time.Minute
	}
	if cfg.MaxProcesses == 0 {
		cfg.MaxProcesses = 4096
	}
	if cfg.MeasureEach == 0 {
		cfg.MeasureEach = time.Minute
	}
	if cfg.Conditions == nil {
		cfg.Conditions = noConditions{}
	}
	d := &Daemon{
		cfg: cfg, log: cfg.Log, began: time.Now(), adNow: make(chan struct{}, 1), policyNow: make(chan struct{}, 1),
		meter: meter{cpu: cfg.ProcessorTime}, zone: zone{file: zoneFile()}, shared: newMountWatch(),
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.ran.dir = cfg.Dir
	d.room = roomMeter{idle: cfg.IdleTime, cpus: d.cpus}
	d.setFacts(classad.NewAd())
	d.rules.Store(cfg.Policy)
	d.owner = newPresence(cfg.Bump, func() time.Duration { return d.policy().ContinueAfter })
	d.load = newLoadMeter(cfg.ProcessorTime)
	d.web = newWeb(checkAddress)
	if d.cfg.Transfers == nil {
		d.cfg.Transfers = transfer.NewThrottle()
	}
	d.cfg.Transfers.SetRate(int64(cfg.Policy.TransferRate))
	d.web.Transport = d.cfg.Transfers.RoundTripper(d.web.Transport)
	if cfg.Partitionable {
		d.parts = newParting(d)
	}
	for i := range cfg.Slots {
		d.keepers = append(d.keepers, newKeeper(d, i+1))
	}
	return d, nil
}

// Run serves until ctx ends or something it needs fails. When it returns, every goroutine it started
// has ended. Jobs have not: their inits keep them, frozen after two seconds, until the next agent
// adopts them. To stop a machine for good, [Daemon.Vacate] first.
func (d *Daemon) Run(ctx context.Context) error {
	if err := os.MkdirAll(d.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make the directory for claims: %w", err)
	}
	defer d.waking.Wait()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	run := func(loop func(context.Context) error) {
		wg.Go(func() {
			if err := loop(ctx); err != nil {
				stop(err) // the first failure ends the others
			}
		})
	}
	if d.cfg.Watch != nil {
		watcher, err := d.cfg.Watch(Signs{Touched: d.touched, Sleep: d.sleep})
		if err != nil {
			return fmt.Errorf("watch the owner: %w", err)
		}
		d.owner.watcher = watcher
		run(watcher.Run)
		watcher.Settle(ctx)
	}
	d.readFacts(ctx)
	d.readWish()
	d.cfg.Conditions.SetApps(d.policy().WatchedApps)
	d.cfg.Conditions.LookFirst(ctx) // an adopted job would leave for a disk of which nothing is known
	words, err := d.readopt(ctx)
	if err != nil {
		return err
	}
	unlisten, err := d.listen()
	if err != nil {
		return err
	}
	defer unlisten()
	d.tellBusy()
	run(func(ctx context.Context) error { return d.cfg.Conditions.Run(ctx, d.lookAgain) })
	if d.cfg.Probes != nil {
		run(func(ctx context.Context) error { return d.cfg.Probes.Run(ctx, d.probed) })
	}
	if d.cfg.Central != nil {
		run(d.followCentral)
	}
	run(func(ctx context.Context) error { return d.tellLastWords(ctx, words) })
	run(d.advertise)
	for _, k := range d.keepers {
		run(k.run)
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Vacate asks every job to leave, with a checkpoint where it can, and waits until all have left and
// the matchmaker knows, or until ctx ends. From now on no offer is taken.
func (d *Daemon) Vacate(ctx context.Context, why string) error {
	d.leaving.Store(true)
	for _, k := range d.keepers {
		k.post(func(at time.Time, _ job.Instant) slot.Event { return slot.VacateAsked{At: at, Why: why} })
	}
	for _, k := range d.keepers {
		if err := k.waitFree(ctx); err != nil {
			return err
		}
	}
	return nil
}

// End has every job leave at once, and waits until nothing of them runs, or until ctx ends. It is for an agent of whose jobs
// nothing counts any more, and that nobody hears. From now on no offer is taken.
func (d *Daemon) End(ctx context.Context, why string) error {
	d.leaving.Store(true)
	for _, k := range d.keepers {
		k.post(func(at time.Time, _ job.Instant) slot.Event { return slot.VacateAsked{At: at, Why: why, Now: true} })
	}
	for _, k := range d.keepers {
		if err := k.waitOver(ctx); err != nil {
			return err
		}
	}
	return nil
}

// touched is the way of the owner's first input: freeze first, think later. It runs on the watcher's
// goroutine and makes no decision; that a slot is armed has been decided ahead.
func (d *Daemon) touched(a probe.Active) {
	var freezing sync.WaitGroup // one job that does not stop at once, since it waits for a disk, must not keep the others from it
	for _, k := range d.keepers {
		if in := k.armed.Load(); in != nil {
			freezing.Go(func() {
				if err := (*in).Freeze(); err != nil {
					d.log.Warn("freeze for the owner", diag.KeyError, err)
				}
			})
		}
	}
	freezing.Wait()
	d.log.Debug("the owner touches the machine", "source", a.Source, "idle", d.owner.watcher.Idle(a.At))
	d.owner.touch(a.At)
	for _, k := range d.keepers {
		if k.connected() {
			k.post(func(at time.Time, _ job.Instant) slot.Event { return slot.OwnerTouched{At: at} })
		}
	}
}

// claimDir is where the claim file and the report of one claim are.
func (d *Daemon) claimDir(claim job.ClaimID) string { return filepath.Join(d.cfg.Dir, string(claim)) }
