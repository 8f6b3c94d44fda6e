package startd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"skua/agent/probe"
	"skua/agent/runtimes"
	"skua/agent/starter"
	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/membership"
	"skua/internal/pause"
	"skua/internal/transfer"
	"skua/policy"
	"skua/policy/classad"
)

// Machine is the agent of this machine with everything it stands on: the real starter, probe, bus and
// file service.
type Machine struct {
	Version string  // of the program, for who asks; may be set before Run
	Central Central // may be set before Run; nil means that no central policy is asked for

	// Rest is [Config.Rest], of a program that is the agent and nothing else. It may be set before Run.
	Rest func(rests bool)

	settings Settings
	member   *membership.Membership
	log      *slog.Logger

	policy atomic.Pointer[policy.Policy] // keepers, for which SetPolicy waits, read it

	mu     sync.Mutex // guards what follows, and changes of policy
	refuse error      // why a newer policy is not in force; nil if it is
	daemon *Daemon    // nil before Run

	starter Starter                                        // nil before Prepare
	test    func(ctx context.Context) starter.Capabilities // of starter
	can     atomic.Pointer[starter.Capabilities]           // as tested last, whatever the policy

	gpus    probe.GPUFinder
	figures atomic.Pointer[probe.Figures] // how fast the machine is; nil until that is known
}

// MembershipDir is where an agent with its state in dir keeps its membership.
func MembershipDir(dir string) string { return filepath.Join(dir, "member") }

// NewMachine checks the settings. It starts nothing.
func NewMachine(s Settings, member *membership.Membership, p *policy.Policy, log *slog.Logger) (*Machine, error) {
	if s.Dir == "" {
		return nil, &diag.Problem{What: "the agent has no directory for its state", Hint: "set dir in agent.toml"}
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	if s.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, &diag.Problem{What: "the machine has no name", Hint: "set name in agent.toml", Err: err}
		}
		s.Name = host
	}
	if s.Cache == 0 {
		s.Cache = 2_000_000_000
	}
	m := &Machine{settings: s, member: member, log: log}
	m.policy.Store(p)
	return m, nil
}

// Prepare finds out what the machine can do for jobs, by trying it, which takes a few seconds the first
// time. Run does so itself; whoever wants to know earlier calls it first, and not at the same time.
func (m *Machine) Prepare(ctx context.Context) (starter.Capabilities, error) {
	if m.starter != nil {
		return m.abilities(), nil
	}
	dir := m.claims()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return starter.Capabilities{}, DirProblem(dir, err)
	}
	st, test, err := m.newStarter(dir)
	if err != nil {
		return starter.Capabilities{}, err
	}
	can := test(ctx)
	m.can.Store(&can)
	m.starter, m.test = st, test
	return m.abilities(), nil
}

func (m *Machine) claims() string { return claimsDir(m.settings.Dir) }

// claimsDir is where the claims of an agent with its state in dir have their directories.
func claimsDir(dir string) string { return filepath.Join(dir, "claims") }

// Occasion is why an agent ends. What becomes of its jobs depends on it.
type Occasion int

// The occasions on which agents end.
const (
	Stopped   Occasion = iota // jobs leave first, for as long as the policy grants
	HandsOver                 // another agent follows: jobs stay, and stand still until it adopts them
	ShutsDown                 // the machine goes down: jobs leave in the little time that its user waits for that
)

// shutdownPatience is how long the machine's user waits for jobs when the machine is switched off. Those
// that have not left by then go on elsewhere from their last checkpoint.
const shutdownPatience = 20 * time.Second

// Run serves until ctx ends. Then occasion says why; nil means that the agent is always stopped.
func (m *Machine) Run(ctx context.Context, occasion func() Occasion) error {
	// What jobs have of the disk, and what the agent writes down about them, are kept apart.
	records := filepath.Join(m.settings.Dir, "records")
	cached := filepath.Join(m.settings.Dir, "cache")
	for _, dir := range []string{records, cached} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return DirProblem(dir, err)
		}
	}
	can, err := m.Prepare(ctx)
	if err != nil {
		return err
	}
	if !can.Sandbox {
		m.log.Warn("this machine cannot run jobs", "why", can.SandboxWhy)
	} else if !can.Checkpoint {
		m.log.Warn("jobs cannot be checkpointed here, only those that save their own state", "why", can.CheckpointWhy)
	}
	cache, err := blob.OpenCache(blob.CacheConfig{Dir: cached, MaxBytes: int64(m.settings.Cache)})
	if err != nil {
		return fmt.Errorf("open the file cache: %w", err)
	}
	free := func() int64 { return spare(m.settings.Dir, int64(m.Policy().DiskFloor)) }
	var roots Runtimes
	if hasRuntimeRoots {
		cfg := runtimes.Config{Dir: filepath.Join(m.settings.Dir, "runtimes"), MaxBytes: int64(m.settings.Runtimes), Free: free}
		if roots, err = runtimes.Open(cfg); err != nil {
			return DirProblem(m.settings.Dir, err)
		}
	}
	files, err := m.member.Files()
	if err != nil {
		return err
	}
	conn, err := m.member.Dial(bus.Config{Log: m.log, NoPings: true}) // advertise flushes
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, stop := context.WithCancel(ctx)
	var minding sync.WaitGroup
	defer minding.Wait()
	defer stop()
	minding.Go(func() { m.mindHeads(ctx, conn) })
	conditions, err := probe.NewConditions(m.conditions())
	if err != nil {
		return err
	}
	if f, err := probe.LoadFigures(m.figuresFile()); err == nil {
		m.figures.Store(&f)
	}
	var system SystemFiles
	if can.Checkpoint || can.TimedOut {
		const budget = 64 << 10 // bytes, of the ads of all slots: they travel in one message
		system = &probe.SystemFiles{Budget: budget / m.settings.atATime()}
	}
	transfers := transfer.NewThrottle()
	files.Throttle(transfers)
	storage := &Storage{Client: files, Cache: cache, Free: free}
	d, err := New(Config{
		Agent: job.AgentID(m.member.ID), Machine: m.settings.Name, Dir: records, Slots: m.settings.Slots, Partitionable: m.settings.Partitionable,
		Bus: conn, Starter: m.starter, Files: storage,
		Policy: m.Policy(), Transfers: transfers, Facts: m.facts(m.claims()), Watch: m.watch(), Clock: Boottime, Log: m.log,
		Conditions: conditions, Probes: m.probes(), WhenIdle: m.measure(), Rest: m.Rest, CopyTree: copyTree, ProcessorTime: ProcessorTime, IdleTime: probe.IdleTime, Central: m.Central, System: system,
		Runtimes: roots,
	})
	if err != nil {
		return err
	}
	transfers.Yield(d.ownerNear, processors)
	storage.Gentle = d.ownerNear
	m.mu.Lock()
	m.daemon = d
	if p := m.Policy(); p != d.policy() { // it has been replaced since
		d.SetPolicy(p)
	}
	if m.refuse != nil { // which the log has
		d.noteProblem(m.refuse)
	}
	m.mu.Unlock()
	minding.Go(func() { m.testAgain(ctx, d.abilitiesChanged) })
	if stopControls := m.startControls(d, conn); stopControls != nil {
		defer stopControls()
	}
	return m.serve(ctx, d, conn.Refused, occasion)
}

// SetPolicy puts another policy into force, as [Daemon.SetPolicy] does.
func (m *Machine) SetPolicy(p *policy.Policy) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.policy.Store(p)
	m.refuse = nil
	if m.daemon != nil {
		m.daemon.SetPolicy(p)
	}
}

// RefusePolicy says why a newer policy has not come into force, as [Daemon.RefusePolicy] does.
func (m *Machine) RefusePolicy(why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = why
	if m.daemon != nil {
		m.daemon.RefusePolicy(why)
		return
	}
	m.log.Error("the new policy is refused, and the old one stays in force", diag.KeyError, why)
}

// Policy is what holds now.
func (m *Machine) Policy() *policy.Policy { return m.policy.Load() }

// headsEvery is how often an agent asks which matchmakers the pool has.
const headsEvery = time.Hour

// mindHeads keeps up with the pool's matchmakers until ctx ends.
func (m *Machine) mindHeads(ctx context.Context, conn *bus.Client) {
	for {
		changed, err := m.member.Refresh(ctx)
		if err == nil && changed {
			m.log.Info("matchmakers of the pool", "urls", m.member.URLs())
			err = conn.SetURLs(m.member.URLs())
		}
		if err != nil && ctx.Err() == nil {
			m.log.Debug("the list of matchmakers is not up to date", diag.KeyError, err)
		}
		if pause.For(ctx, headsEvery/2+rand.N(headsEvery)) != nil { // a thousand agents do not ask at once
			return
		}
	}
}

// serve runs the daemon until ctx ends and the jobs have left. refused says that the machine was put out of the pool.
func (m *Machine) serve(ctx context.Context, d *Daemon, refused func() bool, occasion func() Occasion) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.Run(serving) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	most := m.Policy().MaxVacateTime
	why, patience := Stopped, most+10*time.Second
	if occasion != nil {
		why = occasion()
	}
	switch why {
	case HandsOver:
		m.log.Info("agent hands over: jobs stay, and stand still until the next agent adopts them")
		patience = 0
	case ShutsDown:
		patience = min(patience, shutdownPatience)
		m.log.Info("the machine goes down: jobs leave first", "within", patience)
	default:
		m.log.Info("agent stops: jobs leave first", "max_vacate_time", most)
	}
	if patience > 0 {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		leave := d.Vacate
		if refused() {
			m.log.Info("the matchmaker refuses this machine's key: jobs are ended")
			leave = d.End
		}
		if err := leave(grace, "the agent on "+m.settings.Name+" was stopped"); err != nil {
			m.log.Warn("jobs were left behind, frozen", diag.KeyError, err)
		}
	}
	stop()
	return <-ended
}

// factsLast is how long it is taken for granted that the machine has the processors, the memory and the system that it had.
const factsLast = time.Hour

// facts reads the machine's part of the ads.
func (m *Machine) facts(dir string) Facts {
	cfg := probe.FactsConfig{Machine: m.settings.Name, ExecuteDir: dir}
	var mu sync.Mutex // guards what follows, and m.gpus
	var lasting *classad.Ad
	var read time.Time
	return func(ctx context.Context) (*classad.Ad, error) {
		mu.Lock()
		defer mu.Unlock()
		can := m.abilities()
		var ad *classad.Ad
		var err error
		if lasting != nil && time.Since(read) < factsLast {
			ad = lasting.Clone()
			err = probe.DiskFacts(ctx, cfg, ad)
		} else if ad, err = probe.Facts(ctx, cfg); err == nil {
			lasting, read = ad.Clone(), time.Now()
		}
		if ad == nil {
			ad = classad.NewAd()
		}
		if gpus, gpuErr := m.gpus.GPUs(ctx); gpuErr != nil {
			err = errors.Join(err, gpuErr)
		} else {
			probe.SetGPUs(ad, gpus)
		}
		if f := m.figures.Load(); f != nil {
			f.Set(ad)
		}
		for _, what := range ours {
			ad.SetBool(what, true)
		}
		ad.SetString("MyType", "Machine")
		ad.SetString("TargetType", "Job")
		ad.SetString("StarterAbilityList", strings.Join(ours, ","))
		ad.SetString("HasFileTransferPluginMethods", strings.Join(fetchable, ","))
		ad.SetString("CondorVersion", speaks)
		ad.SetBool("HasCheckpointing", can.Checkpoint)
		if can.CriuVersion != "" {
			ad.SetString("CriuVersion", can.CriuVersion)
		}
		ad.SetString("Freezer", can.Freezer)
		ad.SetBool("HasOutboundNetwork", can.Outbound != "")
		ad.SetBool("HasRuntimeRoots", can.Sandbox && hasRuntimeRoots)
		if can.Outbound != "" {
			ad.SetString("OutboundNetworkBy", can.Outbound)
		}
		return ad, err
	}
}

// ours are abilities of every agent, by the names that HTCondor's submit language asks for. Most of the
// waiting of HasJobDeferral is the matchmaker's: a job comes a little before its time.
var ours = []string{"HasFileTransfer", "HasSelfCheckpointTransfers", "HasJobDeferral"}

// speaks is the version of HTCondor whose job descriptions an agent understands, for the clauses that
// submit adds to Requirements.
const speaks = "$CondorVersion: 23.9.6 2026-07-12 Skua $"

func (m *Machine) watch() Watch {
	if m.settings.Owner != nil && !*m.settings.Owner {
		return nil
	}
	return func(on Signs) (Owner, error) {
		cfg := m.settings.WatchConfig()
		cfg.OnActive, cfg.OnSleep, cfg.Log = on.Touched, on.Sleep, m.log
		return probe.NewWatcher(cfg)
	}
}

// WatchConfig says where the owner's input is looked for.
func (s Settings) WatchConfig() probe.WatchConfig {
	return probe.WatchConfig{
		Displays: s.Displays, SkipTTYs: s.TTYs != nil && !*s.TTYs,
		// Who names the displays says that they are all there is.
		Sessions: s.Displays == nil, SkipDevices: s.Displays != nil,
	}
}
