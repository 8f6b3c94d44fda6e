package startd

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"skua/agent/probe"
	"skua/agent/starter"
	"skua/internal/blob"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/membership"
	"skua/internal/quantity"
	"skua/policy"
	"skua/policy/classad"
)

// Settings are what agent.toml says about one machine.
type Settings struct {
	Name     string         `toml:"name"`     // of the machine; the host's name by default
	Dir      string         `toml:"dir"`      // where the agent keeps its state and its claims
	Policy   string         `toml:"policy"`   // path of the policy file; none means the desktop preset
	Slots    int            `toml:"slots"`    // 1 by default
	Displays []string       `toml:"displays"` // X displays to watch, ":0"; all that are found by default
	TTYs     *bool          `toml:"ttys"`     // whether input on terminals is the owner's; true by default
	Owner    *bool          `toml:"owner"`    // false: nobody sits here, watch nothing
	Criu     string         `toml:"criu"`     // path of criu; found by default
	Cgroup   string         `toml:"cgroup"`   // directory of a cgroup v2 for the claims; found by default
	UIDBase  uint32         `toml:"uid_base"` // first of the 65,536 user ids that jobs get
	Cache    quantity.Bytes `toml:"cache"`    // bound of the file cache; 2GB by default
}

// Machine is the agent of this machine with everything it stands on: the real starter, probe, bus and
// file service.
type Machine struct {
	settings Settings
	member   *membership.Membership
	policy   *policy.Policy
	log      *slog.Logger
}

// MembershipDir is where an agent with its state in dir keeps its membership.
func MembershipDir(dir string) string { return filepath.Join(dir, "member") }

// NewMachine checks the settings. It starts nothing.
func NewMachine(s Settings, member *membership.Membership, p *policy.Policy, log *slog.Logger) (*Machine, error) {
	if s.Dir == "" {
		return nil, &diag.Problem{What: "the agent has no directory for its state", Hint: "set dir in agent.toml"}
	}
	if s.Slots < 0 || s.Slots > 1024 {
		return nil, &diag.Problem{What: fmt.Sprintf("slots = %d is not between 1 and 1024", s.Slots)}
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
	return &Machine{settings: s, member: member, policy: p, log: log}, nil
}

// Run serves until ctx ends. Then, unless keep says that only the agent is being replaced, every job
// is asked to leave first, for as long as the policy grants.
func (m *Machine) Run(ctx context.Context, keep func() bool) error {
	// What jobs have of the disk, and what the agent writes down about them, are kept apart.
	claims, records := filepath.Join(m.settings.Dir, "claims"), filepath.Join(m.settings.Dir, "records")
	st, err := starter.New(starter.Config{
		Dir: claims, CriuPath: m.settings.Criu, CgroupBase: m.settings.Cgroup, UIDBase: m.settings.UIDBase, Log: m.log,
	})
	if err != nil {
		return fmt.Errorf("prepare to run jobs: %w", err)
	}
	can := st.Capabilities(ctx)
	if !can.Sandbox {
		m.log.Warn("this machine cannot run jobs", "why", can.SandboxWhy)
	}
	if !can.Checkpoint {
		m.log.Warn("jobs cannot be checkpointed here, only those that save their own state", "why", can.CheckpointWhy)
	}
	cache, err := blob.OpenCache(blob.CacheConfig{Dir: filepath.Join(m.settings.Dir, "cache"), MaxBytes: int64(m.settings.Cache)})
	if err != nil {
		return fmt.Errorf("open the file cache: %w", err)
	}
	files, err := m.member.Files()
	if err != nil {
		return err
	}
	conn, err := m.member.Dial(ctx, m.log, false)
	if err != nil {
		return err
	}
	defer conn.Close()
	d, err := New(Config{
		Agent: job.AgentID(m.member.ID), Machine: m.settings.Name, Dir: records, Slots: m.settings.Slots,
		Bus: conn, Starter: RealStarter{st, can}, Files: &Storage{Client: files, Cache: cache},
		Policy: m.policy, Facts: m.facts(claims, can), Watch: m.watch(), Clock: Boottime, Log: m.log,
	})
	if err != nil {
		return err
	}
	return m.serve(ctx, d, keep)
}

// serve runs the daemon until ctx ends and the jobs have left.
func (m *Machine) serve(ctx context.Context, d *Daemon, keep func() bool) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.Run(serving) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	if keep == nil || !keep() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.policy.MaxVacateTime+10*time.Second)
		defer cancel()
		if err := d.Vacate(grace, "the agent on "+m.settings.Name+" was stopped"); err != nil {
			m.log.Warn("jobs were left behind, frozen", diag.KeyError, err)
		}
	}
	stop()
	return <-ended
}

func (m *Machine) facts(dir string, can starter.Capabilities) Facts {
	return func(ctx context.Context) (*classad.Ad, error) {
		ad, err := probe.Facts(ctx, probe.FactsConfig{Machine: m.settings.Name, ExecuteDir: dir})
		if ad == nil {
			ad = classad.NewAd()
		}
		ad.SetBool("CanRunJobs", can.Sandbox)
		for _, what := range ours {
			ad.SetBool(what, true)
		}
		ad.SetString("CondorVersion", speaks)
		ad.SetBool("HasCheckpointing", can.Checkpoint)
		if can.CriuVersion != "" {
			ad.SetString("CriuVersion", can.CriuVersion)
		}
		ad.SetString("Freezer", can.Freezer)
		return ad, err
	}
}

// ours are abilities of every agent, by the names that HTCondor's submit language asks for.
var ours = []string{"HasFileTransfer", "HasSelfCheckpointTransfers"}

// speaks is the version of HTCondor whose job descriptions an agent understands, for the clauses that
// submit adds to Requirements.
const speaks = "$CondorVersion: 23.9.6 2026-07-12 Skua $"

func (m *Machine) watch() Watch {
	if m.settings.Owner != nil && !*m.settings.Owner {
		return nil
	}
	return func(touched func(probe.Active)) (Owner, error) {
		cfg := m.settings.WatchConfig()
		cfg.OnActive, cfg.Log = touched, m.log
		return probe.NewWatcher(cfg)
	}
}

// WatchConfig says where the owner's input is looked for.
func (s Settings) WatchConfig() probe.WatchConfig {
	return probe.WatchConfig{
		Displays: s.Displays, SkipTTYs: s.TTYs != nil && !*s.TTYs,
		Wayland: s.Displays == nil, // who names the displays says that they are all there is
	}
}

// RealStarter is a starter.Starter as a [Starter].
type RealStarter struct {
	*starter.Starter
	Can starter.Capabilities
}

// Open implements [Starter].
func (r RealStarter) Open(ctx context.Context, spec starter.ClaimSpec) (Init, error) {
	return r.Starter.Open(ctx, spec)
}

// Adopt implements [Starter].
func (r RealStarter) Adopt(ctx context.Context, claim job.ClaimID) (Init, error) {
	return r.Starter.Adopt(ctx, claim)
}

// CanCheckpoint implements [Starter].
func (r RealStarter) CanCheckpoint() bool { return r.Can.Checkpoint }
