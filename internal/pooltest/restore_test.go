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

// The owner comes back while a job is restored from its image: it starts frozen.
func TestOwnerReturnsWhileAJobIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var desk *pooltest.Machine
		var typed time.Time
		p := start(t, pooltest.Config{Machines: 2, Restores: func(time.Duration) error {
			typed = time.Now()
			desk.Type(time.Minute)
			return nil
		}})
		id, first := running(t, p, "sleep 1h")
		for _, m := range p.Machines() {
			if m != first {
				desk = m
			}
		}
		time.Sleep(10 * time.Minute)
		first.Type(30 * time.Minute)
		p.Await(t, "it runs elsewhere", time.Second, time.Hour, func() bool { return p.Running(id) == desk.Name })
		for _, r := range p.Runs(id) {
			if r.Machine == desk.Name && r.From.Before(typed.Add(time.Minute)) {
				t.Errorf("it ran from %v, and the owner was there from %v on", r.From, typed)
			}
		}
		p.AwaitState(t, id, job.Completed, 3*time.Hour)
		if again := p.RepeatedWork(id); again != 0 {
			t.Errorf("%v of the work was done again", again)
		}
		p.CheckCompleted(t)
	})
}
