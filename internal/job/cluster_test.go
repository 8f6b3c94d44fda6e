package job_test

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/job"
	"skua/policy/classad"
)

// inlineAndTable makes the same cluster of n jobs in both ways.
func inlineAndTable(t testing.TB, n int) (inline, table *job.Cluster) {
	t.Helper()
	make := func() (*classad.Ad, []*classad.Ad, [][]job.File) {
		common := classad.NewAd()
		common.SetString("Cmd", "sim")
		common.SetInt("JobPrio", 2)
		procs, inputs := sweep(n)
		for i, ad := range procs {
			if i%7 == 3 {
				ad.SetInt("JobStatus", int64(job.Held))
				ad.SetString("HoldReason", "submitted on hold at user's request")
			}
		}
		return common, procs, inputs
	}
	ad, procs, inputs := make()
	inline, err := job.NewCluster(job.Event{At: noon, Body: &job.Submitted{Cluster: 3, User: "u", Owner: "ann", Ad: ad, Procs: procs, Inputs: inputs}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ad, procs, inputs = make()
	data, err := job.EncodeTable(ad, procs, inputs)
	if err != nil {
		t.Fatal(err)
	}
	read, err := job.ReadTable(data)
	if err != nil {
		t.Fatal(err)
	}
	table, err = job.NewCluster(job.Event{At: noon, Body: &job.Submitted{Cluster: 3, User: "u", Owner: "ann", Ad: ad, Table: &job.TableRef{Count: n}}}, read)
	if err != nil {
		t.Fatal(err)
	}
	return inline, table
}

// randomLife applies events that fit, as they come.
func randomLife(j job.Job, r *rand.Rand, events int) job.Job {
	at := noon
	for range events {
		id, e := j.ID, j.Epoch
		bodies := []job.Body{
			&job.Offered{Job: id, Claim: "c", Epoch: e + 1, Agent: "a", Slot: "slot1@m", Machine: "m"},
			&job.Declined{Job: id, Epoch: e, Reason: "no"}, &job.Started{Job: id, Epoch: e},
			&job.Paused{Job: id, Epoch: e, Reason: "the owner is back"}, &job.Continued{Job: id, Epoch: e},
			&job.Measured{Job: id, Epoch: e, Usage: job.Usage{MaxRSS: 5 << 20, UserCPU: time.Second}},
			&job.Checkpointed{Job: id, Epoch: e, Image: job.Image{Kind: job.CRIUImage, Digest: blob.Sum(nil), At: at}},
			&job.Lapsed{Job: id, Epoch: e}, &job.Revived{Job: id, Epoch: e},
			&job.Evicted{Job: id, Epoch: e, Reason: "the owner stayed", Usage: job.Usage{MaxDisk: 1 << 20, Wall: time.Minute}},
			&job.Requeued{Job: id, Epoch: e, Result: job.Result{ExitCode: 2}, Reason: "again"},
			&job.Ended{Job: id, Epoch: e, Result: job.Result{Signal: 9}},
			&job.HeldBack{Job: id, Reason: "missing", Code: 13}, &job.Released{Job: id, Reason: "found"},
			&job.Edited{Job: id, Set: []job.Assigned{{Name: "JobPrio", Expr: "ProcId + 1"}, {Name: "Args", Expr: "undefined"}}},
			&job.Delivered{Job: id},
		}
		if r.IntN(20) == 0 {
			bodies = append(bodies, &job.Withdrawn{Job: id, Reason: "no more"})
		}
		at = at.Add(time.Duration(r.IntN(100)) * time.Second)
		if next, err := j.Apply(job.Event{At: at, Body: bodies[r.IntN(len(bodies))]}); err == nil {
			j = next
		}
	}
	return j
}

// TestClustersAreAlike: a job of a table is the job that it would be without one, whatever happens to it.
func TestClustersAreAlike(t *testing.T) {
	const jobs = 1500
	inline, table := inlineAndTable(t, jobs)
	if inline.Len() != jobs || table.Len() != jobs {
		t.Fatalf("%d and %d jobs, want %d", inline.Len(), table.Len(), jobs)
	}
	for proc := range jobs {
		seed := uint64(proc)
		a := randomLife(*inline.Job(proc, noon), rand.New(rand.NewPCG(seed, 1)), proc%20)
		b := randomLife(*table.Job(proc, noon), rand.New(rand.NewPCG(seed, 1)), proc%20)
		if !reflect.DeepEqual(a.CurrentAd().Flat().String(), b.CurrentAd().Flat().String()) {
			// The order of attributes may differ: compare by name.
			if err := sameAd(a.CurrentAd(), b.CurrentAd().Flat()); err != nil {
				t.Errorf("job %v: %v", a.ID, err)
			}
		}
		a.Ad, b.Ad = nil, nil
		x, errA := json.Marshal(a)
		y, errB := json.Marshal(b)
		if errA != nil || errB != nil || string(x) != string(y) {
			t.Errorf("job %v is\n%s\nwithout a table, and with one\n%s", a.ID, x, y)
		}
	}
}

// TestViewIsTheCurrentAd: whatever jobs a view has shown, it shows the next one as it is.
func TestViewIsTheCurrentAd(t *testing.T) {
	inline, table := inlineAndTable(t, 300)
	r := rand.New(rand.NewPCG(5, 6))
	var v job.View
	var scratch job.Scratch
	lives := 0
	for i := range 3000 {
		c := inline
		if r.IntN(2) == 0 {
			c = table
		}
		entered := noon.Add(time.Duration(r.IntN(2)) * time.Second)
		j := scratch.Job(c, i/10, entered)
		if got, want := j.CurrentAd().Flat().String(), c.Job(i/10, entered).CurrentAd().Flat().String(); got != want {
			t.Fatalf("job %v in the same memory is\n%s\nwant\n%s", j.ID, got, want)
		}
		if r.IntN(2) == 0 {
			j = c.Job(i/10, entered)
		}
		if lives--; lives > 0 && lives < 20 {
			next := randomLife(*j, r, r.IntN(12))
			j = &next
		} else if lives < -20 {
			lives = 40
		}
		if got, want := v.Of(j).Flat().String(), j.CurrentAd().Flat().String(); got != want {
			t.Fatalf("job %v, %v:\n%s\nwant\n%s", j.ID, j.State, got, want)
		}
	}
}

// TestUntriedJobsAreAlike: what is said of the attributes in which they differ is true.
func TestUntriedJobsAreAlike(t *testing.T) {
	inline, _ := inlineAndTable(t, 10)
	untried := 0
	for seed := range uint64(3000) {
		fresh := inline.Job(int(seed%10), noon)
		r := rand.New(rand.NewPCG(seed, 3))
		j := randomLife(*fresh, r, 1+r.IntN(20))
		if j.State != job.Idle || j.Claim != nil || !j.Untried() {
			continue
		}
		untried++
		first := inline.Job(0, noon).CurrentAd().Flat()
		ad := j.CurrentAd().Flat()
		for _, name := range append(first.Names(), ad.Names()...) {
			if a, b := first.Eval(name, nil).String(), ad.Eval(name, nil).String(); a != b && name != "ProcId" && name != "JobStatus" &&
				!slices.Contains(inline.Varies(), name) && !slices.Contains(job.UntriedVaries, name) {
				t.Fatalf("job %v: %s is %s, and of the first %s", j.ID, name, b, a)
			}
		}
	}
	if untried < 100 {
		t.Errorf("only %d lives left the job untried", untried)
	}
}

func TestLate(t *testing.T) {
	for _, tt := range []struct {
		late          job.Late
		present, idle int
		want          int
	}{
		{job.Late{}, 5, 5, job.MaxProcs},
		{job.Late{Most: 10}, 0, 0, 10},
		{job.Late{Most: 10}, 4, 4, 6},
		{job.Late{Most: 10}, 12, 1, 0},
		{job.Late{Idle: 3}, 100, 1, 2},
		{job.Late{Idle: 3}, 100, 3, 0},
		{job.Late{Most: 10, Idle: 3}, 9, 0, 1},
	} {
		if got := tt.late.Room(tt.present, tt.idle); got != tt.want {
			t.Errorf("%+v with %d jobs, %d of them idle: room for %d, want %d", tt.late, tt.present, tt.idle, got, tt.want)
		}
	}
}

// TestHostileCounts: a record of some bytes must not ask for the memory of a million ids.
func TestHostileCounts(t *testing.T) {
	for _, body := range []string{
		`"kind":"submitted","body":{"cluster":1,"user":"u","ad":{},"table":{"count":1000001}}`,
		`"kind":"submitted","body":{"cluster":1,"user":"u","ad":{},"table":{"count":-1}}`,
		`"kind":"opened","body":{"cluster":1,"from":0,"upto":1000001}`,
		`"kind":"opened","body":{"cluster":1,"from":-5,"upto":3}`,
		`"kind":"opened","body":{"cluster":1,"from":5,"upto":5}`,
	} {
		var ev job.Event
		if err := json.Unmarshal([]byte(`{"v":1,"at":"2025-01-01T00:00:00Z",`+body+`}`), &ev); err == nil {
			t.Errorf("%s was read", body)
		}
	}
}

func BenchmarkCurrentAd(b *testing.B) {
	_, table := inlineAndTable(b, 10_000)
	e, err := classad.ParseExpr("ProcId")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("ad", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			_ = e.Eval(table.Job(i%10_000, noon).CurrentAd(), nil).String()
		}
	})
	b.Run("view", func(b *testing.B) {
		var v job.View
		for i := 0; b.Loop(); i++ {
			_ = e.Eval(v.Of(table.Job(i%10_000, noon)), nil).String()
		}
	})
	b.Run("job", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			table.Job(i%10_000, noon)
		}
	})
}
