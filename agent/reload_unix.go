//go:build !windows

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// onReload calls do at each SIGHUP, by one at a time, until stop has returned.
func onReload(do func()) (stop func()) {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGHUP)
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-told:
				do()
			case <-over:
				return
			}
		}
	}()
	return func() {
		signal.Stop(told)
		close(over)
		<-ended
	}
}
