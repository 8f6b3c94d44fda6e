package server

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"skua/internal/wire"
	"skua/matchmaker/queue"
)

// A message that comes again, at once or later, gets the answer of the first, and nothing is done twice.
func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r repeats[wire.ActionResult]
		work, times := make(chan struct{}), 0
		do := func() (wire.ActionResult, error) {
			<-work
			times++
			return wire.ActionResult{V: times}, errors.New("of the first")
		}
		answers := make(chan int, 2)
		for range 2 {
			go func() {
				a, _ := r.once(t.Context(), "u1 x", do)
				answers <- a.V
			}()
		}
		synctest.Wait()
		close(work)
		if a, b := <-answers, <-answers; a != 1 || b != 1 {
			t.Errorf("two at a time are answered %d and %d, want 1 and 1", a, b)
		}
		if a, err := r.once(t.Context(), "u1 x", do); a.V != 1 || err == nil {
			t.Errorf("later the answer is %d, %v", a.V, err)
		}
		if a, _ := r.once(t.Context(), "u2 x", do); a.V != 2 {
			t.Errorf("another user's message is answered %d", a.V)
		}
		lost := func() (wire.ActionResult, error) { return wire.ActionResult{}, queue.ErrStale }
		if _, err := r.once(t.Context(), "u1 y", lost); err == nil {
			t.Error("no error came of one")
		}
		if a, _ := r.once(t.Context(), "u1 y", do); a.V != 3 {
			t.Errorf("after an answer that says nothing a message is answered %d, want 3: it is done", a.V)
		}
		for i := range 2 * maxRepeats {
			_, _ = r.once(t.Context(), fmt.Sprint("u1 ", i), do)
		}
		if len(r.known) != maxRepeats || len(r.order) != maxRepeats {
			t.Errorf("%d and %d are kept, want %d", len(r.known), len(r.order), maxRepeats)
		}
	})
}
