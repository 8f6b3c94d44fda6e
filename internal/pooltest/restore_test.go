package pooltest_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
	"skua/internal/pooltest"
	"skua/policy"
)

// A job that cannot go on from an image tries again, on other machines. After the third time the image before is used.
func TestRestoreFails(t *testing.T) {
	for _, tt := range []struct {
		name   string
		times  int // that a restore of the newest fails
		drops  bool
		events int // of kind restore-failed
	}{
		{"once", 1, false, 1},
		{"always", 100, true, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				newest, failed := 100*time.Minute+30*time.Second, 0 // those before come every ten minutes
				p := pooltest.Start(t, pooltest.Config{
					Machines: 4, Saves: true, Policy: policy.File{Preset: policy.Dedicated},
					Restores: func(done time.Duration) error {
						if done < newest || failed == tt.times {
							return nil
						}
						failed++
						return errors.New("CRIU says no")
					},
				})
				id := p.Submit(t, "sleep 3h")
				p.AwaitState(t, id, job.Running, time.Minute)
				time.Sleep(newest + 2*time.Minute)
				p.Machine(id).Daemon().Vacate(t.Context(), "a test wants it")
				p.AwaitState(t, id, job.Completed, 6*time.Hour)
				if n := count(p, id, "restore-failed"); n != tt.events {
					t.Errorf("%d restores failed, want %d: %v", n, tt.events, p.Events(id))
				}
				if again := p.RepeatedWork(id); tt.drops != (again > 0) || again > 2*time.Hour {
					t.Errorf("%v of the work was done again", again)
				}
				machines := p.Offered(id)
				if first := machines[1]; machines[2] == first {
					t.Errorf("the second try was where the first had failed: %v", machines)
				}
				if slices.Contains(p.Events(id), "image-dropped") {
					t.Errorf("an image was given up that was not damaged: %v", p.Events(id))
				}
				p.CheckCompleted(t)
			})
		})
	}
}
