package startd

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"skua/agent/slot"
	"skua/internal/job"
)

// A job that has ended by itself is over, however long its results take to be sent.
func TestOverWhileResultsAreSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := bareDaemon(t).keepers[0]
		k.slot = slot.Slot{State: slot.Claimed, Activity: slot.Busy, Tenancy: job.Tenancy{Phase: job.Holding, Claim: "c1"}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		over := make(chan error, 1)
		go func() { over <- k.waitOver(ctx) }()
		synctest.Wait()
		select {
		case err := <-over:
			t.Fatalf("a job that runs is over (%v)", err)
		default:
		}
		k.step(ctx, slot.Finished{At: time.Now(), Claim: "c1"})
		if err := <-over; err != nil {
			t.Errorf("it is not over: %v", err)
		}
	})
}
