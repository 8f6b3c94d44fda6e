package startd

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"skua/agent/probe"
	"skua/internal/diag"
	"skua/internal/fit"
	"skua/internal/quantity"
	"skua/policy"
)

// ProbeSettings are one table [probes.NAME] of agent.toml.
type ProbeSettings struct {
	Run     string            `toml:"run"`     // path of a program that prints lines "Attribute = value"
	Every   quantity.Duration `toml:"every"`   // from one start to the next; 10m by default
	Timeout quantity.Duration `toml:"timeout"` // then it is killed; 10s by default
	User    string            `toml:"user"`    // whom it runs as; nobody by default
}

const (
	probesMost   = 64
	probeEvery   = 10 * time.Minute
	probeTimeout = 10 * time.Second
	probeLeast   = 10 * time.Second // an owner would notice programs that are started more often
)

const probeNameMost = 64

var probeName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// checkProbes refuses probes that cannot be run.
func (s Settings) checkProbes() error {
	bad := func(name, what, hint string, args ...any) error {
		return &diag.Problem{What: "probes." + name + ": " + fmt.Sprintf(what, args...), Hint: hint}
	}
	if len(s.Probes) > 0 && !probe.CanRunScripts {
		return &diag.Problem{What: "probes: this system cannot run them yet", Hint: "remove the table from agent.toml"}
	}
	if len(s.Probes) > probesMost {
		return &diag.Problem{What: fmt.Sprintf("probes: there are %d, and %d at most", len(s.Probes), probesMost), Hint: "have one program print the attributes of several"}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Probes)) {
		p := s.Probes[name]
		every, timeout := p.times()
		switch {
		case len(name) > probeNameMost || !probeName.MatchString(name):
			return bad(name, "this is not a probe's name", "use up to 64 letters, digits, _ and -")
		case !filepath.IsAbs(p.Run):
			return bad(name, "run = %q is not the path of a program", `name it as in run = "/usr/local/bin/licences"`, p.Run)
		case every < probeLeast:
			return bad(name, "every = %q is less than %q", "each run takes time from whoever sits at the machine", p.Every, quantity.Duration(probeLeast))
		case timeout <= 0 || timeout > every:
			return bad(name, "timeout = %q is not between 0 and %q, when it is run again", "give it less time, or run it less often", quantity.Duration(timeout), quantity.Duration(every))
		}
	}
	return nil
}

// times are the two durations with their defaults.
func (p ProbeSettings) times() (every, timeout time.Duration) {
	every, timeout = p.Every.Std(), p.Timeout.Std()
	if every == 0 {
		every = probeEvery
	}
	if timeout == 0 {
		timeout = min(probeTimeout, every)
	}
	return every, timeout
}

// scripts are the probes in the order of their names.
func (s Settings) scripts() []probe.Script {
	var scripts []probe.Script
	for _, name := range slices.Sorted(maps.Keys(s.Probes)) {
		p := s.Probes[name]
		every, timeout := p.times()
		scripts = append(scripts, probe.Script{Name: name, Run: p.Run, Every: every, Timeout: timeout, User: p.User})
	}
	return scripts
}

// slotAttributes are what a slot says besides the machine's facts and conditions.
var slotAttributes = []string{
	"Name", "SlotID", "Machine", "MyType", "TargetType", "TotalSlots", "State", "Activity", "EnteredCurrentState", "EnteredCurrentActivity",
	"CanRunJobs", "CannotRunJobsReason", "KeyboardIdle", "ConsoleIdle", "LoadAvg", "SkuaLoadAvg", "CondorLoadAvg", "ClockMin", "ClockDay",
	"START", "SUSPEND", "CONTINUE", "PREEMPT", "KILL", "WANT_SUSPEND", "WANT_VACATE", "RANK", "Requirements", "WithinResourceLimits",
	"HasFileTransfer", "HasSelfCheckpointTransfers", "HasJobDeferral", "StarterAbilityList", "HasFileTransferPluginMethods", "CondorVersion",
	"HasCheckpointing", "CriuVersion", "Freezer", "FileSystemDomain", "HasOutboundNetwork", "OutboundNetworkBy", "HasRuntimeRoots",
	"ClockDate", "MaxJobRetirementTime", "THROTTLE", "Draining", "Throttled", "PausedUntil", "PolicyProblem",
	"CentralPolicy", "CentralPolicyNumber",
}

// MachineAttributes lists what an agent may say of its machine and slots, apart from what its policy and
// its probes add.
func MachineAttributes() []string {
	return slices.Concat(slotAttributes, probe.FactAttributes, probe.ConditionAttributes)
}

// ownAttribute reports whether an attribute is for the machine and its policy to tell, not for a probe.
func ownAttribute(p *policy.Policy) func(name string) bool {
	own := make(map[string]bool)
	for _, name := range append(MachineAttributes(), p.Machine.Names()...) {
		own[strings.ToLower(name)] = true
	}
	for _, word := range []string{"CurrentTime", "MY", "TARGET", "PARENT", "true", "false", "undefined", "error", "is", "isnt", "Rank", "SlotMergeConstraint"} {
		own[strings.ToLower(word)] = true
	}
	return func(name string) bool {
		name = strings.ToLower(name)
		return own[name] || strings.HasPrefix(name, "gpus_") || strings.HasPrefix(name, strings.ToLower(fit.AttrFile))
	}
}
