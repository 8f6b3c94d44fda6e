//go:build !windows

package main

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"skua/agent/startd"
)

// untilHandOver gives a context that ends also with SIGUSR1, which tells the agent to make way for
// another one, such as a newer version. Once it has ended, occasion says why: another agent comes after
// SIGUSR1, and when systemd restarts the service.
func untilHandOver(ctx context.Context) (_ context.Context, occasion func() startd.Occasion, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGUSR1)
	var over atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-told:
			over.Store(true)
			cancel()
		case <-ctx.Done():
		}
	}()
	occasion = func() startd.Occasion {
		if over.Load() {
			return startd.HandsOver
		}
		return systemdOccasion()
	}
	return ctx, occasion, func() {
		signal.Stop(told)
		cancel()
		<-ended
	}
}
