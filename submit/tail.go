package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/submit/client"
)

func (a *app) tailCommand() *cobra.Command {
	var t tailing
	var stderr, noStdout bool
	c := &cobra.Command{
		Use:   "tail JOB [FILE]...",
		Short: "show the end of what a running job has written",
		Long: `Tail reads the end of a running job's standard output, or of other files in its directory, from the
machine where it runs. With --follow it goes on as the file grows: it waits for a job that does not
run yet, follows it to the next machine when it moves, and ends when the job has ended, having shown
all of it.`,
		Example: `  skua tail 12.3
  skua tail -f 12.3
  skua tail 12.3 --stderr --bytes 10000
  skua tail 12.3 results/progress.txt`,
		ValidArgsFunction: a.completeJobs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("name a job, such as 12.3", "tail wants to know which job")
			}
			var err error
			if t.id, err = job.ParseID(args[0]); err != nil {
				sel, serr := selection(args[:1])
				if serr != nil {
					return serr
				}
				t.id = job.ID{Cluster: sel.Clusters[0]} // of a cluster of one job that is it
			}
			t.names(args[1:], stderr, noStdout, a.as != "")
			if t.bytes <= 0 {
				return usage("such as 1024", "--bytes %d", t.bytes)
			}
			pool, _, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			t.app, t.pool = a, pool
			return t.run(c.Context())
		},
	}
	f := c.Flags()
	f.BoolVarP(&t.follow, "follow", "f", false, "go on as the file grows, until the job has ended")
	f.BoolVar(&stderr, "stderr", false, "standard error instead of standard output")
	f.BoolVar(&noStdout, "no-stdout", false, "not the standard output")
	_ = f.MarkHidden("no-stdout") // HTCondor's tail shows both streams
	f.IntVar(&t.bytes, "bytes", 1024, "how many bytes before the end to begin with")
	f.IntVar(&t.bytes, "maxbytes", 1024, "")
	_ = f.MarkHidden("maxbytes")
	f.BoolVar(&t.follow, "auto-retry", false, "")
	_ = f.MarkHidden("auto-retry")
	return c
}

// tailing shows what a job writes.
type tailing struct {
	*app
	pool   *client.Client
	id     job.ID
	files  []*tailed
	follow bool
	bytes  int

	shown *tailed // whose text was printed last
}

// tailed is a file of the job, and how far it has been shown.
type tailed struct {
	name  string // in the scratch directory
	title string
	next  int64 // -1 before the first piece
	told  string
}

// names says which files are meant. HTCondor's tail shows standard error beside standard output.
func (t *tailing) names(files []string, stderr, noStdout, asCondor bool) {
	add := func(name, title string) { t.files = append(t.files, &tailed{name: name, title: title, next: -1}) }
	if !noStdout && (asCondor || len(files) == 0 && !stderr) {
		add(job.StdoutFile, "standard output")
	}
	if stderr {
		add(job.StderrFile, "standard error")
	}
	for _, f := range files {
		add(filepath.ToSlash(f), f)
	}
}

func (t *tailing) run(ctx context.Context) error {
	state, since, err := t.state(ctx)
	if err != nil {
		return err
	}
	if !t.follow {
		if state != job.Running && state != job.Suspended {
			return &diag.Problem{
				What: fmt.Sprintf("job %v does not run: it is %s", t.id, words[state]),
				Hint: fmt.Sprintf(`"skua why %v" says why; with --follow tail waits for it`, t.id),
			}
		}
		return t.look(ctx)
	}
	return t.followJob(ctx, state, since)
}

// words are the states of jobs as a sentence has them.
var words = map[job.State]string{
	job.Idle: "idle", job.Running: "running", job.Removed: "removed", job.Completed: "completed", job.Held: "held",
	job.TransferringOutput: "sending its output", job.Suspended: "suspended",
}

// state is how the job is now, and after which event.
func (t *tailing) state(ctx context.Context) (job.State, uint64, error) {
	sel := wire.Selection{Jobs: []job.ID{t.id}}
	rows, since, err := t.pool.Jobs(ctx, sel)
	if err != nil {
		return 0, 0, err
	}
	if len(rows) == 1 {
		return stateOf(rows[0].Ad), since, nil
	}
	ended, err := t.pool.History(ctx, sel, 1)
	if err != nil {
		return 0, 0, err
	}
	if len(ended) == 0 {
		return 0, 0, &diag.Problem{What: fmt.Sprintf("you have no job %v", t.id), Hint: `"skua q" lists your jobs`}
	}
	return 0, 0, &diag.Problem{
		What: fmt.Sprintf("job %v has ended: it is %s", t.id, words[stateOf(ended[0].Ad)]),
		Hint: fmt.Sprintf(`its output is where its description put it; "skua fetch %v --dir DIR" brings it anywhere`, t.id),
	}
}

// pace is how often a file is looked at that is followed. Nothing tells when a file grows.
const pace = time.Second

// followJob shows the files until the job has ended.
func (t *tailing) followJob(ctx context.Context, state job.State, since uint64) error {
	ctx, stop := context.WithCancel(ctx)
	var following sync.WaitGroup
	defer following.Wait()
	defer stop()
	events := make(chan job.Event)
	failed := make(chan error, 1)
	following.Go(func() { failed <- t.watch(ctx, since, events) })

	running := state == job.Running || state == job.Suspended
	if !running {
		t.say("job %v is %s; waiting until it runs", t.id, words[state])
	}
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		if running {
			if err := t.look(ctx); err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				t.remark(err)
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-failed:
			return err
		case <-tick.C:
		case ev := <-events:
			over, err := t.event(ctx, ev, &running)
			if over || err != nil {
				return err
			}
		}
	}
}

// watch sends the job's events on, until ctx ends.
func (t *tailing) watch(ctx context.Context, since uint64, events chan<- job.Event) error {
	return t.pool.Follow(ctx, since, func(p client.Page) error {
		for _, ev := range p.Events {
			for _, id := range ev.Body.Jobs() {
				if id != t.id {
					continue
				}
				select {
				case events <- ev:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
		}
		return nil
	})
}

// event says whether an event of the job is the last, and what it means for the reader.
func (t *tailing) event(ctx context.Context, ev job.Event, running *bool) (over bool, err error) {
	switch b := ev.Body.(type) {
	case *job.Started, *job.Revived:
		*running = true
	case *job.Evicted:
		*running = false
		t.say("job %v left its machine: %s; waiting until it runs again", t.id, printable(b.Reason))
	case *job.Requeued:
		*running = false
		t.rest(ctx)
		for _, f := range t.files {
			f.next = 0 // its next run has no checkpoint to go on from
		}
		t.say("job %v is to be run again: %s", t.id, printable(b.Reason))
	case *job.Lapsed:
		*running = false
		t.say("nothing is heard of the job's machine; waiting")
	case *job.HeldBack:
		return true, &diag.Problem{What: fmt.Sprintf("job %v is held: %s", t.id, printable(b.Reason)), Hint: fmt.Sprintf(`"skua why %v" says what to do`, t.id)}
	case *job.Withdrawn:
		return true, &diag.Problem{What: fmt.Sprintf("job %v was removed", t.id)}
	case *job.Ended:
		t.rest(ctx)
		return true, nil
	}
	return false, nil
}

// look shows what is new in the files.
func (t *tailing) look(ctx context.Context) error {
	for _, f := range t.files {
		for {
			p := wire.Peek{File: f.name, Offset: f.next, Limit: wire.MaxPeek}
			if f.next < 0 {
				p.Offset = -int64(t.bytes)
			}
			got, err := t.pool.Peek(ctx, t.id, p)
			if err != nil {
				return err
			}
			if got.Size < f.next { // the job began again, without a checkpoint
				t.say("%s begins anew", printable(f.title))
				f.next = 0
				continue
			}
			t.print(f, got.Data)
			f.next = got.Offset + int64(len(got.Data))
			f.told = ""
			if len(got.Data) == 0 || f.next >= got.Size {
				break
			}
		}
	}
	return nil
}

// remark tells what is in the way, each thing once.
func (t *tailing) remark(err error) {
	f := t.files[0]
	if f.told != err.Error() {
		t.say("%v; trying again", err)
	}
	f.told = err.Error()
}

func (t *tailing) print(f *tailed, data []byte) {
	if len(data) == 0 {
		return
	}
	if len(t.files) > 1 && t.shown != f {
		if t.shown != nil {
			fmt.Fprintln(t.out)
		}
		fmt.Fprintf(t.out, "==> %s <==\n", f.title)
	}
	t.shown = f
	_, _ = t.out.Write(data) // as it is, as tail does; the next write says what is wrong with it
}

// rest shows what a job wrote after the last look, from what came back from its machine.
func (t *tailing) rest(ctx context.Context) {
	dir, err := os.MkdirTemp("", "skua-tail")
	if err != nil {
		return
	}
	defer os.RemoveAll(dir)
	for _, f := range t.files {
		path := filepath.Join(dir, "output")
		if err := t.pool.Output(ctx, t.id, f.name, path); err != nil {
			if !errors.Is(err, client.ErrNoOutputs) {
				t.say("the end of %s cannot be shown: %v", printable(f.title), err)
			}
			continue
		}
		if err := t.printFrom(f, path); err != nil {
			t.say("the end of %s cannot be shown: %v", printable(f.title), err)
		}
	}
}

func (t *tailing) printFrom(f *tailed, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return err
	}
	from := f.next
	if from < 0 { // it was over before there was anything to see
		from = max(st.Size()-int64(t.bytes), 0)
	}
	if _, err := file.Seek(min(from, st.Size()), io.SeekStart); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := file.Read(buf)
		t.print(f, buf[:n])
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
