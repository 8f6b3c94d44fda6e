package starter

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/cpu"

	"skua/agent/checkpoint"
	"skua/agent/probe"
	"skua/internal/fit"
)

// hasAVX512 skips where there is nothing above level 3 that could be masked.
func hasAVX512(t *testing.T) {
	t.Helper()
	if runtime.GOARCH != "amd64" || !slices.Contains(probe.Features(), "avx512vl") {
		t.Skip("the processor has no AVX-512")
	}
}

// held runs a shell, held to level 3 by its environment or not, and gives what two images of it need: one made here,
// and one made after it has gone on from that.
func held(t *testing.T, env []string) (first, second fit.Needs) {
	t.Helper()
	s := newStarter(t, nil)
	i := open(t, s, "first")
	spec := counter(t, i, "sh")
	spec.Baseline, spec.Env = fit.V3, env
	run(t, i, spec)
	there := move(t, i, s, "second")
	m, err := checkpoint.ReadMeta(there.ImageDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := there.Checkpoint(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	n, err := checkpoint.ReadMeta(there.ImageDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, meta := range []checkpoint.Meta{m, n} {
		if !slices.Equal(meta.Ran, probe.Features()) {
			t.Errorf("it has run on a processor with %v, says its image: %v", probe.Features(), meta.Ran)
		}
	}
	return m.Needs, n.Needs
}

// A program that is held to a level uses no registers beyond it, and its image needs no more of a processor than the level.
func TestHeldToBaseline(t *testing.T) {
	capableOfCheckpoints(t)
	if runtime.GOARCH != "amd64" {
		t.Skip("levels are those of x86-64")
	}
	env, conflicts := fit.V3.Environ([]string{fit.LazyBinding}, probe.Features())
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	first, second := held(t, env)
	for _, n := range []fit.Needs{first, second} {
		if n.Baseline != fit.V3 || n.Beyond != "" || !slices.Equal(n.Features, fit.V3.Limit(probe.Features())) {
			t.Errorf("its image needs %v, baseline %q (%s)", n.Features, n.Baseline, n.Beyond)
		}
	}
}

// One that is not held, and says it is, is seen to have used more, and its images need all that the processor can do.
func TestStraysFromBaseline(t *testing.T) {
	capableOfCheckpoints(t)
	hasAVX512(t)
	first, second := held(t, nil) // glibc takes what it finds
	for _, n := range []fit.Needs{first, second} {
		if n.Baseline != "" || n.Beyond != "it has used AVX-512" || !slices.Equal(n.Features, probe.Features()) {
			t.Errorf("its image needs %v, baseline %q (%s)", n.Features, n.Baseline, n.Beyond)
		}
	}
}

// What glibc and Go use of the processor is seen in what they say themselves.
func TestBaselineMasks(t *testing.T) {
	hasAVX512(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const loader = "/lib64/ld-linux-x86-64.so.2"
	for _, tt := range []struct {
		level                fit.Baseline
		glibc, goAVX2, go512 bool // whether it takes libraries of level 4; whether Go sees AVX2 and AVX-512
	}{
		{"", true, true, true},
		{fit.V2, false, false, false},
		{fit.V3, false, false, false},
	} {
		env, _ := tt.level.Environ(slices.DeleteFunc(os.Environ(), func(e string) bool {
			return strings.HasPrefix(e, "GODEBUG=") || strings.HasPrefix(e, "GLIBC_TUNABLES=")
		}), probe.Features())
		c := exec.Command(self, "-test.run=^TestPrintFeatures$", "-test.v")
		c.Env = append(env, "SKUA_PRINT_FEATURES=1")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if got := bytes.Contains(out, []byte("HasAVX2")); got != tt.goAVX2 {
			t.Errorf("at level %q Go sees AVX2: %v\n%s", tt.level, got, out)
		}
		if got := bytes.Contains(out, []byte("HasAVX512F")); got != tt.go512 {
			t.Errorf("at level %q Go sees AVX-512: %v\n%s", tt.level, got, out)
		}
		if bytes.Contains(out, []byte("GODEBUG")) {
			t.Errorf("Go complains: %s", out)
		}
		if _, err := os.Stat(loader); err != nil {
			continue
		}
		c = exec.Command(loader, "--help")
		c.Env = env
		if out, err = c.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("x86-64-v2 (supported, searched)")) {
			t.Logf("this loader does not tell which libraries it takes: %v\n%s", err, out)
			continue
		}
		if got := bytes.Contains(out, []byte("x86-64-v4 (supported, searched)")); got != tt.glibc {
			t.Errorf("at level %q glibc takes libraries of level 4: %v\n%s", tt.level, got, out)
		}
		if got := bytes.Contains(out, []byte("x86-64-v3 (supported, searched)")); got != (tt.level != fit.V2) {
			t.Errorf("at level %q glibc takes libraries of level 3: %v\n%s", tt.level, got, out)
		}
	}
}

// TestPrintFeatures is no test: TestBaselineMasks runs it with other variables.
func TestPrintFeatures(t *testing.T) {
	if os.Getenv("SKUA_PRINT_FEATURES") == "" {
		t.Skip("nobody asks")
	}
	if cpu.X86.HasAVX2 {
		t.Log("HasAVX2")
	}
	if cpu.X86.HasAVX512F {
		t.Log("HasAVX512F")
	}
}

// A program that dies of an illegal instruction where it has been moved to has not kept to its level.
func TestIllegalInstructionAfterMove(t *testing.T) {
	capableOfCheckpoints(t)
	if runtime.GOARCH != "amd64" {
		t.Skip("levels are those of x86-64")
	}
	s := newStarter(t, nil)
	i := open(t, s, "first")
	env, _ := fit.V3.Environ([]string{fit.LazyBinding}, probe.Features())
	script := "echo; while [ ! -e die ]; do echo x; sleep 0.01; done; kill -ILL $$"
	spec := JobSpec{Job: testJob, Argv: []string{"sh", "-c", script}, Env: env, Baseline: fit.V3, Stdout: "out", Stderr: "err"}
	die := func(i *Init) Exit {
		t.Helper()
		if err := os.WriteFile(filepath.Join(i.Scratch(), "die"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		<-i.Done()
		return i.Exit()
	}
	run(t, i, spec)
	there := move(t, i, s, "second")
	if e := die(there); !e.Strayed {
		t.Errorf("after the move it has %+v", e)
	}
	at := open(t, s, "third")
	run(t, at, spec)
	if e := die(at); e.Strayed {
		t.Errorf("where it began it has %+v", e)
	}
}
