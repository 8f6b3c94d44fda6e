//go:build race

package pooltest_test

import "runtime"

// raceDetector makes everything several times as slow.
const raceDetector = true

// Go 1.26's runtime has all timers of a synctest bubble run in one context of the race detector without a lock, so that
// it crashes, seldom, when two threads each receive from one that is due (runtime.(*timer).unlockAndRun). What
// the detector finds does not depend on two threads running at a time.
func init() { runtime.GOMAXPROCS(1) }
