//go:build !windows

package main

import (
	"github.com/kardianos/service"
	"github.com/spf13/cobra"
)

// serviceArgs are the command with which the service manager starts the agent.
var serviceArgs = []string{"run"}

// serviceOptions give systemd the unit.
var serviceOptions = service.KeyValue{"SystemdScript": unit}

// serviceOnly are the commands that are for the service manager: none.
func serviceOnly(*string) []*cobra.Command { return nil }

// completeInstall does nothing: the unit says everything.
func completeInstall() error { return nil }
