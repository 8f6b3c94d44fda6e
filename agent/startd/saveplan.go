package startd

import (
	"math"
	"time"

	"skua/agent/control"
	"skua/internal/wire"
)

// How often an image is made of a job that runs, so that a machine that fails, or whose owner pulls the plug,
// costs it little.

// The bounds of the time between two images.
const (
	saveLeast = 10 * time.Minute
	saveMost  = 2 * time.Hour

	saveShare = 100 // an image costs no more than one part in so many of the time between two
)

// saveEach is how long a job runs between two images: the interval that loses least, of the time for the images
// and of the work since the newest one when a run is cut short, which is sqrt(2 * cost * between) to first order,
// with the mean time between two runs that were cut short. See J. W. Young, A first order approximation to the
// optimum checkpoint interval, Communications of the ACM 17 (1974), and J. T. Daly, Future Generation Computer
// Systems 22 (2006).
//
// cost is how long the job stood still for an image.
func saveEach(cost, between time.Duration) time.Duration {
	each := time.Duration(math.Sqrt(2*cost.Seconds()*between.Seconds()) * float64(time.Second))
	return min(max(each, saveLeast, saveShare*cost), max(saveMost, saveShare*cost))
}

// betweenCuts is the mean time that jobs run on this machine until they are cut short. Nothing is known of a machine
// on which little has run, so it is taken to have run one job for an hour until it was.
func betweenCuts(ran []control.Ran) time.Duration {
	const newest = 200
	sum, cuts := time.Hour, 1
	for _, r := range ran[max(0, len(ran)-newest):] {
		if r.Began.IsZero() || r.Ended.Before(r.Began) {
			continue
		}
		sum += r.Ended.Sub(r.Began)
		if r.Outcome == string(wire.Evicted) || r.Outcome == string(wire.Killed) {
			cuts++
		}
	}
	return sum / time.Duration(cuts)
}
