package transfer

import (
	"context"
	"math"
	"sync"
	"time"

	"skua/internal/pause"
)

// courtesy keeps the processors free for whoever sits at the machine. What a transfer takes of them, to compress,
// encrypt and send, is work of this process, whose priority is that of the goroutines that must be quick.
type courtesy struct {
	cpus int

	mu     sync.Mutex
	due    func() bool // whether somebody is to be spared; nil for nobody
	look   func() (Processors, error)
	before Processors // when the budget was last brought up to date
	budget budget
}

// Processors is what has been used of all processors of a machine together, since some moment of the past.
type Processors struct {
	At   time.Time
	Own  time.Duration // by this process
	Idle time.Duration // by nobody
}

// How often is looked.
const (
	lookEach   = 50 * time.Millisecond
	lookAnew   = 2 * time.Second // after which what was seen is forgotten
	longestNap = 200 * time.Millisecond
)

// wait returns when this process may go on to use the processors, or when ctx has ended.
func (c *courtesy) wait(ctx context.Context) error {
	for {
		nap := c.nap()
		if nap <= 0 {
			return nil
		}
		if err := pause.For(ctx, nap); err != nil {
			return err
		}
	}
}

// nap is how long to wait before asking again; 0 for not at all.
func (c *courtesy) nap() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.due == nil || !c.due() {
		c.before = Processors{}
		return 0
	}
	if time.Since(c.before.At) >= lookEach {
		now, err := c.look()
		switch since := now.At.Sub(c.before.At); {
		case err != nil:
			return 0 // what cannot be known is not waited for
		case since >= lookAnew:
			c.budget = budget{spare: mostSpare}
		default:
			c.budget = c.budget.after(since, now.Own-c.before.Own, now.Idle-c.before.Idle, c.cpus)
		}
		c.before = now
	}
	return c.budget.nap()
}

// budget is how much of the processors may be used.
type budget struct {
	spare time.Duration // that may be used at once; negative after too much was
	rate  float64       // processors that may be used from now on
	taken float64       // processors that others have wanted of late
}

const (
	// leastShare is what is taken of all processors even when others want them: less would be noticed less, but
	// what is to be transferred must leave some time.
	leastShare = 0.01
	// freeShare is left to others of what they do not use, so that they find it at once when they want more.
	freeShare = 0.1
	// mostSpare lets small transfers pass at once.
	mostSpare = 40 * time.Millisecond
	// longestDebt is how long transfers stand still at most for what this process has used too much: other work of it
	// counts, too, and peers give up those that stand still for a minute.
	longestDebt = 10 * time.Second
	// memory is how long it takes until others count as wanting a third of what they did. While this process works,
	// they do not get what they want, so that cannot be seen.
	memory = 2 * time.Second
)

// after is the budget after a while in which this process has used own of all processors' time, and idle was left.
// From then on it may use what others do not want, but for a reserve.
func (b budget) after(while, own, idle time.Duration, cpus int) budget {
	if while <= 0 {
		return b
	}
	all := float64(cpus)
	forgotten := math.Exp(-while.Seconds() / memory.Seconds())
	taken := max(0, all-(own+idle).Seconds()/while.Seconds(), b.taken*forgotten)
	rate := max(leastShare*all, all-taken-freeShare*all)
	return budget{
		spare: min(max(b.spare-own, -time.Duration(rate*float64(longestDebt)))+time.Duration(rate*float64(while)), mostSpare),
		rate:  rate,
		taken: taken,
	}
}

// nap is how long it takes until something may be used, as far as can be foreseen.
func (b budget) nap() time.Duration {
	if b.spare >= 0 {
		return 0
	}
	return min(max(time.Duration(float64(-b.spare)/b.rate), lookEach), longestNap)
}
