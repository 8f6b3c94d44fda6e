package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"skua/internal/diag"
	"skua/internal/eventlog"
	"skua/internal/membership"
	"skua/internal/submitfile"
	"skua/internal/wire"
	"skua/policy/classad"
	"skua/submit/client"
	"skua/submit/courier"
)

// submission is what the flags of submit say.
type submission struct {
	source
	batch   string
	wait    bool
	terse   bool
	verbose bool
	asJSON  bool
	maxJobs int
	elsewhere

	allowCRLF bool // scripts with Windows line ends are sent as they are
}

// elsewhere are flags by which HTCondor's submit speaks to other places. Each is refused with what to do
// instead, so that a script that uses it does not do something else.
type elsewhere struct{ remote, name, pool, addr string }

func (e elsewhere) check() error {
	for flag, value := range map[string]string{"remote": e.remote, "name": e.name, "pool": e.pool, "addr": e.addr} {
		if value != "" {
			return usage(`"skua login TOKEN" joins another pool; SKUA_HOME=DIR keeps the membership of a second one`,
				"--%s %s: jobs go to the pool that you are a member of, and it has one queue", flag, value)
		}
	}
	return nil
}

func (a *app) submitCommand() *cobra.Command {
	var s submission
	c := &cobra.Command{
		Use:   "submit {FILE | -- COMMAND [ARGUMENT]...} [name=value]...",
		Short: "queue the jobs that a file describes",
		Long: `Submit reads a job description in HTCondor's language, uploads the files that the jobs need, and
queues the jobs. When it says so they are safe on the matchmaker's disk: this machine may be switched
off. A courier in the background writes the jobs' logs and puts their outputs where the description
wants them, as soon as this machine is on.

Values given as name=value count as if they stood at the beginning of the file, so that a line of the
file that sets the same name wins. Where the file says $(seed:1), seed=7 on the command line makes it
7, and without that it is 1. Lines given with --append stand before the queue statement, and so they
win. A file called - is standard input.

For one command no file is needed: what stands after -- is run as a job. Arguments that are files here
are sent with it, and its standard output and errors come back to files that are named after it.

A description that runs commands while it is read ("include command : ...", "queue from ... |") is
refused unless --allow-commands is given: read it first.`,
		Example: `  skua submit sim.sub
  skua submit sim.sub seed=7 request_memory=2GB
  skua submit --dry-run sim.sub         show the jobs' attributes and submit nothing
  skua submit --wait sim.sub            come back when the jobs have ended
  skua submit -- python3 sim.py 7       one command
  skua submit -a 'priority = 5' sim.sub --queue 10`,
		RunE: func(c *cobra.Command, args []string) error {
			// HTCondor's users do not put the words of a queue statement into quotes.
			s.queue = strings.TrimSpace(strings.ReplaceAll(s.queue, wordSep, " "))
			if err := refused(c); err != nil {
				return err
			}
			if err := s.arguments(args, c.ArgsLenAtDash()); err != nil {
				return err
			}
			return a.runSubmit(c.Context(), s)
		},
	}
	f := c.Flags()
	f.BoolVar(&s.dryRun, "dry-run", false, "show what would be submitted")
	f.BoolVar(&s.wait, "wait", false, "wait until the jobs have ended; the exit code tells whether all went well")
	f.StringArrayVarP(&s.appended, "append", "a", nil, "a `LINE` to stand before the queue statement; may be given again")
	f.StringVar(&s.queue, "queue", "", "the queue statement of a file that has none, such as 10 or \"x in (a b)\"; stands last, and takes the `WORDS` after it")
	teach(c, "queue", habit{words: untilDash})
	f.StringVar(&s.batch, "batch-name", "", "a `NAME` for these jobs, under which q and watch show them")
	f.BoolVar(&s.terse, "terse", false, "print the range of the jobs' ids and nothing else")
	f.BoolVarP(&s.verbose, "verbose", "v", false, "print the jobs' attributes, too")
	f.BoolVar(&s.asJSON, "json", false, "print the answer as JSON; with --dry-run the jobs' ads")
	f.BoolVar(&s.allowCommands, "allow-commands", false, "let the description run commands while it is read")
	f.IntVar(&s.maxJobs, "maxjobs", 0, "submit nothing if it would be more than this many jobs; 0 means any number")
	f.StringVar(&s.file, "file", "", "the description's `FILE`, as an option")

	// What scripts for HTCondor's submit say. The first are what always happens here.
	var ignored bool
	for _, name := range []string{"spool", "single-cluster", "disable", "unused", "debug", "factory"} {
		f.BoolVar(&ignored, name, false, "accepted for HTCondor's sake")
	}
	f.BoolVar(&s.allowCRLF, "allow-crlf-script", false, "take scripts that were saved with Windows line ends")
	f.StringVar(&s.remote, "remote", "", "")
	f.StringVar(&s.name, "name", "", "")
	f.StringVar(&s.pool, "pool", "", "")
	f.StringVar(&s.addr, "addr", "", "")
	for _, name := range []string{"file", "spool", "single-cluster", "disable", "unused", "debug", "allow-crlf-script", "factory", "remote", "name", "pool", "addr"} {
		_ = f.MarkHidden(name) // it is there
	}
	refuse(c, false, "interactive", noInteractive, seeOutput)
	refuse(c, true, "dump", noDump, "--dry-run shows the jobs' ads and submits nothing")
	return c
}

// What is said of HTCondor's flags that ask for what is not there.
const (
	noInteractive = "there are no interactive jobs yet"
	seeOutput     = `"skua tail -f JOB" shows what a running job writes`
	noDump        = "jobs' ads are not written to a file"
)

// assignmentWord tells name=value from the name of a file.
var assignmentWord = regexp.MustCompile(`^\s*(\+|(?i:my)\.)?[A-Za-z_][\w.]*\s*=`)

// arguments sorts what stands beside the flags. dash is how many words stand before "--", or -1.
func (s *submission) arguments(args []string, dash int) error {
	if dash >= 0 {
		args, s.command = args[:dash], args[dash:]
	}
	for _, arg := range args {
		switch {
		case assignmentWord.MatchString(arg):
			s.assignments = append(s.assignments, arg)
		case s.file == "":
			s.file = arg
		default:
			return notAssigned(s.file, args, arg, lookAt)
		}
	}
	switch {
	case len(s.command) > 0 && s.file != "":
		return usage("leave one of them out", "a description, %s, and a command after --", s.file)
	case len(s.command) == 0 && s.file == "" && s.queue == "":
		return usage(`try "skua submit --help"`, "submit wants the name of a job description file")
	case s.terse && s.verbose, s.terse && s.asJSON, s.verbose && s.asJSON:
		return usage("choose one", "--terse, --verbose and --json are different answers")
	case s.maxJobs < 0:
		return usage("0 means any number", "--maxjobs %d", s.maxJobs)
	}
	if s.batch != "" {
		s.appended = append(s.appended, "batch_name = "+literal(s.batch))
	}
	return s.elsewhere.check()
}

// notAssigned says what is wrong with a word beside a description that assigns nothing to it: another description, or a
// command that was typed as a shell takes it.
func notAssigned(name string, words []string, word string, look func(string) thing) error {
	isDescription := func(name string) bool {
		return name == "-" || slices.Contains([]string{".sub", ".submit", ".jdl", ".job", ".condor"}, filepath.Ext(name))
	}
	if word != name && isDescription(name) && isDescription(word) && look(word) == file {
		return usage(fmt.Sprintf("skua submit %s && skua submit %s", name, word), "%s and %s: one description at a time", name, word)
	}
	hint := "what stands beside the file are values for it, such as seed=7"
	if !isDescription(name) {
		hint += "; a command is submitted as: skua submit -- " + strings.Join(words, " ")
	}
	return usage(hint, "%q is not of the form name=value", word)
}

func (a *app) runSubmit(ctx context.Context, s submission) error {
	d, err := a.describe(ctx, s.source)
	if err != nil {
		return err
	}
	if n := d.Jobs(); s.maxJobs > 0 && n > s.maxJobs {
		return &diag.Problem{
			What: fmt.Sprintf("the description comes to %d jobs, and --maxjobs allows %d", n, s.maxJobs),
			Hint: "nothing was submitted; --dry-run shows the jobs, and a larger --maxjobs lets them through",
		}
	}
	if s.dryRun {
		return a.dryRun(d, s.asJSON)
	}
	return a.submit(ctx, d, s)
}

func (a *app) dryRun(d *submitfile.Description, asJSON bool) error {
	s, err := d.Expand(1)
	if err != nil {
		return err
	}
	a.notes(s.Notes)
	if asJSON {
		ads := make([]*classad.Ad, len(s.Procs))
		for i, p := range s.Procs {
			ads[i] = p.Ad.Flat()
		}
		return a.printJSON(ads)
	}
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

func (a *app) submit(ctx context.Context, d *submitfile.Description, how submission) error {
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
	if !how.allowCRLF {
		if err := checkScripts(s); err != nil {
			return err
		}
	}
	a.notes(notPrograms(s))
	pool, home, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	host, err := home.HostID()
	if err != nil {
		return err
	}
	if wantsMail(s) {
		if err := courier.NoMail(home); err != nil {
			diag.Print(a.err, a.name(), fmt.Errorf("note: no mail will come about these jobs: %w", err))
		}
	}
	s.Cluster.SetString(client.SubmitHost, host)
	if name, err := os.Hostname(); err == nil {
		s.Cluster.SetString(courier.SubmitMachine, name)
	}
	n, first := len(s.Procs), s.Procs[0].Ad.Flat()
	log := logBefore(first)
	talk := !how.terse && !how.asJSON
	if talk {
		const mostDots = 60
		fmt.Fprintf(a.out, "Submitting job(s)%s\n", strings.Repeat(".", min(n, mostDots)))
	}
	told := len(s.Notes)
	request, err := pool.Prepare(ctx, s, a.progress("uploading"))
	a.notes(s.Notes[told:])
	if err != nil {
		if ctx.Err() != nil {
			a.say("nothing was queued")
		}
		return err
	}
	m, err := membership.Open(home.Member())
	if err != nil {
		return err
	}
	res, uncalled, err := queue(ctx, pool, home, courier.Dir(home, m), request)
	// First the courier, then the word: who reads that word may close the shell at once.
	if courier.Wanted(home) {
		a.startCourier(home)
	}
	if err != nil {
		return err
	}
	if uncalled != nil { // the jobs are queued all the same
		a.say("logs and outputs are not brought for now: %v; \"skua fetch\" brings outputs", uncalled)
	} else {
		patience := 2 * time.Second
		if n > 1000 {
			patience = 250 * time.Millisecond // writing them all takes longer than a person should wait
		}
		log.await(ctx, first, res.Cluster, patience)
	}
	sel := wire.Selection{Clusters: []int{res.Cluster}}
	switch {
	case how.terse:
		fmt.Fprintf(a.out, "%d.0 - %d.%d\n", res.Cluster, res.Cluster, n-1)
	case how.asJSON:
		fmt.Fprintf(a.out, "{\"cluster\":%d,\"jobs\":%d,\"first\":\"%d.0\",\"last\":\"%d.%d\"}\n", res.Cluster, n, res.Cluster, res.Cluster, n-1)
	case how.verbose:
		if err := a.showProcs(ctx, pool, sel); err != nil {
			return err
		}
	}
	if talk {
		fmt.Fprintf(a.out, "%d job(s) submitted to cluster %d.\n", n, res.Cluster)
	}
	if !how.wait {
		return nil
	}
	err = a.wait(ctx, pool, home, sel, waiting{})
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		a.say("the jobs stay in the queue: skua wait %d", res.Cluster)
	}
	return err
}

// wantsMail reports whether mail is to come about any of the jobs.
func wantsMail(s *submitfile.Submission) bool {
	return slices.ContainsFunc(s.Procs, func(p submitfile.Proc) bool {
		when, _ := p.Ad.Int("JobNotification")
		return when != 0
	})
}

// logMark is an event log before a submit: what comes is after its end.
type logMark struct{ size int64 }

// logBefore looks at the log of a job that is to be submitted. Of a log whose name has the cluster in it there is
// nothing yet.
func logBefore(ad *classad.Ad) logMark {
	if st, err := os.Stat(logFile(ad)); err == nil {
		return logMark{st.Size()}
	}
	return logMark{}
}

// await waits until the log says that the job is submitted, because the next line of a script may be one that
// reads it, such as HTCondor's condor_wait. When that takes long the reason is in the courier's log; the
// job is queued all the same.
func (l logMark) await(ctx context.Context, ad *classad.Ad, cluster int, patience time.Duration) {
	ad.SetInt("ClusterId", int64(cluster)) // the log may be named after it
	path := logFile(ad)
	if path == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !mentions(path, l.size, cluster) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// mentions says whether a log has an event of the cluster after an offset.
func mentions(path string, offset int64, cluster int) bool {
	r, err := eventlog.OpenReader(path)
	if err != nil {
		return false
	}
	defer r.Close()
	r.SeekTo(offset)
	for {
		e, err := r.Next()
		switch {
		case err == nil && e.Job.Cluster == cluster:
			return true
		case err != nil && !errors.Is(err, eventlog.ErrNotEvent):
			return false
		}
	}
}

// logFile is the job's event log; empty when it has none.
func logFile(ad *classad.Ad) string {
	name, ok := ad.Str("UserLog")
	if !ok || name == "" || filepath.IsAbs(name) {
		return name
	}
	iwd, _ := ad.Str("Iwd")
	return filepath.Join(iwd, name)
}

// showProcs prints the ads of jobs as HTCondor's submit does.
func (a *app) showProcs(ctx context.Context, pool *client.Client, sel wire.Selection) error {
	rows, _, err := pool.Jobs(ctx, sel)
	if err != nil {
		return err
	}
	for _, r := range rows {
		fmt.Fprintf(a.out, "\n** Proc %v:\n%s", r.ID, r.Ad.OldString())
	}
	return nil
}

// queue queues jobs, and notes that there is work for the courier whose directory is dir: before, since the jobs may be in
// the queue of a submit that does not live to hear it, and after, since a courier that ends meanwhile removes the note.
// uncalled is why that could not be noted.
func queue(ctx context.Context, pool *client.Client, home client.Home, dir string, request wire.Submit) (res wire.Submitted, uncalled, err error) {
	if !courier.Begun(dir) {
		since, err := pool.Now(ctx)
		if err != nil {
			return res, nil, err
		}
		uncalled = courier.Begin(dir, since+1)
	}
	_ = courier.Called(home) // it is called again
	if res, err = pool.Queue(ctx, request); err == nil || ctx.Err() != nil || diag.ExitCode(err) == diag.ExitUnreachable {
		uncalled = cmp.Or(uncalled, courier.Called(home))
	}
	return res, uncalled, err
}

// checkPlaces refuses jobs whose logs and outputs would find no directory in the end, or whose logs cannot be
// written. One file in each directory stands for all, but for what only the file itself can say.
func checkPlaces(s *submitfile.Submission) error {
	seen := map[string]bool{} // also of what is looked at besides directories
	first := func(attr, what string) bool {
		if seen[attr+what] {
			return false
		}
		seen[attr+what] = true
		return true
	}
	const most = 1000 // names that are looked at: on a network's disk each takes its time
	streams, logs := 0, 0
	for _, p := range s.Procs {
		iwd, _ := p.Ad.Str("Iwd")
		var itsLogs []string
		for _, attr := range []string{"UserLog", "DAGManNodesLog", "Out", "Err"} {
			name, ok := p.Ad.Str(attr)
			if !ok || name == "" || name == "/dev/null" {
				continue
			}
			if !filepath.IsAbs(name) {
				name = filepath.Join(iwd, name)
			}
			name = filepath.Clean(name)
			dir := filepath.Dir(name)
			newDir := first(attr, dir)
			if newDir {
				if err := checkPlace(p.Ad, dir, name); err != nil {
					return err
				}
			}
			if attr == "UserLog" || attr == "DAGManNodesLog" {
				itsLogs = append(itsLogs, name)
				if isNew := first("log", name); !newDir && (logs >= most || !isNew) {
					continue
				}
				logs++
				if err := canWrite(name, newDir); err != nil {
					return &diag.Problem{
						What: fmt.Sprintf("%s: the log %s cannot be written: %v", jobFile(p.Ad), name, err),
						Hint: "name another file in its line of the description, or leave the line out", Err: err,
					}
				}
				continue
			}
			command := map[string]string{"Out": "output", "Err": "error"}[attr]
			if slices.Contains(itsLogs, name) {
				return &diag.Problem{
					What: fmt.Sprintf("%s: %s = %s is the job's log, too", jobFile(p.Ad), command, name),
					Hint: "give the log a file of its own",
				}
			}
			if streams >= most || !first(attr+" itself", name) {
				continue
			}
			streams++
			if st, err := os.Stat(name); err == nil && st.IsDir() {
				return &diag.Problem{
					What: fmt.Sprintf("%s: %s = %s is a directory", jobFile(p.Ad), command, name),
					Hint: fmt.Sprintf("name a file in it, such as %s = %s", command, filepath.Join(name, "$(Cluster).$(Process)")),
				}
			}
		}
		if moves, ok := p.Ad.Str("TransferOutputRemaps"); !ok || !first("TransferOutputRemaps", iwd+"\n"+moves) {
			continue
		}
		for dir, name := range client.MovedInto(p.Ad) {
			if first("TransferOutputRemaps", dir) {
				if err := checkPlace(p.Ad, dir, name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// checkPlace refuses a job of which a file is to come into a directory that is not there.
func checkPlace(ad *classad.Ad, dir, name string) error {
	st, err := os.Stat(dir)
	if err == nil && st.IsDir() {
		return nil
	}
	return &diag.Problem{
		What: fmt.Sprintf("%s: there is no directory %s for %s", jobFile(ad), dir, filepath.Base(name)),
		Hint: "make it before you submit: mkdir -p " + dir, Err: err,
	}
}

// canWrite tries whether a log can be written, as its courier will. It makes nothing of the log's own name: another
// job's courier may be about to. Whether its directory takes a file is tried for one that is new.
func canWrite(name string, newDir bool) error {
	st, err := os.Stat(name)
	var f *os.File
	switch {
	case err == nil && !st.Mode().IsRegular():
		return errors.New("it is no ordinary file")
	case err == nil:
		if f, err = os.OpenFile(name, os.O_RDWR|os.O_APPEND, 0); err == nil {
			defer f.Close()
			if err = eventlog.CheckEnd(f); errors.Is(err, eventlog.ErrNotEvent) {
				err = errors.New("it has something in it that is no event log")
			}
			return err
		}
	case errors.Is(err, fs.ErrNotExist) && !newDir:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		if f, err = os.CreateTemp(filepath.Dir(name), ".skua.*"); err == nil {
			return errors.Join(f.Close(), os.Remove(f.Name()))
		}
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return err
}

func jobFile(ad *classad.Ad) string {
	if name, ok := ad.Str("JobSubmitFile"); ok {
		return name
	}
	return "the job description"
}
