package startd

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
)

// A file server that does not answer delays the agent once, hides no other directory, and has its own back when it answers.
func TestMountThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bareDaemon(t)
		d.cfg.Policy.Shared = []string{"/srv/hangs", "/srv/data", "/srv/hangs/too"}
		d.cfg.Policy.Machine.SetString("FileSystemDomain", "lab.example.org")
		back := make(chan struct{})
		var asked atomic.Int32
		d.shared.look = func(dir string) bool {
			if dir != "/srv/data" {
				asked.Add(1)
				<-back
			}
			return true
		}
		advertised := func() bool {
			k := d.keepers[0]
			_, ok := k.ad(time.Now(), k.state()).Str("FileSystemDomain")
			return ok
		}
		begun := time.Now()
		d.readFacts(t.Context())
		if took := time.Since(begun); took != mountPatience || advertised() {
			t.Errorf("the facts are read in %v, want %v; the domain is advertised: %v", took, mountPatience, advertised())
		}
		begun = time.Now()
		d.readFacts(t.Context())
		d.SetPolicy(d.cfg.Policy)
		if got := d.mounts(); !slices.Equal(got, []string{"/srv/data"}) {
			t.Errorf("jobs get %v", got)
		}
		if took := time.Since(begun); took != 0 || asked.Load() != 2 {
			t.Errorf("the server, which does not answer, is waited for for %v more, and asked %d times for two directories", took, asked.Load())
		}
		close(back)
		synctest.Wait()
		d.readFacts(t.Context())
		if got := d.mounts(); len(got) != 3 || !advertised() {
			t.Errorf("the server is back, and jobs get %v; the domain is advertised: %v", got, advertised())
		}
	})
}

// A job whose directory is in a file system that is missing now goes elsewhere; one whose directory is in none is held.
func TestDirOfMissingMount(t *testing.T) {
	d := bareDaemon(t)
	there := t.TempDir()
	d.cfg.Policy.Shared = []string{there, "/srv/missing"}
	d.cfg.Policy.Machine.SetString("FileSystemDomain", "lab.example.org")
	for _, tt := range []struct {
		dir           string
		held, refused bool
	}{
		{"", false, false},
		{there, false, false},
		{there + "/work", false, false},
		{"/srv/missing/work", false, true},
		{"/srv/missingwork", true, false},
	} {
		tn := newTenant(d.keepers[0], jobWith(t, ""), "c1")
		tn.cmd.Dir = tt.dir
		var hold *holdError
		if held := errors.As(tn.checkDir(), &hold) && hold.code == job.HoldNoSharedFS; held != tt.held {
			t.Errorf("a job in %q is held: %v", tt.dir, held)
		}
		if err := tn.missesDir(d.mounts()); (err != nil) != tt.refused || errors.As(err, &hold) && !tt.held {
			t.Errorf("a job in %q is given back: %v", tt.dir, err)
		}
	}
	tn := newTenant(d.keepers[0], jobWith(t, ""), "c1")
	tn.cmd.Dir = "/srv/missing/work"
	if _, err := tn.open(t.Context()); err == nil || !d.unshared.Load() {
		t.Errorf("such a job is begun (%v), or the machine still says that it has the file system", err)
	}
}
