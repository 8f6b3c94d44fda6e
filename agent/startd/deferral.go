package startd

import (
	"context"
	"fmt"
	"time"

	"skua/internal/job"
	"skua/internal/pause"
)

// awaitTime waits for the time that a job is deferred to. The matchmaker sends it ahead of that, by its
// DeferralPrepTime, so that its files are here when the time comes; from then on it is late by nothing
// but its start, unless the machine was asleep when the time came.
func (t *tenant) awaitTime(ctx context.Context) error {
	at, ok := t.offer.Ad.Int("DeferralTime")
	until := time.Unix(at, 0)
	if !ok || time.Until(until) <= 0 {
		return nil
	}
	t.log.Info("job is deferred", "until", until)
	late, err := awaitClock(ctx, until, time.Now)
	if err != nil {
		return err
	}
	return t.tooLate(at, late)
}

// tooLate is why a job must not start that late. Given back it would count as one that began at its time, and start at any
// other; so it is held, as by the matchmaker.
func (t *tenant) tooLate(at int64, late time.Duration) error {
	window, _ := t.offer.Ad.Int("DeferralWindow")
	if late <= clockStep || int64(late/time.Second) <= window {
		return nil
	}
	return &holdError{code: job.HoldMissedDeferral, reason: fmt.Sprintf(
		"%s did not start the job at its deferral_time %d, nor within its deferral_window of %d s after it", t.k.d.cfg.Machine, at, window)}
}

// clockStep is how long the clock is not looked at. Timers stand still while the machine sleeps.
const clockStep = 10 * time.Second

// awaitClock waits until the machine's clock says so, and tells how late it is then.
func awaitClock(ctx context.Context, until time.Time, now func() time.Time) (late time.Duration, err error) {
	for {
		wait := until.Sub(now())
		if wait <= 0 {
			return -wait, nil
		}
		if err := pause.For(ctx, min(wait, clockStep)); err != nil {
			return 0, err
		}
	}
}
