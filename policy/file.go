package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"skua/internal/quantity"
	"skua/policy/classad"
)

// File is a policy as the admin writes it, in TOML. Whatever is left out, the preset decides; the
// zero File is the preset desktop as it comes.
type File struct {
	Preset      Preset      `toml:"preset"`
	Owner       Owner       `toml:"owner"`
	Hours       Hours       `toml:"hours"`
	Limits      Limits      `toml:"limits"`
	Vacate      Vacate      `toml:"vacate"`
	Checkpoints Checkpoints `toml:"checkpoints"`
	Drain       Drain       `toml:"drain"`
	Allow       Allow       `toml:"allow"`
	SharedFS    SharedFS    `toml:"shared_fs"`
	Machine     Attributes  `toml:"machine"`
	Expressions Expressions `toml:"expressions"`
}

// Owner says when the person at the machine counts as away, and what that person may do.
type Owner struct {
	IdleAfter      *quantity.Duration `toml:"idle_after"`      // no input for this long: a job may start
	ContinueAfter  *quantity.Duration `toml:"continue_after"`  // no input for this long: a suspended job goes on
	BackgroundLoad *float64           `toml:"background_load"` // load that is not ours and still counts as an idle machine
	MayPause       *quantity.Duration `toml:"may_pause"`       // the longest pause the owner may order; 0 for none
	OnBattery      *Battery           `toml:"on_battery"`      // whether jobs run on battery
	OnMetered      Metered            `toml:"on_metered"`      // whether jobs begin on a network that costs
	ExclusiveApps  Apps               `toml:"exclusive_apps"`  // while one of them runs, the owner wants the whole machine
	FullScreen     *bool              `toml:"full_screen"`     // the same for a program that fills the screen
	Inhibited      *bool              `toml:"inhibited"`       // a program that keeps the screen on counts as the owner
	SlotsConnected *int               `toml:"slots_connected"` // so many of the slots make way for the owner; all by default
}

// Hours says when jobs may run at all. None means always.
type Hours struct {
	Run           []Span  `toml:"run"`
	Holidays      []Dates `toml:"holidays"`        // days on which other hours hold
	RunOnHolidays []Span  `toml:"run_on_holidays"` // those; none means the whole day
}

// Limits is what jobs get of the machine, all of them together.
type Limits struct {
	CPUs        *quantity.Share     `toml:"cpus"`
	Memory      *quantity.ByteShare `toml:"memory"`
	Disk        *quantity.ByteShare `toml:"disk"`
	DiskFloor   quantity.Bytes      `toml:"disk_floor"`   // of the disk where jobs run, left free
	Temperature Temperature         `toml:"temperature"`  // of the processor, from which jobs stand still
	Network     Network             `toml:"network"`      // what jobs may reach
	NetworkRate quantity.Rate       `toml:"network_rate"` // of the agent's transfers; 0 means no limit
	InUse       InUse               `toml:"in_use"`
}

// InUse is what jobs get while the owner is at the machine.
type InUse struct {
	CPUs *quantity.Share `toml:"cpus"` // 0 means that they stand still
}

// Vacate says how a job leaves.
type Vacate struct {
	SuspendFor    *quantity.Duration `toml:"suspend_for"`     // stay frozen this long, hoping that the owner goes again
	MaxVacateTime *quantity.Duration `toml:"max_vacate_time"` // then leave within this
	MaxSendTime   *quantity.Duration `toml:"max_send_time"`   // the job is gone by then: so long may its image still take to leave
	Retirement    *quantity.Duration `toml:"retirement"`      // that a job may have run before it must leave for others than the owner
}

// Checkpoints says how often an image is made of a job that runs.
type Checkpoints struct {
	Periodic    *bool              `toml:"periodic"`     // whether any is
	MinInterval *quantity.Duration `toml:"min_interval"` // between two, at least
	MaxInterval *quantity.Duration `toml:"max_interval"` // and at most, unless images are dear
}

// Drain empties the machine in time for a reboot that somebody else makes.
type Drain struct {
	Reboot *Moment            `toml:"reboot"`
	Before *quantity.Duration `toml:"before"` // no job comes for so long before it
}

// Allow says whose jobs may run. None means everybody's.
type Allow struct {
	Users  []string `toml:"users"`  // as the jobs' Owner
	Groups []string `toml:"groups"` // as the jobs' AcctGroup
}

// SharedFS names the file systems that this machine shares with others of the pool, which jobs may use
// in place. Everything else of the machine's files stays hidden from jobs.
type SharedFS struct {
	Domain string   `toml:"domain"` // machines of one domain share the mounts: FileSystemDomain
	Mounts []string `toml:"mounts"` // directories that jobs find, writable, at the same path
}

// Expressions replaces derived expressions.
type Expressions struct {
	Start       *Expression `toml:"START"`
	Suspend     *Expression `toml:"SUSPEND"`
	Continue    *Expression `toml:"CONTINUE"`
	Preempt     *Expression `toml:"PREEMPT"`
	Kill        *Expression `toml:"KILL"`
	WantSuspend *Expression `toml:"WANT_SUSPEND"`
	WantVacate  *Expression `toml:"WANT_VACATE"`
	Rank        *Expression `toml:"RANK"`
	Throttle    *Expression `toml:"THROTTLE"`
	Draining    *Expression `toml:"Draining"`
	Retirement  *Expression `toml:"MaxJobRetirementTime"`
}

// Network is what jobs may reach.
type Network string

// The kinds of network that a policy can grant.
const (
	NetworkOutbound Network = "outbound" // a network of the job's own, from which it can dial out
	NetworkNone     Network = "none"     // nothing but the job itself
	NetworkHost     Network = "host"     // the machine's network; connections cannot be checkpointed
)

// UnmarshalText reads the kind and refuses others.
func (n *Network) UnmarshalText(text []byte) error {
	switch v := Network(text); v {
	case NetworkOutbound, NetworkNone, NetworkHost:
		*n = v
		return nil
	}
	return fmt.Errorf(`%q is not a network: write "outbound", "none" or "host"`, text)
}

// Expression is a ClassAd expression in a policy file, in the syntax of HTCondor's configuration.
type Expression struct{ *classad.Expr }

// UnmarshalText parses the expression. Its error names the column, and the line if it has several.
func (e *Expression) UnmarshalText(text []byte) error {
	expr, err := classad.ParseOldExpr(strings.TrimSpace(string(text)))
	if bad, ok := errors.AsType[*classad.SyntaxError](err); ok {
		at := fmt.Sprintf("column %d", bad.Col)
		if bad.Line > 1 {
			at = fmt.Sprintf("line %d, %s", bad.Line, at)
		}
		return fmt.Errorf("%s of %q: %s", at, text, bad.Msg)
	}
	if err != nil {
		return err
	}
	e.Expr = expr
	return nil
}

// Attributes are what the admin adds to the machine's ads.
type Attributes struct{ *classad.Ad }

// UnmarshalTOML takes a table of texts, numbers and booleans. Attributes that say when jobs run, or
// that the machine tells of itself, are refused.
func (a *Attributes) UnmarshalTOML(table any) error {
	ad, err := TableAd(table, notReserved)
	a.Ad = ad
	return err
}

// TableAd makes an ad of a TOML table of texts, numbers and booleans. Names that are none, and those for which check
// gives an error, are refused; nil checks nothing more.
func TableAd(table any, check func(name string) error) (*classad.Ad, error) {
	values, ok := table.(map[string]any)
	if !ok {
		return nil, errors.New("must be a table of attributes")
	}
	ad := classad.NewAd()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := checkName(name); err != nil {
			return nil, err
		}
		if check != nil {
			if err := check(name); err != nil {
				return nil, err
			}
		}
		switch v := values[name].(type) {
		case string:
			ad.SetString(name, v)
		case int64:
			ad.SetInt(name, v)
		case float64:
			ad.SetReal(name, v)
		case bool:
			ad.SetBool(name, v)
		default:
			return nil, fmt.Errorf("attribute %q must be a text, a number, true or false", name)
		}
	}
	return ad, nil
}

// reserved are attributes that the agent sets itself, and words of the language.
var reserved = []string{
	"START", "SUSPEND", "CONTINUE", "PREEMPT", "KILL", "WANT_SUSPEND", "WANT_VACATE", "Rank", "Requirements",
	"WithinResourceLimits", "Name", "Machine", "MyType", "State", "Activity", "EnteredCurrentState", "EnteredCurrentActivity", "SlotID",
	"TotalSlots", "KeyboardIdle", "ConsoleIdle", "LoadAvg", "SkuaLoadAvg", "CondorLoadAvg", "ClockMin", "ClockDay", "ClockDate",
	"THROTTLE", "Throttled", "Draining", "MaxJobRetirementTime", "OnBattery", "BatteryPercent", "Temperature", "FullScreen",
	"Inhibited", "Metered", "RunningApps", "FreeDisk", "SlotsConnectedToKeyboard", "PolicyProblem",
	"CentralPolicy", "CentralPolicyNumber", "CanRunJobs", "CannotRunJobsReason", "PausedUntil", "Owner",
	"PartitionableSlot", "DynamicSlot", "SlotType", "NumDynamicSlots", "MaxDynamicSlots", "DSlotID",
	"TotalSlotCpus", "TotalSlotMemory", "TotalSlotDisk", "TotalSlotGPUs", "JobId",
	"CurrentTime", "MY", "TARGET", "PARENT", "true", "false", "undefined", "error", "is", "isnt",
}

func checkName(name string) error {
	letters := func(r rune) bool {
		return r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
	}
	if name == "" || name[0] >= '0' && name[0] <= '9' || strings.TrimFunc(name, letters) != "" {
		return fmt.Errorf("%q is not an attribute name: use letters, digits and _", name)
	}
	return nil
}

func notReserved(name string) error {
	for _, r := range reserved {
		if strings.EqualFold(name, r) {
			return fmt.Errorf("attribute %q is the agent's own: expressions go into [expressions], the rest cannot be set", name)
		}
	}
	return nil
}
