package startd

import (
	"math"
	"time"

	"skua/agent/control"
	"skua/internal/wire"
)

// How often an image is made of a job that runs, so that a machine that fails, or whose owner pulls the plug,
// costs it little.

// Bounds of what images cost: no more than one part in so many of the time between two.
const (
	stillShare = 100 // that the job stands still for one
	spentShare = 50  // that a processor works for one, to dump and to pack and send it
)

// saveCost is what an image of a job has cost.
type saveCost struct {
	still time.Duration // how long the job stood still
	spent time.Duration // of all processors: CRIU's and the agent's
}

// least is the shortest time between two images that cost so much.
func (c saveCost) least() time.Duration { return max(stillShare*c.still, spentShare*c.spent) }

// saveEach is how long a job runs between two images: the interval that loses least, of the time for the images
// and of the work since the newest one when a run is cut short, which is sqrt(2 * cost * between) to first order,
// with the mean time between two runs that were cut short. See J. W. Young, A first order approximation to the
// optimum checkpoint interval, Communications of the ACM 17 (1974), and J. T. Daly, Future Generation Computer
// Systems 22 (2006).
//
// Young's cost is how long the job stands still: what is done beside it while it runs it need not wait for. That is
// bounded as well, though, and in any case. The policy bounds the interval by least and most.
func saveEach(cost saveCost, between, least, most time.Duration) time.Duration {
	each := time.Duration(math.Sqrt(2*cost.still.Seconds()*between.Seconds()) * float64(time.Second))
	return min(max(each, least, cost.least()), max(most, cost.least()))
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

// cutsOf are the times at which jobs were cut short on this machine.
func cutsOf(ran []control.Ran) (cuts []time.Time) {
	for _, r := range ran {
		if !r.Began.IsZero() && (r.Outcome == string(wire.Evicted) || r.Outcome == string(wire.Killed)) {
			cuts = append(cuts, r.Ended)
		}
	}
	return cuts
}

// usualCut reports whether, by the habits of the machine's owner, a job that runs now is about to be cut short: jobs were
// so at this time of day, or up to half an hour later, on three days of the last two weeks.
func usualCut(cuts []time.Time, now time.Time) bool {
	const (
		ahead = 30 * time.Minute
		back  = 14 * 24 * time.Hour
		often = 3
	)
	days := map[[3]int]bool{}
	for _, at := range cuts {
		at = at.In(now.Location())
		until := (timeOfDay(at) - timeOfDay(now) + 24*time.Hour) % (24 * time.Hour)
		if age := now.Sub(at); age >= 0 && age <= back && until <= ahead {
			year, month, day := at.Date()
			days[[3]int{year, int(month), day}] = true
		}
	}
	return len(days) >= often
}

func timeOfDay(t time.Time) time.Duration {
	hour, minute, second := t.Clock()
	return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second
}
