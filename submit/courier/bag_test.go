package courier

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"skua/internal/job"
	"skua/internal/transfer"
	"skua/internal/wire"
)

// slowPool is a pool whose outputs come when somebody lets them.
type slowPool struct {
	*script
	asked, come chan struct{}
	delivered   int
}

func (p *slowPool) Fetch(context.Context, job.ID, string, transfer.Progress) ([]string, error) {
	p.asked <- struct{}{}
	<-p.come
	return nil, nil
}

func (p *slowPool) Act(context.Context, wire.ActionVerb, wire.Selection, string, ...job.Assigned) (wire.ActionResult, error) {
	p.delivered++
	return wire.ActionResult{}, nil
}

// TestJobEndsWhileItsLastRunIsBrought: the outputs of two runs are brought one after the other, so that those of the
// last one are what is left.
func TestJobEndsWhileItsLastRunIsBrought(t *testing.T) {
	pool := &slowPool{asked: make(chan struct{}), come: make(chan struct{})}
	b := newBag(t.Context(), Config{Pool: pool, Retry: time.Second}, slog.New(slog.DiscardHandler))
	defer b.close()
	id := job.ID{Cluster: 7}
	b.add(id, false)
	b.start()
	<-pool.asked
	b.add(id, true)
	b.start()
	if b.active != 1 {
		t.Fatalf("%d errands at a time", b.active)
	}
	pool.come <- struct{}{}
	d := <-b.done
	if b.settle(d) || d.over || pool.delivered != 0 {
		t.Errorf("after the first errand, %+v, the job is out of the bag; %d deliveries", d, pool.delivered)
	}
	<-pool.asked
	pool.come <- struct{}{}
	d = <-b.done
	if b.settle(d) || !d.over || pool.delivered != 1 || !b.jobs[id].sent {
		t.Errorf("after the second errand, %+v, the job stands at %+v; %d deliveries", d, b.jobs[id], pool.delivered)
	}
}
