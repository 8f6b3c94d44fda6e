package startd

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"skua/internal/fit"
	"skua/policy/classad"
)

// An image goes into directories that are mounted in the sandbox and not empty.
func TestMoveInto(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for _, name := range []string{"data", ".skua-tmp/a", ".skua-tmp/deep/b"} {
		write(t, filepath.Join(from, name), name)
	}
	write(t, filepath.Join(to, ".skua-tmp/there"), "there")
	write(t, filepath.Join(to, "data"), "older")
	if err := moveInto(from, to); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"data": "data", ".skua-tmp/a": ".skua-tmp/a", ".skua-tmp/deep/b": ".skua-tmp/deep/b", ".skua-tmp/there": "there",
	} {
		if got, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", name, got, err, want)
		}
	}
	if err := moveInto(filepath.Join(from, "nothing"), to); err != nil {
		t.Errorf("an image without that half: %v", err)
	}
}

func TestEnvironmentPrefersTheJobs(t *testing.T) {
	tn := tenant{k: &keeper{name: "slot1@desk7"}}
	tn.cmd.CPUs = 2
	tn.cmd.Env = []string{"PATH=/opt/bin", "SEED=4"}
	env := tn.environment()
	if !slices.Contains(env, "PATH=/opt/bin") || !slices.Contains(env, "SEED=4") || !slices.Contains(env, "HOME=/scratch") ||
		!slices.Contains(env, "OMP_NUM_THREADS=2") || !slices.Contains(env, "_CONDOR_SLOT=slot1") {
		t.Errorf("the environment is %q", env)
	}
	if slices.ContainsFunc(env, func(e string) bool { return e == "PATH=/usr/local/bin:/usr/bin:/bin" }) {
		t.Error("two PATHs")
	}
}

// Where an image may be taken of it, a job is held to its baseline by variables, unless it has its own.
func TestHeldByVariables(t *testing.T) {
	for _, tt := range []struct {
		name, level, microarch, env string
		want                        fit.Baseline
		variable                    string // that tells whether it is held
	}{
		{"no baseline", "", "x86_64-v4", "A=1", "", ""},
		{"a baseline", "x86-64-v3", "x86_64-v4", "A=1", fit.V3, "OPENBLAS_CORETYPE=Haswell"},
		{"another kind of processor", "x86-64-v3", "", "A=1", "", ""},
		{"a variable of its own", "x86-64-v3", "x86_64-v4", "OPENBLAS_CORETYPE=Zen", "", "OPENBLAS_CORETYPE=Zen"},
	} {
		facts := classad.NewAd()
		facts.SetString(fit.AttrFeatures, "avx,avx2,avx512f,sse2")
		if tt.microarch != "" {
			facts.SetString(fit.AttrMicroarch, tt.microarch)
		}
		d := &Daemon{}
		d.facts.Store(facts)
		tn := tenant{k: &keeper{name: "slot1@desk7", d: d}, log: slog.New(slog.DiscardHandler)}
		tn.cmd.Baseline, tn.cmd.Env = fit.Baseline(tt.level), []string{tt.env}
		spec := tn.jobSpec()
		if spec.Baseline != tt.want || tt.variable != "" && !slices.Contains(spec.Env, tt.variable) || !slices.Contains(spec.Env, tt.env) {
			t.Errorf("%s: held to %q with %q", tt.name, spec.Baseline, spec.Env)
		}
		if tt.variable == "" && slices.ContainsFunc(spec.Env, func(e string) bool { return strings.HasPrefix(e, "OPENBLAS_CORETYPE=") }) {
			t.Errorf("%s: %q", tt.name, spec.Env)
		}
		if !slices.Contains(spec.Env, fit.LazyBinding) {
			t.Errorf("%s: functions are bound lazily", tt.name)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
