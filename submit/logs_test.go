package main

import (
	"bytes"
	"testing"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
	"skua/submit/client"
)

func TestStory(t *testing.T) {
	id, other := job.ID{Cluster: 12}, job.ID{Cluster: 13}
	used := job.Usage{Wall: 61 * time.Second, UserCPU: 59 * time.Second, MaxRSS: 20 << 20}
	var p client.Page
	for i, b := range []job.Body{
		&job.Submitted{Cluster: 12, Owner: "ann", Procs: nil, Table: &job.TableRef{Count: 1}},
		&job.Offered{Job: id, Epoch: 1, Slot: "slot1@desk7"},
		&job.Declined{Job: id, Epoch: 1, Reason: "its owner is back"},
		&job.Offered{Job: id, Epoch: 2, Slot: "slot1@desk8"},
		&job.Started{Job: id, Epoch: 2},
		&job.Started{Job: other, Epoch: 1},
		&job.Measured{Job: id, Epoch: 2, Usage: used},
		&job.Paused{Job: id, Epoch: 2, Reason: "the owner of desk8 is back"},
		&job.Continued{Job: id, Epoch: 2},
		&job.Checkpointed{Job: id, Epoch: 2, Image: job.Image{Bytes: 5_000_000}},
		&job.Evicted{Job: id, Epoch: 2, Reason: "the owner of desk8 stayed", Usage: used},
		&job.HeldBack{Job: id, Reason: "not\x1b[31m today"},
		&job.Edited{Job: id, Set: []job.Assigned{{Name: "JobPrio", Expr: "5"}}},
		&job.Released{Job: id, Reason: "ann asked for it"},
		&job.Offered{Job: id, Epoch: 3, Slot: "slot1@desk9"},
		&job.Started{Job: id, Epoch: 3},
		&job.Requeued{Job: id, Epoch: 3, Result: job.Result{ExitCode: 1, Usage: used}, Reason: "it may be tried 3 times"},
		&job.Ended{Job: id, Epoch: 4, Result: job.Result{Signal: 9, Usage: used}},
		&job.Delivered{Job: id},
	} {
		p.Events = append(p.Events, job.Event{Seq: uint64(i + 1), At: time.Date(2026, 11, 22, 14, i, 0, 0, time.UTC), Body: b})
	}
	for _, asJSON := range []bool{false, true} {
		var out bytes.Buffer
		s := story{
			app: &app{out: &out}, sel: wire.Selection{Clusters: []int{12}}, asJSON: asJSON,
			live: map[job.ID]bool{}, late: latecomers{}, slots: map[job.ID]string{},
		}
		s.page(p)
		name := "logs.txt"
		if asJSON {
			name = "logs.json"
		}
		golden(t, name, out.String())
		if len(s.live) != 0 {
			t.Errorf("jobs that have not ended: %v", s.live)
		}
	}
}

// Jobs that have yet to enter the queue are waited for, also when the record does not go back to their submission, but for
// those that never enter.
func TestStoryOfLateJobs(t *testing.T) {
	id := func(proc int) job.ID { return job.ID{Cluster: 12, Proc: proc} }
	few := classad.NewAd()
	few.SetInt("JobMaterializeLimit", 1)
	submitted := &job.Submitted{Cluster: 12, Ad: few, Table: &job.TableRef{Count: 3}}
	for _, tt := range []struct {
		name   string
		events []job.Body
		live   int
	}{
		{"one has ended", []job.Body{submitted, &job.Opened{Cluster: 12, Upto: 1}, &job.Ended{Job: id(0)}}, 2},
		{"one has ended, of an old record", []job.Body{&job.Ended{Job: id(0)}}, 2},
		{"all have", []job.Body{
			&job.Ended{Job: id(0)}, &job.Opened{Cluster: 12, From: 1, Upto: 2}, &job.Ended{Job: id(1)},
			&job.Opened{Cluster: 12, From: 2, Upto: 3}, &job.Ended{Job: id(2)},
		}, 0},
		{"the cluster is removed", []job.Body{
			submitted, &job.Opened{Cluster: 12, Upto: 1}, &job.Ended{Job: id(0)}, &job.Opened{Cluster: 12, From: 1, Upto: 2},
			&job.Closed{Cluster: 12},
		}, 1},
		{"and the job that was there", []job.Body{
			&job.Ended{Job: id(0)}, &job.Opened{Cluster: 12, From: 1, Upto: 2}, &job.Closed{Cluster: 12}, &job.Withdrawn{Job: id(1)},
		}, 0},
	} {
		s := story{
			app: &app{out: &bytes.Buffer{}}, sel: wire.Selection{Clusters: []int{12}}, slots: map[job.ID]string{},
			live: map[job.ID]bool{id(0): true, id(1): true, id(2): true}, late: latecomers{12: {Cluster: 12, From: 1, Upto: 3}},
		}
		for _, b := range tt.events {
			s.page(client.Page{Events: []job.Event{{Body: b}}})
		}
		if len(s.live) != tt.live {
			t.Errorf("%s: %v have not ended, want %d", tt.name, s.live, tt.live)
		}
	}
}
