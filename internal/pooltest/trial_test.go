package pooltest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
	"skua/internal/pooltest"
	"skua/policy"
)

// A job that cannot be checkpointed is known as such while nobody needs its machine, and runs on.
func TestNotCheckpointable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const why = "it holds a System V shared memory segment"
		p := pooltest.Start(t, pooltest.Config{Machines: 1, Trials: true, NoImages: why, Policy: policy.File{Preset: policy.Dedicated}})
		id := p.Submit(t, "sleep 1h")
		p.AwaitState(t, id, job.Running, time.Minute)
		p.Await(t, "it is known that it cannot be checkpointed", time.Second, 5*time.Minute, func() bool { return p.Job(id).NoImage != "" })
		if got := p.Job(id).NoImage; got != why {
			t.Errorf("it cannot be checkpointed because %q, want %q", got, why)
		}
		p.AwaitState(t, id, job.Completed, 61*time.Minute)
		p.CheckCompleted(t)
	})
}

// The owner who comes while the image is made finds the job frozen, and it stays so.
func TestOwnerComesDuringTrial(t *testing.T) {
	for after := 9 * time.Second; after < 18*time.Second; after += 300 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			p := pooltest.Start(t, pooltest.Config{Machines: 1, Trials: true})
			id := p.Submit(t, "sleep 1h")
			p.AwaitState(t, id, job.Running, time.Hour)
			time.Sleep(after)
			p.Machines()[0].Type(3 * time.Minute)
			for range 60 {
				time.Sleep(time.Second)
				if p.Running(id) != "" {
					t.Fatalf("%v after its start the owner came, and the job runs", after)
				}
			}
			p.Check(t)
		})
	}
}
