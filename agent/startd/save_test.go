package startd

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"skua/agent/checkpoint"
	"skua/policy"
)

// hangingInit is an init whose job's image is never complete. It notes how long that was waited for.
type hangingInit struct {
	endedInit
	waited *time.Duration
}

func (i hangingInit) ImageDir() string { return i.scratch }

func (i hangingInit) Checkpoint(ctx context.Context, _ bool) (checkpoint.Stats, error) {
	begun := time.Now()
	<-ctx.Done()
	*i.waited = time.Since(begun)
	return checkpoint.Stats{}, ctx.Err()
}

// The larger a job, the longer its image may take; a job that leaves has the time that the policy grants it in any case.
func TestTimeForAnImage(t *testing.T) {
	for _, tt := range []struct {
		name          string
		memory        int64
		vacate        time.Duration
		leaves, saved time.Duration
	}{
		{"a small job", 1 << 20, time.Minute, 5 * time.Minute, 5 * time.Minute},
		{"a large one", 60 << 30, time.Minute, 5*time.Minute + 12288*time.Second, 5*time.Minute + 12288*time.Second},
		{"a policy that gives it long", 1 << 20, time.Hour, time.Hour, 5 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := bareDaemon(t)
				d.SetPolicy(&policy.Policy{MaxVacateTime: tt.vacate})
				tn := newTenant(d.keepers[0], jobWith(t, ""), "c1")
				tn.used.MaxRSS = tt.memory
				tn.since = time.Now()
				var waited time.Duration
				in := hangingInit{endedInit{scratch: t.TempDir()}, &waited}
				if _, err := tn.takeImage(t.Context(), in, "asked"); !errors.Is(err, context.DeadlineExceeded) || waited != tt.leaves {
					t.Errorf("when it leaves its image is waited for for %v (%v), want %v", waited, err, tt.leaves)
				}
				if _, _, err := tn.snapshot(t.Context(), in, t.TempDir()); !errors.Is(err, context.DeadlineExceeded) || waited != tt.saved {
					t.Errorf("while it runs its image is waited for for %v (%v), want %v", waited, err, tt.saved)
				}
			})
		})
	}
}
