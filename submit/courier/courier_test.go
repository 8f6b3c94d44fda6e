package courier_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/eventlog"
	"skua/internal/job"
	"skua/internal/submitfile"
	"skua/internal/wire"
	"skua/submit/client"
	"skua/submit/courier"
	"skua/submit/submittest"
)

const host = "thishost"

// submit submits a description in dir from a host.
func submit(t *testing.T, c *client.Client, from, dir, text string) int {
	t.Helper()
	d, err := submitfile.Parse("test.sub", []byte(text), submitfile.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.Expand(d)
	if err != nil {
		t.Fatal(err)
	}
	s.Cluster.SetString(client.SubmitHost, from)
	s.Cluster.SetString(courier.SubmitMachine, "laptop")
	res, err := c.Submit(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return res.Cluster
}

const description = `
	executable = /bin/true
	transfer_executable = false
	output = out.$(Cluster).$(Process)
	error = err.$(Process)
	log = job.log
	queue `

// start runs a courier until the function that it gives is called, or it has nothing to do.
func start(t *testing.T, pool courier.Pool, dir string) (stop func(), ended <-chan error) {
	t.Helper()
	c, err := courier.New(courier.Config{
		Pool: pool, Host: host, Dir: dir, Linger: 50 * time.Millisecond, Retry: 10 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx)
		done <- err
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return func() { cancel(); <-done }, done
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func within(t *testing.T, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(time.Minute):
		t.Fatal("the courier does not end by itself")
		return nil
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to pass that %s", what)
		}
	}
}

// kinds reads a log.
func kinds(t *testing.T, path string) string {
	t.Helper()
	r, err := eventlog.OpenReader(path)
	if err != nil {
		return ""
	}
	defer r.Close()
	var all []string
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(all, ", ")
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e.Job.String()+" "+e.Kind.String())
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLogAndOutputs(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir := t.TempDir()
	cluster := submit(t, c, host, dir, description+"2")
	submit(t, c, "otherhost", dir, description+"1")
	_, ended := start(t, c, t.TempDir())
	for proc := range 2 {
		id := job.ID{Cluster: cluster, Proc: proc}
		pool.Begin(id, "desk7")
		pool.Finish(id, 0, map[string]string{job.StdoutFile: "said " + id.String(), job.StderrFile: ""})
	}
	if err := within(t, ended); err != nil {
		t.Fatal(err)
	}
	want := "1.0 submit, 1.1 submit, 1.0 execute, 1.1 execute, 1.0 image size, 1.0 terminated, 1.1 image size, 1.1 terminated"
	got := kinds(t, filepath.Join(dir, "job.log"))
	if sorted(got) != sorted(want) {
		t.Errorf("the log has %s, want %s", got, want)
	}
	for _, out := range []string{"out.1.0", "out.1.1"} {
		if got := read(t, filepath.Join(dir, out)); got != "said "+out[4:] {
			t.Errorf("%s holds %q", out, got)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "out.2.0")); err == nil {
		t.Error("the output of another host's job was brought here")
	}
	rows, err := c.History(t.Context(), wire.Selection{Clusters: []int{cluster}}, 0)
	if err != nil || len(rows) != 2 {
		t.Fatalf("history has %d jobs: %v", len(rows), err)
	}
	for _, r := range rows {
		if j, _ := pool.Queue.Job(r.ID); !j.Delivered {
			t.Errorf("job %v is not marked as delivered", r.ID)
		}
	}
}

func TestSubmittedOnHold(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir := t.TempDir()
	id := job.ID{Cluster: submit(t, c, host, dir, "hold = true\n"+description+"1")}
	rows, _, err := c.Jobs(t.Context(), wire.Selection{})
	if err != nil || len(rows) != 1 {
		t.Fatalf("the queue has %d jobs: %v", len(rows), err)
	}
	if status, _ := rows[0].Ad.Int("JobStatus"); job.State(status) != job.Held {
		t.Errorf("the job is %v", job.State(status))
	}
	if _, err := c.Act(t.Context(), wire.Release, wire.Selection{Jobs: []job.ID{id}}, ""); err != nil {
		t.Fatal(err)
	}
	_, ended := start(t, c, t.TempDir())
	pool.Begin(id, "desk7")
	pool.Finish(id, 0, nil)
	if err := within(t, ended); err != nil {
		t.Fatal(err)
	}
	const want = "1.0 submit, 1.0 held, 1.0 released, 1.0 execute, 1.0 image size, 1.0 terminated"
	log := filepath.Join(dir, "job.log")
	if got := kinds(t, log); got != want {
		t.Errorf("the log has %s, want %s", got, want)
	}
	if text := read(t, log); !strings.Contains(text, job.OnHoldReason) || !strings.Contains(text, "Code 15") {
		t.Errorf("the log does not say why the job was held:\n%s", text)
	}
}

// TestStreamsOfAHeldJob: what the job has said is there when the log says that it is held.
func TestStreamsOfAHeldJob(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir, state := t.TempDir(), t.TempDir()
	id := job.ID{Cluster: submit(t, c, host, dir, description+"1")}
	stop, _ := start(t, c, state)
	epoch := pool.Begin(id, "desk7")
	pool.Commit(&job.HeldBack{
		Job: id, Epoch: epoch, Reason: "the output file result.txt is missing", Code: job.HoldTransferOutput,
		Outputs: []job.File{
			{Name: job.StdoutFile, Size: 5, Inline: []byte("half\n"), Mode: 0o644},
			{Name: job.StderrFile, Size: 8, Inline: []byte("trouble\n"), Mode: 0o644},
		},
	})
	log := filepath.Join(dir, "job.log")
	await(t, "the log says that the job is held", func() bool {
		return kinds(t, log) == "1.0 submit, 1.0 execute, 1.0 evicted, 1.0 held"
	})
	stop()
	if out, err := read(t, filepath.Join(dir, "out.1.0")), read(t, filepath.Join(dir, "err.0")); out != "half\n" || err != "trouble\n" {
		t.Errorf("the job said %q and %q", out, err)
	}
	// The next run has outputs of its own.
	if _, err := c.Act(t.Context(), wire.Release, wire.Selection{Jobs: []job.ID{id}}, ""); err != nil {
		t.Fatal(err)
	}
	pool.Begin(id, "desk7")
	pool.Finish(id, 0, map[string]string{job.StdoutFile: "whole\n", job.StderrFile: ""})
	_, ended := start(t, c, state)
	if err := within(t, ended); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(dir, "out.1.0")); got != "whole\n" {
		t.Errorf("after the next run the output is %q", got)
	}
}

// TestStreamsOfAHeldJobComeLater: what was in the way of them may go, while the job is held or at the next courier's.
func TestStreamsOfAHeldJobComeLater(t *testing.T) {
	for _, again := range []bool{false, true} {
		pool := submittest.Start(t)
		c := pool.Client(client.Config{})
		defer c.Close()
		dir, state := t.TempDir(), t.TempDir()
		sub := filepath.Join(dir, "sub")
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		id := job.ID{Cluster: submit(t, c, host, dir, strings.ReplaceAll(description, "out.$(Cluster)", "sub/out")+"1")}
		if err := os.Remove(sub); err != nil {
			t.Fatal(err)
		}
		stop, _ := start(t, c, state)
		epoch := pool.Begin(id, "desk7")
		pool.Commit(&job.HeldBack{
			Job: id, Epoch: epoch, Reason: "why", Code: job.HoldTransferOutput,
			Outputs: []job.File{{Name: job.StdoutFile, Size: 5, Inline: []byte("half\n"), Mode: 0o644}},
		})
		log := filepath.Join(dir, "job.log")
		await(t, "the log says that the job is held", func() bool {
			return kinds(t, log) == "1.0 submit, 1.0 execute, 1.0 evicted, 1.0 held"
		})
		if again {
			stop()
		}
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		if again {
			stop, _ = start(t, c, state)
		}
		await(t, "the job's output is brought", func() bool {
			data, _ := os.ReadFile(filepath.Join(sub, "out.0"))
			return string(data) == "half\n"
		})
		stop()
	}
}

// TestOutputsOfRepeatedRuns: what a run has left is brought though the job goes on, and also when it is removed
// before a courier comes.
func TestOutputsOfRepeatedRuns(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir, state := t.TempDir(), t.TempDir()
	id := job.ID{Cluster: submit(t, c, host, dir, description+"1")}
	ends := func(said string) {
		epoch := pool.Begin(id, "desk7")
		pool.Commit(&job.Requeued{Job: id, Epoch: epoch, Reason: "on_exit_remove", Result: job.Result{
			Outputs: []job.File{{Name: job.StdoutFile, Size: int64(len(said)), Inline: []byte(said)}},
		}})
	}
	out := filepath.Join(dir, "out.1.0")
	brought := func(want string) func() bool {
		return func() bool { data, _ := os.ReadFile(out); return string(data) == want }
	}
	stop, _ := start(t, c, state)
	ends("monday")
	await(t, "the first run's output is brought", brought("monday"))
	ends("tuesday")
	await(t, "the second run's output is brought", brought("tuesday"))
	stop()
	ends("wednesday")
	if _, err := c.Act(t.Context(), wire.Remove, wire.Selection{Jobs: []job.ID{id}}, "no more"); err != nil {
		t.Fatal(err)
	}
	_, ended := start(t, c, state)
	if err := within(t, ended); err != nil {
		t.Fatal(err)
	}
	if !brought("wednesday")() {
		t.Errorf("the output is %q", read(t, out))
	}
	const run = ", 1.0 execute, 1.0 evicted"
	if got, want := kinds(t, filepath.Join(dir, "job.log")), "1.0 submit"+run+run+run+", 1.0 aborted"; got != want {
		t.Errorf("the log has %s, want %s", got, want)
	}
}

// TestRunWithoutAPlace: the outputs of a run that could not be put anywhere are left to the next courier, which brings
// them when the job is removed since.
func TestRunWithoutAPlace(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir, state := t.TempDir(), t.TempDir()
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	id := job.ID{Cluster: submit(t, c, host, dir, strings.ReplaceAll(description, "out.$(Cluster)", "sub/out")+"1")}
	if err := os.Remove(sub); err != nil {
		t.Fatal(err)
	}
	epoch := pool.Begin(id, "desk7")
	pool.Commit(&job.Requeued{Job: id, Epoch: epoch, Result: job.Result{
		Outputs: []job.File{{Name: job.StdoutFile, Size: 1, Inline: []byte("x")}},
	}})
	if _, err := c.Act(t.Context(), wire.Remove, wire.Selection{Jobs: []job.ID{id}}, "no more"); err != nil {
		t.Fatal(err)
	}
	_, ended := start(t, c, state)
	if err := within(t, ended); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	_, ended = start(t, c, state)
	if err := within(t, ended); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(sub, "out.0")); got != "x" {
		t.Errorf("the output is %q", got)
	}
}

// TestEndWithoutOutputs: outputs that are not to be had any more do not keep the job's end from the log, and as long as
// they may come back nothing is said.
func TestEndWithoutOutputs(t *testing.T) {
	const begins, ends = "1.0 submit, 1.0 execute", ", 1.0 terminated"
	here := []job.File{{Name: job.StdoutFile, Size: 1, Inline: []byte("x")}}
	swept := append([]job.File{{Name: job.StderrFile, Size: 1, Digest: blob.Sum([]byte("y"))}}, here...)
	for _, tt := range []struct {
		name    string
		outputs []job.File
		expired bool
		log     string
		says    string
	}{
		{name: "a file is missing", outputs: swept, log: begins},
		{name: "and is given up", outputs: swept, expired: true, log: begins + ", 1.0 generic" + ends, says: "in the time for which"},
		{name: "what is given up is still there", outputs: here, expired: true, log: begins + ends},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pool := submittest.Start(t)
			c := pool.Client(client.Config{})
			defer c.Close()
			dir, state := t.TempDir(), t.TempDir()
			id := job.ID{Cluster: submit(t, c, host, dir, description+"1")}
			epoch := pool.Begin(id, "desk7")
			pool.Commit(&job.Ended{Job: id, Epoch: epoch, Result: job.Result{Outputs: tt.outputs}})
			if tt.expired {
				pool.Commit(&job.Delivered{Job: id, Expired: true})
			}
			log := filepath.Join(dir, "job.log")
			for range 2 { // the second finds nothing more to tell
				_, ended := start(t, c, state)
				if err := within(t, ended); err != nil {
					t.Fatal(err)
				}
				if got := kinds(t, log); got != tt.log {
					t.Errorf("the log has %s, want %s", got, tt.log)
				}
			}
			if got := read(t, filepath.Join(dir, "out.1.0")); got != "x" {
				t.Errorf("the output that is there came as %q", got)
			}
			if text := read(t, log); !strings.Contains(text, tt.says) {
				t.Errorf("the log does not say %q:\n%s", tt.says, text)
			}
		})
	}
}

func sorted(list string) string {
	parts := strings.Split(list, ", ")
	for i := range parts {
		for k := i + 1; k < len(parts); k++ {
			if parts[k] < parts[i] {
				parts[i], parts[k] = parts[k], parts[i]
			}
		}
	}
	return strings.Join(parts, ", ")
}

// TestTerminatedComesAfterTheOutputs: scripts wait for the log and read the output.
func TestTerminatedComesAfterTheOutputs(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	cluster := submit(t, c, host, dir, strings.ReplaceAll(description, "out.$(Cluster)", "sub/out")+"1")
	if err := os.Remove(filepath.Join(dir, "sub")); err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	id := job.ID{Cluster: cluster}
	pool.Begin(id, "desk7")
	pool.Finish(id, 0, map[string]string{job.StdoutFile: "x", job.StderrFile: ""})
	_, ended := start(t, c, state)
	if err := within(t, ended); err != nil { // it does not stay for what cannot be put anywhere
		t.Fatal(err)
	}
	log := filepath.Join(dir, "job.log")
	if got := kinds(t, log); got != "1.0 submit, 1.0 execute" {
		t.Errorf("without a place for its output the job's log has %s", got)
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, ended = start(t, c, state)
	if err := within(t, ended); err != nil {
		t.Fatal(err)
	}
	if got := kinds(t, log); got != "1.0 submit, 1.0 execute, 1.0 image size, 1.0 terminated" {
		t.Errorf("with the directory back the log has %s", got)
	}
	if got := read(t, filepath.Join(dir, "sub", "out.0")); got != "x" {
		t.Errorf("the output is %q", got)
	}
}

// TestLogWithoutDirectory: a log that cannot be written holds up nothing else and loses nothing.
func TestLogWithoutDirectory(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir, state := t.TempDir(), t.TempDir()
	lost := submit(t, c, host, dir, strings.ReplaceAll(description, "job.log", "gone/job.log")+"1")
	fine := submit(t, c, host, dir, description+"1")
	for _, cluster := range []int{lost, fine} {
		id := job.ID{Cluster: cluster}
		pool.Begin(id, "desk7")
		pool.Finish(id, 1, nil)
	}
	_, ended := start(t, c, state)
	if err := within(t, ended); err != nil {
		t.Fatal(err)
	}
	if got := kinds(t, filepath.Join(dir, "job.log")); !strings.HasSuffix(got, "2.0 terminated") {
		t.Errorf("the other log has %s", got)
	}
	if err := os.Mkdir(filepath.Join(dir, "gone"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, ended = start(t, c, state)
	if err := within(t, ended); err != nil {
		t.Fatal(err)
	}
	want := "1.0 submit, 1.0 execute, 1.0 image size, 1.0 terminated"
	if got := kinds(t, filepath.Join(dir, "gone", "job.log")); got != want {
		t.Errorf("when it can be written the log has %s, want %s", got, want)
	}
}

// TestJobsThatEndWhileNobodyIsHere: the courier is started long after.
func TestJobsThatEndWhileNobodyIsHere(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir, state := t.TempDir(), t.TempDir()
	cluster := submit(t, c, host, dir, description+"3")
	stop, _ := start(t, c, state)
	log := filepath.Join(dir, "job.log")
	await(t, "the log begins", func() bool { return strings.Count(kinds(t, log), "submit") == 3 })
	stop()
	first := job.ID{Cluster: cluster}
	pool.Begin(first, "desk7")
	pool.Finish(first, 0, map[string]string{job.StdoutFile: "late", job.StderrFile: ""})
	if _, err := c.Act(t.Context(), wire.Remove, wire.Selection{Jobs: []job.ID{{Cluster: cluster, Proc: 1}}}, "no more"); err != nil {
		t.Fatal(err)
	}
	pool.Commit(&job.HeldBack{Job: job.ID{Cluster: cluster, Proc: 2}, Reason: "why", Code: 1})
	stop, _ = start(t, c, state)
	want := "1.0 submit, 1.1 submit, 1.2 submit, 1.0 execute, 1.1 aborted, 1.2 held, 1.0 image size, 1.0 terminated"
	await(t, "the log is complete", func() bool { return sorted(kinds(t, log)) == sorted(want) })
	stop()
	if got := read(t, filepath.Join(dir, "out.1.0")); got != "late" {
		t.Errorf("the output is %q", got)
	}
}
