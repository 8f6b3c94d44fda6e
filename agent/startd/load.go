package startd

import (
	"context"
	"sync"
	"time"

	"skua/agent/probe"
	"skua/policy/classad"
)

// loadMeter gives the load of the machine, at most one reading a second however many slots ask.
type loadMeter struct {
	mu    sync.Mutex // guards what follows
	meter *probe.LoadMeter
	busy  int // slots whose job runs: each counts as one cpu
	read  time.Time
	load  probe.Load
	ok    bool
}

func newLoadMeter() *loadMeter { return &loadMeter{meter: probe.NewLoadMeter("")} }

// count notes that a job begins (1) or ceases (-1) to run.
func (l *loadMeter) count(delta int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.measure(time.Now()) // what was until now, with the count until now
	l.busy += delta
}

// set writes LoadAvg and SkuaLoadAvg into an ad, if the system tells its load.
func (l *loadMeter) set(ad *classad.Ad) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.read) >= time.Second {
		l.measure(now)
	}
	if l.ok {
		l.load.Set(ad)
	}
}

// measure is called with mu held.
func (l *loadMeter) measure(now time.Time) {
	load, err := l.meter.Load(context.Background(), float64(l.busy))
	l.read, l.load, l.ok = now, load, err == nil
}
