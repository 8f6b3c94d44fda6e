package startd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"skua/agent/checkpoint"
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
