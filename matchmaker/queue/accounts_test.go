package queue

import (
	"math"
	"testing"
	"time"

	"skua/internal/bus"
	"skua/internal/job"
	"skua/policy/classad"
)

// The figures follow from the events alone, so that whoever reads the log again comes to the same.
func TestAccounts(t *testing.T) {
	ad, err := classad.ParseAd(`[ Cmd = "x"; RequestCpus = 2 ]`)
	if err != nil {
		t.Fatal(err)
	}
	noon := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	id := job.ID{Cluster: 1}
	events := []struct {
		after time.Duration // since the event before
		body  job.Body
		inUse float64
		hours float64
	}{
		{0, &job.Submitted{Cluster: 1, User: "u1", Ad: ad, Procs: []*classad.Ad{classad.NewAd()}}, 0, 0},
		{time.Minute, &job.Offered{Job: id, Claim: "c", Epoch: 1, Agent: "a", Slot: "slot1@desk", Machine: "desk"}, 0, 0},
		{time.Minute, &job.Started{Job: id, Epoch: 1}, 2, 0},
		{time.Hour, &job.Edited{Job: id, Set: []job.Assigned{{Name: "RequestCpus", Expr: "8"}}}, 2, 2}, // what it has is what it started with
		{time.Hour, &job.Paused{Job: id, Epoch: 1}, 0, 4},
		{time.Hour, &job.Continued{Job: id, Epoch: 1}, 2, 4},
		{30 * time.Minute, &job.Lapsed{Job: id, Epoch: 1}, 0, 5},
		{time.Hour, &job.Revived{Job: id, Epoch: 1}, 2, 5},
		{time.Hour, &job.HeldBack{Job: id, Code: 1}, 0, 7},
		{time.Hour, &job.Factored{User: "u1", Factor: 10}, 0, 7},
		{time.Hour, &job.Released{Job: id}, 0, 7},
		{0, &job.Departed{Job: id, Epoch: 1}, 0, 7},
		{0, &job.Offered{Job: id, Claim: "d", Epoch: 2, Agent: "a", Slot: "slot1@desk", Machine: "desk", Cpus: 3}, 0, 7},
		{0, &job.Started{Job: id, Epoch: 2}, 3, 7}, // what it got, whatever it asks for
		{time.Hour, &job.Evicted{Job: id, Epoch: 2}, 0, 10},
	}
	replay := func() *state {
		s := newState(10)
		s.accounts.halfLife = time.Hour
		at := noon
		for i, e := range events {
			at = at.Add(e.after)
			if err := s.apply(job.Event{Seq: uint64(i + 1), At: at, Body: e.body}); err != nil {
				t.Fatal(err)
			}
			a := s.accounts.users["u1"].Charge(at, time.Hour)
			if a.InUse != e.inUse || math.Abs(a.Hours-e.hours) > 1e-9 {
				t.Errorf("after event %d, %s: %v cpus in use, %v hours; want %v and %v", i, e.body.Kind(), a.InUse, a.Hours, e.inUse, e.hours)
			}
		}
		return s
	}
	a, b := replay().accounts.users["u1"], replay().accounts.users["u1"]
	if a != b {
		t.Errorf("one log, two accounts:\n%+v\n%+v", a, b)
	}
	if a.Factor != 10 || a.Real() <= 0.5 || a.First.IsZero() {
		t.Errorf("account %+v", a)
	}
}

func TestAccountsSurviveARestart(t *testing.T) {
	log := bus.NewMemoryLog()
	q, stop := start(t, Config{Log: log, HalfLife: time.Hour})
	commit(t, q, &job.Factored{User: "u2", Factor: 50})
	stop()
	q, stop = start(t, Config{Log: log, HalfLife: time.Hour})
	defer stop()
	if a := q.Accounts(time.Now())["u2"]; a.Factor != 50 {
		t.Errorf("after a restart the factor is %v", a.Factor)
	}
}
