package qemutest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"skua/agent/probe"
	"skua/internal/fit"
	"skua/internal/realpool"
)

// spare are features of QEMU's own processor that this machine's may lack and that the test can do without, by the
// names of both Linux and QEMU.
var spare = []string{"3dnow", "3dnowext", "abm", "adx", "bmi1", "bmi2", "f16c", "fma", "mmxext", "movbe", "rdrand", "rdseed", "rdtscp", "sse4a", "vaes"}

// processor is a processor for virtual machines from which images may go on here, with the features of QEMU's
// own that this machine has.
func processor(without ...string) string {
	cpu := "max"
	here := probe.Features()
	for _, f := range spare {
		if !slices.Contains(here, f) {
			cpu += ",-" + f
		}
	}
	for _, f := range without {
		cpu += ",-" + f
	}
	return cpu
}

func TestMachinesThatDiffer(t *testing.T) {
	if os.Getenv("SKUA_QEMU") == "" {
		t.Skip("SKUA_QEMU names nothing that virtual machines can boot; make test-qemu makes it")
	}
	const moved = "TARGET.NumJobStarts > 0" // jobs that begin elsewhere
	var (
		source   = kind{"source", processor(), "own", "own", startAsPlanned}
		noAVX2   = kind{"noavx2", processor("avx2"), "own", "own", moved}
		otherLib = kind{"otherlibc", processor(), "own", "other", moved}
		alike    = kind{"alike", processor(), "own", "own", startAsPlanned + " || TARGET.NumJobStarts == 5"}
		newer    = kind{"newer", processor(), "other", "own", startAsPlanned}
	)
	l := newLab(t, source, noAVX2, otherLib, alike, newer)
	for _, k := range []kind{source, noAVX2, otherLib} {
		l.boot(k)
	}

	// With what it has begun on it waits for a machine that suits.
	plan := []string{"source", "alike", "newer", "source", "host"}
	j := l.submit("moved", 6, "", plan...)
	j.pass()
	j.vacate()
	j.awaitWhy("made on a processor with avx2, which", "made with another "+l.libc("source"))
	t.Log("figure: why=true")

	// One that suits takes it, one with a newer kernel, and one that has an older one again.
	for _, k := range []kind{alike, newer} {
		l.boot(k)
		j.pass()
		j.vacate()
	}
	j.pass()
	j.vacate()
	t.Log("figure: guests=3")

	// This machine can do all that theirs can. What has been here needs a processor like this one.
	host := l.host()
	if lacks := without(l.features("alike"), l.features("host")); len(lacks) > 0 {
		t.Fatalf("this machine's processor lacks %v, which QEMU's own has: they belong into spare", lacks)
	}
	j.pass()
	j.vacate()
	if more := without(l.features("host"), l.features("alike")); len(more) > 0 {
		j.awaitWhy("made on a processor with "+more[0], "START refuses it")
		l.hostPolicy("true")
		if err := host.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, "host")
	} else {
		plan = append(plan, "alike")
	}
	for _, figure := range j.finish() {
		t.Log("figure: " + figure)
	}
	if got := j.offered(); !slices.Equal(got, plan) {
		t.Errorf("the job was offered to %v, want %v", got, plan)
	}
	t.Logf("figure: refused=%v", !t.Failed())
	t.Logf("figure: host=%v", !t.Failed())

	host.Stop()
	l.notRestored()
}

// notRestored has a job make use of what an older kernel does not have. A machine with such a kernel cannot restore
// it, and gives it back with its image.
func (l *lab) notRestored() {
	t := l.t
	t.Helper()
	program := filepath.Join(l.Dir, "droppable")
	build := exec.Command("go", "build", "-o", program, "./testdata/droppable")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	j := l.submit("droppable", 3, "droppable", "newer", "source", "nowhere")
	j.pass()
	j.vacate()
	j.awaitWhy("could not be restored on")
	j.plan("newer", "source", "newer", "nowhere")
	j.pass()
	j.vacate()
	j.awaitWhy("could not be restored on") // nor is what was made after it
	j.plan("newer", "source", "newer", "newer")
	j.finish()
	if got, want := j.offered(), []string{"newer", "source", "newer", "newer"}; !slices.Equal(got, want) {
		t.Errorf("the job was offered to %v, want %v", got, want)
	}
	log := l.Read("droppable.log")
	reason := regexp.MustCompile(`source could not run it: from its checkpoint, which is kept for another try: .*criu restore: .*kernel.*`).FindString(log)
	if reason == "" {
		t.Errorf("the user's log does not tell why source gave the job back:\n%s", log)
	}
	t.Log(reason)
	t.Logf("figure: not_restored=%v", !t.Failed())
}

// libc is the path of the machine's C library.
func (l *lab) libc(machine string) string {
	l.t.Helper()
	const path = "/usr/lib/x86_64-linux-gnu/libc.so.6"
	if id := l.attribute(machine, fit.Attr(path)); !strings.Contains(id, "/") {
		l.t.Fatalf("%s says of its %s %q", machine, path, id)
	}
	return path
}

// features are what a machine's processor can do.
func (l *lab) features(machine string) []string {
	l.t.Helper()
	return fit.ParseFeatures(l.attribute(machine, fit.AttrFeatures))
}

func without(all, some []string) (rest []string) {
	for _, s := range all {
		if !slices.Contains(some, s) {
			rest = append(rest, s)
		}
	}
	return rest
}

// host has this machine join the pool.
func (l *lab) host() *realpool.Program {
	l.t.Helper()
	l.hostPolicy(startAsPlanned)
	config := l.Write("host.toml", fmt.Sprintf("name = \"host\"\ndir = %q\npolicy = \"host-policy.toml\"\nowner = false\nlog = \"debug\"\n", filepath.Join(l.Dir, "host")))
	l.Must("skua-agent", "--config", config, "join", l.Admin("token", "agent"))
	host := l.Launch("host", "skua-agent", "--config", config, "run")
	l.AwaitFor(patience, "this machine is in the pool", func() bool { return l.attribute("host", "CanRunJobs") == "true" })
	return host
}

// hostPolicy writes this machine's policy.
func (l *lab) hostPolicy(start string) {
	l.t.Helper()
	l.Write("host-policy.toml", policy(l.Journal, start))
}

// policy is the text of a machine's policy.
func policy(journal, start string) string {
	return fmt.Sprintf("preset = \"dedicated\"\n[shared_fs]\nmounts = [%q]\n[expressions]\nSTART = %q\n", journal, start)
}
