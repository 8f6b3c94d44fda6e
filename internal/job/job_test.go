package job_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/fit"
	"skua/internal/job"
	"skua/policy/classad"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func TestApply(t *testing.T) {
	id := job.ID{Cluster: 3, Proc: 1}
	offered := &job.Offered{Job: id, Claim: "c1", Epoch: 1, Agent: "a", Slot: "slot1@desk", Machine: "desk"}
	image := job.Image{Kind: job.CRIUImage, Digest: blob.Sum([]byte("one"))}
	again := &job.Offered{Job: id, Claim: "c2", Epoch: 2, Agent: "b", Slot: "slot1@desk8", Machine: "desk8"}
	third := &job.Offered{Job: id, Claim: "c3", Epoch: 3, Agent: "b", Slot: "slot1@desk8", Machine: "desk8"}
	later := job.Image{Kind: job.FileImage, Digest: blob.Sum([]byte("later")), Usage: job.Usage{UserCPU: 100 * time.Second}}
	used := func(seconds int) job.Usage { return job.Usage{UserCPU: time.Duration(seconds) * time.Second} }
	worth := func(seconds int) job.Image {
		return job.Image{Kind: job.CRIUImage, Digest: blob.Sum([]byte("worth")), Usage: used(seconds)}
	}
	evicted := func(e job.Epoch, seconds int) job.Body { return &job.Evicted{Job: id, Epoch: e, Usage: used(seconds)} }
	ended := func(e job.Epoch, seconds int) job.Body {
		return &job.Ended{Job: id, Epoch: e, Result: job.Result{Usage: used(seconds)}}
	}
	lost := func(seconds, all int) func(job.Job) bool {
		return func(j job.Job) bool { return j.Lost == used(seconds).UserCPU && j.Usage.UserCPU == used(all).UserCPU }
	}
	for _, tt := range []struct {
		name   string
		events []job.Body
		want   job.State
		check  func(job.Job) bool
	}{
		{"offered is still idle", []job.Body{offered}, job.Idle, func(j job.Job) bool { return j.Claim != nil && j.Epoch == 1 }},
		{
			"declined waits again and avoids the machine",
			[]job.Body{offered, &job.Declined{Job: id, Epoch: 1}},
			job.Idle,
			func(j job.Job) bool { return j.Claim == nil && len(j.Avoid) == 1 && j.Avoid[0] == "desk" },
		},
		{"started runs", []job.Body{offered, &job.Started{Job: id, Epoch: 1}}, job.Running, func(j job.Job) bool { return j.Starts == 1 }},
		{
			"paused is suspended",
			[]job.Body{offered, &job.Started{Job: id, Epoch: 1}, &job.Paused{Job: id, Epoch: 1, Reason: "owner"}},
			job.Suspended, func(j job.Job) bool { return j.LastReason == "owner" },
		},
		{
			"evicted with an image is idle and keeps it",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Checkpointed{Job: id, Epoch: 1, Image: image},
				&job.Evicted{Job: id, Epoch: 1, Usage: job.Usage{UserCPU: time.Second}},
			},
			job.Idle,
			func(j job.Job) bool {
				return len(j.Images) == 1 && j.Usage.UserCPU == time.Second && j.Claim == nil && j.Evictions == 1
			},
		},
		{
			"that it cannot be checkpointed is known until it has been",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Measured{Job: id, Epoch: 1, Trial: &job.Trial{Failed: "why"}},
				&job.Measured{Job: id, Epoch: 1},
			},
			job.Running, func(j job.Job) bool { return j.NoImage == "why" },
		},
		{
			"what has an image can be checkpointed",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Measured{Job: id, Epoch: 1, Trial: &job.Trial{Failed: "why"}},
				&job.Checkpointed{Job: id, Epoch: 1, Image: image},
			},
			job.Running, func(j job.Job) bool { return j.NoImage == "" },
		},
		{
			"what was done since the image is lost",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Checkpointed{Job: id, Epoch: 1, Image: worth(40)}, evicted(1, 100),
			},
			job.Idle, lost(60, 100),
		},
		{
			"without an image all is lost, and what is done after that is not",
			[]job.Body{offered, &job.Started{Job: id, Epoch: 1}, evicted(1, 100), again, &job.Started{Job: id, Epoch: 2}, ended(2, 50)},
			job.Completed, lost(100, 150),
		},
		{
			"an image of a run before counts once",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Checkpointed{Job: id, Epoch: 1, Image: worth(100)}, evicted(1, 100),
				again, &job.Started{Job: id, Epoch: 2}, evicted(2, 30),
			},
			job.Idle, lost(30, 130),
		},
		{
			"an image that cannot be used has lost what is in it",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Checkpointed{Job: id, Epoch: 1, Image: worth(100)}, evicted(1, 100),
				again, &job.Started{Job: id, Epoch: 2}, &job.ImageDropped{Job: id, Epoch: 2, Digest: worth(100).Digest}, ended(2, 120),
			},
			job.Completed, lost(100, 220),
		},
		{
			"an image from which the job cannot go on is kept for another try",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Checkpointed{Job: id, Epoch: 1, Image: worth(60)},
				&job.Checkpointed{Job: id, Epoch: 1, Image: image}, evicted(1, 100),
				again, &job.Started{Job: id, Epoch: 2}, &job.RestoreFailed{Job: id, Epoch: 2, Digest: image.Digest}, evicted(2, 0),
			},
			job.Idle, func(j job.Job) bool {
				return len(j.Images) == 2 && j.Images[0].Digest == image.Digest && j.Images[0].Failures == 1 && j.Images[1].Failures == 0
			},
		},
		{
			"after the second failure of what it has saved itself the job goes on from the one before",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Checkpointed{Job: id, Epoch: 1, Image: worth(60)},
				&job.Checkpointed{Job: id, Epoch: 1, Image: later}, evicted(1, 100),
				again, &job.Started{Job: id, Epoch: 2}, &job.RestoreFailed{Job: id, Epoch: 2, Digest: later.Digest}, evicted(2, 0),
				third, &job.Started{Job: id, Epoch: 3}, &job.RestoreFailed{Job: id, Epoch: 3, Digest: later.Digest}, ended(3, 40),
			},
			job.Completed, func(j job.Job) bool {
				return len(j.Images) == 1 && j.Images[0].Digest == worth(60).Digest && j.Images[0].Failures == 0 && lost(40, 140)(j)
			},
		},
		{
			"what a machine that is lost had measured is lost",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Measured{Job: id, Epoch: 1, Usage: job.Usage{UserCPU: 70 * time.Second}},
				&job.Lapsed{Job: id, Epoch: 1}, again,
			},
			job.Idle, lost(70, 70),
		},
		{
			"what the job has saved itself is kept",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Checkpointed{Job: id, Epoch: 1, Image: job.Image{Kind: job.FileImage, Digest: blob.Sum(nil)}},
				evicted(1, 100),
			},
			job.Idle, lost(0, 100),
		},
		{
			"an image that one machine cannot restore is kept for others, and what follows from it is not for that machine either",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Checkpointed{Job: id, Epoch: 1, Image: image}, evicted(1, 1),
				again, &job.Started{Job: id, Epoch: 2}, &job.RestoreFailed{Job: id, Epoch: 2, Digest: image.Digest, Reason: "r"}, evicted(2, 0),
				&job.Offered{Job: id, Claim: "c3", Epoch: 3, Agent: "a", Slot: "slot1@desk", Machine: "desk"}, &job.Started{Job: id, Epoch: 3},
				&job.Checkpointed{Job: id, Epoch: 3, Image: worth(100)},
			},
			job.Running, func(j job.Job) bool {
				only := []string{"desk8"}
				list, _ := j.CurrentAd().Str(fit.AttrJobFailed)
				return slices.Equal(j.Images[0].Failed, only) && j.Images[0].Failures == 0 &&
					slices.Equal(j.Images[1].Failed, only) && j.Images[1].Failures == 1 && list == "desk8"
			},
		},
		{
			"a machine that has made an image can restore it",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Checkpointed{Job: id, Epoch: 1, Image: image}, evicted(1, 1),
				again, &job.Started{Job: id, Epoch: 2}, &job.RestoreFailed{Job: id, Epoch: 2, Digest: image.Digest},
				&job.Checkpointed{Job: id, Epoch: 2, Image: worth(100)},
			},
			job.Running, func(j job.Job) bool { return len(j.Images[0].Failed) == 0 && len(j.Images[1].Failed) == 1 },
		},
		{
			"a job that no machine can take counts from when it was first seen",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Checkpointed{Job: id, Epoch: 1, Image: image}, evicted(1, 1),
				&job.Stranded{Job: id, Epoch: 1}, &job.ImageDropped{Job: id, Epoch: 1, Digest: image.Digest},
			},
			job.Idle, func(j job.Job) bool { return j.Stranded.Equal(noon) },
		},
		{
			"until there is a machine again",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Checkpointed{Job: id, Epoch: 1, Image: image}, evicted(1, 1),
				&job.Stranded{Job: id, Epoch: 1}, &job.Stranded{Job: id, Epoch: 1, Over: true},
			},
			job.Idle, func(j job.Job) bool { return j.Stranded.IsZero() },
		},
		{
			"or it runs",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Checkpointed{Job: id, Epoch: 1, Image: image}, evicted(1, 1),
				&job.Stranded{Job: id, Epoch: 1}, again, &job.Started{Job: id, Epoch: 2},
			},
			job.Running, func(j job.Job) bool { return j.Stranded.IsZero() },
		},
		{
			"a dropped image is gone",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Checkpointed{Job: id, Epoch: 1, Image: image},
				&job.ImageDropped{Job: id, Epoch: 1, Digest: image.Digest},
			},
			job.Running, func(j job.Job) bool { return len(j.Images) == 0 },
		},
		{
			"a lapsed claim is idle, revives, ends",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Lapsed{Job: id, Epoch: 1}, &job.Revived{Job: id, Epoch: 1},
				&job.Ended{Job: id, Epoch: 1, Result: job.Result{ExitCode: 3}},
			},
			job.Completed, func(j job.Job) bool { return j.Result.ExitCode == 3 && j.Ended.Equal(noon) },
		},
		{
			"a late result of a lapsed claim counts",
			[]job.Body{offered, &job.Started{Job: id, Epoch: 1}, &job.Lapsed{Job: id, Epoch: 1}, &job.Ended{Job: id, Epoch: 1}},
			job.Completed, nil,
		},
		{
			"held, then released",
			[]job.Body{&job.HeldBack{Job: id, Reason: "by hand", Code: 1}, &job.Released{Job: id}},
			job.Idle, func(j job.Job) bool { return j.HoldReason == "" },
		},
		{
			"held for how its run ended, it begins anew",
			[]job.Body{
				offered, &job.Started{Job: id, Epoch: 1}, &job.Checkpointed{Job: id, Epoch: 1, Image: worth(40)},
				&job.HeldBack{Job: id, Epoch: 1, Code: job.HoldByPolicy, Usage: used(100), Result: &job.Result{ExitCode: 75, Usage: used(100)}},
				&job.Released{Job: id},
			},
			job.Idle,
			func(j job.Job) bool {
				code, ok := j.CurrentAd().Int("ExitCode")
				return code == 75 && ok && j.Completions == 1 && len(j.Images) == 0 && j.Lingering == nil && lost(0, 100)(j)
			},
		},
		{"removed", []job.Body{offered, &job.Withdrawn{Job: id}}, job.Removed, func(j job.Job) bool { return j.Claim == nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := newJob(t, id)
			for i, b := range tt.events {
				var err error
				if j, err = j.Apply(job.Event{At: noon, Body: b}); err != nil {
					t.Fatalf("event %d: %v", i, err)
				}
			}
			if j.State != tt.want {
				t.Errorf("the job is %v, want %v", j.State, tt.want)
			}
			if tt.check != nil && !tt.check(j) {
				t.Errorf("the job came out as %+v", j)
			}
		})
	}
}

func TestApplyRefusesWhatCannotFollow(t *testing.T) {
	id := job.ID{Cluster: 3, Proc: 1}
	offered := &job.Offered{Job: id, Claim: "c1", Epoch: 1, Machine: "desk"}
	started := &job.Started{Job: id, Epoch: 1}
	for _, tt := range []struct {
		name   string
		before []job.Body
		event  job.Body
	}{
		{"an offer that skips an epoch", nil, &job.Offered{Job: id, Epoch: 2}},
		{"an offer while it runs", []job.Body{offered, started}, &job.Offered{Job: id, Epoch: 2}},
		{"a result without an offer", nil, &job.Ended{Job: id, Epoch: 1}},
		{"a result of an older epoch", []job.Body{
			offered, started, &job.Lapsed{Job: id, Epoch: 1},
			&job.Offered{Job: id, Claim: "c2", Epoch: 2, Machine: "other"},
		}, &job.Ended{Job: id, Epoch: 1}},
		{"a second result", []job.Body{offered, started, &job.Ended{Job: id, Epoch: 1}}, &job.Ended{Job: id, Epoch: 1}},
		{"a result of a removed job", []job.Body{offered, started, &job.Withdrawn{Job: id}}, &job.Ended{Job: id, Epoch: 1}},
		{"a checkpoint before the start", []job.Body{offered}, &job.Checkpointed{Job: id, Epoch: 1}},
		{"a failed restore of an image that it does not have", []job.Body{offered, started}, &job.RestoreFailed{Job: id, Epoch: 1, Digest: "d"}},
		{
			"a failed restore that was told before",
			[]job.Body{offered, started, &job.Checkpointed{Job: id, Epoch: 1, Image: job.Image{Digest: "d"}}, &job.RestoreFailed{Job: id, Epoch: 1, Digest: "d"}},
			&job.RestoreFailed{Job: id, Epoch: 1, Digest: "d"},
		},
		{"that no machine can take a job that runs", []job.Body{offered, started}, &job.Stranded{Job: id, Epoch: 1}},
		{"that no machine can take it, once more", []job.Body{&job.Stranded{Job: id}}, &job.Stranded{Job: id}},
		{"that a machine can take it again that it never lacked", nil, &job.Stranded{Job: id, Over: true}},
		{"that no machine can take it, of an older epoch", []job.Body{offered, &job.Declined{Job: id, Epoch: 1}}, &job.Stranded{Job: id}},
		{
			"a hold for how a run of an older epoch ended",
			[]job.Body{offered, started, &job.Evicted{Job: id, Epoch: 1}},
			&job.HeldBack{Job: id, Epoch: 1, Result: &job.Result{ExitCode: 1}},
		},
		{"a release of a job that is not held", nil, &job.Released{Job: id}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := newJob(t, id)
			for _, b := range tt.before {
				var err error
				if j, err = j.Apply(job.Event{At: noon, Body: b}); err != nil {
					t.Fatal(err)
				}
			}
			after, err := j.Apply(job.Event{At: noon, Body: tt.event})
			if err == nil {
				t.Fatalf("%s was taken", tt.event.Kind())
			}
			if !strings.Contains(err.Error(), "3.1") {
				t.Errorf("error %q does not name the job", err)
			}
			if !reflect.DeepEqual(after, j) {
				t.Error("a refused event changed the job")
			}
		})
	}
}

func TestCurrentAdShowsTheLife(t *testing.T) {
	id := job.ID{Cluster: 3, Proc: 1}
	j := newJob(t, id)
	for _, name := range []string{"JobRunCount", "NumShadowStarts"} {
		if e, ok := j.CurrentAd().Lookup(name); ok {
			t.Errorf("%s is %v before the first run, where HTCondor's jobs have none", name, e)
		}
	}
	for _, b := range []job.Body{
		&job.Offered{Job: id, Claim: "c1", Epoch: 1, Slot: "slot1@desk", Machine: "desk"},
		&job.Started{Job: id, Epoch: 1},
	} {
		var err error
		if j, err = j.Apply(job.Event{At: noon, Body: b}); err != nil {
			t.Fatal(err)
		}
	}
	j.Usage, j.Run = job.Usage{UserCPU: 2 * time.Second, SysCPU: time.Second}, job.Usage{UserCPU: 3 * time.Second}
	ad := j.CurrentAd()
	if n, _ := ad.Int("JobStatus"); n != int64(job.Running) {
		t.Errorf("JobStatus is %d, want %d", n, job.Running)
	}
	for name, want := range map[string]float64{
		"NumJobStarts": 1, "NumShadowStarts": 1, "JobRunCount": 1,
		"RemoteUserCpu": 5, "CumulativeRemoteUserCpu": 5, "RemoteSysCpu": 1, "CumulativeRemoteSysCpu": 1,
	} {
		if got, ok := ad.Real(name); got != want || !ok {
			t.Errorf("%s is %v, want %g", name, ad.Eval(name, nil), want)
		}
	}
	if s, _ := ad.Str("RemoteHost"); s != "slot1@desk" {
		t.Errorf("RemoteHost is %q", s)
	}
	if s, _ := ad.Str("Cmd"); s != "/bin/true" {
		t.Errorf("the cluster's Cmd shows as %q", s)
	}
}

// A run that was cut short while its inputs came has had less than the job brings, and must not make it ask for less.
func TestDiskUsageOfRunsCutShort(t *testing.T) {
	for _, tt := range []struct{ brings, measured, want int64 }{{1000, 300 << 10, 1000}, {1000, 5000 << 10, 5000}, {1000, 0, 1000}} {
		j := newJob(t, job.ID{Cluster: 3, Proc: 1})
		j.Ad.SetInt("DiskUsage", tt.brings)
		j.Usage.MaxDisk = tt.measured
		if got, _ := j.CurrentAd().Int("DiskUsage"); got != tt.want {
			t.Errorf("it brings %d kB, and %d bytes were measured: DiskUsage is %d, want %d", tt.brings, tt.measured, got, tt.want)
		}
	}
}

// Every kind of event must come back from the log as it went in.
func TestEventsRoundTrip(t *testing.T) {
	id := job.ID{Cluster: 3, Proc: 1}
	ad := classad.NewAd()
	ad.SetString("Cmd", "/bin/true")
	for _, b := range []job.Body{
		&job.Submitted{Cluster: 3, User: "u", Owner: "ada", Request: "r", Ad: ad, Procs: []*classad.Ad{classad.NewAd()}, Inputs: [][]job.File{{{Name: "in", Size: 2, Inline: []byte("hi")}}}},
		&job.Offered{Job: id, Claim: "c", Epoch: 1, Agent: "a", Slot: "s", Machine: "m"},
		&job.Declined{Job: id, Epoch: 1, Reason: "r"},
		&job.Started{Job: id, Epoch: 1},
		&job.Paused{Job: id, Epoch: 1, Reason: "r"},
		&job.Continued{Job: id, Epoch: 1},
		&job.Checkpointed{Job: id, Epoch: 1, Image: job.Image{Kind: job.CRIUImage, Digest: blob.Sum(nil), At: noon}},
		&job.ImageDropped{Job: id, Epoch: 1, Digest: blob.Sum(nil), Reason: "r"},
		&job.RestoreFailed{Job: id, Epoch: 1, Digest: blob.Sum(nil), Reason: "r"},
		&job.Stranded{Job: id, Epoch: 1, Over: true},
		&job.Lapsed{Job: id, Epoch: 1},
		&job.Revived{Job: id, Epoch: 1},
		&job.Evicted{Job: id, Epoch: 1, Reason: "r", Usage: job.Usage{Wall: time.Second}},
		&job.Ended{Job: id, Epoch: 1, Result: job.Result{ExitCode: 2, Outputs: []job.File{{Name: "o", Digest: blob.Sum(nil)}}}},
		&job.Submitted{Cluster: 4, User: "u", Ad: ad, Table: &job.TableRef{Digest: blob.Sum(nil), Size: 7, Count: 9}},
		&job.Opened{Cluster: 4, From: 3, Upto: 5},
		&job.Closed{Cluster: 4, Reason: "r"},
		&job.Measured{Job: id, Epoch: 1, Usage: job.Usage{MaxRSS: 1 << 20}},
		&job.Requeued{Job: id, Epoch: 1, Result: job.Result{ExitCode: 2}, Reason: "r"},
		&job.Edited{Job: id, Set: []job.Assigned{{Name: "JobPrio", Expr: "7"}}},
		&job.Factored{User: "u", Factor: 2},
		&job.HeldBack{Job: id, Reason: "r", Code: 6, SubCode: 2, Outputs: []job.File{{Name: "_condor_stdout", Size: 2, Inline: []byte("hi")}}},
		&job.HeldBack{Job: id, Reason: "r", Code: 3, Epoch: 1, Result: &job.Result{ExitCode: 2}},
		&job.Departed{Job: id, Epoch: 1},
		&job.Released{Job: id, Reason: "r"},
		&job.Withdrawn{Job: id, Reason: "r"},
		&job.Delivered{Job: id},
		&job.LeaderEpoch{Leader: "l"},
	} {
		first, err := json.Marshal(job.Event{Seq: 9, At: noon, Body: b})
		if err != nil {
			t.Fatal(err)
		}
		var ev job.Event
		if err := json.Unmarshal(first, &ev); err != nil {
			t.Fatalf("%s: %v", b.Kind(), err)
		}
		second, err := json.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		if string(first) != string(second) || ev.Body.Kind() != b.Kind() {
			t.Errorf("%s went in as\n%s and came out as\n%s", b.Kind(), first, second)
		}
	}
}

func FuzzEvent(f *testing.F) {
	f.Add([]byte(`{"v":1,"seq":4,"at":"2026-03-02T12:00:00Z","kind":"started","body":{"job":"3.1","epoch":1}}`))
	f.Add([]byte(`{"v":1,"seq":1,"at":"2026-03-02T12:00:00Z","kind":"submitted","body":{"cluster":1,"user":"u","ad":{"Cmd":"x"},"procs":[{}]}}`))
	f.Add([]byte(`{"v":2,"kind":"started"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var ev job.Event
		if json.Unmarshal(data, &ev) != nil {
			return
		}
		again, err := json.Marshal(ev)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if err := json.Unmarshal(again, &ev); err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, again)
		}
	})
}

func newJob(t *testing.T, id job.ID) job.Job {
	t.Helper()
	ad := classad.NewAd()
	ad.SetString("Cmd", "/bin/true")
	procs := make([]*classad.Ad, id.Proc+1)
	for i := range procs {
		procs[i] = classad.NewAd()
	}
	c, err := job.NewCluster(job.Event{At: noon, Body: &job.Submitted{Cluster: id.Cluster, User: "u", Ad: ad, Procs: procs}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return *c.Job(id.Proc, noon)
}

func TestSubmittedOnHold(t *testing.T) {
	held := parse(t, "JobStatus = 5\nHoldReason = \"submitted on hold at user's request\"\nHoldReasonCode = 15")
	ev := job.Event{Seq: 1, At: noon, Body: &job.Submitted{
		Cluster: 3, Ad: held, Procs: []*classad.Ad{parse(t, ""), parse(t, "JobStatus = 1")},
	}}
	c, err := job.NewCluster(ev, nil)
	if err != nil {
		t.Fatal(err)
	}
	jobs := []*job.Job{c.Job(0, noon), c.Job(1, noon)}
	if jobs[0].State != job.Held || jobs[0].HoldReason != job.OnHoldReason || jobs[0].HoldCode != job.HoldOnSubmit {
		t.Errorf("the job begins as %v, %q, code %d", jobs[0].State, jobs[0].HoldReason, jobs[0].HoldCode)
	}
	if jobs[1].State != job.Idle {
		t.Errorf("the job that does not ask for it begins as %v", jobs[1].State)
	}
	if _, err := jobs[0].Apply(job.Event{At: noon, Body: &job.Offered{Job: jobs[0].ID, Epoch: 1}}); err == nil {
		t.Error("a held job was offered")
	}
	j, err := jobs[0].Apply(job.Event{At: noon, Body: &job.Released{Job: jobs[0].ID}})
	if err != nil || j.State != job.Idle {
		t.Fatalf("released, it is %v: %v", j.State, err)
	}
	ad := j.CurrentAd()
	if status, _ := ad.Int("JobStatus"); status != int64(job.Idle) {
		t.Errorf("released, its JobStatus is %d", status)
	}
	if reason, ok := ad.Str("HoldReason"); ok {
		t.Errorf("released, it is still held: %s", reason)
	}
}

func TestLatestStart(t *testing.T) {
	id := job.ID{Cluster: 3, Proc: 1}
	j := newJob(t, id)
	for i, b := range []job.Body{
		&job.Offered{Job: id, Epoch: 1, Machine: "desk"}, &job.Started{Job: id, Epoch: 1}, &job.Evicted{Job: id, Epoch: 1},
		&job.Offered{Job: id, Epoch: 2, Machine: "desk"}, &job.Started{Job: id, Epoch: 2},
		&job.Paused{Job: id, Epoch: 2}, &job.Continued{Job: id, Epoch: 2},
	} {
		var err error
		if j, err = j.Apply(job.Event{At: noon.Add(time.Duration(i) * time.Minute), Body: b}); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]int{"JobStartDate": 1, "JobCurrentStartDate": 4, "EnteredCurrentStatus": 6} {
		if at, _ := j.CurrentAd().Int(name); at != noon.Add(time.Duration(want)*time.Minute).Unix() {
			t.Errorf("%s is %v, want minute %d", name, time.Unix(at, 0).UTC(), want)
		}
	}
}

// The execution of a run begins with its program, which its inputs, and the time of a deferred job, keep waiting.
func TestExecutionBegins(t *testing.T) {
	id := job.ID{Cluster: 3, Proc: 1}
	minute := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
	started := []job.Body{&job.Offered{Job: id, Epoch: 1, Machine: "desk"}, &job.Started{Job: id, Epoch: 1}} // in minute 1
	for _, tt := range []struct {
		name   string
		events []job.Body
		want   int // the minute; 0 for none
	}{
		{"inputs come", []job.Body{&job.Measured{Job: id, Epoch: 1, Usage: job.Usage{Fetched: 1 << 20}}}, 0},
		{"inputs come, and it stands still", []job.Body{&job.Paused{Job: id, Epoch: 1}}, 0},
		{"its machine has said when", []job.Body{
			&job.Paused{Job: id, Epoch: 1}, &job.Continued{Job: id, Epoch: 1}, &job.Measured{Job: id, Epoch: 1, Executing: minute(3)},
		}, 3},
		{"by a clock that is ahead", []job.Body{
			&job.Measured{Job: id, Epoch: 1, Executing: minute(60)}, &job.Measured{Job: id, Epoch: 1, Executing: minute(60)},
		}, 2},
		{"by a clock that is slow", []job.Body{&job.Measured{Job: id, Epoch: 1, Executing: minute(-5)}}, 1},
		{"its machine does not know when", []job.Body{&job.Measured{Job: id, Epoch: 1, Usage: job.Usage{UserCPU: time.Second}}}, 1},
		{"the run before had begun", []job.Body{
			&job.Measured{Job: id, Epoch: 1, Executing: minute(1)}, &job.Evicted{Job: id, Epoch: 1},
			&job.Offered{Job: id, Epoch: 2, Machine: "desk"}, &job.Started{Job: id, Epoch: 2},
		}, 0},
	} {
		j := newJob(t, id)
		for i, b := range append(started, tt.events...) {
			var err error
			if j, err = j.Apply(job.Event{At: minute(i), Body: b}); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
		}
		at, ok := j.CurrentAd().Int("JobCurrentStartExecutingDate")
		if ok != (tt.want > 0) || ok && at != minute(tt.want).Unix() {
			t.Errorf("%s: it began in %v (%v), want minute %d", tt.name, time.Unix(at, 0).UTC(), ok, tt.want)
		}
	}
}

// A checkpoint was made by the time at which it is told of, whatever the machine's clock says.
func TestCheckpointOfAClockThatIsAhead(t *testing.T) {
	id := job.ID{Cluster: 3, Proc: 1}
	for told, want := range map[time.Duration]time.Duration{time.Minute: time.Minute, 5 * time.Minute: 2 * time.Minute} {
		j := newJob(t, id)
		for i, b := range []job.Body{
			&job.Offered{Job: id, Epoch: 1, Machine: "desk"}, &job.Started{Job: id, Epoch: 1},
			&job.Checkpointed{Job: id, Epoch: 1, Image: job.Image{Kind: job.CRIUImage, Digest: blob.Sum(nil), At: noon.Add(told)}},
		} {
			var err error
			if j, err = j.Apply(job.Event{At: noon.Add(time.Duration(i) * time.Minute), Body: b}); err != nil {
				t.Fatal(err)
			}
		}
		if at, _ := j.CurrentAd().Int("LastCkptTime"); at != noon.Add(want).Unix() {
			t.Errorf("said to be made in minute %v and told of in minute 2, it was made at %v", told.Minutes(), time.Unix(at, 0).UTC())
		}
	}
}

// A run that ends and is to be repeated leaves its result for the job's policy to read, and no image: those
// are of a run that is over.
func TestRequeued(t *testing.T) {
	id := job.ID{Cluster: 3, Proc: 0}
	j := newJob(t, id)
	for i, b := range []job.Body{
		&job.Offered{Job: id, Epoch: 1, Machine: "desk", Slot: "slot1@desk"}, &job.Started{Job: id, Epoch: 1},
		&job.Paused{Job: id, Epoch: 1}, &job.Continued{Job: id, Epoch: 1},
		&job.Measured{Job: id, Epoch: 1, Usage: job.Usage{MaxRSS: 3 << 20}},
		&job.Checkpointed{Job: id, Epoch: 1, Image: job.Image{Kind: job.CRIUImage, Digest: blob.Sum(nil), At: noon}},
		&job.Requeued{Job: id, Epoch: 1, Result: job.Result{ExitCode: 2, Usage: job.Usage{Wall: time.Minute, MaxRSS: 4 << 20}}},
		&job.Edited{Job: id, Set: []job.Assigned{{Name: "JobPrio", Expr: "3 + 4"}}},
	} {
		var err error
		if j, err = j.Apply(job.Event{At: noon.Add(time.Duration(i) * time.Minute), Body: b}); err != nil {
			t.Fatal(err)
		}
	}
	if j.State != job.Idle || j.Claim != nil || len(j.Images) != 0 || j.Result == nil {
		t.Errorf("requeued, it is %v with claim %v, %d images, result %v", j.State, j.Claim, len(j.Images), j.Result)
	}
	for name, want := range map[string]int64{
		"ExitCode": 2, "NumJobCompletions": 1, "TotalSuspensions": 1, "CumulativeSuspensionTime": 60,
		"MemoryUsage": 4, "RemoteWallClockTime": 60, "JobPrio": 7, "LastJobStatus": int64(job.Running),
	} {
		if n, _ := j.CurrentAd().Int(name); n != want {
			t.Errorf("%s is %d, want %d", name, n, want)
		}
	}
	if _, err := j.Apply(job.Event{At: noon, Body: &job.Ended{Job: id, Epoch: 1}}); err == nil {
		t.Error("a second result of the same run was taken")
	}
}

// A job that is held by its user while it runs is not offered again before its agent, or the lease, has
// ended the run: two copies would run at a time.
func TestLingering(t *testing.T) {
	id := job.ID{Cluster: 3, Proc: 0}
	at := func(t *testing.T, bodies ...job.Body) job.Job {
		t.Helper()
		j := newJob(t, id)
		for _, b := range append([]job.Body{&job.Offered{Job: id, Epoch: 1, Slot: "slot1@desk"}}, bodies...) {
			var err error
			if j, err = j.Apply(job.Event{At: noon, Body: b}); err != nil {
				t.Fatal(err)
			}
		}
		return j
	}
	started, released := &job.Started{Job: id, Epoch: 1}, &job.Released{Job: id}
	for _, tt := range []struct {
		name    string
		bodies  []job.Body
		lingers bool
	}{
		{"held while it runs", []job.Body{started, &job.HeldBack{Job: id}, released}, true},
		{"held while it is frozen", []job.Body{started, &job.Paused{Job: id, Epoch: 1}, &job.HeldBack{Job: id}, released}, true},
		{"held twice", []job.Body{started, &job.HeldBack{Job: id}, released, &job.HeldBack{Job: id}, released}, true},
		{"its run has ended", []job.Body{started, &job.HeldBack{Job: id}, released, &job.Departed{Job: id, Epoch: 1}}, false},
		{"held by its agent", []job.Body{started, &job.HeldBack{Job: id, Epoch: 1}, released}, false},
		{"held when only offered", []job.Body{&job.HeldBack{Job: id}, released}, false},
		{"held when its lease was over", []job.Body{started, &job.Lapsed{Job: id, Epoch: 1}, &job.HeldBack{Job: id}, released}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := at(t, tt.bodies...)
			if (j.Lingering != nil) != tt.lingers {
				t.Errorf("lingering: %v", j.Lingering)
			}
			if _, err := j.Apply(job.Event{At: noon, Body: &job.Offered{Job: id, Epoch: 2}}); (err != nil) != tt.lingers {
				t.Errorf("a new offer: %v", err)
			}
		})
	}
}

// TestHeldWhereItRan: why a job last stopped running is why it was held, if it ran.
func TestHeldWhereItRan(t *testing.T) {
	id := job.ID{Cluster: 3, Proc: 0}
	offered, started, held := &job.Offered{Job: id, Epoch: 1, Machine: "desk"}, &job.Started{Job: id, Epoch: 1}, &job.HeldBack{Job: id, Reason: "by hand"}
	paused := &job.Paused{Job: id, Epoch: 1, Reason: "its user suspended it"}
	for _, tt := range []struct {
		name   string
		bodies []job.Body
		want   string
	}{
		{"while it ran", []job.Body{offered, started, held}, "by hand"},
		{"after a pause", []job.Body{offered, started, paused, &job.Continued{Job: id, Epoch: 1}, held}, "by hand"},
		{"when it was only offered", []job.Body{offered, held}, ""},
		{"while it waited", []job.Body{offered, started, &job.Evicted{Job: id, Epoch: 1, Reason: "the owner is back"}, held}, "the owner is back"},
		{"when its lease was over", []job.Body{offered, started, &job.Lapsed{Job: id, Epoch: 1}, held}, "nothing was heard of desk until its lease ran out"},
	} {
		j := newJob(t, id)
		for _, b := range tt.bodies {
			var err error
			if j, err = j.Apply(job.Event{At: noon, Body: b}); err != nil {
				t.Fatal(err)
			}
		}
		if j.LastReason != tt.want {
			t.Errorf("%s: it last stopped since %q, want %q", tt.name, j.LastReason, tt.want)
		}
	}
}
