package startd

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"skua/agent/slot"
	"skua/internal/job"
)

// Jobs that are throttled stand still while the owner's programs do not leave them what they are to have.
func TestRoom(t *testing.T) {
	type look struct {
		after  time.Duration
		left   float64 // processors that the owner's programs have left since the look before
		want   float64 // that jobs are to have
		scarce bool
	}
	for _, tt := range []struct {
		name  string
		looks []look
	}{
		{"the first look knows nothing", []look{{time.Second, 0, 1, false}}},
		{"an owner who wants everything", []look{{time.Second, 4, 1, false}, {time.Second, 0, 1, true}, {time.Second, 0.1, 1, true}}},
		{"one who leaves the share", []look{{time.Second, 4, 1, false}, {time.Second, 1, 1, false}}},
		{"nearly the share is enough to go on", []look{{time.Second, 4, 1, false}, {time.Second, 0.8, 1, false}}},
		{"but not to begin again", []look{{time.Second, 4, 1, false}, {time.Second, 0.7, 1, true}, {time.Second, 0.9, 1, true}, {time.Second, 1.1, 1, false}}},
		{"a small share is left by most", []look{{time.Second, 4, 0.05, false}, {time.Second, 0.05, 0.05, false}, {time.Second, 0.03, 0.05, true}}},
		{"nobody is throttled any more", []look{{time.Second, 4, 1, false}, {time.Second, 0, 1, true}, {time.Second, 0, 0, false}}},
		{"nobody looked for a while", []look{{time.Second, 4, 1, false}, {time.Second, 0, 1, true}, {time.Hour, 0, 1, false}, {time.Second, 0, 1, true}}},
		{"the clock stands", []look{{time.Second, 4, 1, false}, {0, 0, 1, false}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r room
			at, free := time.Now(), time.Duration(0)
			for i, l := range tt.looks {
				at = at.Add(l.after)
				free += time.Duration(l.left * float64(l.after))
				if r = r.step(at, free, l.want); r.scarce != l.scarce {
					t.Errorf("look %d: scarce is %v", i+1, r.scarce)
				}
			}
		})
	}
}

// Beside a job that runs and is throttled the room is looked at more often than the policy, and beside no other.
func TestLooksAtTheRoomSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := bareDaemon(t).keepers[0]
		until := func(what string, want time.Duration) {
			t.Helper()
			if wait := k.untilRoom(time.Now()); wait != want {
				t.Errorf("%s: it is looked at after %v, want %v", what, wait, want)
			}
		}
		never := time.Duration(math.MaxInt64)
		k.roomed = time.Now()
		k.slot = slot.Slot{State: slot.Claimed, Activity: slot.Busy, Throttled: true, Tenancy: job.Tenancy{Phase: job.Holding, Claim: "c1"}}
		until("nobody knows what is free", never)
		k.d.room.idle = func() (time.Duration, error) { return 0, nil }
		until("it has just been looked at", roomEach)
		time.Sleep(roomEach / 4)
		until("a little later", roomEach*3/4)
		time.Sleep(time.Hour)
		until("much later", 0)
		k.yields = true
		until("the job stands still for it", never)
		k.yields, k.slot.Throttled = false, false
		until("the job may have what it wants", never)
		k.slot.Throttled, k.slot.Activity = true, slot.Suspended
		until("the job is suspended", never)
	})
}
