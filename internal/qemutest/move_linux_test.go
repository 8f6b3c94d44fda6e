package qemutest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/agent/probe"
	"skua/internal/fit"
	"skua/internal/realpool"
)

type realLine = realpool.Line

// skew is how far apart the clocks of two machines may be.
const skew = 5 * time.Second

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

func TestMove(t *testing.T) {
	if os.Getenv("SKUA_QEMU") == "" {
		t.Skip("SKUA_QEMU names nothing that virtual machines can boot; make test-qemu makes it")
	}
	var (
		source   = kind{"source", processor(), "own", "own", startAsPlanned}
		noAVX2   = kind{"noavx2", processor("avx2"), "own", "own", "TARGET.NumJobStarts > 0"}
		otherLib = kind{"otherlibc", processor(), "own", "other", "TARGET.NumJobStarts > 0"}
		alike    = kind{"alike", processor(), "own", "own", startAsPlanned}
		newer    = kind{"newer", processor(), "other", "own", startAsPlanned}
	)
	l := newLab(t, source, noAVX2, otherLib, alike, newer)
	l.awaitJoined(l.boot(source), l.boot(noAVX2), l.boot(otherLib))

	j := l.submit("moved", 5, "source", "alike", "newer", "source", "host")
	j.pass()
	j.vacate()
	libc := l.libc("source")
	l.AwaitFor(time.Minute, "the reason is told why the job waits", func() bool { return strings.Contains(j.why(), "does not fit") })
	why := j.why()
	t.Logf("skua why:\n%s", why)
	for _, name := range []string{"avx2", libc} {
		if !strings.Contains(why, name) {
			t.Errorf("skua why does not name %s", name)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("skua why:\n%s", j.why())
		}
	})

	for _, k := range []kind{alike, newer} {
		l.awaitJoined(l.boot(k))
		j.pass()
		j.vacate()
	}
	j.pass() // on a kernel that is older than the one before
	j.vacate()

	l.host()
	j.finish()
	t.Logf("offered to %v", j.machines())
	if want := []string{"source", "alike", "newer", "source", "host"}; !slices.Equal(j.machines(), want) {
		t.Errorf("the job was offered to %v, want %v", j.machines(), want)
	}
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

// host has this machine join the pool.
func (l *lab) host() {
	l.t.Helper()
	l.Write("host-policy.toml", fmt.Sprintf("preset = \"dedicated\"\n[shared_fs]\nmounts = [%q]\n[expressions]\nSTART = %q\n", l.Journal, startAsPlanned))
	config := l.Write("host.toml", fmt.Sprintf("name = \"host\"\ndir = %q\npolicy = \"host-policy.toml\"\nowner = false\nlog = \"debug\"\n", filepath.Join(l.Dir, "host")))
	l.Must("skua-agent", "--config", config, "join", l.Admin("token", "agent"))
	l.Launch("host", "skua-agent", "--config", config, "run")
	l.AwaitFor(patience, "this machine is in the pool", func() bool { return l.attribute("host", "CanRunJobs") == "true" })
}
