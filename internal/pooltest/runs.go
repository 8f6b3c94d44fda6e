package pooltest

import (
	"fmt"
	"sync"
	"testing/synctest"
	"time"

	"skua/internal/job"
)

// book is what the simulated jobs did.
type book struct {
	mu         sync.Mutex          // guards everything simulated: the book, machines, owners, processes
	running    map[job.ID]*process // the copy that runs, unfrozen
	runs       map[job.ID][]Run    // finished stretches of running
	violations []string
}

// Run is a stretch of a job's running, unfrozen, on one machine.
type Run struct {
	Machine  string
	Nonce    uint64        // drawn when the job was begun from its beginning
	From, To time.Time     //
	Done     time.Duration // work done at its beginning
}

// Worked is the work done in the stretch.
func (r Run) Worked() time.Duration { return r.To.Sub(r.From) }

// Runs gives the stretches in which a job has run so far, the present one included.
func (p *Pool) Runs(id job.ID) []Run {
	synctest.Wait()
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	runs := append([]Run(nil), p.book.runs[id]...)
	if x := p.book.running[id]; x != nil {
		runs = append(runs, x.stretch(time.Now()))
	}
	return runs
}

// Throttled says how many cpus the job may have at most where it runs; 0 for all, or if it does not run.
func (p *Pool) Throttled(id job.ID) float64 {
	synctest.Wait()
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	if x := p.book.running[id]; x != nil {
		return x.cpus
	}
	return 0
}

// Running says on which machine the job runs at this moment, unfrozen; "" for none.
func (p *Pool) Running(id job.ID) string {
	synctest.Wait()
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	if x := p.book.running[id]; x != nil {
		return x.machine.Name
	}
	return ""
}

// begins notes that a copy begins to run. Called with mu held.
func (b *book) begins(x *process) {
	if other := b.running[x.job.id]; other != nil {
		b.violations = append(b.violations, fmt.Sprintf("%v: job %v runs twice, on %s and on %s",
			time.Now(), x.job.id, other.machine.Name, x.machine.Name))
	}
	b.running[x.job.id] = x
}

// ceases notes that a copy does not run any more. Called with mu held.
func (b *book) ceases(x *process, now time.Time) {
	if b.running[x.job.id] == x {
		delete(b.running, x.job.id)
	}
	b.runs[x.job.id] = append(b.runs[x.job.id], x.stretch(now))
}

// RepeatedWork is how much of a job's work was done more than once.
func (p *Pool) RepeatedWork(id job.ID) time.Duration {
	var reached, repeated time.Duration
	for _, r := range p.Runs(id) {
		if r.Done < reached {
			repeated += min(reached-r.Done, r.Worked())
		}
		reached = max(reached, r.Done+r.Worked())
	}
	return repeated
}
