package starter

import "testing"

// The threads that a job keeps at work are counted, whether they get a processor or wait for one, and
// those that sleep or are frozen are not.
func TestLookCountsThreadsAtWork(t *testing.T) {
	eachFreezer(t, func(t *testing.T, s *Starter) {
		i := open(t, s, "runnable")
		// With exec, so that the shell never waits for a child that has yet to execute its program: such a wait
		// counts as one for a disk, and a freeze in the middle of it lasts.
		runShell(t, i, "for i in 1 2 3; do while :; do :; done & done; exec sleep 1000")
		threads := func() int {
			t.Helper()
			r, err := i.Look(t.Context(), 1<<40)
			if err != nil {
				t.Fatal(err)
			}
			if r.Runnable == nil {
				t.Fatal("a look does not count threads")
			}
			return *r.Runnable
		}
		await(t, "three threads at work", func() bool { return threads() == 3 })
		if err := i.Freeze(); err != nil {
			t.Fatal(err)
		}
		if n := threads(); n != 0 {
			t.Errorf("of a frozen job %d threads are at work", n)
		}
	})
}
