package server

import (
	"time"

	"skua/internal/job"
)

// How often a run's measurements are worth an event. The queue log keeps every one of them, so that one
// that says nothing new is not logged at all.
const (
	measuredGrowth = 0.10 // of a peak, at which it is logged at once
	measuredTimes  = 0.50 // of a time: a handful of events in a run of days
	measuredEach   = 5 * time.Minute
)

// measure keeps what the run has used and says whether that is to be logged: the first measurement, a
// peak that has grown much, and now and then one that has grown at all or times that have grown much.
func (k *keeper) measure(u job.Usage) bool {
	k.s.mu.Lock()
	k.usage = u
	k.s.mu.Unlock()
	now := time.Now()
	if !worthLogging(k.logged, u, now.Sub(k.measured)) {
		return false
	}
	k.logged, k.measured = u, now
	return true
}

// worthLogging compares a measurement with the one logged before it, which was some time ago.
func worthLogging(logged, now job.Usage, ago time.Duration) bool {
	grown := func(by float64) bool {
		return float64(now.MaxRSS) > float64(logged.MaxRSS)*(1+by) || float64(now.MaxDisk) > float64(logged.MaxDisk)*(1+by)
	}
	longer := func(logged, now time.Duration) bool { return float64(now) > float64(logged)*(1+measuredTimes) }
	return grown(measuredGrowth) || ago >= measuredEach &&
		(grown(0) || longer(logged.Wall, now.Wall) || longer(logged.UserCPU+logged.SysCPU, now.UserCPU+now.SysCPU))
}
