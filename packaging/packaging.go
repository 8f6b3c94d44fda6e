// Package packaging holds, for the programs, files that packages install as they are, so that a service
// installed by hand and one that came in a package are the same.
package packaging

import _ "embed"

// AgentExec is the line of [AgentUnit] that says where a package has put the agent and its configuration.
const AgentExec = "ExecStart=/usr/bin/skua-agent run --config /etc/skua/agent.toml\n"

// AgentUnit is the agent's systemd unit.
//
//go:embed skua-agent.service
var AgentUnit string

// Units are those that [AgentUnit] wants beside it, by the names of their files: where jobs run.
var Units = map[string]string{"skua.slice": jobsSlice, "skua-jobs.service": jobsUnit}

//go:embed skua.slice
var jobsSlice string

//go:embed skua-jobs.service
var jobsUnit string
