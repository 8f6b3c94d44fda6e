package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"skua/internal/wire"
	"skua/submit/client"
)

func (a *app) watchCommand() *cobra.Command {
	var untilDone bool
	c := &cobra.Command{
		Use:   "watch [CLUSTER | JOB]...",
		Short: "show your jobs as they are, live",
		Long: `Watch shows your batches of jobs and draws them anew when something happens to them. It is told by the
pool and asks for nothing in between, so that any number of people may leave it open. It ends with q
or ctrl-C, or with --until-done when no job is left in the queue.

Into a pipe or a file it writes a line whenever the counts of a batch change.`,
		Example: `  skua watch
  skua watch 12 --until-done
  skua watch --until-done > progress.txt`,
		ValidArgsFunction: a.completeJobs,
		RunE: func(c *cobra.Command, args []string) error {
			sel, err := selection(args)
			if err != nil {
				return err
			}
			pool, _, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			w := watch{app: a, pool: pool, sel: sel, untilDone: untilDone, last: map[string]string{}}
			return w.run(c.Context())
		},
	}
	c.Flags().BoolVar(&untilDone, "until-done", false, "end when no job is left in the queue")
	return c
}

// watch is a live view of batches.
type watch struct {
	*app
	pool      *client.Client
	sel       wire.Selection
	untilDone bool

	last map[string]string // what was written of each batch, where there is no terminal
}

// errQuit ends a watch on its user's word.
var errQuit = errors.New("quit")

// calm is the least time between two drawings: a thousand jobs that start at once are one change.
const calm = 250 * time.Millisecond

func (w *watch) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer stop(nil)
	if terminalWidth(w.out) > 0 {
		restore, err := w.screen(ctx, stop, &parts)
		if err != nil {
			return err
		}
		defer restore()
	}
	// What is asked for here is at least as new as this place in the events.
	_, since, err := w.pool.Jobs(ctx, wire.Selection{Constraint: "false"})
	if err != nil {
		return err
	}
	changed := make(chan struct{}, 1)
	changed <- struct{}{} // the first drawing
	parts.Go(func() {
		stop(w.pool.Follow(ctx, since, func(p client.Page) error {
			select {
			case changed <- struct{}{}:
			default: // it will be drawn anyhow
			}
			return nil
		}))
	})
	for {
		select {
		case <-ctx.Done():
			if err := context.Cause(ctx); !errors.Is(err, errQuit) {
				return err
			}
			return nil
		case <-changed:
		}
		left, err := w.draw(ctx)
		if err != nil {
			return err
		}
		if w.untilDone && left == 0 {
			return nil
		}
		select {
		case <-time.After(calm):
		case <-ctx.Done():
		}
	}
}

// draw shows the batches and gives how many jobs are left in them.
func (w *watch) draw(ctx context.Context) (left int, err error) {
	rows, err := w.pool.Summary(ctx, w.sel)
	if err != nil {
		if ctx.Err() != nil {
			return 1, nil // whoever looks at ctx next says why
		}
		return 0, err
	}
	for _, r := range rows {
		left += r.Running + r.Idle + r.Held + r.Suspended
	}
	if terminalWidth(w.out) == 0 {
		w.lines(rows, time.Now())
		return left, nil
	}
	var b strings.Builder
	w.picture(&b, rows, terminalWidth(w.out), time.Now())
	text := "\x1b[H" + strings.ReplaceAll(b.String(), "\n", "\x1b[K\r\n") + "\x1b[J"
	_, err = io.WriteString(w.out, text)
	return left, err
}

// picture is the view in a terminal of that width.
func (w *watch) picture(b *strings.Builder, rows []wire.BatchRow, width int, now time.Time) {
	t := newTable("BATCH", "DONE", "RUN", "IDLE", "HOLD", "SUSP", "TOTAL", "PROGRESS")
	for i := 1; i < 7; i++ {
		t.right[i] = true
	}
	var done, run, idle, held int
	for _, r := range rows {
		t.add(batchTitle(r), orBlank(r.Done), orBlank(r.Running), orBlank(r.Idle), orBlank(r.Held), orBlank(r.Suspended), orBlank(r.Total), progressBar(r, 24))
		done, run, idle, held = done+r.Done, run+r.Running, idle+r.Idle, held+r.Held
	}
	fmt.Fprintf(b, "%s  %d running, %d idle, %d held, %d done   (q ends)\n\n", now.Format(time.TimeOnly), run, idle, held, done)
	if len(rows) == 0 {
		b.WriteString("no jobs in the queue\n")
		return
	}
	var table strings.Builder
	t.write(&table)
	for line := range strings.Lines(table.String()) {
		b.WriteString(cut(strings.TrimRight(line, "\n"), width, 0) + "\n")
	}
	b.WriteByte('\n')
	for _, r := range rows {
		for _, reason := range []string{r.HeldWhy, r.Why} {
			if reason != "" {
				b.WriteString(cut(batchTitle(r)+": "+printable(reason), width, 0) + "\n")
			}
		}
	}
}

// progressBar draws what of a batch has ended (=), runs (>), and the rest.
func progressBar(r wire.BatchRow, n int) string {
	if r.Total <= 0 {
		return ""
	}
	done := (r.Done + r.Removed) * n / r.Total
	run := min((r.Running*n+r.Total-1)/r.Total, n-done)
	return "[" + strings.Repeat("=", done) + strings.Repeat(">", run) + strings.Repeat(" ", n-done-run) + "]"
}

// lines writes a line for each batch that is not as it was.
func (w *watch) lines(rows []wire.BatchRow, now time.Time) {
	there := map[string]bool{}
	for _, r := range rows {
		name := fmt.Sprintf("%d %s", r.First, r.Owner)
		there[name] = true
		text := fmt.Sprintf("%s: %d of %d done, %d running, %d idle, %d held, %d suspended",
			batchTitle(r), r.Done, r.Total, r.Running, r.Idle, r.Held, r.Suspended)
		if w.last[name] != text {
			fmt.Fprintf(w.out, "%s %s\n", now.Format(time.TimeOnly), text)
		}
		w.last[name] = text
	}
	for name, text := range w.last {
		if !there[name] {
			batch, _, _ := strings.Cut(text, ": ")
			fmt.Fprintf(w.out, "%s %s: all have left the queue\n", now.Format(time.TimeOnly), batch)
			delete(w.last, name)
		}
	}
}

// batchTitle is what a batch is called: by its name, or else by its command.
func batchTitle(r wire.BatchRow) string {
	name := r.Name
	if name == "" {
		name = r.Command
	}
	return printable(cut(fmt.Sprintf("%d %s", r.First, name), 32, 0))
}

func orBlank(n int) string {
	if n == 0 {
		return "_"
	}
	return fmt.Sprint(n)
}

// screen takes the terminal for a view, and listens for the key that ends it.
func (w *watch) screen(ctx context.Context, stop context.CancelCauseFunc, parts *sync.WaitGroup) (restore func(), err error) {
	const enter, leave = "\x1b[?1049h\x1b[?25l\x1b[2J", "\x1b[?25h\x1b[?1049l" // another screen, without a cursor
	if _, err := io.WriteString(w.out, enter); err != nil {
		return nil, err
	}
	restore = func() { io.WriteString(w.out, leave) }
	// The terminal is opened anew, because reading it can then be ended. Where that is not possible, ctrl-C
	// ends the view.
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return restore, nil
	}
	raw, err := rawMode(tty)
	if err != nil || tty.SetReadDeadline(time.Time{}) != nil {
		tty.Close()
		return restore, nil
	}
	parts.Go(func() {
		defer context.AfterFunc(ctx, func() { _ = tty.SetReadDeadline(time.Unix(1, 0)) })()
		key := make([]byte, 1)
		for {
			if _, err := tty.Read(key); err != nil {
				return
			}
			if k := key[0]; k == 'q' || k == 'Q' || k == 3 { // ctrl-C does not arrive as a signal here
				stop(errQuit)
				return
			}
		}
	})
	return func() {
		raw()
		tty.Close()
		io.WriteString(w.out, leave)
	}, nil
}

// rawMode has a terminal give keys as they are pressed, until restore is called. The descriptor is not taken
// out of the file, which would make reading it endless.
func rawMode(tty *os.File) (restore func(), err error) {
	conn, err := tty.SyscallConn()
	if err != nil {
		return nil, err
	}
	var before *term.State
	var rawErr error
	if err := conn.Control(func(fd uintptr) { before, rawErr = term.MakeRaw(int(fd)) }); err != nil {
		return nil, err
	}
	return func() { _ = conn.Control(func(fd uintptr) { _ = term.Restore(int(fd), before) }) }, rawErr
}
