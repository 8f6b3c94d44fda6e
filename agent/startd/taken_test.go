package startd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"skua/agent/checkpoint"
	"skua/agent/starter"
	"skua/internal/job"
	"skua/internal/wire"
)

// dumpedInit is an init that can be asked for an image.
type dumpedInit struct {
	endedInit
	dir  string // of its image
	dump func() error
}

func (i dumpedInit) ImageDir() string { return i.dir }

func (i dumpedInit) Checkpoint(context.Context, bool) (checkpoint.Stats, error) {
	return checkpoint.Stats{Took: time.Second}, i.dump()
}

// While a job is dumped to leave, and for as long as something can come of that, the agent's directory says so.
func TestTakenIsOnDisk(t *testing.T) {
	broken := errors.New("CRIU says no")
	for _, tt := range []struct {
		name  string
		stops bool // the agent, meanwhile
		err   error
		after bool
	}{
		{"dumped", false, nil, true},
		{"cannot be", false, broken, false},
		{"the agent stops", true, context.Canceled, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			tn := newTenant(bareDaemon(t).keepers[0], asks(t, "c1", 1, 1), "c1")
			in := dumpedInit{dir: t.TempDir()}
			write(t, filepath.Join(in.dir, checkpoint.MetaName), "of an image that was made for a trial")
			in.dump = func() error {
				if rec, ok := tn.taken(); !ok || rec.Why != "asked" {
					t.Errorf("during the dump the record is %+v (%v)", rec, ok)
				}
				if _, err := os.Stat(filepath.Join(in.dir, checkpoint.MetaName)); err == nil {
					t.Error("the image before is still there")
				}
				if tt.stops {
					stop()
				}
				return tt.err
			}
			if _, err := tn.takeImage(ctx, in, "asked"); !errors.Is(err, tt.err) {
				t.Errorf("it gives %v, want %v", err, tt.err)
			}
			if rec, ok := tn.taken(); ok != tt.after || ok && !tt.stops && rec.Dump != time.Second {
				t.Errorf("after it the record is %+v (%v), want %v", rec, ok, tt.after)
			}
		})
	}
}

// finder is a starter that finds an init, or what one has left.
type finder struct {
	noStarter
	in, left Init // nil for none
}

func (f finder) Adopt(context.Context, job.ClaimID) (Init, error) {
	if f.in == nil {
		return nil, starter.ErrGone
	}
	return f.in, nil
}

func (f finder) Leftover(job.ClaimID) (Init, error) {
	if f.left == nil {
		return nil, starter.ErrGone
	}
	return f.left, nil
}

// A claim whose job was dumped to leave goes on with that, whatever has become of its init meanwhile.
func TestTakenIsFound(t *testing.T) {
	this, before := starter.Exit{Job: job.ID{Cluster: 7}}, starter.Exit{Job: job.ID{Cluster: 6}}
	left := endedInit{exit: starter.Exit{Err: "the claim's init is gone"}}
	for _, tt := range []struct {
		name   string
		finder finder
		leaves bool
		lost   bool
	}{
		{"its init is gone", finder{left: left}, true, false},
		{"and has left no image", finder{}, false, true},
		{"and had run another job before", finder{in: endedInit{exit: before}, left: left}, true, false},
		{"and had, and has left no image", finder{in: endedInit{exit: before}}, false, true},
		{"the job had ended by itself", finder{in: endedInit{exit: this}}, false, false},
	} {
		d := bareDaemon(t)
		d.cfg.Starter = tt.finder
		k, offer := d.keepers[0], asks(t, "c2", 1, 1)
		newTenant(k, offer, "c1").noteTaken(takenRecord{Claim: "c2", Why: "asked"})
		k.readopt(t.Context(), claimRecord{V: wire.Version, Offer: offer}, "c1")
		if got := k.tenant.leaves; got != tt.leaves {
			t.Errorf("%s: it leaves: %v, want %v", tt.name, got, tt.leaves)
		}
		if done := k.tenant.reported(); (done.Outcome == wire.Evicted) != tt.lost {
			t.Errorf("%s: the report is %+v", tt.name, done)
		}
	}
}
