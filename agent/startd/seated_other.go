//go:build !windows

package startd

import "skua/agent/control"

// seated says who sits at the machine: the users at its seats.
func seated() []uint32 { return control.Seats{}.Users() }
