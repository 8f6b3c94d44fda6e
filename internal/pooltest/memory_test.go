package pooltest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
	"skua/internal/pooltest"
)

// The memory of a job goes first once it stands still for the owner, and not for a bumped desk.
func TestMemoryOfAFrozenJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 1})
		id, m := running(t, p, "sleep 20m")
		want := func(when string, times int) {
			t.Helper()
			if got := m.Cooled(); got != times {
				t.Errorf("%s the memory was made to go first %d times, want %d", when, got, times)
			}
		}
		time.Sleep(time.Minute)
		want("while the job ran", 0)
		m.Touch()
		time.Sleep(10 * time.Second)
		want("after a bump", 0)
		m.Type(3 * time.Minute)
		time.Sleep(2 * time.Second)
		want("two seconds after the owner came", 0)
		time.Sleep(3 * time.Second)
		want("five seconds after the owner came", 1)
		time.Sleep(2 * time.Minute)
		want("while the owner stayed", 1)
		p.AwaitState(t, id, job.Running, 10*time.Minute)
		m.Type(time.Minute)
		time.Sleep(5 * time.Second)
		want("when the owner came again", 2)
		p.AwaitState(t, id, job.Completed, time.Hour)
		p.CheckCompleted(t)
	})
}
