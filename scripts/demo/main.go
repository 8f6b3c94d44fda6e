//go:build linux

// Demo shows Skua's main job on real input: a program runs on somebody's idle desktop, the owner
// comes back, and the program is out of the way within milliseconds, moves to another desk and
// finishes there as if nothing had happened.
//
// As root it builds a small campus: a matchmaker and three desks, each a network namespace with its
// own address and its own X display, and the job migrates by CRIU. Without root the desks share this
// machine's network and the job saves its own state; the story is the same.
//
// The last line of standard output is for machines; everything before it is for people.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"skua/internal/pause"
)

func main() {
	bin := flag.String("bin", "bin", "directory of the three programs")
	examples := flag.String("examples", "examples", "directory of the example jobs")
	steps := flag.Int("steps", 1200, "length of the job; 1200 steps are about a minute of CPU")
	presses := flag.Int("presses", 7, "single key presses before the owner stays")
	keep := flag.Bool("keep", false, "keep the working directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	s := story{steps: *steps, presses: *presses}
	err := s.tell(ctx, *bin, *examples, *keep)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	fmt.Println(s.line(err == nil))
	if err != nil {
		os.Exit(1)
	}
}

// story is one run of the demo and what it measured.
type story struct {
	steps, presses int

	campus  *campus
	method  string // "criu" or "files"
	frozen  []time.Duration
	ckpt    checkpointFigures
	down    time.Duration
	same    bool
	journal journal
}

// tell runs the whole story. Everything it starts has ended when it returns.
func (s *story) tell(ctx context.Context, bin, examples string, keep bool) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Minute)
	defer cancel()
	dir, err := workDir()
	if err != nil {
		return err
	}
	defer func() {
		if keep || err != nil {
			fmt.Fprintln(os.Stderr, "demo: logs and files are in", dir)
			return
		}
		err = os.RemoveAll(dir)
	}()
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if s.campus, err = build(ctx, dir, bin); err != nil {
		return errors.Join(err, s.campus.close())
	}
	defer func() { err = errors.Join(err, s.campus.close()) }()
	s.method = s.campus.method

	job, err := s.prepareJob(dir, examples)
	if err != nil {
		return err
	}
	undisturbed := startReference(ctx, job, s.steps)
	defer undisturbed.stop()

	say("A researcher submits %q, %d steps of arithmetic in plain Python:", job.name, s.steps)
	began := time.Now()
	if err := s.campus.submit(ctx, job); err != nil {
		return err
	}
	first, err := s.campus.whereItRuns(ctx, nil)
	if err != nil {
		return err
	}
	_, runsAt := first.logged(jobRuns)
	say("It runs on %s, whose owner is away, %d ms after the command was typed.", first.name, runsAt.Sub(began).Milliseconds())
	if err := s.bump(ctx, first, job); err != nil {
		return err
	}
	if err := s.ownerReturns(ctx, first, job); err != nil {
		return err
	}
	say("Waiting for the job to finish ...")
	if err := s.campus.wait(ctx, job); err != nil {
		return err
	}
	return s.compare(ctx, job, undisturbed)
}

// workDir makes the directory of this run. It is not below /tmp, of which every job has its own.
func workDir() (string, error) {
	base := "/srv"
	if os.Geteuid() != 0 {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		base = cache
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	return os.MkdirTemp(base, "skua-demo-")
}

// bump presses single keys and measures how soon the job stands still. A press that nobody follows up
// is a bumped desk, so the job goes on a second later. Those that follow each other soon would be the owner.
func (s *story) bump(ctx context.Context, d *desk, job *jobFiles) error {
	say("Somebody brushes the keyboard of %s, %d times: a real key press on its X display.", d.name, s.presses)
	const apart = 2 * time.Second // continue_after of its policy, and the second of the bump
	tree, err := findJob(ctx, job.journal)
	if err != nil {
		return err
	}
	for i := range s.presses {
		if err := pause.For(ctx, apart); err != nil { // let it work in between
			return err
		}
		took, err := tree.timeToFrozen(ctx, d.pressKey)
		if err != nil {
			return fmt.Errorf("key press %d: %w", i+1, err)
		}
		s.frozen = append(s.frozen, took)
		say("  key press %d: the job's last thread stood still after %.1f ms", i+1, ms(took))
		if err := tree.awaitThawed(ctx); err != nil {
			return fmt.Errorf("after key press %d: %w", i+1, err)
		}
	}
	say("Each time the job went on after a second: a bump is no owner.")
	return nil
}

// ownerReturns types until the job has left the desk and runs elsewhere.
func (s *story) ownerReturns(ctx context.Context, d *desk, job *jobFiles) error {
	before := readJournal(job.journal)
	say("Now the owner of %s is back and goes on typing. The job is at step %d.", d.name, before.last())
	typing, stop := context.WithCancel(ctx)
	typed := make(chan error, 1)
	go func() { typed <- d.type_(typing) }()
	next, err := s.campus.whereItRuns(ctx, d)
	stop()
	if terr := <-typed; err == nil && terr != nil && !errors.Is(terr, context.Canceled) {
		err = terr
	}
	if err != nil {
		return err
	}
	if s.ckpt, s.down, err = s.campus.migration(d, next); err != nil {
		return err
	}
	say("%s gave its job back: frozen, %s checkpoint of %.1f MB made and stored in %d ms.",
		d.name, s.method, float64(s.ckpt.bytes)/1e6, s.ckpt.took.Milliseconds())
	say("It goes on on %s, %d ms after it had to leave.", next.name, s.down.Milliseconds())
	return nil
}

func (s *story) compare(ctx context.Context, job *jobFiles, undisturbed *reference) error {
	say("Done. The output is in the submit directory; comparing it with an undisturbed run ...")
	want, err := undisturbed.output(ctx)
	if err != nil {
		return err
	}
	got, err := awaitFile(ctx, filepath.Join(job.dir, job.output))
	if err != nil {
		return err
	}
	s.same = string(got) == string(want)
	s.journal = readJournal(job.journal)
	switch {
	case !s.same:
		return fmt.Errorf("the output differs from that of the undisturbed run:\n%s\nwant\n%s", got, want)
	case len(s.journal.nonces) != 1 || s.journal.repeated() != 0 || s.journal.last() != s.steps:
		return fmt.Errorf("the job's journal tells of %d starts, %d repeated steps and %d of %d steps",
			len(s.journal.nonces), s.journal.repeated(), s.journal.last(), s.steps)
	}
	say("Identical, byte for byte. The job drew one random number when it started and wrote it down with")
	say("every step, outside Skua: one number, %d steps, none twice. It moved; it never started again.", s.steps)
	return nil
}

// line is the summary for machines.
func (s *story) line(ok bool) string {
	return fmt.Sprintf("demo: ok=%t method=%s presses=%d frozen_ms=%.1f frozen_max_ms=%.1f checkpoint_mb=%.1f checkpoint_ms=%d downtime_ms=%d identical=%t nonces=%d repeated_steps=%d",
		ok, s.method, len(s.frozen), ms(median(s.frozen)), ms(largest(s.frozen)), float64(s.ckpt.bytes)/1e6,
		s.ckpt.took.Milliseconds(), s.down.Milliseconds(), s.same, len(s.journal.nonces), s.journal.repeated())
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func median(ds []time.Duration) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(ds))
	return sorted[len(sorted)/2]
}

func largest(ds []time.Duration) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	return slices.Max(ds)
}
