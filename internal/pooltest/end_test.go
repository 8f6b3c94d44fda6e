package pooltest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
	"skua/internal/pooltest"
	"skua/policy"
)

// An agent that nobody hears, since its machine was put out of the pool, ends its jobs and waits for no answer.
func TestEndUnheard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pooltest.Start(t, pooltest.Config{Machines: 1, Policy: policy.File{Preset: policy.Dedicated}})
		id := p.Submit(t, "sleep 3h")
		p.AwaitState(t, id, job.Running, time.Minute)
		desk := p.Machine(id)
		desk.PullTheCable()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := desk.Daemon().End(ctx, "a test wants it"); err != nil {
			t.Errorf("the agent waits: %v", err)
		}
		if where := p.Running(id); where != "" {
			t.Errorf("the job runs on %s", where)
		}
	})
}
