package startd

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"runtime"
	"strings"

	"skua/internal/central"
	"skua/internal/diag"
	"skua/internal/quantity"
)

// Settings are what agent.toml says about one machine.
type Settings struct {
	Name     string         `toml:"name"`     // of the machine; the host's name by default
	Dir      string         `toml:"dir"`      // where the agent keeps its state and its claims
	Control  string         `toml:"control"`  // socket for the person at the machine; "none" for none
	Policy   string         `toml:"policy"`   // path of the policy file; none means the desktop preset
	Group    string         `toml:"group"`    // of machines, whose central policy this one follows; "default" by default
	Central  *bool          `toml:"central"`  // false: no central policy counts here
	Slots    int            `toml:"slots"`    // 1 by default; if partitionable, as many as there are cpus
	Displays []string       `toml:"displays"` // X displays to watch, ":0"; all that are found by default
	TTYs     *bool          `toml:"ttys"`     // whether input on terminals is the owner's; true by default
	Owner    *bool          `toml:"owner"`    // false: nobody sits here, watch nothing
	Criu     string         `toml:"criu"`     // path of criu; found by default
	Cgroup   string         `toml:"cgroup"`   // directory of a cgroup v2 for the claims; found by default
	UIDBase  uint32         `toml:"uid_base"` // first of the user ids that jobs get, 65,536 for each slot
	Cache    quantity.Bytes `toml:"cache"`    // bound of the file cache; 2GB by default
	Runtimes quantity.Bytes `toml:"runtimes"` // bound of unpacked runtime roots; 10GB by default

	// Partitionable machines have one slot, of which each job takes what it asks for; up to Slots at a time.
	Partitionable bool `toml:"partitionable"`

	Probes map[string]ProbeSettings `toml:"probes"` // programs that tell further attributes
}

// Follows gives the group whose central policy the machine follows, if it follows one.
func (s Settings) Follows() (group string, ok bool) {
	return cmp.Or(s.Group, central.DefaultGroup), s.Central == nil || *s.Central
}

// atATime is how many jobs the machine may have at a time.
func (s Settings) atATime() int {
	if s.Partitionable && s.Slots <= 0 {
		return runtime.NumCPU()
	}
	return max(s.Slots, 1)
}

// EvenParts is into how many slots of equal size the machine is divided.
func (s Settings) EvenParts() int {
	if s.Partitionable {
		return 1
	}
	return max(s.Slots, 1)
}

// check refuses values that no machine can have. Zero values stand for the defaults.
func (s Settings) check() error {
	const (
		mostSlots = 1024
		leastID   = 1 << 16 // below are the ids of people and services
		mostID    = math.MaxUint32
		leastSize = quantity.Bytes(1e6)
	)
	switch {
	case s.Slots < 0 || s.Slots > mostSlots:
		return &diag.Problem{
			What: fmt.Sprintf("slots = %d is not between 1 and %d", s.Slots, mostSlots),
			Hint: "slots is how many jobs may share the machine",
		}
	case s.Cache < 0 || s.Cache > 0 && s.Cache < leastSize:
		return &diag.Problem{
			What: fmt.Sprintf("cache = %q is less than %q", s.Cache, leastSize),
			Hint: "cache is how much disk input files may take to be at hand for later jobs; leave it out for 2GB",
		}
	case s.Runtimes < 0 || s.Runtimes > 0 && s.Runtimes < leastSize:
		return &diag.Problem{
			What: fmt.Sprintf("runtimes = %q is less than %q", s.Runtimes, leastSize),
			Hint: "runtimes is how much disk the programs and libraries may take that jobs bring as runtime roots; leave it out for 10GB",
		}
	case s.UIDBase != 0 && (s.UIDBase < leastID || int64(s.UIDBase) > mostID-int64(s.atATime())*leastID):
		return &diag.Problem{
			What: fmt.Sprintf("uid_base = %d is not between %d and %d", s.UIDBase, leastID, mostID-int64(s.atATime())*leastID),
			Hint: "the jobs of each slot run under 65,536 user ids that nobody else on the machine may have; leave it out for the usual ones",
		}
	case len(s.Name) > 255 || strings.ContainsFunc(s.Name, func(r rune) bool { return r <= ' ' || r == '@' || r == 0x7f }):
		return &diag.Problem{
			What: fmt.Sprintf("name = %q cannot be a machine's name", s.Name),
			Hint: "write one without blanks and @, such as the host's name",
		}
	}
	if group, _ := s.Follows(); central.CheckGroup(group) != nil {
		return &diag.Problem{What: "group: " + central.CheckGroup(group).Error(), Hint: `use lower-case letters, digits and -, such as "lab"; leave it out for "default"`}
	}
	return s.checkProbes()
}

// DirProblem says that a directory of the agent's state cannot be made or used, and what to do.
func DirProblem(dir string, err error) error {
	p := &diag.Problem{What: err.Error(), Hint: "set dir in agent.toml to a directory on a local disk", Err: err}
	if errors.Is(err, fs.ErrPermission) {
		p.Hint = "run the agent as an administrator, or set dir in agent.toml to a directory of your own"
	}
	if !strings.Contains(p.What, dir) {
		p.What = dir + ": " + p.What
	}
	return p
}
