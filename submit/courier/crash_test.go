package courier

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/internal/job"
	"skua/internal/transfer"
	"skua/internal/wire"
	"skua/policy/classad"
	"skua/submit/client"
)

// script is a pool whose events are given. Deliveries are among them, so what a courier does changes
// nothing, and every run of it sees the same.
type script struct {
	events []job.Event
	ads    map[job.ID]*classad.Ad
	after  func() // called when a page has been handled
	page   int    // events of a page; 0 means 1
	table  *job.Table
	asked  []job.ID // what the matchmaker knows of a cluster
}

func (s *script) Columns(_ context.Context, kind wire.QueryKind, sel wire.Selection, exprs []string, _ int, row func([]string) error) error {
	if sel.Constraint != "" || kind != wire.QueryJobs {
		return nil // all have ended by the end of the script
	}
	jobs := sel.Jobs
	if len(sel.Clusters) > 0 {
		jobs = s.asked
	}
	for _, id := range jobs {
		ad := s.ads[id]
		if ad == nil {
			continue
		}
		ad.SetInt("ClusterId", int64(id.Cluster))
		ad.SetInt("ProcId", int64(id.Proc))
		var values []string
		for _, text := range exprs {
			e, err := classad.ParseExpr(text)
			if err != nil {
				return err
			}
			values = append(values, e.Eval(ad, nil).String())
		}
		if err := row(values); err != nil {
			return err
		}
	}
	return nil
}

func (s *script) Table(context.Context, *job.TableRef) (*job.Table, error) {
	if s.table == nil {
		return nil, errors.New("there is none")
	}
	return s.table, nil
}

func (s *script) Events(context.Context, uint64) (client.Page, error) { return client.Page{}, nil }

func (s *script) Follow(ctx context.Context, since uint64, handle func(client.Page) error) error {
	left := s.events[min(since, uint64(len(s.events))):]
	for events := range slices.Chunk(left, max(s.page, 1)) {
		next := events[len(events)-1].Seq
		if err := handle(client.Page{Events: events, Next: next, More: s.page > 0 && next < uint64(len(s.events))}); err != nil {
			return err
		}
		if s.after != nil {
			s.after()
		}
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (s *script) Fetch(context.Context, job.ID, string, transfer.Progress) ([]string, error) {
	return nil, nil
}

func (s *script) Act(context.Context, wire.ActionVerb, wire.Selection, string, ...job.Assigned) (wire.ActionResult, error) {
	return wire.ActionResult{}, nil
}

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// aLife is two jobs' life with all that can happen to them; the second is removed.
func aLife(dir string) *script { return lifeOf(dir, 0) }

// lifeOf is the same with clusters of other numbers.
func lifeOf(dir string, from int) *script {
	ad := classad.NewAd()
	ad.SetString("Iwd", dir)
	ad.SetString("UserLog", "job.log")
	ad.SetString(client.SubmitHost, "here")
	ad.SetString(SubmitMachine, "laptop")
	ad.SetInt("RequestMemory", 100)
	s := &script{ads: map[job.ID]*classad.Ad{}}
	ad.SetString("SubmitEventNotes", "night run")
	ad.SetString("SubmitEventUserNotes", "for the north grid")
	submitted := &job.Submitted{Cluster: from + 5, Ad: ad, Procs: []*classad.Ad{classad.NewAd(), classad.NewAd()}}
	a, b := job.ID{Cluster: from + 5}, job.ID{Cluster: from + 5, Proc: 1}
	for i, p := range submitted.Procs {
		p.SetParent(ad)
		s.ads[job.ID{Cluster: from + 5, Proc: i}] = p
	}
	// A cluster whose jobs come one by one, with a log of its own in the other form.
	lateAd := ad.Clone()
	lateAd.SetString("UserLog", "late.log")
	lateAd.SetBool("UserLogUseJSON", true)
	lateAd.SetInt("JobMaterializeLimit", 1)
	little := &job.Submitted{Cluster: from + 6, Ad: lateAd, Procs: []*classad.Ad{classad.NewAd(), classad.NewAd(), classad.NewAd()}}
	c, d := job.ID{Cluster: from + 6}, job.ID{Cluster: from + 6, Proc: 1}
	for i, p := range little.Procs {
		p.SetParent(lateAd)
		s.ads[job.ID{Cluster: from + 6, Proc: i}] = p
	}
	offered := func(id job.ID, e job.Epoch, machine string) *job.Offered {
		return &job.Offered{Job: id, Epoch: e, Slot: "slot1@" + machine, Machine: machine}
	}
	used := job.Usage{UserCPU: 90 * time.Second, SysCPU: time.Second, Wall: 100 * time.Second, MaxRSS: 50 << 20}
	for i, body := range []job.Body{
		&job.LeaderEpoch{}, submitted, little, &job.Opened{Cluster: from + 6, From: 0, Upto: 1},
		offered(a, 1, "desk1"), &job.Declined{Job: a, Epoch: 1, Reason: "busy"},
		offered(a, 2, "desk2"), &job.Started{Job: a, Epoch: 2},
		offered(b, 1, "desk3"), &job.Started{Job: b, Epoch: 1},
		&job.Paused{Job: a, Epoch: 2, Reason: "the owner of desk2 came back"}, &job.Continued{Job: a, Epoch: 2},
		&job.Checkpointed{Job: a, Epoch: 2, Image: job.Image{Digest: "0123456789abcdef", Bytes: 12345}},
		&job.Evicted{Job: a, Epoch: 2, Reason: "the owner of desk2 needs the machine", Usage: used},
		offered(a, 3, "desk4"), &job.Started{Job: a, Epoch: 3},
		&job.RestoreFailed{Job: a, Epoch: 3, Digest: "0123456789abcdef", Reason: "CRIU"},
		&job.ImageDropped{Job: a, Epoch: 3, Digest: "0123456789abcdef", Reason: "other CPU"},
		&job.Lapsed{Job: a, Epoch: 3}, &job.Revived{Job: a, Epoch: 3}, &job.Lapsed{Job: a, Epoch: 3},
		offered(a, 4, "desk5"), &job.Started{Job: a, Epoch: 4},
		&job.Measured{Job: a, Epoch: 4, Usage: job.Usage{MaxRSS: 20 << 20}},
		&job.HeldBack{Job: b, Reason: "held by ann", Code: 1, SubCode: 9, Usage: used, Outputs: []job.File{{Name: job.StdoutFile, Size: 5}}},
		&job.Edited{Job: b, Set: []job.Assigned{{Name: "JobPrio", Expr: "5"}, {Name: "Project", Expr: "\"north\""}}},
		&job.Released{Job: b, Reason: "mended"},
		offered(c, 1, "desk6"), &job.Started{Job: c, Epoch: 1},
		&job.Requeued{Job: c, Epoch: 1, Result: job.Result{ExitCode: 7, Usage: used}, Reason: "try 1 of 3: exit code 7"},
		offered(b, 2, "desk3"), &job.Started{Job: b, Epoch: 2}, &job.Measured{Job: b, Epoch: 2, Usage: used},
		&job.Withdrawn{Job: b, Reason: "not needed"},
		&job.Ended{Job: a, Epoch: 4, Result: job.Result{ExitCode: 3, Usage: used, Outputs: []job.File{{Name: "x", Size: 77}}}},
		&job.Delivered{Job: a},
		&job.Ended{Job: c, Noop: true}, &job.Delivered{Job: c}, &job.Opened{Cluster: from + 6, From: 1, Upto: 2},
		&job.Withdrawn{Job: d, Reason: "removed by ann"}, &job.Closed{Cluster: from + 6, Reason: "removed by ann"},
	} {
		s.events = append(s.events, job.Event{Seq: uint64(i + 1), At: noon.Add(time.Duration(i) * time.Minute), Body: body})
	}
	return s
}

// tell runs a courier over a script to its end.
func tell(t *testing.T, s *script, state string) {
	t.Helper()
	c, err := New(Config{Pool: s, Host: "here", Dir: state, Linger: 10 * time.Millisecond, Zone: time.UTC})
	if err != nil {
		t.Fatal(err)
	}
	last := len(s.events)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for { // one that finds nothing to do at a moment ends; the next goes on
		left, err := c.Run(ctx)
		if err != nil || left {
			t.Fatalf("the courier ended with %v, something left: %v", err, left)
		}
		if int(c.state.Pos) == last {
			return
		}
	}
}

var update = flag.Bool("update", false, "write the golden files anew")

func TestLifeInTheLog(t *testing.T) {
	dir := t.TempDir()
	tell(t, aLife(dir), t.TempDir())
	for log, golden := range map[string]string{"job.log": "life.log", "late.log": "late.log"} {
		got := content(t, filepath.Join(dir, log))
		golden = filepath.Join("testdata", golden)
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want := content(t, golden); got != want {
			t.Errorf("the log is\n%s\nwant\n%s", got, want)
		}
	}
}

// TestSecondLog: a log for all jobs of a workflow has the same entries.
func TestSecondLog(t *testing.T) {
	dir := t.TempDir()
	s := aLife(dir)
	s.events[1].Body.(*job.Submitted).Ad.SetString("DAGManNodesLog", "nodes.log")
	tell(t, s, t.TempDir())
	want := content(t, filepath.Join("testdata", "life.log"))
	for _, log := range []string{"job.log", "nodes.log"} {
		if got := content(t, filepath.Join(dir, log)); got != want {
			t.Errorf("%s is\n%s\nwant\n%s", log, got, want)
		}
	}
}

// TestCrashEverywhere takes what is on disk after each event, and then every mixture that a crash can
// leave: the log further than its position, both further than the courier's. A courier that begins
// there must end with the same log.
func TestCrashEverywhere(t *testing.T) {
	work := t.TempDir()
	dir, state := filepath.Join(work, "dir"), filepath.Join(work, "state")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := aLife(dir)
	var moments []string
	s.after = func() {
		at := filepath.Join(t.TempDir(), fmt.Sprint(len(moments)))
		if err := os.CopyFS(at, os.DirFS(work)); err != nil {
			t.Fatal(err)
		}
		moments = append(moments, at)
	}
	tell(t, s, state)
	logs := func() string {
		return content(t, filepath.Join(dir, "job.log")) + content(t, filepath.Join(dir, "late.log"))
	}
	want := logs()
	s.after = nil
	if len(moments) != len(s.events) {
		t.Fatalf("%d moments of %d events", len(moments), len(s.events))
	}
	for i := range moments {
		for _, ahead := range []struct {
			name              string
			log, logPos, self int
		}{
			{"between two events", i, i, i},
			{"log written", i + 1, i, i},
			{"log and its position written", i + 1, i + 1, i},
			{"several events written", i + 3, i, i},
			{"several events and positions written", i + 3, i + 2, i},
		} {
			if ahead.log >= len(moments) {
				continue
			}
			t.Run(fmt.Sprintf("%d %s", i+1, ahead.name), func(t *testing.T) {
				for _, d := range []string{dir, state} {
					if err := os.RemoveAll(d); err != nil {
						t.Fatal(err)
					}
				}
				restore(t, moments[ahead.log], work, "dir")
				restore(t, moments[ahead.logPos], work, "state/logs")
				restore(t, moments[ahead.self], work, "state/"+stateFile)
				tell(t, s, state)
				if got := logs(); got != want {
					t.Errorf("the log is\n%s\nwant\n%s", got, want)
				}
			})
		}
	}
}

// restore copies one file or directory of a moment back.
func restore(t *testing.T, moment, work, name string) {
	t.Helper()
	from := filepath.Join(moment, name)
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(work, strings.TrimPrefix(path, moment))
		if e.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestLogPutAway: a user who moves or removes a log in the middle finds the rest in a new one.
func TestLogPutAway(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there a file that is open keeps its name")
	}
	dir := t.TempDir()
	log := filepath.Join(dir, "job.log")
	s, n := aLife(dir), 0
	s.after = func() {
		if n++; n == 10 {
			if err := os.Rename(log, log+".old"); err != nil {
				t.Error(err)
			}
		}
	}
	tell(t, s, t.TempDir())
	got, want := content(t, log+".old")+content(t, log), content(t, filepath.Join("testdata", "life.log"))
	if got != want {
		t.Errorf("the two logs are together\n%s\nwant\n%s", got, want)
	}
}

// TestLogNamedAfterALateCluster: the cluster's own entries are where those of its jobs are.
func TestLogNamedAfterALateCluster(t *testing.T) {
	dir := t.TempDir()
	s := aLife(dir)
	name, err := classad.ParseExpr(`strcat("late.", ClusterId, ".log")`)
	if err != nil {
		t.Fatal(err)
	}
	s.events[2].Body.(*job.Submitted).Ad.Set("UserLog", name)
	tell(t, s, t.TempDir())
	if got, want := content(t, filepath.Join(dir, "late.6.log")), content(t, filepath.Join("testdata", "late.log")); got != want {
		t.Errorf("the log is\n%s\nwant\n%s", got, want)
	}
}

// TestTableIsGone: of a cluster whose table is not to be had any more the log has what the matchmaker knows.
func TestTableIsGone(t *testing.T) {
	for _, late := range []bool{false, true} {
		dir := t.TempDir()
		s := aLife(dir)
		ad, a := s.events[1].Body.(*job.Submitted).Ad, job.ID{Cluster: 5}
		if late {
			ad.SetInt("JobMaterializeLimit", 1)
		}
		s.events = nil
		for i, body := range []job.Body{
			&job.Submitted{Cluster: 5, Ad: ad, Table: &job.TableRef{Count: 2, Digest: "0123456789abcdef"}},
			&job.Opened{Cluster: 5, From: 0, Upto: 1},
			&job.Withdrawn{Job: a, Reason: "removed by ann"},
		} {
			if _, opened := body.(*job.Opened); !opened || late {
				s.events = append(s.events, job.Event{Seq: uint64(len(s.events) + 1), At: noon.Add(time.Duration(i) * time.Minute), Body: body})
			}
		}
		s.asked = []job.ID{a}
		tell(t, s, t.TempDir())
		text := content(t, filepath.Join(dir, "job.log"))
		if strings.Count(text, "Job submitted") != 1 || strings.Count(text, "Job was aborted") != 1 {
			t.Errorf("late %v: the log is\n%s", late, text)
		}
	}
}

// TestStateOfVersion1 reads what the first courier kept of a log that could not be written.
func TestStateOfVersion1(t *testing.T) {
	s, err := loadState(filepath.Join("testdata", "v1"))
	if err != nil {
		t.Fatal(err)
	}
	waiting := s.Waiting["/gone/job.log"]
	if s.Pos != 17 || s.Anew || len(waiting) != 1 || waiting[0].Seq != 16 || waiting[0].Events != nil || !strings.Contains(waiting[0].Text, "Job executing on host: <desk7>") {
		t.Errorf("read %+v", s)
	}
	if r := s.Runs[job.ID{Cluster: 1}]; r == nil || r.Machine != "desk7" || !r.Started {
		t.Errorf("the job's run was read as %+v", r)
	}
}

// TestBegin: the first submit tells the first courier where to begin, and nobody later.
func TestBegin(t *testing.T) {
	dir := t.TempDir()
	for _, seq := range []uint64{42, 99} {
		if err := Begin(dir, seq); err != nil {
			t.Fatal(err)
		}
	}
	s, err := loadState(dir)
	if err != nil || s.Pos != 41 {
		t.Errorf("the position is %d (%v), want 41", s.Pos, err)
	}
}

func TestDamagedPosition(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, stateFile), []byte("{\"v\":1,\"po"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := loadState(dir); err == nil {
		t.Errorf("a damaged file gives %+v, want an error", s)
	}
}
