package startd

import (
	"context"
	"time"

	"skua/internal/pause"
)

// awaitTime waits for the time that a job is deferred to. The matchmaker sends it ahead of that, by its
// DeferralPrepTime, so that its files are here when the time comes; from then on it is late by nothing
// but its start.
func (t *tenant) awaitTime(ctx context.Context) error {
	at, ok := t.offer.Ad.Int("DeferralTime")
	wait := time.Until(time.Unix(at, 0))
	if !ok || wait <= 0 {
		return nil
	}
	t.log.Info("job is deferred", "until", time.Unix(at, 0))
	return pause.For(ctx, wait)
}
