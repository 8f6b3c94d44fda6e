package probe

import (
	"context"
	"math"
	"time"

	"skua/policy/classad"
)

// loadMinute is the time constant of the system's one-minute load average, and of ours beside it.
const loadMinute = time.Minute

// Load is how many threads run or wait for a processor or a disk, averaged over the last minute.
type Load struct {
	Total float64 // LoadAvg
	Ours  float64 // the part of Skua's jobs: SkuaLoadAvg
}

// Owner is the part that is not ours. Where the two averages disagree it is 0, not less.
func (l Load) Owner() float64 { return max(0, l.Total-l.Ours) }

// Set sets the attributes that policies read, under HTCondor's old name too.
func (l Load) Set(ad *classad.Ad) {
	total, ours := math.Round(l.Total*100)/100, math.Round(l.Ours*100)/100
	ad.SetReal("LoadAvg", total)
	ad.SetReal("SkuaLoadAvg", ours)
	ad.SetReal("CondorLoadAvg", ours)
}

// A LoadMeter tells the owner's load from ours. The system's average forgets slowly: without an
// average of our own that forgets alike, a job that has just ended would look like the owner at
// work for a minute or two, and keep the next one away. One goroutine uses a LoadMeter.
type LoadMeter struct {
	system func(ctx context.Context, now time.Time) (float64, error)
	ours   average
}

// NewLoadMeter gives a meter that reads under proc; "" means /proc.
func NewLoadMeter(proc string) *LoadMeter {
	setDefault(&proc, "/proc")
	return &LoadMeter{system: systemLoad(proc)}
}

// Load reads the load at this moment. ours is how many threads of our jobs have been at work on average
// since the last call.
func (m *LoadMeter) Load(ctx context.Context, ours float64) (Load, error) {
	now := time.Now()
	m.ours.add(now, ours)
	total, err := m.system(ctx, now)
	return Load{Total: total, Ours: m.ours.value}, err
}

// Count is Load without the system's part, which does not change as often as jobs begin and end.
func (m *LoadMeter) Count(ours float64) float64 {
	m.ours.add(time.Now(), ours)
	return m.ours.value
}

// average is an exponentially decaying average over loadMinute.
type average struct {
	at    time.Time
	value float64
}

// add counts v as the value since the last call. The first stands for all the time before: a job may
// have run for long when the agent starts.
func (a *average) add(now time.Time, v float64) {
	keep := 0.0
	if !a.at.IsZero() {
		keep = math.Exp(-float64(max(0, now.Sub(a.at))) / float64(loadMinute))
	}
	a.value = a.value*keep + v*(1-keep)
	a.at = now
}

// busyTime turns a growing sum of cpu time into cpus in use.
type busyTime struct {
	at   time.Time
	busy float64 // seconds
}

// since gives the cpus in use since the last call, 0 at the first.
func (b *busyTime) since(now time.Time, busy float64) float64 {
	took, used := now.Sub(b.at).Seconds(), busy-b.busy
	first := b.at.IsZero()
	b.at, b.busy = now, busy
	if first || took <= 0 || used < 0 {
		return 0
	}
	return used / took
}
