package policy

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"skua/internal/diag"
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
	SharedFS    SharedFS    `toml:"shared_fs"`
	Machine     Attributes  `toml:"machine"`
	Expressions Expressions `toml:"expressions"`
}

// Owner says when the person at the machine counts as away, and what that person may do.
type Owner struct {
	IdleAfter      *quantity.Duration `toml:"idle_after"`      // no input for this long: a job may start
	ContinueAfter  *quantity.Duration `toml:"continue_after"`  // no input for this long: a suspended job goes on
	BackgroundLoad *float64           `toml:"background_load"` // load that is not ours and still counts as an idle machine
	MayPause       *quantity.Duration `toml:"may_pause"`       // the longest pause the owner may order
	OnBattery      string             `toml:"on_battery"`      // not available yet
	ExclusiveApps  []string           `toml:"exclusive_apps"`  // not available yet
}

// Hours says when jobs may run at all. None means always.
type Hours struct {
	Run []Span `toml:"run"`
}

// Limits is what jobs get of the machine, all of them together.
type Limits struct {
	CPUs    *quantity.Share     `toml:"cpus"`
	Memory  *quantity.ByteShare `toml:"memory"`
	Disk    *quantity.ByteShare `toml:"disk"`
	Network Network             `toml:"network"`
	InUse   InUse               `toml:"in_use"`
}

// InUse is what jobs get while the owner is at the machine. So far that is nothing.
type InUse struct {
	CPUs quantity.Share `toml:"cpus"`
}

// Vacate says how a job leaves.
type Vacate struct {
	SuspendFor    *quantity.Duration `toml:"suspend_for"`     // stay frozen this long, hoping that the owner goes again
	MaxVacateTime *quantity.Duration `toml:"max_vacate_time"` // then leave within this
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
	values, ok := table.(map[string]any)
	if !ok {
		return errors.New("must be a table of attributes")
	}
	ad := classad.NewAd()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := checkAttribute(name); err != nil {
			return err
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
			return fmt.Errorf("attribute %q must be a text, a number, true or false", name)
		}
	}
	a.Ad = ad
	return nil
}

// reserved are attributes that the agent sets itself, and words of the language.
var reserved = []string{
	"START", "SUSPEND", "CONTINUE", "PREEMPT", "KILL", "WANT_SUSPEND", "WANT_VACATE", "Rank", "Requirements",
	"WithinResourceLimits", "Name", "Machine", "MyType", "State", "Activity", "EnteredCurrentState", "EnteredCurrentActivity", "SlotID",
	"TotalSlots", "KeyboardIdle", "ConsoleIdle", "LoadAvg", "SkuaLoadAvg", "CondorLoadAvg", "ClockMin", "ClockDay",
	"CurrentTime", "MY", "TARGET", "PARENT", "true", "false", "undefined", "error", "is", "isnt",
}

func checkAttribute(name string) error {
	letters := func(r rune) bool {
		return r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
	}
	if name == "" || name[0] >= '0' && name[0] <= '9' || strings.TrimFunc(name, letters) != "" {
		return fmt.Errorf("%q is not an attribute name: use letters, digits and _", name)
	}
	for _, r := range reserved {
		if strings.EqualFold(name, r) {
			return fmt.Errorf("attribute %q is the agent's own: expressions go into [expressions], the rest cannot be set", name)
		}
	}
	return nil
}

// check refuses what this version cannot keep, and what contradicts the preset. A setting that is
// accepted and does nothing would be found out by the owner.
func (f *File) check(from defaults) error {
	switch {
	case f.Owner.OnBattery != "":
		return notYet("owner.on_battery")
	case len(f.Owner.ExclusiveApps) > 0:
		return notYet("owner.exclusive_apps")
	case f.Limits.InUse.CPUs != quantity.Share{}:
		return notYet("limits.in_use.cpus other than 0")
	case !from.hasOwner && (f.Owner.IdleAfter != nil || f.Owner.ContinueAfter != nil || f.Owner.BackgroundLoad != nil):
		return &diag.Problem{
			What: fmt.Sprintf("owner: the preset %q does not look at the owner, so these settings would do nothing", f.Preset),
			Hint: `remove idle_after, continue_after and background_load, or use the preset "desktop"`,
		}
	case f.Owner.IdleAfter != nil && f.Owner.IdleAfter.Std() < shortestIdle:
		return tooShort("owner.idle_after")
	case f.Owner.ContinueAfter != nil && f.Owner.ContinueAfter.Std() < shortestIdle:
		return tooShort("owner.continue_after")
	case f.Owner.BackgroundLoad != nil && !(*f.Owner.BackgroundLoad >= 0 && *f.Owner.BackgroundLoad <= 1e6):
		return &diag.Problem{
			What: fmt.Sprintf("owner.background_load cannot be %v", *f.Owner.BackgroundLoad),
			Hint: "it is the number of cpus that others may keep busy on an idle machine, such as 0.3",
		}
	case f.Limits.Network == NetworkOutbound:
		return notYet(`limits.network = "outbound"`)
	case checkMounts(f.SharedFS.Mounts) != nil:
		return checkMounts(f.SharedFS.Mounts)
	case f.Vacate.MaxVacateTime != nil && *f.Vacate.MaxVacateTime == 0:
		return &diag.Problem{
			What: "vacate.max_vacate_time cannot be 0",
			Hint: `to kill jobs without a checkpoint, write WANT_VACATE = "false" in [expressions]`,
		}
	}
	return nil
}

// ownTrees are directories that every sandbox has of its own, or shows read-only.
var ownTrees = []string{"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "scratch", "sys", "tmp", "usr", "var"}

// checkMounts refuses shared directories that would open the machine to jobs, or hide what they need.
func checkMounts(mounts []string) error {
	for _, m := range mounts {
		top, _, _ := strings.Cut(strings.TrimPrefix(m, "/"), "/")
		if !path.IsAbs(m) || path.Clean(m) != m || slices.Contains(ownTrees, top) || top == "" {
			return &diag.Problem{
				What: fmt.Sprintf("shared_fs.mounts: %q cannot be shared with jobs", m),
				Hint: "name the mount point of a shared file system, such as /srv/data; the system's own directories stay apart",
			}
		}
	}
	return nil
}

func notYet(what string) error {
	return &diag.Problem{What: what + " is not available yet", Hint: "remove it from the policy"}
}

func tooShort(key string) error {
	return &diag.Problem{
		What: key + " cannot be less than a second",
		Hint: `for a machine that nobody sits at, use preset = "dedicated"`,
	}
}
