package startd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"skua/agent/starter"
	"skua/internal/blob"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
)

// scratch makes a directory as a job leaves it, with a secret beside it.
func scratch(t *testing.T, files ...string) *os.Root {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "scratch")
	for _, name := range append(files, "../secret/key") {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// none stay.
func none(string) bool { return false }

func TestDeclaredOutputs(t *testing.T) {
	root := scratch(t, "a.dat", "results/b.dat", "results/deep/c.dat", "_condor_stdout")
	for name, to := range map[string]string{
		"results/out": "../../secret", "results/key": "../../secret/key", "results/loop": ".", "latest": "a.dat", "theirs": "../secret",
	} {
		if err := root.Symlink(to, name); err != nil {
			t.Skip("no symbolic links here:", err)
		}
	}
	for _, tt := range []struct {
		declared string
		want     string
	}{
		{"a.dat", "a.dat"},
		{"results", "results/b.dat results/deep/c.dat"},
		{"results/", "results/b.dat results/deep/c.dat"},
		{"results/deep, ./results, a.dat", "results/deep/c.dat results/b.dat a.dat"},
		{"latest", "latest"},
		{"", ""},
	} {
		names, err := declaredOutputs(root, []string{job.StdoutFile}, strings.Split(tt.declared, ","), none, starter.Exit{}, "")
		if want := append([]string{job.StdoutFile}, strings.Fields(tt.want)...); err != nil || !slices.Equal(names, want) {
			t.Errorf("%q brings back %q (%v), want %q", tt.declared, names, err, want)
		}
	}
	for _, tt := range []struct{ declared, want string }{
		{"b.dat", "did not make it; it left a.dat, latest, results/, theirs"},
		{"theirs", "did not make it"},
		{"../secret/key", "did not make it"},
		{"/etc/passwd", "did not make it"},
	} {
		_, err := declaredOutputs(root, nil, []string{tt.declared}, none, starter.Exit{}, "")
		var held *holdError
		if !errors.As(err, &held) || held.code != job.HoldTransferOutput || !strings.Contains(held.reason, tt.want) {
			t.Errorf("%q: error is %v, want a hold with %q", tt.declared, err, tt.want)
		}
	}
}

// What its submitter would leave out is neither sent nor counted.
func TestOutputsThatStay(t *testing.T) {
	root := scratch(t, ".bashrc", ".job.ad", ".machine.ad", ".rc", "a", "b", "c/.git/config", "c/d", ".cache/e")
	for _, tt := range []struct{ ad, want string }{
		{``, "a b"},
		{`TransferOutputRemaps = ".rc = rc; b = "`, ".rc a"},
		{`TransferOutput = ".rc, c, .cache/"; TransferOutputRemaps = "c/d = .d"`, ".rc c/.git/config c/d .cache/e"},
		{`TransferOutput = "c/"`, "c/d"},
	} {
		ad, err := classad.ParseAd("[ " + tt.ad + " ]")
		if err != nil {
			t.Fatal(err)
		}
		left := &tenant{offer: wire.Offer{Ad: ad}, cmd: job.Command{Transfers: job.Transfers{MaxOut: -1}}}
		names, err := left.outputs(root, nil, starter.Exit{})
		if got := strings.Join(names, " "); err != nil || got != tt.want {
			t.Errorf("[%s]: %q come back (%v), want %q", tt.ad, got, err, tt.want)
		}
	}
}

// An output is missing for the reason that its program has ended with, and the program itself was not left by it.
func TestMissingOutputSaysHowTheProgramEnded(t *testing.T) {
	root := scratch(t, "fail3.sh", "notes")
	for _, tt := range []struct {
		exit starter.Exit
		want string
	}{
		{starter.Exit{}, "the job declared the output result.txt and did not make it; it left notes"},
		{starter.Exit{Code: 3}, "the program ended with exit code 3 and had not made result.txt; it left notes"},
		{starter.Exit{Signal: 9}, "the program was ended by signal 9 and had not made result.txt; it left notes"},
	} {
		_, err := declaredOutputs(root, nil, []string{"result.txt"}, none, tt.exit, "fail3.sh")
		var held *holdError
		if !errors.As(err, &held) || held.reason != tt.want || (held.exit != nil) != (tt.exit != starter.Exit{}) {
			t.Errorf("after %+v: %v, want %s", tt.exit, err, tt.want)
		}
	}
}

func TestDeclaredOutputsAreBounded(t *testing.T) {
	var many []string
	for i := range maxOutputs + 1 {
		many = append(many, fmt.Sprintf("many/%d", i))
	}
	root := scratch(t, many...)
	var held *holdError
	if _, err := declaredOutputs(root, nil, []string{"many"}, none, starter.Exit{}, ""); !errors.As(err, &held) || !strings.Contains(held.reason, "pack them") {
		t.Errorf("error is %v, want a hold that says what to do", err)
	}
	if _, err := declaredOutputs(root, nil, []string{"gone"}, none, starter.Exit{}, ""); !errors.As(err, &held) || !strings.Contains(held.reason, "it left many/") {
		t.Errorf("error is %v, want a hold that lists what there is", err)
	}
	few := scratch(t, "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b")
	if _, err := declaredOutputs(few, nil, []string{"gone"}, none, starter.Exit{}, ""); !errors.As(err, &held) || !strings.Contains(held.reason, "8, 9 and 2 more") {
		t.Errorf("error is %v, want a hold that lists ten files", err)
	}
}

// slowFiles is a file service at which each transfer outlasts a capability. It notes those with which it was asked.
type slowFiles struct {
	Files
	renew func()
	asked *[]string
}

func (f slowFiles) ask(capability string) {
	*f.asked = append(*f.asked, capability)
	f.renew()
}

func (f slowFiles) Fetch(_ context.Context, capability string, _ job.File, _ *os.Root) error {
	f.ask(capability)
	return nil
}

func (f slowFiles) FetchImage(_ context.Context, capability func() string, _ []byte, _ blob.Digest, _ string, _ int64) error {
	f.ask(capability())
	f.ask(capability())
	return ErrBadImage
}

// largeImage is an image whose scratch directory has so many bytes.
type largeImage struct {
	Files
	bytes int64
}

func (f largeImage) FetchImage(_ context.Context, _ func() string, _ []byte, _ blob.Digest, _ string, most int64) error {
	if f.bytes > most {
		return &ScratchError{f.bytes}
	}
	return ErrBadImage // which it is asked for next
}

// A job that has made more than its slot allows is held before that is fetched, as it would be afterwards. One that
// has asked for it is given back.
func TestImagesAndTheSlotsDisk(t *testing.T) {
	const gb = int64(1e9)
	for _, tt := range []struct {
		name string
		disk int64 // of the slot; 0 for no limit
		ad   string
		code int // of a hold
		want string
	}{
		{"it fits", 20 * gb, "RequestDisk = 1", 0, "damaged image"},
		{"nobody knows the disk", 0, "RequestDisk = 1", 0, "damaged image"},
		{
			"more than the disk", 10 * gb, "RequestDisk = 1", job.HoldOutOfResources,
			"the job's files in its checkpoint are 20.0 GB, and slot1@desk allows 10.0 GB of disk; request_disk asks for a slot with more",
		},
		{
			"it asked for it, and the slot has become smaller", 10 * gb, "RequestDisk = 20000000", 0,
			"the job asked for 20.5 GB of disk, and slot1@desk has 10.0 GB now",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := bareDaemon(t)
			tn := newTenant(d.keepers[0], jobWith(t, tt.ad), "c1")
			tn.limits.Disk = tt.disk
			d.cfg.Starter, d.cfg.Files = openStarter{dir: t.TempDir()}, largeImage{bytes: 20 * gb}
			_, _, err := tn.fromImage(t.Context(), job.Image{Kind: job.FileImage})
			var held *holdError
			errors.As(err, &held)
			switch {
			case err == nil || !strings.Contains(err.Error(), tt.want):
				t.Errorf("%v, want %q", err, tt.want)
			case held != nil && (held.code != tt.code || held.subcode != job.HoldOutOfDisk), held == nil && tt.code != 0:
				t.Errorf("%v is no hold with code %d", err, tt.code)
			case imageAtFault(err) != errors.Is(err, ErrBadImage):
				t.Error("the image is given up")
			}
		})
	}
}

// openStarter is a starter of claims in a directory.
type openStarter struct {
	noStarter
	dir string
}

func (s openStarter) Open(context.Context, starter.ClaimSpec) (Init, error) {
	return endedInit{scratch: filepath.Join(s.dir, scratchName)}, nil
}

// What takes longer to be fetched than a capability lasts is asked for with the newest.
func TestFetchOutlastsACapability(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fetch func(tn *tenant) error
	}{
		{"inputs", func(tn *tenant) error { return tn.stageIn(t.Context(), t.TempDir()) }},
		{"an image", func(tn *tenant) error {
			if _, _, err := tn.fromImage(t.Context(), job.Image{Kind: job.FileImage}); !errors.Is(err, ErrBadImage) {
				return err
			}
			return nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := bareDaemon(t)
			offer := jobWith(t, "")
			offer.Read, offer.Inputs = "r0", []job.File{{Name: "a"}, {Name: "b"}}
			tn := newTenant(d.keepers[0], offer, "c1")
			var asked []string
			d.cfg.Starter = openStarter{dir: t.TempDir()}
			d.cfg.Files = slowFiles{asked: &asked, renew: func() { tn.refresh(fmt.Sprintf("r%d", len(asked)), "") }}
			if err := tt.fetch(tn); err != nil {
				t.Fatal(err)
			}
			if want := []string{"r0", "r1"}; !slices.Equal(asked, want) {
				t.Errorf("asked for with %q, want %q", asked, want)
			}
		})
	}
}
