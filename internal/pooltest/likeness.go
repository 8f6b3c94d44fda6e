package pooltest

import (
	"slices"
	"sync"

	"skua/agent/startd"
	"skua/internal/fit"
	"skua/policy/classad"
)

// likeness is what a machine has of what images need. It tells the agent of the files, as the real system
// does.
type likeness struct {
	Likeness

	mu    sync.Mutex
	asked []string // guarded by mu
}

func newLikeness(cfg Config, machine int) *likeness {
	if cfg.Likeness == nil {
		return &likeness{}
	}
	return &likeness{Likeness: cfg.Likeness(machine)}
}

// needs are those of an image that is made here of a job that keeps to a level, and that has been on processors with
// these features.
func (l *likeness) needs(ran []string, level fit.Baseline) fit.Needs {
	n := fit.Of(level.Limit(fit.Union(ran, fit.ParseFeatures(l.Features))), slices.Concat(l.Usual, l.Other))
	n.Baseline = level
	return n
}

// misfit says why an image cannot go on here, whatever anybody has told.
func (l *likeness) misfit(n fit.Needs) string {
	return n.On(fit.ParseFeatures(l.Features), func(path string) fit.ID { return l.ID(path, true) }).String()
}

// ID implements [startd.SystemFiles].
func (l *likeness) ID(path string, _ bool) fit.ID {
	for _, f := range slices.Concat(l.Usual, l.Other) {
		if f.Path == path {
			return f.ID
		}
	}
	return fit.Absent
}

// Ask implements [startd.SystemFiles].
func (l *likeness) Ask(paths []string) (news bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range paths {
		if !slices.Contains(l.asked, p) && !slices.ContainsFunc(l.Usual, func(f fit.File) bool { return f.Path == p }) {
			l.asked, news = append(l.asked, p), true
		}
	}
	return news
}

// Set implements [startd.SystemFiles].
func (l *likeness) Set(ad *classad.Ad) {
	for _, f := range l.Usual {
		ad.SetString(fit.Attr(f.Path), string(f.ID))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.asked {
		ad.SetString(fit.Attr(p), string(l.ID(p, true)))
	}
}

var _ startd.SystemFiles = (*likeness)(nil)
