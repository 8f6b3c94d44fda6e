//go:build !windows

package main

const (
	defaultConfig = "/etc/skua/agent.toml"
	defaultDir    = "/var/lib/skua/agent"

	defaultControl = "/run/skua-agent/agent.sock"
)
