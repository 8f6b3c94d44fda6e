package startd

import (
	"context"
	"strings"
	"testing"

	"skua/agent/checkpoint"
	"skua/internal/blob"
	"skua/internal/fit"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
)

const testLibc = "/usr/lib/x86_64-linux-gnu/libc.so.6"

// system is what a machine has.
type system map[string]fit.ID

// ID implements [SystemFiles].
func (s system) ID(path string, _ bool) fit.ID {
	if id, ok := s[path]; ok {
		return id
	}
	return fit.Absent
}

// Ask implements [SystemFiles].
func (s system) Ask(paths []string) (news bool) { return len(paths) > 0 }

// Set implements [SystemFiles].
func (s system) Set(ad *classad.Ad) {
	for path, id := range s {
		ad.SetString(fit.Attr(path), string(id))
	}
}

// oldDesk is a machine with little.
func oldDesk(t *testing.T) *desk {
	return newDesk(t, func(c *Config) {
		c.System = system{testLibc: "0123456789abcdef/1900000"}
		facts := c.Facts
		c.Facts = func(ctx context.Context) (*classad.Ad, error) {
			ad, err := facts(ctx)
			ad.SetString(fit.AttrFeatures, "avx,sse2")
			return ad, err
		}
	})
}

// An offer of a job whose image cannot go on here is refused, with what is lacking.
func TestOfferWithUnfitImage(t *testing.T) {
	d := oldDesk(t)
	for _, tt := range []struct {
		name string
		fit  fit.Needs
		want string
	}{
		{"processor", fit.Needs{Features: []string{"avx", "avx2"}}, "its checkpoint was made on a processor with avx2, which this machine's lacks"},
		{
			"library",
			fit.Needs{Features: []string{"avx"}, Files: []fit.File{{Path: testLibc, ID: "fedcba9876543210/1900000"}}},
			"this machine's " + testLibc + " is not the one that its checkpoint was made with (build ID fedcba9876543210)",
		},
		{
			"no library",
			fit.Needs{Files: []fit.File{{Path: "/usr/lib/libodd.so.1", ID: "fedcba9876543210/1900000"}}},
			"this machine has no /usr/lib/libodd.so.1, which its checkpoint needs (build ID fedcba9876543210)",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ref := d.offer("true", "", job.Image{Kind: job.CRIUImage, Digest: blob.Sum([]byte(tt.name)), Fit: &tt.fit})
			var why string
			d.await("the offer is refused", func() bool {
				d.mu.Lock()
				defer d.mu.Unlock()
				var ok bool
				why, ok = d.refused[ref.Claim]
				return ok
			})
			if why != tt.want {
				t.Errorf("it is refused because %q, want %q", why, tt.want)
			}
		})
	}
	if got, _ := d.daemon.facts.Load().Str(fit.Attr(testLibc)); got != "0123456789abcdef/1900000" {
		t.Errorf("the machine says of its C library %q", got)
	}
	if done := d.run("echo fine", ""); done.Outcome != wire.Exited {
		t.Errorf("another job's report is %+v", done)
	}
}

// An image may name any file of the machine. The agent tells nobody of one that jobs do not see, and does not ask for it.
func TestImageAsksForPrivateFile(t *testing.T) {
	d := bareDaemon(t)
	asked := &asking{SystemFiles: system{"/root/.ssh/id_ed25519": "sha256:0123456789abcdef/400", "/etc/shadow": "sha256:0123456789abcdef/900"}}
	d.cfg.System = asked
	for _, path := range []string{"/root/.ssh/id_ed25519", "/etc/shadow", "/home/kim/thesis.tex", "/proc/1/environ"} {
		n := &fit.Needs{Files: []fit.File{{Path: path, ID: "sha256:fedcba9876543210/400"}}}
		if why := d.misfit(n, true); why != "" || len(asked.ids) > 0 || len(asked.paths) > 0 {
			t.Errorf("%s: the image is said not to fit because %q; looked at are %v, asked for %v", path, why, asked.ids, asked.paths)
		}
	}
	n := &fit.Needs{Files: []fit.File{{Path: testLibc, ID: "sha256:fedcba9876543210/400"}}}
	if why := d.misfit(n, true); why == "" || len(asked.ids) != 1 || len(asked.paths) != 1 {
		t.Errorf("a library that is missing: %q; looked at are %v, asked for %v", why, asked.ids, asked.paths)
	}
}

// asking notes what is asked.
type asking struct {
	SystemFiles
	ids, paths []string
}

// ID implements [SystemFiles].
func (a *asking) ID(path string, whole bool) fit.ID {
	a.ids = append(a.ids, path)
	return a.SystemFiles.ID(path, whole)
}

// Ask implements [SystemFiles].
func (a *asking) Ask(paths []string) bool {
	a.paths = append(a.paths, paths...)
	return false
}

// An image that turns out not to fit once it is here is given back as it is: nothing runs, no image is dropped,
// and the job does not start over.
func TestStagedImageThatDoesNotFit(t *testing.T) {
	d := oldDesk(t)
	meta, err := checkpoint.Meta{
		Pid: 1000, LastPid: 1000, FreePid: 2000, Needs: fit.Needs{Features: []string{"avx", "avx512f"}},
	}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	digest := blob.Sum([]byte("image"))
	d.images[digest] = map[string][]byte{"scratch/in": nil, "image/" + checkpoint.MetaName: meta}
	older := job.Image{Kind: job.CRIUImage, Digest: blob.Sum([]byte("older"))}
	done := d.end(d.offer("echo begun", "", job.Image{Kind: job.CRIUImage, Digest: digest}, older))
	if done.Outcome != wire.Evicted || !strings.HasSuffix(done.Reason, "its checkpoint was made on a processor with avx512f, which this machine's lacks") {
		t.Errorf("the report is %+v", done)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.ckpts) > 0 {
		t.Errorf("the matchmaker is told of checkpoints: %+v", d.ckpts)
	}
}

// A job that cannot be restored here is given back if its image is kept for others. If it is not, it goes on from the
// beginning.
func TestImageThatCannotBeRestored(t *testing.T) {
	d := newDesk(t, nil)
	meta, err := checkpoint.Meta{Pid: 1000, LastPid: 1000, FreePid: 2000}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	digest := blob.Sum([]byte("image"))
	d.images[digest] = map[string][]byte{"scratch/in": nil, "image/" + checkpoint.MetaName: meta} // and nothing of CRIU's
	for _, keeps := range []bool{true, false} {
		d.mu.Lock()
		d.keeps, d.ckpts = keeps, nil
		d.mu.Unlock()
		done := d.end(d.offer("true", "", job.Image{Kind: job.CRIUImage, Digest: digest}))
		d.mu.Lock()
		if len(d.ckpts) != 1 || d.ckpts[0].Dropped != digest || !d.ckpts[0].Again || d.ckpts[0].Reason == "" {
			t.Errorf("the matchmaker is told %+v", d.ckpts)
		}
		d.mu.Unlock()
		switch {
		case keeps && (done.Outcome != wire.Evicted || !strings.Contains(done.Reason, "from its checkpoint, which is kept for another try: ")):
			t.Errorf("the report is %+v", done)
		case !keeps && done.Outcome != wire.Exited:
			t.Errorf("without its image the report is %+v", done)
		}
	}
}

// Files that a job has saved on another system, and that cannot be here, are no damaged checkpoint: that is kept.
func TestFilesThatCannotBeHere(t *testing.T) {
	d := newDesk(t, nil)
	digest := blob.Sum([]byte("files"))
	d.images[digest] = map[string][]byte{"scratch/12:30": []byte("state")}
	d.keeps = true
	done := d.end(d.offer("true", "SuccessCheckpointExitCode = 85", job.Image{Kind: job.FileImage, Digest: digest}))
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.ckpts) != 1 || d.ckpts[0].Dropped != digest || !d.ckpts[0].Again || !strings.Contains(d.ckpts[0].Reason, "not a name on this system") {
		t.Errorf("the matchmaker is told %+v", d.ckpts)
	}
	if done.Outcome != wire.Evicted || !strings.Contains(done.Reason, "from its checkpoint, which is kept for another try: ") {
		t.Errorf("the report is %+v", done)
	}
}

func TestNeedsOf(t *testing.T) {
	d := bareDaemon(t)
	facts := classad.NewAd()
	facts.SetString(fit.AttrFeatures, "sse2")
	d.cfg.System = system{"/usr/share/words": "sha256:0123456789abcdef/12", "/usr/share/other": "sha256:0123456789abcdef/13"}
	d.setFacts(facts)
	got := d.needsOf(checkpoint.Meta{Needs: fit.Needs{
		Features: []string{"avx"}, Files: []fit.File{{Path: "/usr/share/words", ID: "?/12"}, {Path: "/usr/share/other", ID: "?/12"}},
	}})
	if list := got.FileList(); list != "/usr/share/words=sha256:0123456789abcdef/12,/usr/share/other=?/12" || fit.FeatureList(got.Features) != "avx" {
		t.Errorf("it needs %s and %v", list, got.Features)
	}
	if got := d.needsOf(checkpoint.Meta{}); fit.FeatureList(got.Features) != "sse2" {
		t.Errorf("an image of an old init needs %v", got.Features)
	}
}
