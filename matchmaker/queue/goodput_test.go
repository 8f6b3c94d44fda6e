package queue

import (
	"testing"
	"time"

	"skua/internal/job"
	"skua/policy/classad"
)

// Whatever becomes of jobs, what their time came to adds up to what they have used, also when they are forgotten.
func TestGoodput(t *testing.T) {
	noon := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	a, b, c := job.ID{Cluster: 1}, job.ID{Cluster: 1, Proc: 1}, job.ID{Cluster: 1, Proc: 2}
	used := func(cpu, checkpoints, transfers int) job.Usage {
		return job.Usage{
			UserCPU: time.Duration(cpu) * time.Second, Checkpoints: time.Duration(checkpoints) * time.Second, Transfers: time.Duration(transfers) * time.Second,
		}
	}
	sum := func(counted, lost, checkpoints, transfers int) job.Goodput {
		return job.Goodput{
			Counted: time.Duration(counted) * time.Second, Lost: time.Duration(lost) * time.Second,
			Checkpoints: time.Duration(checkpoints) * time.Second, Transfers: time.Duration(transfers) * time.Second,
		}
	}
	offered := func(id job.ID, e job.Epoch) job.Body {
		return &job.Offered{Job: id, Claim: job.ClaimID(id.String()), Epoch: e, Agent: "a", Machine: "desk"}
	}
	s := newState(1) // history
	for i, e := range []struct {
		body job.Body
		want job.Goodput
	}{
		{&job.Submitted{Cluster: 1, User: "u1", Ad: classad.NewAd(), Procs: []*classad.Ad{classad.NewAd(), classad.NewAd(), classad.NewAd()}}, sum(0, 0, 0, 0)},
		{offered(a, 1), sum(0, 0, 0, 0)},
		{&job.Started{Job: a, Epoch: 1}, sum(0, 0, 0, 0)},
		{&job.Measured{Job: a, Epoch: 1, Usage: used(70, 1, 1)}, sum(0, 0, 0, 0)}, // the run is not over
		{&job.Checkpointed{Job: a, Epoch: 1, Image: job.Image{Kind: job.CRIUImage, Digest: "d", Usage: used(60, 1, 0)}}, sum(0, 0, 0, 0)},
		{&job.Evicted{Job: a, Epoch: 1, Usage: used(100, 2, 3)}, sum(60, 40, 2, 3)},
		{offered(b, 1), sum(60, 40, 2, 3)},
		{&job.Started{Job: b, Epoch: 1}, sum(60, 40, 2, 3)},
		{&job.Requeued{Job: b, Epoch: 1, Result: job.Result{Usage: used(10, 0, 1)}}, sum(70, 40, 2, 4)},
		{offered(a, 2), sum(70, 40, 2, 4)},
		{&job.Started{Job: a, Epoch: 2}, sum(70, 40, 2, 4)},
		{&job.ImageDropped{Job: a, Epoch: 2, Digest: "d"}, sum(10, 100, 2, 4)},
		{&job.Ended{Job: a, Epoch: 2, Result: job.Result{Usage: used(200, 0, 1)}}, sum(210, 100, 2, 5)},
		{&job.Delivered{Job: a}, sum(210, 100, 2, 5)},
		{&job.Withdrawn{Job: c}, sum(210, 100, 2, 5)}, // in the place of a in the history
	} {
		if err := s.apply(job.Event{Seq: uint64(i + 1), At: noon, Body: e.body}); err != nil {
			t.Fatal(err)
		}
		if s.goodput.Goodput != e.want {
			t.Errorf("after event %d, %s: %+v, want %+v", i, e.body.Kind(), s.goodput.Goodput, e.want)
		}
	}
	if s.job(a) != nil {
		t.Error("the job that ended first is not forgotten: nothing is tested")
	}
	if !s.goodput.Since.Equal(noon) {
		t.Errorf("it counts since %v, want %v", s.goodput.Since, noon)
	}
}
