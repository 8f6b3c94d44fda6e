package startd

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"skua/agent/slot"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
)

// A machine that sleeps while a job waits for its time looks at the clock soon after it has woken.
func TestClockThatGoesOnInItsSleep(t *testing.T) {
	for _, tt := range []struct {
		name         string
		asleep       time.Duration // from half a minute on
		begins, late time.Duration // by timers, and behind the time
	}{
		{"it is awake", 0, 2 * time.Minute, 0},
		{"it wakes before the time", time.Minute, time.Minute, 0},
		{"it wakes after it", 8 * time.Hour, 40 * time.Second, 8*time.Hour - 80*time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			clock := func() time.Time {
				now := time.Now()
				if now.Sub(began) >= 30*time.Second {
					now = now.Add(tt.asleep)
				}
				return now.Round(0)
			}
			late, err := awaitClock(t.Context(), began.Add(2*time.Minute).Round(0), clock)
			if took := time.Since(began); err != nil || took < tt.begins-clockStep || took > tt.begins || late > tt.late || late < tt.late-clockStep {
				t.Errorf("%s: %v late after %v, %v; want %v after %v", tt.name, late, took, err, tt.late, tt.begins)
			}
		})
	}
}

// A job whose window was slept through does not start.
func TestStartThatIsTooLate(t *testing.T) {
	for _, tt := range []struct {
		attrs string
		late  time.Duration
		held  bool
	}{
		{"DeferralWindow = 60", time.Minute, false},
		{"DeferralWindow = 60", 61 * time.Second, true},
		{"DeferralWindow = 0", 100 * time.Millisecond, false}, // a busy machine
		{"", 8 * time.Hour, true},
		{"DeferralWindow = 2147483647", 8 * time.Hour, false},
	} {
		ad, err := classad.ParseOldAd(tt.attrs)
		if err != nil {
			t.Fatal(err)
		}
		tn := &tenant{k: &keeper{d: bareDaemon(t)}, offer: wire.Offer{Ad: ad}}
		held, ok := errors.AsType[*holdError](tn.tooLate(noon.Unix(), tt.late))
		if ok != tt.held || ok && held.code != job.HoldMissedDeferral {
			t.Errorf("%q, %v late: held %v, want %v", tt.attrs, tt.late, ok, tt.held)
		}
	}
}

// How long a job has been leaving counts without the time that the machine slept, like its slot's own deadline.
func TestKillDoesNotCountSleep(t *testing.T) {
	for _, tt := range []struct {
		name          string
		awake, asleep time.Duration
		kill          bool
	}{
		{"a minute after", time.Minute, 0, false},
		{"a minute after, and a night", time.Minute, 8 * time.Hour, false},
		{"its time is over", 11 * time.Minute, 0, true},
	} {
		k := bareDaemon(t).keepers[0]
		k.slot.State, k.slot.Activity = slot.Preempting, slot.Vacating
		k.slot.Entered = asleepSince(t, time.Now().Add(-tt.awake), tt.asleep)
		if got := k.verdicts(time.Now()).Kill; got != tt.kill {
			t.Errorf("%s: KILL is %v, want %v", tt.name, got, tt.kill)
		}
	}
}

// asleepSince is an instant that the machine has slept since: by one of the two clocks of a [time.Time] it is longer ago.
func asleepSince(t *testing.T, at time.Time, long time.Duration) time.Time {
	t.Helper()
	before := at
	*(*uint64)(unsafe.Pointer(&before)) -= uint64(long/time.Second) << 30 // the wall clock's seconds, beside a monotonic reading
	if at.Sub(before) != 0 || at.Round(0).Sub(before.Round(0)) != long {
		t.Fatalf("an instant is laid out otherwise: %v and %v", before, at)
	}
	return before
}
