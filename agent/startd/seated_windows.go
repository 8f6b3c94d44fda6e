package startd

import "skua/agent/probe"

// seated says who sits at the machine: the sessions at its screen and keyboard.
func seated() []uint32 { return probe.SeatedSessions() }
