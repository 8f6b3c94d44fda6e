package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/submitfile"
	"skua/internal/wire"
	"skua/submit/client"
	"skua/submit/submittest"
)

// describe makes a submission of a description in dir.
func describe(t *testing.T, dir, text string) *submitfile.Submission {
	t.Helper()
	d, err := submitfile.Parse("test.sub", []byte(text), submitfile.Options{Dir: dir, Stat: os.Stat, Glob: filepath.Glob, ReadFile: os.ReadFile})
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.Expand(d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestSubmitCarriesFiles(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir := t.TempDir()
	large := strings.Repeat("large ", 10_000)
	write(t, dir, "sim.sh", "#!/bin/sh\n")
	write(t, dir, "in/0", "first")
	write(t, dir, "in/1", "second")
	write(t, dir, "data/a.dat", large)
	write(t, dir, "data/sub/b.dat", "b")
	var told atomic.Int64
	res, err := c.Submit(t.Context(), describe(t, dir, `
		executable = sim.sh
		input = in/$(Process)
		transfer_input_files = data
		output = out.$(Cluster).$(Process)
		queue 2`), func(done, total int64) { told.Store(done) })
	if err != nil {
		t.Fatal(err)
	}
	for proc := range 2 {
		id := job.ID{Cluster: res.Cluster, Proc: proc}
		j, ok := pool.Queue.Job(id)
		if !ok {
			t.Fatalf("job %v is not in the queue", id)
		}
		got := map[string]job.File{}
		for _, f := range j.Inputs {
			got[f.Name] = f
		}
		stdin := fmt.Sprint(proc)
		if want := map[string]string{"0": "first", "1": "second"}[stdin]; string(got[stdin].Inline) != want {
			t.Errorf("job %v: standard input is %q inline, want %q", id, got[stdin].Inline, want)
		}
		if f := got["sim.sh"]; f.Mode&0o111 != 0o111 || string(f.Inline) != "#!/bin/sh\n" {
			t.Errorf("job %v: the program came as %+v, want it inline and executable", id, f)
		}
		if f := got["data/sub/b.dat"]; string(f.Inline) != "b" {
			t.Errorf("job %v: a file of a directory came as %+v", id, f)
		}
		if data, err := pool.Stored(got["data/a.dat"].Digest); err != nil || string(data) != large {
			t.Errorf("job %v: the large file is not stored: %d bytes, %v", id, len(data), err)
		}
		if len(j.Inputs) != 4 {
			t.Errorf("job %v has %d inputs, want 4", id, len(j.Inputs))
		}
		if out, _ := j.CurrentAd().Str("Out"); out != fmt.Sprintf("out.%d.%d", res.Cluster, proc) {
			t.Errorf("job %v: Out is %q, want the cluster's number in it", id, out)
		}
	}
	if told.Load() != int64(len(large)) {
		t.Errorf("progress ended at %d bytes, want %d: the large file once", told.Load(), len(large))
	}
}

// Directories with nothing in them go along by their names.
func TestSubmitSendsEmptyDirectories(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	for _, tt := range []struct{ name, dirs, files, want string }{
		{"none", "", "data", ""},
		{"one", "out", "data,out", "out/"},
		{"below one", "data/results", "data", "data/results/"},
		{"what is in an empty one", "out", "data,out/", ""},
		{"the same one twice", "out", "data,out,out", "out/"},
		{"many", "a,b,c,d,e/f", "a,b,c,d,e,data", "a/,b/,c/,d/,e/f/"},
	} {
		dir := t.TempDir()
		write(t, dir, "sim.sh", "#!/bin/sh\n")
		write(t, dir, "data/a.dat", "a")
		for d := range strings.SplitSeq(tt.dirs, ",") {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		s := describe(t, dir, "executable = sim.sh\narguments = $(Process)\ntransfer_input_files = "+tt.files+"\nqueue 2")
		res, err := c.Submit(t.Context(), s, nil)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		j, _ := pool.Queue.Job(job.ID{Cluster: res.Cluster, Proc: 1})
		var dirs []string
		for _, f := range j.Inputs {
			if _, ok := f.Dir(); ok {
				dirs = append(dirs, f.Name)
			}
		}
		if got := strings.Join(dirs, ","); got != tt.want {
			t.Errorf("%s: the job has the empty directories %q, want %q", tt.name, got, tt.want)
		}
	}
}

// The archive of a runtime root goes along under a name of its own, once for all jobs, and is no input.
func TestSubmitCarriesRuntimeRoot(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir := t.TempDir()
	large := strings.Repeat("archive ", 10_000)
	write(t, dir, "sim.sh", "#!/bin/sh\n")
	write(t, dir, "debian.tar.zst", large)
	var told atomic.Int64
	res, err := c.Submit(t.Context(), describe(t, dir, `
		executable = sim.sh
		arguments = $(Process)
		runtime_root = debian.tar.zst
		queue 2`), func(done, total int64) { told.Store(done) })
	if err != nil {
		t.Fatal(err)
	}
	for proc := range 2 {
		j, ok := pool.Queue.Job(job.ID{Cluster: res.Cluster, Proc: proc})
		if !ok || len(j.Inputs) != 2 {
			t.Fatalf("job %d has the inputs %+v", proc, j)
		}
		i := slices.IndexFunc(j.Inputs, func(f job.File) bool { return f.Name == job.RuntimeFile })
		if i < 0 {
			t.Fatalf("job %d has the inputs %+v", proc, j.Inputs)
		}
		if data, err := pool.Stored(j.Inputs[i].Digest); err != nil || string(data) != large {
			t.Errorf("the archive is not stored: %d bytes, %v", len(data), err)
		}
		if cmd, err := job.CommandOf(j.CurrentAd()); err != nil || cmd.Runtime != filepath.Join(dir, "debian.tar.zst") {
			t.Errorf("job %d has the runtime root %q (%v)", proc, cmd.Runtime, err)
		}
	}
	if told.Load() != int64(len(large)) {
		t.Errorf("%d bytes were sent, want the archive once", told.Load())
	}
}

// A runtime root that the pool has is named by its digest: nothing is sent, and the job keeps it when the name gets another.
func TestSubmitNamesPoolRuntime(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir := t.TempDir()
	write(t, dir, "sim.sh", "#!/bin/sh\n")
	submit := func(text string, jobs int) (map[int]string, error) {
		t.Helper()
		res, err := c.Submit(t.Context(), describe(t, dir, "executable = sim.sh\n"+text), func(done, total int64) { t.Errorf("%d of %d bytes are sent", done, total) })
		if err != nil {
			return nil, err
		}
		got := map[int]string{}
		for proc := range jobs {
			j, ok := pool.Queue.Job(job.ID{Cluster: res.Cluster, Proc: proc})
			if !ok {
				t.Fatalf("there is no job %d", proc)
			}
			for _, f := range j.Inputs {
				if f.Name != job.RuntimeFile {
					continue
				}
				data, err := pool.Stored(f.Digest)
				if err != nil || len(f.Inline) > 0 || f.Size != int64(len(data)) {
					t.Errorf("job %d has %+v: %v", proc, f, err)
				}
				cmd, err := job.CommandOf(j.CurrentAd())
				if err != nil {
					t.Error(err)
				}
				got[proc] = cmd.Runtime + " " + string(data)
			}
		}
		return got, nil
	}
	const both = "runtime_root = pool:debian$(n)\nqueue 2 n in (11 12)"
	if _, err := submit(both, 0); err == nil || !strings.Contains(err.Error(), "runtime_root = pool:debian11: the pool has no runtime root of that name") {
		t.Errorf("in a pool without any: %v", err)
	}
	pool.NameRuntimes(map[string]string{"debian11": "eleven", "debian12": "twelve", "alpine": "small"})
	first := map[int]string{0: "pool:debian11 eleven", 1: "pool:debian11 eleven", 2: "pool:debian12 twelve", 3: "pool:debian12 twelve"}
	if got, err := submit(both, 4); err != nil || !maps.Equal(got, first) {
		t.Errorf("the jobs have %v (%v), want %v", got, err, first)
	}
	pool.NameRuntimes(map[string]string{"debian11": "other", "debian12": "twelve"})
	if got, err := submit("runtime_root = pool:debian11\nqueue", 1); err != nil || got[0] != "pool:debian11 other" {
		t.Errorf("when the name has another the job has %v (%v)", got, err)
	}
	_, err := submit("runtime_root = pool:debain12\nqueue", 0)
	if p := (*diag.Problem)(nil); !errors.As(err, &p) || !strings.Contains(p.What, ":2:16: runtime_root = pool:debain12: the pool has no") ||
		p.Hint != `did you mean "debian12"? the pool has debian11, debian12` {
		t.Errorf("a name that is not there: %v, %+v", err, p)
	}
	if _, err := submit("+RuntimeRoot = \"pool:nothing\"\nqueue", 0); err == nil || !strings.Contains(err.Error(), "RuntimeRoot = pool:nothing: the pool has no") {
		t.Errorf("a name that no command has, and that is not there: %v", err)
	}
}

// TestManySmallFilesGoToTheService: a thousand times a small program is more than a message carries.
func TestManySmallFilesGoToTheService(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir := t.TempDir()
	for i := range 30 {
		write(t, dir, fmt.Sprintf("in.%d", i), strings.Repeat("x", 12_000)+fmt.Sprint(i))
	}
	res, err := c.Submit(t.Context(), describe(t, dir, `
		executable = /bin/cat
		transfer_executable = false
		input = in.$(Process)
		queue 30`), nil)
	if err != nil {
		t.Fatal(err)
	}
	j, _ := pool.Queue.Job(job.ID{Cluster: res.Cluster, Proc: 29})
	data, err := pool.Stored(j.Inputs[0].Digest)
	if err != nil || !strings.HasSuffix(string(data), "29") {
		t.Errorf("input of the last job: %d bytes, %v", len(data), err)
	}
}

// TestManyJobs: more jobs than a message carries become a table, and are the same jobs.
func TestManyJobs(t *testing.T) {
	const jobs = 3000
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir := t.TempDir()
	write(t, dir, "sim.sh", "#!/bin/sh\n"+strings.Repeat("# long\n", 4000))
	for i := range 3 {
		write(t, dir, fmt.Sprint("in.", i), fmt.Sprint("input ", i))
	}
	text := func(queue string) string {
		return `
			executable = sim.sh
			arguments = "-n $(Process) --name 'job $(Process)'"
			transfer_input_files = in.$INT(Which)
			Which = $(Process) % 3
			output = out/$(Cluster).$(Process)
			error = err.$(Process)
			log = log
			priority = $(Process) % 5
			hold = false
			+Odd = $(Process) % 2 == 1
			queue ` + queue
	}
	res, err := c.Submit(t.Context(), describe(t, dir, text(fmt.Sprint(jobs))), nil)
	if err != nil {
		t.Fatal(err)
	}
	few, err := c.Submit(t.Context(), describe(t, dir, text("20")), nil)
	if err != nil {
		t.Fatal(err)
	}
	var ref *job.TableRef
	page, err := c.Events(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range page.Events {
		if b, ok := ev.Body.(*job.Submitted); ok && b.Cluster == res.Cluster {
			ref = b.Table
		}
	}
	if ref == nil || ref.Count != jobs {
		t.Fatalf("the event's table is %+v", ref)
	}
	table, err := c.Table(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	for proc := range 20 {
		many, _ := pool.Queue.Job(job.ID{Cluster: res.Cluster, Proc: proc})
		one, _ := pool.Queue.Job(job.ID{Cluster: few.Cluster, Proc: proc})
		ad := one.CurrentAd().Flat()
		for _, name := range ad.Names() {
			got, want := many.CurrentAd().Eval(name, nil).String(), ad.Eval(name, nil).String()
			if name == "Out" {
				want = strings.Replace(want, fmt.Sprint(few.Cluster), fmt.Sprint(res.Cluster), 1)
			}
			if got != want && !slices.Contains([]string{"ClusterId", "QDate", "EnteredCurrentStatus", "TotalSubmitProcs"}, name) {
				t.Errorf("job %v: %s is %s, want %s", many.ID, name, got, want)
			}
		}
		if got, want := len(many.Inputs), len(one.Inputs); got != want {
			t.Fatalf("job %v has %d inputs, want %d", many.ID, got, want)
		}
		for i, f := range many.Inputs {
			data := f.Inline
			if f.Digest != "" {
				if data, err = pool.Stored(f.Digest); err != nil {
					t.Errorf("job %v: input %s: %v", many.ID, f.Name, err)
				}
			}
			if g := one.Inputs[i]; f.Name != g.Name || f.Size != g.Size || f.Mode != g.Mode || g.Inline != nil && string(g.Inline) != string(data) {
				t.Errorf("job %v has the input %+v, want %+v", many.ID, f, g)
			}
			if g := table.Inputs(proc)[i]; g.Name != f.Name || g.Digest != f.Digest {
				t.Errorf("job %v has the input %+v, and in the table %+v", many.ID, f, g)
			}
		}
	}
	n := 0
	err = c.Columns(t.Context(), wire.QueryJobs, wire.Selection{Clusters: []int{res.Cluster}}, []string{"ProcId", "Out", "ProcId * 2 + JobPrio"}, 0, func(v []string) error {
		if want := fmt.Sprintf(`[%d "out/%d.%d" %d]`, n, res.Cluster, n, 2*n+n%5); fmt.Sprint(v) != want {
			return fmt.Errorf("row %d is %v, want %s", n, v, want)
		}
		n++
		return nil
	})
	if err != nil || n != jobs {
		t.Errorf("%d rows of %d: %v", n, jobs, err)
	}
	batches, err := c.Summary(t.Context(), wire.Selection{})
	if err != nil || len(batches) != 2 || batches[0].Idle != jobs || batches[0].LastJob.Proc != jobs-1 || batches[1].Total != 20 {
		t.Errorf("summary %+v, %v", batches, err)
	}
	done, err := c.Act(t.Context(), wire.Remove, wire.Selection{Clusters: []int{res.Cluster}}, "")
	if err != nil || len(done.Done) != jobs {
		t.Errorf("%d jobs were removed: %v", len(done.Done), err)
	}
}

func TestSubmitOnceThoughTheAnswerIsLost(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{Patience: 200 * time.Millisecond})
	defer c.Close()
	lost := 0
	pool.Hub.Intercept(func(p bus.Packet) bus.Fate {
		if p.To == "user" && lost < 2 {
			lost++
			return bus.Fate{Drop: true}
		}
		return bus.Fate{}
	})
	res, err := c.Submit(t.Context(), describe(t, t.TempDir(), "executable = /bin/true\ntransfer_executable = false\nqueue"), nil)
	if err != nil {
		t.Fatal(err)
	}
	pool.Hub.Intercept(nil)
	rows, _, err := c.Jobs(t.Context(), wire.Selection{})
	if err != nil || len(rows) != 1 || rows[0].ID.Cluster != res.Cluster || lost != 2 {
		t.Errorf("after %d lost answers there are %d jobs (%v), want the one of cluster %d", lost, len(rows), err, res.Cluster)
	}
}

// TestLinksInInputDirectories: a link that leads back would have no end.
func TestLinksInInputDirectories(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir := t.TempDir()
	write(t, dir, "data/a.dat", "a")
	for name, to := range map[string]string{"self": ".", "up": "..", "b.dat": "a.dat"} {
		if err := os.Symlink(to, filepath.Join(dir, "data", name)); err != nil {
			t.Skip("no links here: ", err)
		}
	}
	s := describe(t, dir, "executable = /bin/true\ntransfer_executable = false\ntransfer_input_files = data\nqueue")
	res, err := c.Submit(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	j, _ := pool.Queue.Job(job.ID{Cluster: res.Cluster})
	var names []string
	for _, f := range j.Inputs {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	if want := []string{"data/a.dat", "data/b.dat"}; !slices.Equal(names, want) {
		t.Errorf("the job gets %q, want %q", names, want)
	}
	if len(s.Notes) != 2 || !strings.Contains(s.Notes[0], "data/self is a link") {
		t.Errorf("notes %q, want one of each link to a directory", s.Notes)
	}
}

// TestFetchGoesOnWithoutAPlace: an output that cannot be put in place keeps no other back.
func TestFetchGoesOnWithoutAPlace(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir := t.TempDir()
	res, err := c.Submit(t.Context(), describe(t, dir, "executable = /bin/true\ntransfer_executable = false\noutput = none/out\nerror = err\nqueue"), nil)
	if err != nil {
		t.Fatal(err)
	}
	id := job.ID{Cluster: res.Cluster}
	pool.Begin(id, "desk7")
	pool.Finish(id, 0, map[string]string{job.StdoutFile: "o", job.StderrFile: "e"})
	files, err := c.Fetch(t.Context(), id, "", nil)
	if want := []string{filepath.Join(dir, "err")}; !slices.Equal(files, want) || err == nil || !strings.Contains(err.Error(), "none is not there") {
		t.Errorf("fetched %q (%v), want %q and what is in the way of the other", files, err, want)
	}
}

func TestBadInputsAreRefusedBeforeAnythingIsQueued(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir := t.TempDir()
	write(t, dir, "a/x", "one")
	write(t, dir, "b/x", "two")
	for _, tt := range []struct{ name, text, want string }{
		{"two files of one name", "executable = /bin/true\ntransfer_executable = false\ntransfer_input_files = a/x, b/x\nqueue", "both called x"},
		{"too much for a message", "executable = /bin/true\ntransfer_executable = false\narguments = " + strings.Repeat("x", 250_000) + "\nqueue 5", "one submit carries"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.Submit(t.Context(), describe(t, dir, tt.text), nil)
			var p *diag.Problem
			if !errors.As(err, &p) || !strings.Contains(p.What, tt.want) || p.Hint == "" {
				t.Errorf("error is %v, want a problem with %q and a hint", err, tt.want)
			}
		})
	}
	if rows, _, _ := c.Jobs(t.Context(), wire.Selection{}); len(rows) != 0 {
		t.Errorf("%d jobs are queued, want none", len(rows))
	}
}

func TestFollowMissesNothing(t *testing.T) {
	pool := submittest.Start(t)
	pool.Hub.Intercept(func(p bus.Packet) bus.Fate { // no note ever arrives
		return bus.Fate{Drop: strings.HasPrefix(p.Subject, "skua.note.")}
	})
	c := pool.Client(client.Config{Poll: 5 * time.Millisecond})
	defer c.Close()
	res, err := c.Submit(t.Context(), describe(t, t.TempDir(), "executable = /bin/true\ntransfer_executable = false\nqueue 3"), nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for proc := range 3 {
			id := job.ID{Cluster: res.Cluster, Proc: proc}
			pool.Begin(id, "desk7")
			pool.Finish(id, 0, nil)
		}
	}()
	var kinds []string
	last := uint64(0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = c.Follow(ctx, res.Seq-1, func(p client.Page) error {
		for _, ev := range p.Events {
			if ev.Seq <= last {
				t.Errorf("event %d came after event %d", ev.Seq, last)
			}
			last = ev.Seq
			kinds = append(kinds, ev.Body.Kind())
		}
		if len(kinds) >= 10 {
			return client.ErrEnough
		}
		return nil
	})
	want := "submitted" + strings.Repeat(" offered started ended", 3)
	if got := strings.Join(kinds, " "); !errors.Is(err, client.ErrEnough) || got != want {
		t.Errorf("followed %q (%v), want %q", got, err, want)
	}
}

// TestFollowEndsAtAnEventItDoesNotKnow: to ask again and again would bring the same event.
func TestFollowEndsAtAnEventItDoesNotKnow(t *testing.T) {
	hub := bus.NewMemory()
	newer := hub.Connect("matchmaker")
	defer newer.Close()
	_, err := newer.Subscribe(wire.UserSubject("u1", wire.VerbQuery), func(m bus.Msg) {
		data, err := wire.Encode(wire.QueryResult{V: wire.Version, Rows: []json.RawMessage{
			json.RawMessage(`{"v": 1, "seq": 8, "at": "2026-11-30T12:00:00Z", "kind": "of the future", "body": {}}`),
		}})
		if err == nil {
			err = m.Reply(data)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{User: "u1", Conn: hub.Connect("user")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.Follow(t.Context(), 7, func(client.Page) error { return nil })
	var p *diag.Problem
	if !errors.Is(err, client.ErrUnreadable) || !errors.As(err, &p) || p.Hint == "" {
		t.Errorf("followed to the end %v", err)
	}
}

func TestActSaysWhyNot(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	res, err := c.Submit(t.Context(), describe(t, t.TempDir(), "executable = /bin/true\ntransfer_executable = false\nqueue 2"), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Act(t.Context(), wire.HoldJob, wire.Selection{Clusters: []int{res.Cluster}, Jobs: []job.ID{{Cluster: 99}}}, "not now")
	if err != nil || len(got.Done) != 2 || got.Not["99.0"] == "" {
		t.Errorf("hold gave %+v (%v), want two held and a reason for 99.0", got, err)
	}
	j, _ := pool.Queue.Job(job.ID{Cluster: res.Cluster})
	if j.State != job.Held || j.HoldReason != "not now" {
		t.Errorf("the job is %v because %q, want held because of what was given", j.State, j.HoldReason)
	}
}

func TestActHandsNotesOn(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	res, err := c.Submit(t.Context(), describe(t, t.TempDir(), "executable = /bin/true\ntransfer_executable = false\nmax_materialize = 1\nqueue 2"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		do   wire.ActionVerb
		set  job.Assigned
		want string
	}{
		{wire.Edit, job.Assigned{Name: "RequestMemroy", Expr: "200"}, "did you mean RequestMemory"},
		{wire.Prio, job.Assigned{Expr: "5"}, "yet to enter the queue"},
	} {
		got, err := c.Act(t.Context(), tt.do, wire.Selection{Clusters: []int{res.Cluster}}, "", tt.set)
		if err != nil || len(got.Done) != 1 || !strings.Contains(got.Note, tt.want) {
			t.Errorf("%s gave %+v (%v), want a note with %q", tt.do, got, err, tt.want)
		}
	}
}

// TestInterruptedUpload: an upload that is interrupted queues nothing.
func TestInterruptedUpload(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir := t.TempDir()
	write(t, dir, "large", strings.Repeat("0123456789", 200_000))
	s := describe(t, dir, "executable = /bin/true\ntransfer_executable = false\ntransfer_input_files = large\nqueue")
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	if _, err := c.Prepare(ctx, s, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("an upload that was interrupted gave %v", err)
	}
	if _, there := pool.Queue.Job(job.ID{Cluster: 1}); there {
		t.Error("the job is queued")
	}
}

// TestOneJobsFilesGoToTheService: what fits into a message may still be more than one job carries inline.
func TestOneJobsFilesGoToTheService(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir := t.TempDir()
	for i := range 11 {
		write(t, dir, fmt.Sprintf("data/%d", i), strings.Repeat(fmt.Sprint(i%10), 15_000))
	}
	res, err := c.Submit(t.Context(), describe(t, dir, `
		executable = /bin/true
		transfer_executable = false
		transfer_input_files = data/
		queue`), nil)
	if err != nil {
		t.Fatal(err)
	}
	j, _ := pool.Queue.Job(job.ID{Cluster: res.Cluster})
	if len(j.Inputs) != 11 {
		t.Errorf("the job has %d inputs, want 11", len(j.Inputs))
	}
}

// TestTooManyInputs holds that nothing is uploaded for a job that the matchmaker would refuse.
func TestTooManyInputs(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir := t.TempDir()
	for i := range job.MaxInputs + 1 {
		write(t, dir, fmt.Sprintf("data/%d", i), "")
	}
	_, err := c.Submit(t.Context(), describe(t, dir, `
		executable = /bin/true
		transfer_executable = false
		transfer_input_files = data
		queue`), func(int64, int64) { t.Error("something was uploaded") })
	if err == nil || !strings.Contains(err.Error(), "more than 1000 input files") {
		t.Errorf("error is %v", err)
	}
}
