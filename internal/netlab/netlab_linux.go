package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
)

// Network is the prefix of the addresses in every lab. It is only ever seen inside of namespaces.
const Network = "10.99.77."

// Head is the address of the bridge, in the namespace that all machines can reach.
const Head = Network + "1"

const headMAC = "02:00:0a:63:4d:01" // one of those that anybody may give

// MaxMachines is how many machines fit beside the head.
const MaxMachines = 200

// Lab is a network. New and Add come first; the other methods may be called concurrently, for different machines.
type Lab struct {
	prefix     string
	namespaces []string
	machines   map[string]bool

	mu      sync.Mutex // guards what follows
	guarded bool
	slow    map[string]*relay // by machine
}

// New makes a lab with the namespace of its head. What was made before an error is in the lab for Close.
// The prefix makes the names of its namespaces; it must not be longer than a few letters, and a second lab
// at the same time needs another one.
func New(ctx context.Context, prefix string) (*Lab, error) {
	l := &Lab{prefix: prefix, machines: map[string]bool{}, slow: map[string]*relay{}}
	if err := l.addNamespace(ctx, "head"); err != nil {
		return l, err
	}
	head := l.Namespace("head")
	return l, all(ctx,
		// A bridge that has no address of its own takes that of a port, and another one when ports come: a machine that
		// has asked for the head before would go on sending to nobody.
		[]string{"ip", "-n", head, "link", "add", "br0", "address", headMAC, "type", "bridge"},
		[]string{"ip", "-n", head, "addr", "add", Head + "/24", "dev", "br0"},
		[]string{"ip", "-n", head, "link", "set", "br0", "up"},
	)
}

// Add makes a machine with a cable to the head's bridge and gives its address.
func (l *Lab) Add(ctx context.Context, name string) (address string, err error) {
	n := len(l.machines)
	if n == MaxMachines {
		return "", fmt.Errorf("a lab has room for %d machines", MaxMachines)
	}
	if err := l.addNamespace(ctx, name); err != nil {
		return "", err
	}
	l.machines[name] = true
	address = fmt.Sprint(Network, 11+n)
	head, ns := l.Namespace("head"), l.Namespace(name)
	return address, all(ctx,
		[]string{"ip", "-n", head, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", ns},
		[]string{"ip", "-n", head, "link", "set", name, "master", "br0", "up"},
		[]string{"ip", "-n", ns, "addr", "add", address + "/24", "dev", "eth0"},
		[]string{"ip", "-n", ns, "link", "set", "eth0", "up"},
	)
}

// Machines gives the names of the machines and of the head.
func (l *Lab) Machines() iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield("head") {
			return
		}
		for m := range l.machines {
			if !yield(m) {
				return
			}
		}
	}
}

// Namespace gives the full name of a machine's namespace, as in /run/netns; "head" is the head's.
func (l *Lab) Namespace(machine string) string { return l.prefix + machine }

// Command makes a command that runs on a machine. The mounts stay those of this machine.
func (l *Lab) Command(ctx context.Context, machine, name string, args ...string) *exec.Cmd {
	return l.Enter(ctx, machine, nil, name, args...)
}

// Enter makes a command that runs on a machine and in other namespaces too, which options of nsenter name.
func (l *Lab) Enter(ctx context.Context, machine string, options []string, name string, args ...string) *exec.Cmd {
	all := append([]string{"--net=/run/netns/" + l.Namespace(machine)}, options...)
	return exec.CommandContext(ctx, "nsenter", append(append(all, name), args...)...)
}

// Cut lets nothing through a machine's cable any more; both ends keep believing in their connections.
func (l *Lab) Cut(ctx context.Context, machine string) error {
	return l.fault(ctx, machine, "drop")
}

// Mute lets nothing through that comes from a machine; what goes to it still arrives.
func (l *Lab) Mute(ctx context.Context, machine string) error {
	if err := l.guard(ctx); err != nil {
		return err
	}
	return l.nft(ctx, "add", "rule", "bridge", "faults", "from-"+machine, "drop")
}

// Deafen lets nothing through that goes to a machine; what it says still arrives.
func (l *Lab) Deafen(ctx context.Context, machine string) error {
	if err := l.guard(ctx); err != nil {
		return err
	}
	return l.nft(ctx, "add", "rule", "bridge", "faults", "to-"+machine, "drop")
}

// CutHead lets nothing through that comes from the head or goes to it; machines reach each other.
func (l *Lab) CutHead(ctx context.Context) error {
	if err := l.guard(ctx); err != nil {
		return err
	}
	return l.nft(ctx, "add", "rule", "bridge", "faults", "head", "drop")
}

// HealHead ends what CutHead began.
func (l *Lab) HealHead(ctx context.Context) error {
	return l.nft(ctx, "flush", "chain", "bridge", "faults", "head")
}

// Lose drops so many percent of the packets on a machine's cable.
func (l *Lab) Lose(ctx context.Context, machine string, percent int) error {
	if percent >= 100 {
		return l.Cut(ctx, machine)
	}
	return l.fault(ctx, machine, fmt.Sprintf("numgen random mod 100 < %d drop", percent))
}

// Heal ends all faults of a machine's cable.
func (l *Lab) Heal(ctx context.Context, machine string) error {
	return errors.Join(
		l.nft(ctx, "flush", "chain", "bridge", "faults", "from-"+machine),
		l.nft(ctx, "flush", "chain", "bridge", "faults", "to-"+machine),
	)
}

// fault puts a rule on both directions of a cable.
func (l *Lab) fault(ctx context.Context, machine, rule string) error {
	if err := l.guard(ctx); err != nil {
		return err
	}
	words := strings.Fields(rule)
	return errors.Join(
		l.nft(ctx, append([]string{"add", "rule", "bridge", "faults", "from-" + machine}, words...)...),
		l.nft(ctx, append([]string{"add", "rule", "bridge", "faults", "to-" + machine}, words...)...),
	)
}

// guard gives every cable its chains, before the first fault.
func (l *Lab) guard(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.guarded {
		return nil
	}
	var rules strings.Builder
	rules.WriteString("table bridge faults {\nchain head {}\n")
	for m := range l.machines {
		fmt.Fprintf(&rules, "chain from-%s {}\nchain to-%s {}\n", m, m)
	}
	for _, hook := range []string{"input", "forward", "output"} {
		fmt.Fprintf(&rules, "chain %s {\ntype filter hook %s priority 0;\n", hook, hook)
		if hook != "forward" {
			rules.WriteString("jump head\n")
		}
		for m := range l.machines {
			if hook != "output" {
				fmt.Fprintf(&rules, "iifname %q jump from-%s\n", m, m)
			}
			if hook != "input" {
				fmt.Fprintf(&rules, "oifname %q jump to-%s\n", m, m)
			}
		}
		rules.WriteString("}\n")
	}
	rules.WriteString("}\n")
	cmd := l.Command(ctx, "head", "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, bytes.TrimSpace(out))
	}
	l.guarded = true
	return nil
}

func (l *Lab) nft(ctx context.Context, args ...string) error {
	if out, err := l.Command(ctx, "head", "nft", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("nft %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// Close removes the namespaces. What still runs in them keeps them alive, unreachable.
func (l *Lab) Close(ctx context.Context) error {
	var errs []error
	l.mu.Lock()
	slow := slices.Collect(maps.Keys(l.slow))
	l.mu.Unlock()
	for _, machine := range slow {
		errs = append(errs, l.Undelay(ctx, machine))
	}
	for _, ns := range l.namespaces {
		errs = append(errs, all(ctx, []string{"ip", "netns", "delete", ns}))
	}
	l.namespaces = nil
	return errors.Join(errs...)
}

func (l *Lab) addNamespace(ctx context.Context, name string) error {
	ns := l.Namespace(name)
	if err := all(ctx, []string{"ip", "netns", "add", ns}); err != nil {
		return err
	}
	l.namespaces = append(l.namespaces, ns)
	return all(ctx, []string{"ip", "-n", ns, "link", "set", "lo", "up"})
}

// all runs commands until one fails.
func all(ctx context.Context, commands ...[]string) error {
	for _, c := range commands {
		if out, err := exec.CommandContext(ctx, c[0], c[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(c, " "), err, bytes.TrimSpace(out))
		}
	}
	return nil
}

// Possible says why no lab can be made here; nil when it can.
func Possible() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	for _, tool := range []string{"ip", "tc", "nft", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing; scripts/setup installs it as root", tool)
		}
	}
	return nil
}
