//go:build !windows

package main

import "path/filepath"

const (
	defaultConfig = "/etc/skua/agent.toml"
	defaultDir    = "/var/lib/skua/agent"
)

// keepOthersOut has nothing to do: the agent's directories have modes.
func keepOthersOut(string) error { return nil }

// controlOf is the socket of an agent with such a directory.
func controlOf(dir string) string {
	if dir == defaultDir {
		return "/run/skua-agent/agent.sock"
	}
	return filepath.Join(dir, "agent.sock")
}
