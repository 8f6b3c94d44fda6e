package startd

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skua/agent/runtimes"
	"skua/internal/blob"
	"skua/internal/job"
	"skua/policy/classad"
)

// archives are files that hold what their job says is in them.
type archives struct{ Files }

var errNoNetwork = errors.New("no network")

func (archives) Fetch(_ context.Context, _ string, f job.File, root *os.Root) error {
	if f.Inline == nil {
		return errNoNetwork
	}
	if int64(len(f.Inline)) > f.Size {
		return blob.ErrTooLarge
	}
	return root.WriteFile(f.Name, f.Inline, 0o600)
}

// A job's runtime root is there while its tenant works, and not in its scratch directory.
func TestRuntimeOfTheJob(t *testing.T) {
	var good bytes.Buffer
	w := tar.NewWriter(&good)
	text := strings.Repeat("x", 9000)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "usr/lib/x", Size: int64(len(text)), Mode: 0o644})); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	store, err := runtimes.Open(runtimes.Config{Dir: dir, MaxBytes: 15_000}) // for one
	if err != nil {
		t.Fatal(err)
	}
	tenantOf := func(named string, files ...job.File) *tenant {
		d := &Daemon{cfg: Config{Runtimes: store, Files: archives{}}}
		d.facts.Store(classad.NewAd())
		tn := &tenant{k: &keeper{d: d}, log: slog.New(slog.DiscardHandler)}
		tn.cmd.Runtime, tn.cmd.Transfers.MaxIn, tn.offer.Inputs = named, -1, files
		return tn
	}
	archive := func(b []byte) job.File { return job.File{Name: job.RuntimeFile, Inline: b, Size: int64(len(b))} }

	if path, err := tenantOf("").runtime(t.Context()); path != "" || err != nil {
		t.Errorf("without one the job has %q (%v)", path, err)
	}
	tn := tenantOf("/home/ann/x.tar", archive(good.Bytes()), job.File{Name: "data", Inline: []byte("d"), Size: 1})
	path, err := tn.runtime(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(path, "usr/lib/x")); string(b) != text {
		t.Errorf("it has %d bytes (%v)", len(b), err)
	}
	scratch := t.TempDir()
	if err := tn.stageIn(t.Context(), scratch); err != nil {
		t.Fatal(err)
	}
	if in, err := os.ReadDir(scratch); err != nil || len(in) != 1 || in[0].Name() != "data" {
		t.Errorf("in its scratch directory there is %v (%v)", in, err)
	}

	other := append(bytes.Clone(good.Bytes()), make([]byte, 512)...) // another digest, and as large
	if _, err := tenantOf("y.tar", archive(other)).runtime(t.Context()); !errors.Is(err, errStaging) || !errors.Is(err, runtimes.ErrNoRoom) {
		t.Errorf("while the first is used another: %v", err)
	}
	adopted := tenantOf("/home/ann/x.tar", archive(good.Bytes())) // the same job, of the next agent
	adopted.holdRuntime()
	tn.holds(nil)
	if _, err := tenantOf("y.tar", archive(other)).runtime(t.Context()); !errors.Is(err, runtimes.ErrNoRoom) {
		t.Errorf("while the first is used by a job that was adopted: %v", err)
	}
	adopted.holds(nil)
	if _, err := tenantOf("y.tar", archive(other)).runtime(t.Context()); err != nil {
		t.Errorf("when nobody uses the first: %v", err)
	}

	for name, tt := range map[string]struct {
		tenant *tenant
		held   string
	}{
		"no archive":  {tenantOf("x.tar", archive([]byte("no archive"))), "its runtime x.tar cannot be unpacked"},
		"not sent":    {tenantOf("x.tar", job.File{Name: "x.tar"}), "its runtime x.tar has not been sent"},
		"larger":      {tenantOf("x.tar", job.File{Name: job.RuntimeFile, Inline: []byte("larger"), Size: 3}), "its runtime x.tar is not what was submitted"},
		"too large":   {tenantOf("x.tar", job.File{Name: job.RuntimeFile, Digest: blob.Sum([]byte("far")), Size: 1e12}), ""},
		"no network":  {tenantOf("x.tar", job.File{Name: job.RuntimeFile, Digest: blob.Sum([]byte("far")), Size: 3}), ""},
		"not of here": {func() *tenant { tn := tenantOf("x.tar", archive(good.Bytes())); tn.k.d.cfg.Runtimes = nil; return tn }(), ""},
	} {
		_, err := tt.tenant.runtime(t.Context())
		var held *holdError
		switch is := errors.As(err, &held); {
		case tt.held != "" && (!is || !strings.Contains(held.reason, tt.held)):
			t.Errorf("%s: %v, want the job held", name, err)
		case tt.held == "" && (is || !errors.Is(err, errStaging)):
			t.Errorf("%s: %v, want it to be tried elsewhere", name, err)
		}
	}
}
