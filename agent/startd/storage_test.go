package startd

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
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

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
