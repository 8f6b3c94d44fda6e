package pooltest_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
	"skua/internal/pooltest"
	"skua/policy"
)

// A machine that is lost without a word costs its job no more than the work since its newest image.
func TestMachineLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pooltest.Start(t, pooltest.Config{Machines: 2, Saves: true, Policy: policy.File{Preset: policy.Dedicated}})
		id := p.Submit(t, "sleep 3h")
		p.AwaitState(t, id, job.Running, time.Minute)
		time.Sleep(100 * time.Minute)
		p.Machine(id).Crash()
		p.AwaitState(t, id, job.Completed, 6*time.Hour)
		if events := p.Events(id); !slices.Contains(events, "checkpointed") {
			t.Errorf("no image was made while the job ran: %v", events)
		}
		if again := p.RepeatedWork(id); again <= 0 || again > 31*time.Minute {
			t.Errorf("%v of the work was done again", again)
		}
		p.CheckCompleted(t)
	})
}

// The owner who comes while an image is being sent gets the machine at once, and the job loses nothing.
func TestOwnerComesWhileAnImageIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pooltest.Start(t, pooltest.Config{Machines: 2, Saves: true})
		id := p.Submit(t, "sleep 1h")
		p.AwaitState(t, id, job.Running, time.Hour)
		desk := p.Machine(id)
		for range 40 { // around the first image, after ten minutes
			if p.Running(id) == "" {
				break
			}
			time.Sleep(15 * time.Second)
		}
		desk.Type(30 * time.Minute)
		time.Sleep(2 * time.Second)
		if where := p.Running(id); where == desk.Name {
			t.Errorf("the owner is back and the job runs on %s", where)
		}
		p.AwaitState(t, id, job.Completed, 4*time.Hour)
		if again := p.RepeatedWork(id); again != 0 {
			t.Errorf("%v of the work was done again", again)
		}
		p.CheckCompleted(t)
	})
}
