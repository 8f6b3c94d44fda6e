package pooltest_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
	"skua/internal/pooltest"
	"skua/internal/wire"
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

// A job whose files are being copied for an image stands still until that is done: what it would do meanwhile would be
// in the files and not in the image's memory.
func TestNothingMovesWhileFilesAreCopied(t *testing.T) {
	for _, tt := range []struct {
		name   string
		preset policy.Preset
		happen func(p *pooltest.Pool, m *pooltest.Machine, id job.ID)
	}{
		{"the owner types, where jobs may go on", policy.Office, func(_ *pooltest.Pool, m *pooltest.Machine, _ job.ID) { m.Touch() }},
		{"the owner's mouse is bumped", policy.Desktop, func(_ *pooltest.Pool, m *pooltest.Machine, _ job.ID) { m.Touch() }},
		{"its user suspends it and has it go on", policy.Dedicated, func(p *pooltest.Pool, _ *pooltest.Machine, id job.ID) {
			p.Act(t, wire.Suspend, id)
			time.Sleep(time.Second)
			p.Act(t, wire.Continue, id)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				copying, copied := make(chan *pooltest.Machine), make(chan struct{})
				p := pooltest.Start(t, pooltest.Config{
					Machines: 1, Saves: true, Policy: policy.File{Preset: tt.preset},
					Copying: func(m *pooltest.Machine) {
						select {
						case copying <- m:
						case <-copied: // that was another image
						}
						<-copied
					},
				})
				id := p.Submit(t, "sleep 1h")
				m := <-copying
				for range 10 {
					tt.happen(p, m, id)
					time.Sleep(3 * time.Second)
					if where := p.Running(id); where != "" {
						t.Errorf("the job runs on %s while its files are copied", where)
					}
				}
				close(copied)
				p.AwaitState(t, id, job.Completed, 12*time.Hour)
				p.CheckCompleted(t)
			})
		})
	}
}
