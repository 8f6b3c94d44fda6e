//go:build !winetest

package starter

// excused gives the reason why no job must be run here, or nil: what the self test has found stands. Only a build
// for tests excuses anything.
func (s *Starter) excused(r winReport) error { return r.verdict() }
