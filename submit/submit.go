package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"skua/internal/diag"
	"skua/internal/membership"
	"skua/internal/submitfile"
	"skua/internal/transfer"
	"skua/internal/wire"
	"skua/policy/classad"
	"skua/submit/client"
	"skua/submit/courier"
)

func (a *app) submitCommand() *cobra.Command {
	var dryRun, wait bool
	c := &cobra.Command{
		Use:   "submit FILE [name=value]...",
		Short: "queue the jobs that a file describes",
		Long: `Submit reads a job description in HTCondor's language, uploads the files that the jobs need, and
queues the jobs. When it says so they are safe on the matchmaker's disk: this machine may be switched
off. A courier in the background writes the jobs' logs and puts their outputs where the description
wants them, as soon as this machine is on.

Values given as name=value count as if they stood at the beginning of the file, so that a line of the
file that sets the same name wins. Where the file says $(seed:1), seed=7 on the command line makes it
7, and without that it is 1. A file called - is standard input.`,
		Example: `  skua submit sim.sub
  skua submit sim.sub seed=7 request_memory=2GB
  skua submit --dry-run sim.sub         show the jobs' attributes and submit nothing
  skua submit --wait sim.sub            come back when the jobs have ended`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(`try "skua submit --help"`, "submit wants the name of a job description file")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			d, err := a.describe(args[0], args[1:], dryRun)
			if err != nil {
				return err
			}
			if dryRun {
				return a.dryRun(d)
			}
			return a.submit(c.Context(), d, wait)
		},
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be submitted")
	c.Flags().BoolVar(&wait, "wait", false, "wait until the jobs have ended; the exit code tells whether all went well")
	return c
}

// describe reads a job description.
func (a *app) describe(name string, assignments []string, dryRun bool) (*submitfile.Description, error) {
	var src []byte
	var err error
	if name == "-" {
		name = "standard input"
		src, err = io.ReadAll(io.LimitReader(a.in, submitfile.MaxFileSize+1))
	} else {
		src, err = readBounded(name)
	}
	if err != nil {
		return nil, &diag.Problem{What: "read job description: " + err.Error(), Err: err}
	}
	opts, err := surroundings()
	if err != nil {
		return nil, err
	}
	opts.DryRun = dryRun
	opts.Args = map[string]string{}
	for _, s := range assignments {
		k, v, ok := strings.Cut(s, "=")
		if k = strings.TrimSpace(k); !ok || k == "" {
			return nil, usage("what follows the file are values for it, such as seed=7", "%q is not of the form name=value", s)
		}
		opts.Args[k] = strings.TrimSpace(v)
	}
	return submitfile.Parse(name, src, opts)
}

// surroundings are what a description may refer to.
func surroundings() (submitfile.Options, error) {
	dir, err := os.Getwd()
	if err != nil {
		return submitfile.Options{}, err
	}
	opts := submitfile.Options{
		Dir: dir, Environ: os.Environ(), Arch: "X86_64", OpSys: "LINUX", Now: time.Now(), Seed: rand.Uint64(),
		ReadFile: readBounded,
		Stat:     os.Stat,
		Glob:     filepath.Glob,
	}
	if runtime.GOARCH == "arm64" {
		opts.Arch = "aarch64"
	}
	if runtime.GOOS == "windows" {
		opts.OpSys = "WINDOWS"
	}
	if home, err := client.UserHome(); err == nil {
		if m, err := membership.Open(home.Member()); err == nil {
			opts.User = m.Name
		}
	}
	return opts, nil
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, submitfile.MaxFileSize+1)) // one more than is accepted
}

func (a *app) dryRun(d *submitfile.Description) error {
	s, err := d.Expand(1)
	if err != nil {
		return err
	}
	a.notes(s.Notes)
	for _, p := range s.Procs {
		fmt.Fprintln(a.out, p.Ad.Flat().OldString())
	}
	return nil
}

func (a *app) notes(notes []string) {
	for _, n := range notes {
		a.say("note: %s", printable(n))
	}
}

func (a *app) submit(ctx context.Context, d *submitfile.Description, wait bool) error {
	s, err := client.Expand(d)
	if err != nil {
		return err
	}
	a.notes(s.Notes)
	if len(s.Procs) == 0 {
		return nil // a note has said so
	}
	if err := checkPlaces(s); err != nil {
		return err
	}
	pool, home, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	host, err := home.HostID()
	if err != nil {
		return err
	}
	s.Cluster.SetString(client.SubmitHost, host)
	if name, err := os.Hostname(); err == nil {
		s.Cluster.SetString(courier.SubmitMachine, name)
	}
	n := len(s.Procs)
	const mostDots = 60
	fmt.Fprintf(a.out, "Submitting job(s)%s\n", strings.Repeat(".", min(n, mostDots)))
	res, err := pool.Submit(ctx, s, a.progress("uploading"))
	if err != nil {
		return err
	}
	// First the courier, then the word: who reads that word may close the shell at once.
	if err := a.callCourier(home, res.Seq); err != nil { // the jobs are queued all the same
		a.say("logs and outputs are not brought for now: %v; \"skua fetch\" brings outputs", err)
	}
	fmt.Fprintf(a.out, "%d job(s) submitted to cluster %d.\n", n, res.Cluster)
	if !wait {
		return nil
	}
	return a.wait(ctx, pool, home, wire.Selection{Clusters: []int{res.Cluster}})
}

// callCourier has the background process care for what was submitted.
func (a *app) callCourier(home client.Home, seq uint64) error {
	m, err := membership.Open(home.Member())
	if err != nil {
		return err
	}
	if err := courier.Begin(courier.Dir(home, m), seq); err != nil {
		return err
	}
	if err := courier.Called(home); err != nil {
		return err
	}
	if courier.Wanted(home) {
		a.startCourier(home)
	}
	return nil
}

// checkPlaces refuses jobs whose logs and outputs would find no directory in the end.
func checkPlaces(s *submitfile.Submission) error {
	seen := map[string]bool{}
	for _, p := range s.Procs {
		iwd, _ := p.Ad.Str("Iwd")
		for _, attr := range []string{"UserLog", "Out", "Err"} {
			name, ok := p.Ad.Str(attr)
			if !ok || name == "" || name == "/dev/null" {
				continue
			}
			if !filepath.IsAbs(name) {
				name = filepath.Join(iwd, name)
			}
			dir := filepath.Dir(name)
			if seen[dir] {
				continue
			}
			seen[dir] = true
			if st, err := os.Stat(dir); err != nil || !st.IsDir() {
				return &diag.Problem{
					What: fmt.Sprintf("%s: there is no directory %s for %s", jobFile(p.Ad), dir, filepath.Base(name)),
					Hint: "make it before you submit: mkdir -p " + dir, Err: err,
				}
			}
		}
	}
	return nil
}

func jobFile(ad *classad.Ad) string {
	if name, ok := ad.Str("JobSubmitFile"); ok {
		return name
	}
	return "the job description"
}

// progress shows how far a transfer is on a terminal; elsewhere it is nil.
func (a *app) progress(what string) transfer.Progress {
	if terminalWidth(a.err) == 0 {
		return nil
	}
	var shown time.Time
	return func(done, total int64) {
		if now := time.Now(); done < total && now.Sub(shown) < 100*time.Millisecond {
			return
		} else {
			shown = now
		}
		fmt.Fprintf(a.err, "\r%s %s of %s ", what, amount(done), amount(total))
		if done == total {
			fmt.Fprint(a.err, "\r\x1b[K")
		}
	}
}

// amount writes a number of bytes for people.
func amount(n int64) string {
	v := float64(n)
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if v < 1000 {
			return fmt.Sprintf("%.4g %s", v, unit)
		}
		v /= 1000
	}
	return fmt.Sprintf("%.4g TB", v)
}
