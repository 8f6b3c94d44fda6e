package pooltest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
	"skua/internal/pooltest"
	"skua/internal/quantity"
	"skua/policy"
)

// Twelve owners return within seconds, and the link that their machines share carries all the images in half an hour:
// three times as long as a job has to leave. What is on a machine's disk counts as saved while the machine is up;
// where it is switched off meanwhile, no more is lost than since the newest image of the time when the job ran.
func TestOwnersReturnTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			machines = 12
			lost     = 9 // and those after it are switched off
			interval = 20 * time.Minute
		)
		minutes := func(n int) *quantity.Duration { return new(quantity.Duration(time.Duration(n) * time.Minute)) }
		p := pooltest.Start(t, pooltest.Config{
			Machines: machines, Saves: true, Link: 150 * time.Second, LookEach: 30 * time.Second,
			Policy: policy.File{
				Vacate:      policy.Vacate{SuspendFor: minutes(1), MaxVacateTime: minutes(10)},
				Checkpoints: policy.Checkpoints{MinInterval: minutes(int(interval / time.Minute)), MaxInterval: minutes(40)},
			},
		})
		jobs := p.SubmitN(t, "sleep 4h", machines)
		for _, id := range jobs {
			p.AwaitState(t, id, job.Running, time.Hour)
		}
		time.Sleep(2 * time.Hour)
		desks := map[*pooltest.Machine]job.ID{}
		saved := map[job.ID]time.Time{}
		for _, id := range jobs {
			desks[p.Machine(id)] = id
			if images := p.Job(id).Images; len(images) > 0 {
				saved[id] = images[0].At
			}
		}
		if len(desks) != machines || len(saved) != machines {
			t.Fatalf("%d jobs run on %d machines, and there are images of %d", len(jobs), len(desks), len(saved))
		}
		returned := time.Now()
		for _, desk := range p.Machines() {
			time.Sleep(time.Second / 2)
			desk.Type(3 * time.Hour)
		}
		time.Sleep(3 * time.Minute) // all are leaving
		off := map[job.ID]bool{}
		for i, desk := range p.Machines() {
			if i >= lost && p.State(desks[desk]) != job.Idle {
				off[desks[desk]] = true
				desk.Crash()
			}
		}
		if len(off) == 0 {
			t.Error("no machine was switched off before it had sent the image")
		}
		late := 0
		for _, id := range jobs {
			p.AwaitState(t, id, job.Idle, 2*time.Hour)
			if at := p.Job(id).Images[0].At; !off[id] && !at.After(returned) {
				t.Errorf("job %v has no image of the time when its owner came", id)
			} else if time.Since(returned) > 15*time.Minute {
				late++
			}
		}
		if late == 0 {
			t.Error("every image was sent in the time that jobs have to leave: nothing is tested")
		}
		for _, id := range jobs {
			p.AwaitState(t, id, job.Completed, 24*time.Hour)
			again := p.RepeatedWork(id)
			if most := returned.Add(time.Minute).Sub(saved[id]); off[id] && again > most || !off[id] && again != 0 {
				t.Errorf("job %v, switched off: %v, did %v of its work again; its newest image was %v old", id, off[id], again, most)
			}
		}
		p.CheckCompleted(t)
	})
}
