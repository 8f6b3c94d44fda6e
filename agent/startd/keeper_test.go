package startd

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"skua/agent/slot"
	"skua/internal/job"
	"skua/policy"
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

// While the owner has the machine the policy looks seldom, and just then when the job may go on.
func TestLooksSeldomWhileTheJobStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bareDaemon(t)
		d.rules.Store(&policy.Policy{ContinueAfter: 5 * time.Minute})
		owner := handWatcher{}
		d.owner.watcher = &owner
		k := d.keepers[0]
		looks := func(what string, activity slot.Activity, typed time.Duration, least, most time.Duration) {
			t.Helper()
			now := time.Now()
			k.looked, owner.last = now, now.Add(-typed)
			k.slot.State, k.slot.Activity = slot.Claimed, activity
			if wait := k.untilLook(now); wait < least || wait > most {
				t.Errorf("%s: the policy looks again after %v, want %v to %v", what, wait, least, most)
			}
		}
		looks("it runs", slot.Busy, 0, d.cfg.LookEach, d.cfg.LookEach)
		k.slot.Touched = true
		looks("it may have been a bumped desk", slot.Suspended, 0, d.cfg.LookEach, d.cfg.LookEach)
		k.slot.Touched = false
		looks("the owner types", slot.Suspended, 0, d.cfg.LookStill/2, d.cfg.LookStill*3/2)
		looks("the owner has just left", slot.Suspended, 5*time.Minute-2*time.Second, 3*time.Second, 3*time.Second)
		looks("the owner has left, other programs have not", slot.Suspended, time.Hour, d.cfg.LookStill/2, d.cfg.LookStill*3/2)
	})
}
