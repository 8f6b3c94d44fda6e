package startd

import (
	"context"
	"runtime"
	"sync"
	"time"

	"skua/agent/probe"
	"skua/policy/classad"
)

// loadMeter gives the load of the machine, at most one reading a second however many slots ask.
type loadMeter struct {
	mu    sync.Mutex // guards what follows
	meter *probe.LoadMeter
	jobs  map[int]int // threads at work of each slot whose job runs
	helps int         // programs of ours that work for jobs
	read  time.Time
	load  probe.Load
	ok    bool

	cpu  func() time.Duration // of this process so far; nil means that nobody knows
	used time.Duration        // what that was at the time at
	at   time.Time
}

func newLoadMeter(cpu func() time.Duration) *loadMeter {
	return &loadMeter{meter: probe.NewLoadMeter(""), jobs: make(map[int]int), cpu: cpu}
}

// count notes that the job of a slot begins or ceases to run. Until it is sampled it counts as one
// thread.
func (l *loadMeter) count(slot int, runs bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally()
	if runs {
		l.jobs[slot] = 1
	} else {
		delete(l.jobs, slot)
	}
}

// sampled notes how many threads of a slot's job were at work just now. Threads are what the system's
// load counts: the cpu time of a job of many threads is less than the load it makes, and the difference
// would look like the owner at work.
func (l *loadMeter) sampled(slot, threads int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, runs := l.jobs[slot]; runs {
		l.tally()
		l.jobs[slot] = threads
	}
}

// helping notes that a program of ours works for a job, as CRIU does that makes an image. It counts as one thread, whether
// it computes or writes, until the function is called that is returned.
func (l *loadMeter) helping() (ended func()) {
	add := func(n int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.tally()
		l.helps += n
	}
	add(1)
	return func() { add(-1) }
}

// set writes LoadAvg and SkuaLoadAvg into an ad, if the system tells its load.
func (l *loadMeter) set(ad *classad.Ad) {
	if load, ok := l.now(); ok {
		load.Set(ad)
	}
}

// now is the load at this moment; false if the system does not tell it.
func (l *loadMeter) now() (probe.Load, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.read) >= time.Second {
		l.measure(now)
	}
	return l.load, l.ok
}

// tally counts what was until now, with the threads until now. Called with mu held.
func (l *loadMeter) tally() { l.load.Ours = l.meter.Count(l.ours()) }

// measure is called with mu held.
func (l *loadMeter) measure(now time.Time) {
	load, err := l.meter.Load(context.Background(), l.ours())
	l.read, l.load, l.ok = now, load, err == nil
}

// ours is how many threads of jobs and for jobs are at work, and what the agent itself has used of the processors since
// the last call. Called with mu held.
func (l *loadMeter) ours() float64 {
	sum := l.helps
	for _, threads := range l.jobs {
		sum += threads
	}
	return float64(sum) + l.own(time.Now())
}

// own is how many processors the agent has kept at work since the last call, by packing an image for example. Called with
// mu held.
func (l *loadMeter) own(now time.Time) float64 {
	if l.cpu == nil {
		return 0
	}
	took, first := now.Sub(l.at), l.at.IsZero()
	if took <= 0 {
		return 0
	}
	used := l.cpu() - l.used
	l.at, l.used = now, l.used+used
	if first {
		return 0
	}
	return min(max(0, used.Seconds()/took.Seconds()), float64(runtime.NumCPU())) // both clocks are coarse
}
