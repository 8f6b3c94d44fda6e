package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
)

// become runs another program and ends as it ends: this system cannot have a process be another program. It returns only when
// the program cannot be started.
func become(path string, args ...string) error {
	signal.Ignore(os.Interrupt) // which comes to all on the console, and means the other one
	c := exec.Command(path, args...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err == nil || errors.As(err, &exit) {
		os.Exit(c.ProcessState.ExitCode())
	}
	return fmt.Errorf("start %s: %w", path, err)
}
