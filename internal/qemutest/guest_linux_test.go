package qemutest_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skua/internal/realpool"
)

// patience is how long a test waits for anything that happens on a virtual machine, which is slow.
const patience = 4 * time.Minute

// gateway is this machine's loopback address as seen from a virtual machine: QEMU's network of user mode.
const gateway = "10.0.2.2"

// kind is what a virtual machine is made of.
type kind struct {
	name   string // of the machine
	cpu    string // as QEMU calls it
	kernel string // "own" or "other", see scripts/setup-qemu
	root   string // the same
	start  string // the START expression of its policy
}

// lab is a pool of virtual machines.
type lab struct {
	*realpool.Pool
	t     *testing.T
	files string // what scripts/setup-qemu has made
	disk  string // what is brought to the machines: the agent, and the configuration of each
}

// newLab starts a matchmaker for machines of these kinds, none of which is there yet.
func newLab(t *testing.T, kinds ...kind) *lab {
	t.Helper()
	files := os.Getenv("SKUA_QEMU")
	p := realpool.Start(t, bin, realpool.Config{Lease: 60})
	l := &lab{Pool: p, t: t, files: files}
	_, port, _ := strings.Cut(p.Address(), ":")
	token := p.Admin("token", "agent", "--uses", fmt.Sprint(len(kinds)), "--url", "https://"+gateway+":"+port)
	init, err := os.ReadFile("testdata/init")
	if err != nil {
		t.Fatal(err)
	}
	p.Write("brought/init", string(init))
	agent, err := os.ReadFile(filepath.Join(bin, "skua-agent"))
	if err != nil {
		t.Fatal(err)
	}
	p.Write("brought/skua-agent", string(agent))
	for _, k := range kinds {
		p.Write("brought/"+k.name+".toml", fmt.Sprintf("name = %q\ntoken = %q\npolicy = %q\nowner = false\nlog = \"debug\"\n", k.name, token, k.name+"-policy.toml"))
		p.Write("brought/"+k.name+"-policy.toml", policy(p.Journal, k.start))
	}
	for _, name := range []string{"init", "skua-agent"} {
		if err := os.Chmod(filepath.Join(p.Dir, "brought", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l.disk = l.bring("brought")
	return l
}

// boot starts a machine and waits until it is in the pool. By then it has tried what it can do, for which it has a
// minute: so they are not started all at a time.
func (l *lab) boot(k kind) {
	l.t.Helper()
	ended := l.start(machine{
		name: k.name, kernel: k.kernel, root: k.root, disk: l.disk, memory: "512M",
		append: fmt.Sprintf("machine=%s journal=%s", k.name, l.Journal),
		share:  share{tag: "journal", source: l.Journal, cache: "none"},
		more:   []string{"-cpu", k.cpu},
	})
	l.t.Cleanup(func() {
		if l.t.Failed() {
			l.t.Logf("log of %s:\n%s", k.name, tail(l.log(k.name), 60))
		}
	})
	l.AwaitFor(patience, k.name+" is in the pool", func() bool {
		select {
		case <-ended:
			l.t.Fatalf("%s has ended", k.name)
		default:
		}
		can := l.attribute(k.name, "HasCheckpointing")
		if can == "false" {
			l.t.Fatalf("jobs cannot be checkpointed on %s, as its log says", k.name)
		}
		return can == "true"
	})
}

// log is what a machine's agent has said.
func (l *lab) log(machine string) string {
	data, err := os.ReadFile(filepath.Join(l.Journal, machine+".log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		l.t.Fatal(err)
	}
	return string(data)
}

// attribute gives what a machine says of itself, "" if it is not in the pool.
func (l *lab) attribute(machine, name string) string {
	l.t.Helper()
	return strings.TrimSpace(l.Must("skua", "status", "--constraint", fmt.Sprintf("Machine == %q", machine), "-af", name))
}

func tail(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
