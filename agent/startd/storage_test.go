package startd

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"skua/internal/blob"
	"skua/internal/fit"
	"skua/internal/job"
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

// An image for which the disk has no room is not unpacked. It is no bad one: another machine may have the room.
func TestImagesAndTheDisk(t *testing.T) {
	cache, err := blob.OpenCache(blob.CacheConfig{Dir: t.TempDir(), MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	from, key := t.TempDir(), blob.NewKey()
	write(t, filepath.Join(from, "scratch/data"), strings.Repeat("x", 1000))
	m, err := blob.Pack(t.Context(), blob.PackConfig{Dir: from, Key: key, Sink: cacheSink{cache}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := blob.SaveManifest(t.Context(), cacheSink{cache}, key, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		free, most int64
		fits       bool
	}{
		{-5, 1000, false},
		{999, 1000, false},
		{1000, 1000, true},
		{5000, 999, false}, // the disk has the room, and the slot does not
	} {
		free, fits := tt.free, tt.fits
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "scratch"), 0o700); err != nil {
			t.Fatal(err)
		}
		s := Storage{Cache: cache, Free: func() int64 { return free }}
		err := s.FetchImage(t.Context(), func() string { return "" }, key[:], d, dir, tt.most)
		_, there := os.Stat(filepath.Join(dir, "scratch/data"))
		if (err == nil) != fits || (there == nil) != fits {
			t.Errorf("with room for %d bytes the image was fetched with %v, and its file is there: %v", free, err, there == nil)
		}
		large := &ScratchError{}
		if !fits && (!errors.Is(err, blob.ErrTooLarge) && (!errors.As(err, &large) || large.Bytes != 1000) || errors.Is(err, ErrBadImage)) {
			t.Errorf("with room for %d bytes, and a slot for %d: %v", free, tt.most, err)
		}
	}
}

// cacheSink packs into a cache.
type cacheSink struct{ *blob.Cache }

func (c cacheSink) Has(_ context.Context, d blob.Digest) (bool, error) { return c.Cache.Has(d), nil }

func (c cacheSink) Put(_ context.Context, d blob.Digest, data []byte) error {
	return c.PutVerified(d, data)
}

// A checkpoint that was made on Windows has its programs as files like any other.
func TestProgramsOfACheckpointAreMadeExecutable(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"program", "bin/tool", "data", "kept"} {
		write(t, filepath.Join(dir, name), name)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	write(t, outside, "no business of the job's")
	if err := errors.Join(os.Chmod(filepath.Join(dir, "kept"), 0o500), os.Symlink(outside, filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	err := makeExecutable(dir, []job.File{
		{Name: "program", Mode: 0o755},
		{Name: "bin/tool", Mode: 0o711},
		{Name: "data", Mode: 0o644},
		{Name: "kept", Mode: 0o755},
		{Name: "link", Mode: 0o755},
		{Name: "removed", Mode: 0o755},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{"program": 0o711, "bin/tool": 0o711, "data": 0o600, "kept": 0o500} {
		if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s has mode %v (%v), want %v", name, fi.Mode(), err, want)
		}
	}
	if fi, err := os.Stat(outside); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("through a link, a file outside has mode %v (%v)", fi.Mode(), err)
	}
}

func TestEnvironmentPrefersTheJobs(t *testing.T) {
	tn := tenant{k: &keeper{name: "slot1@desk7"}}
	tn.cmd.CPUs = 2
	tn.cmd.Env = []string{"PATH=/opt/bin", "SEED=4"}
	env := tn.environment(t.TempDir())
	if !slices.Contains(env, "PATH=/opt/bin") || !slices.Contains(env, "SEED=4") || !slices.Contains(env, "HOME=/scratch") ||
		!slices.Contains(env, "OMP_NUM_THREADS=2") || !slices.Contains(env, "_CONDOR_SLOT=slot1") {
		t.Errorf("the environment is %q", env)
	}
	if slices.ContainsFunc(env, func(e string) bool { return e == "PATH=/usr/local/bin:/usr/bin:/bin" }) {
		t.Error("two PATHs")
	}
}

// A job is told where its files are: on Linux at one path everywhere, on Windows where the claim has them.
func TestPlaces(t *testing.T) {
	linux := places("linux", "/var/lib/skua/agent/claims/c/scratch", "")
	for _, want := range []string{"HOME=/scratch", "TMPDIR=/tmp", "_CONDOR_SCRATCH_DIR=/scratch", "_CONDOR_JOB_IWD=/scratch", "_CONDOR_JOB_AD=/scratch/.job.ad"} {
		if !slices.Contains(linux, want) {
			t.Errorf("on Linux %s is missing from %q", want, linux)
		}
	}
	const scratch = `C:\ProgramData\Skua\agent\claims\c\scratch`
	windows := places("windows", scratch, "")
	for _, want := range []string{"_CONDOR_SCRATCH_DIR=" + scratch, "SKUA_SCRATCH_DIR=" + scratch, "_CONDOR_JOB_IWD=" + scratch, "_CONDOR_MACHINE_AD=" + scratch + `\.machine.ad`} {
		if !slices.Contains(windows, want) {
			t.Errorf("on Windows %s is missing from %q", want, windows)
		}
	}
	for _, e := range windows {
		if name, value, _ := strings.Cut(e, "="); strings.HasPrefix(value, "/") {
			t.Errorf("on Windows %s names a place of Linux: %s", name, value)
		}
	}
	if shared := places("linux", "/x", "/srv/data"); !slices.Contains(shared, "_CONDOR_JOB_IWD=/srv/data") {
		t.Errorf("in a shared directory: %q", shared)
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
		spec := tn.jobSpec(t.TempDir())
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
