// Package skua_test keeps the rules of who may import whom, each beside its reason. It asks the go
// command, and so sees what is really built on each system.
package skua_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// tiers are the packages in the order in which they may know each other: a package imports packages
// of the lines above its own only. Two packages that need each other's names are one package, and two
// on a line can be read, tested and replaced without each other.
//
// A new package is added to the lowest line that it can stand on.
var tiers = [][]string{
	{"policy/classad", "internal/blob", "internal/diag", "internal/peer", "internal/quantity", "internal/why", "internal/fit", "internal/pause", "internal/durable", "internal/filelock", "packaging", "agent/x11", "agent/wayland", "agent/footprint", "agent/rhythm", "agent/sysbus", "agent/walk"},
	{"policy/config", "policy", "internal/job", "internal/trust", "internal/cli", "internal/rootarchive", "internal/adnames", "agent/control", "agent/session"},
	{"internal/wire", "internal/central", "internal/eventlog", "agent/slot", "agent/runtimes", "matchmaker/negotiate", "matchmaker/jobpolicy", "internal/submitfile"},
	{"internal/bus", "internal/transfer", "agent/probe", "agent/checkpoint", "matchmaker/collector", "matchmaker/history"},
	{"agent/starter", "matchmaker/queue", "matchmaker/files", "matchmaker/broker", "matchmaker/election", "internal/membership"},
	{"agent/startd", "matchmaker/server", "submit/client"},
	{"submit/courier"},
	{"agent", "matchmaker", "submit", "submit/up"},
}

// aside are packages beside the product, for tests and for showing it, and examples. Nothing that ships imports
// them, and so they may import what they like.
var aside = []string{"internal/bus/bustest", "internal/pooltest", "examples/anysystem", "scripts/demo", "submit/submittest", "internal/realpool", "internal/netlab", "internal/natslab", "internal/child", "internal/peertest", "internal/systemdtest", "internal/qemutest", "internal/desktest", "scripts/faults", "scripts/throughput", "internal/faultctl"}

// doors are the packages through which a dependency is reached. Behind one door it can be replaced,
// faked or bounded in one place, and its types appear in no signature but there.
var doors = []struct {
	module   string
	packages []string
	why      string
}{
	{"github.com/nats-io/nats.go", []string{"internal/bus"}, "everything else speaks in messages of internal/wire"},
	{"github.com/nats-io/nats-server/v2", []string{"matchmaker/broker"}, "only the matchmaker embeds a server"},
	{"github.com/nats-io/nkeys", []string{"internal/bus", "internal/trust"}, "keys are made by trust, and the bus signs with them"},
	{"github.com/nats-io/jwt/v2", []string{"internal/trust", "matchmaker/broker"}, "it belongs to who may do what"},
	{"github.com/shirou/gopsutil/v3", []string{"agent/probe"}, "the rest of the agent reads the machine's ad"},
	{"github.com/klauspost/cpuid/v2", []string{"agent/probe"}, "the rest of the agent reads the machine's ad"},
	{"github.com/checkpoint-restore/go-criu/v6", []string{"agent/checkpoint"}, "a checkpoint may be made in other ways than CRIU's"},
	{"github.com/godbus/dbus/v5", []string{"agent/sysbus", "agent/session", "agent/probe", "internal/desktest"}, "what the system and the desktop say of themselves; in tests, GNOME is driven by it"},
	{"google.golang.org/protobuf", []string{"agent/checkpoint"}, "our own messages are JSON; CRIU's are not"},
	{"github.com/BurntSushi/toml", []string{"policy/config"}, "so that every file is decoded strictly"},
	{"github.com/kardianos/service", []string{"agent"}, "only a program knows that it is a service"},
	{"github.com/coreos/go-systemd/v22", []string{"matchmaker"}, "only a program knows that it is a service"},
	{"github.com/spf13/cobra", []string{"internal/cli", "agent", "matchmaker", "submit"}, "only a program has a command line"},
	{"golang.org/x/time", []string{"internal/transfer"}, "only transfers are bounded in their rate"},
	{"github.com/klauspost/compress", []string{"internal/blob"}, "chunks are compressed in one way everywhere"},
	{"github.com/hanwen/go-fuse/v2", []string{"scripts/faults"}, "it makes disks fail, in tests only"},
	{"github.com/anishathalye/porcupine", []string{"scripts/faults"}, "it judges what users were told, in tests only"},
	{"github.com/dlclark/regexp2", []string{"policy/classad"}, "only the language needs Perl's expressions"},
}

// pure are the packages of which a run can be repeated exactly: what goes in is all that they know.
var pure = []string{"policy/classad", "policy", "internal/job", "internal/why", "internal/fit", "internal/wire", "agent/slot", "matchmaker/negotiate", "matchmaker/jobpolicy"}

// impure are the packages of the standard library by which a package would touch the world.
var impure = []string{"os", "os/exec", "os/signal", "net", "net/http", "io/ioutil", "path/filepath", "log", "log/slog", "syscall", "math/rand"}

// systems are the operating systems that a build is made for. Each has files of its own.
var systems = []string{"linux", "windows"}

func TestTiers(t *testing.T) {
	tier := map[string]int{}
	for i, names := range tiers {
		for _, name := range names {
			tier[name] = i
		}
	}
	eachPackage(t, func(t *testing.T, p pkg) {
		if slices.Contains(aside, p.name()) {
			return
		}
		own, ok := tier[p.name()]
		if !ok {
			t.Errorf("%s stands on no tier: add it to tiers in layering_test.go", p.name())
			return
		}
		for _, name := range p.ours() {
			switch other, ok := tier[name]; {
			case slices.Contains(aside, name):
				t.Errorf("%s imports %s, which does not ship", p.name(), name)
			case ok && other >= own:
				t.Errorf("%s imports %s, which is not below it: see tiers in layering_test.go", p.name(), name)
			}
		}
	})
}

// TestPrograms: the programs meet in messages, so that each can be upgraded, moved and understood
// alone. The one exception is skua-up, a pool in one process.
func TestPrograms(t *testing.T) {
	personalPool := []string{"agent/startd", "agent/starter", "agent/session", "matchmaker/server"}
	program := func(name string) string {
		first, _, _ := strings.Cut(name, "/")
		if slices.Contains([]string{"agent", "matchmaker", "submit"}, first) {
			return first
		}
		return ""
	}
	eachPackage(t, func(t *testing.T, p pkg) {
		if slices.Contains(aside, p.name()) {
			return
		}
		for _, name := range p.ours() {
			other := program(name)
			if other == "" || other == program(p.name()) || p.name() == "submit/up" && slices.Contains(personalPool, name) {
				continue
			}
			t.Errorf("%s imports %s, a package of another program: what both need belongs into internal/", p.name(), name)
		}
	})
}

func TestDoors(t *testing.T) {
	eachPackage(t, func(t *testing.T, p pkg) {
		for _, door := range doors {
			for _, imported := range p.Imports {
				if (imported == door.module || strings.HasPrefix(imported, door.module+"/")) &&
					!slices.Contains(door.packages, p.name()) {
					t.Errorf("%s imports %s, whose door is %s: %s", p.name(), imported, strings.Join(door.packages, ", "), door.why)
				}
			}
		}
	})
}

// TestWithoutServer: a NATS server in a program costs five wake-ups a second by its initialisation alone. The agent is on a
// machine whose owner must not notice us, and skua, which has a courier that stays, may be on the same. It would also
// start a third slower.
func TestWithoutServer(t *testing.T) {
	for _, program := range []string{"./agent", "./submit"} {
		for _, system := range systems {
			for _, p := range list(t, system, "-deps", program) {
				if strings.HasPrefix(p.ImportPath, "github.com/nats-io/nats-server/") {
					t.Errorf("on %s %s is built with %s", system, program, p.ImportPath)
				}
			}
		}
	}
}

func TestPure(t *testing.T) {
	eachPackage(t, func(t *testing.T, p pkg) {
		if !slices.Contains(pure, p.name()) {
			return
		}
		for _, imported := range p.Imports {
			if slices.Contains(impure, imported) {
				t.Errorf("%s imports %s, but is to be pure: leave I/O, logs and chance to its caller", p.name(), imported)
			}
		}
	})
}

// TestPackageComments: each package says what it is for, the rule that governs it, and what it
// refuses to do; see CONTRIBUTING.md.
func TestPackageComments(t *testing.T) {
	eachPackage(t, func(t *testing.T, p pkg) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.name())
		}
	})
}

// TestPackageNames: no package is called after nothing in particular.
func TestPackageNames(t *testing.T) {
	eachPackage(t, func(t *testing.T, p pkg) {
		if slices.Contains([]string{"util", "utils", "common", "helpers", "types", "models", "misc"}, path.Base(p.name())) {
			t.Errorf("%s has a name that collects strangers: name it for what it provides", p.name())
		}
	})
}

// pkg is what the go command tells of a package, without its tests.
type pkg struct {
	ImportPath string
	Doc        string
	GoFiles    []string
	CgoFiles   []string
	Imports    []string
}

const module = "skua"

// name is the package's path within the module.
func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// ours are the packages of this module that it imports, by name.
func (p pkg) ours() []string {
	var names []string
	for _, imported := range p.Imports {
		if name, ok := strings.CutPrefix(imported, module+"/"); ok {
			names = append(names, name)
		}
	}
	return names
}

// eachPackage calls check with every package of the module, as each system builds it.
func eachPackage(t *testing.T, check func(t *testing.T, p pkg)) {
	for _, system := range systems {
		t.Run(system, func(t *testing.T) {
			for _, p := range list(t, system, "./...") {
				if len(p.GoFiles)+len(p.CgoFiles) > 0 { // else it has tests only, or nothing for this system
					check(t, p)
				}
			}
		})
	}
}

// list asks the go command about packages.
func list(t *testing.T, system string, args ...string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Doc,GoFiles,CgoFiles,Imports"}, args...)...)
	cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list for %s: %v", system, err)
	}
	var packages []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("read the answer of go list: %v", err)
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 {
		t.Fatal("go list found no packages")
	}
	return packages
}
