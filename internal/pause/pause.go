// Package pause waits for a while, or less if the waiting is called off.
//
// It is for loops that try again. Whoever waits for something to happen waits for that.
package pause

import (
	"context"
	"time"
)

// For waits for d. When ctx ends first, it returns at once with the cause of that.
func For(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
