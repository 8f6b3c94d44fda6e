//go:build !windows

package main

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// untilHandOver gives a context that ends also with SIGUSR1, which tells the agent to make way for
// another one, such as a newer version. Once it has ended, handsOver says whether another one comes: it
// does after SIGUSR1, and when systemd restarts the service.
func untilHandOver(ctx context.Context) (_ context.Context, handsOver func() bool, stop func()) {
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
	return ctx, func() bool { return over.Load() || restarts() }, func() {
		signal.Stop(told)
		cancel()
		<-ended
	}
}
