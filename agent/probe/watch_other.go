//go:build !linux && !windows

package probe

import (
	"context"
	"errors"
	"fmt"
	"time"
)

func (w *Watcher) run(context.Context) error {
	return fmt.Errorf("watch the owner's input: %w", errors.ErrUnsupported)
}

// bootTime is not known here: what was never touched is idle since now.
func bootTime() time.Time { return time.Now() }
