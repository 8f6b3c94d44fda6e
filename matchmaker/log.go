package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"skua/internal/cli"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/matchmaker/queue"
	"skua/matchmaker/server"
)

func logCommand(f *flags) *cobra.Command {
	c := &cobra.Command{
		Use:   "log",
		Short: "look at the queue log, and mend it, while no matchmaker runs",
		Long: `The queue is what the events of the queue log add up to. A matchmaker does not start on a log of which
something that it needs is missing or damaged. These commands say what is, and what can be done. They work
while no matchmaker runs on the directory; running jobs go on meanwhile, for as long as their leases.

  skua-matchmaker log verify                  is everything whole? changes nothing
  skua-matchmaker log dump --job 12.3         what happened to a job, as lines of JSON
  skua-matchmaker log repair                  mend what can be mended without losing anything
  skua-matchmaker log repair --drop-tail      drop what comes after the first event that is lost`,
		Args: cli.NoArgs,
		RunE: cli.Help,
	}
	c.AddCommand(logVerifyCommand(f), logDumpCommand(f), logRepairCommand(f))
	return c
}

// maintain opens the log for a command.
func maintain(c *cobra.Command, f *flags, do func(*server.Maintenance) error) error {
	cfg, err := readConfig(*f)
	if err != nil {
		return err
	}
	if cfg.NATS.Clustered() {
		return &diag.Problem{
			What: "the queue log of this pool is on its NATS cluster, and these commands look at the log of a matchmaker that stands alone",
			Hint: "the cluster's servers keep copies of it; see docs/operations.md",
		}
	}
	m, err := server.OpenMaintenance(c.Context(), cfg.Data, nil)
	if err != nil {
		return err
	}
	err = do(m)
	if cerr := m.Close(); err == nil {
		err = cerr
	}
	return err
}

func logVerifyCommand(f *flags) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "say what of the queue log, its archive and its snapshots is whole, and change nothing",
		Long: `Reads every event of the queue log and of its archive, checks each against the running hash, compares the
two, reads the snapshots, and works out the queue as a start does. It changes nothing.

The exit code is 0 when all is whole, and 5 when something is damaged.`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return maintain(c, f, func(m *server.Maintenance) error {
				i, err := m.Inspect(c.Context())
				if err != nil {
					return err
				}
				if asJSON {
					err = json.NewEncoder(c.OutOrStdout()).Encode(i)
				} else {
					err = printInspection(c.OutOrStdout(), i)
				}
				if err != nil {
					return err
				}
				return verdict(i)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print what was found as JSON")
	return c
}

// verdict is the error of a log that is not whole.
func verdict(i *queue.Inspection) error {
	p := &diag.Problem{Code: diag.ExitDamaged}
	switch {
	case i.Good():
		return nil
	case i.Fatal != nil:
		p.What = fmt.Sprintf("event %d is damaged and cannot be had any more: %s", i.Fatal.Seq, i.Fatal.What)
		p.Hint = fmt.Sprintf("restore a backup, or have events %d to %d dropped by log repair --drop-tail, which says what is lost with them", i.Fatal.Seq, max(i.Known, i.Fatal.Seq))
	case !i.Whole():
		p.What = "something is damaged, and nothing is lost: log and archive have what the other lacks"
		p.Hint = "skua-matchmaker log repair makes the damaged one anew"
	default:
		p.What = "a snapshot is damaged, and nothing is lost: a start passes it over"
		p.Hint = "skua-matchmaker log repair puts it aside"
	}
	return p
}

const maxPast = 10 // lost events that are told one by one

func printInspection(to io.Writer, i *queue.Inspection) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "events\t%s\n", span(i.First, i.Known, i.Events))
	fmt.Fprintf(w, "log\t%s\n", copyLine(i.Log, "which the archive has"))
	fmt.Fprintf(w, "archive\t%s\n", copyLine(i.Archive, "which the log has; it is brought up to date at the next start"))
	for _, s := range i.Snapshots {
		state := fmt.Sprintf("good, %d jobs in the queue", s.Jobs)
		if s.Bad != "" {
			state = "bad: " + s.Bad
		}
		fmt.Fprintf(w, "snapshot\tof event %d, %s\n", s.Seq, state)
	}
	switch {
	case i.Begins > 0:
		fmt.Fprintf(w, "a start\tbegins with the snapshot of event %d and comes to event %d: %d jobs in the queue\n", i.Begins, i.Last, i.Jobs)
	default:
		fmt.Fprintf(w, "a start\tbegins with the first event and comes to event %d: %d jobs in the queue\n", i.Last, i.Jobs)
	}
	fmt.Fprintf(w, "hash\t%s after event %d\n", i.Sum, i.Last)
	for _, part := range []struct {
		name string
		queue.Copy
	}{{"log", i.Log}, {"archive", i.Archive}} {
		for _, d := range part.Damage {
			fmt.Fprintf(w, "damage\tin the %s, event %d: %s\n", part.name, d.Seq, d.What)
		}
		if more := part.Damaged - uint64(len(part.Damage)); more > 0 {
			fmt.Fprintf(w, "damage\tin the %s, %d more events\n", part.name, more)
		}
	}
	for n, d := range i.Past {
		if n == maxPast {
			fmt.Fprintf(w, "lost\t%d more such events\n", len(i.Past)-n)
			break
		}
		fmt.Fprintf(w, "lost\tevent %d, which a start does not need: %s\n", d.Seq, d.What)
	}
	if i.Fatal != nil {
		fmt.Fprintf(w, "lost\tevent %d, which a start needs: %s\n", i.Fatal.Seq, i.Fatal.What)
	}
	return w.Flush()
}

func span(first, last, events uint64) string {
	if last == 0 {
		return "none"
	}
	text := fmt.Sprintf("%d to %d", first, last)
	if missing := last - first + 1 - events; missing > 0 {
		return fmt.Sprintf("%s, of which %d are nowhere whole", text, missing)
	}
	return text + ", all of them whole"
}

func copyLine(c queue.Copy, elsewhere string) string {
	if c.Last == 0 && c.Lacking == 0 {
		return "empty"
	}
	var parts []string
	switch {
	case c.Last == 0:
		parts = append(parts, "empty")
	case c.Damaged == 0:
		parts = append(parts, fmt.Sprintf("%d to %d, whole", c.First, c.Last))
	default:
		parts = append(parts, fmt.Sprintf("%d to %d, %d of them damaged or missing", c.First, c.Last, c.Damaged))
	}
	if c.Holes > 0 {
		parts = append(parts, fmt.Sprintf("without %d old ones that are lost", c.Holes))
	}
	if c.Lacking > 0 {
		parts = append(parts, fmt.Sprintf("without the last %d, %s", c.Lacking, elsewhere))
	}
	return strings.Join(parts, ", ")
}

func logDumpCommand(f *flags) *cobra.Command {
	var from, to uint64
	var of string
	c := &cobra.Command{
		Use:   "dump",
		Short: "print events as lines of JSON",
		Long: `Prints the events of the queue log, from the archive those that the log has forgotten, each as a line of
JSON: its number, when it was, what kind of event, and what it says. In the place of an event that is
damaged stands {"seq":N,"damaged":"why"}; the exit code is 5 then.

  skua-matchmaker log dump --job 12.3 | jq -r '[.at, .kind] | @tsv'`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cluster, proc, err := parseJob(of)
			if err != nil {
				return cli.FlagError(c, err)
			}
			return maintain(c, f, func(m *server.Maintenance) error {
				return dump(c, m, from, to, cluster, proc)
			})
		},
	}
	c.Flags().Uint64Var(&from, "from", 0, "number of the first event (default the first that is there)")
	c.Flags().Uint64Var(&to, "to", 0, "number of the last event (default the last)")
	c.Flags().StringVar(&of, "job", "", "only events about a job, such as 12.3, or about a cluster, such as 12")
	return c
}

func dump(c *cobra.Command, m *server.Maintenance, from, to uint64, cluster, proc int) error {
	w := bufio.NewWriter(c.OutOrStdout())
	damaged := 0
	err := m.Records(c.Context(), from, to, func(r queue.Record) error {
		if r.Bad != "" {
			damaged++
		} else if ev, ok := r.Event(); ok && cluster > 0 && !queue.About(ev, cluster, proc) {
			return nil
		}
		_, err := w.Write(r.Line())
		return err
	})
	if err == nil {
		err = w.Flush()
	}
	if err == nil && damaged > 0 {
		return &diag.Problem{
			What: fmt.Sprintf("%d event(s) are damaged or missing", damaged),
			Hint: "skua-matchmaker log verify says what that means", Code: diag.ExitDamaged,
		}
	}
	return err
}

// parseJob reads a job's id, or a cluster's number; a proc of -1 means all of them, a cluster of 0 that none is named.
func parseJob(text string) (cluster, proc int, err error) {
	if text == "" {
		return 0, -1, nil
	}
	if id, err := job.ParseID(text); err == nil {
		return id.Cluster, id.Proc, nil
	}
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return n, -1, nil
	}
	return 0, 0, fmt.Errorf("--job: %q is neither a job, such as 12.3, nor a cluster, such as 12", text)
}

func logRepairCommand(f *flags) *cobra.Command {
	var dropTail bool
	c := &cobra.Command{
		Use:   "repair",
		Short: "mend the queue log",
		Long: `Where the queue log or its archive is damaged and the other is not, it is made anew of the other, and
nothing is lost. Where both are, whatever comes from there on can only be dropped: that is done with
--drop-tail, and then it is said in plain words what is lost.

Nothing is deleted. What is replaced is moved into a directory beside, damaged-<time>, together with the
dropped events as "log dump" prints them. The numbers of dropped events are not used again.`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return maintain(c, f, func(m *server.Maintenance) error {
				done, aside, err := m.Repair(c.Context(), dropTail)
				if err != nil {
					return err
				}
				printRepair(c.OutOrStdout(), done, aside)
				return nil
			})
		},
	}
	c.Flags().BoolVar(&dropTail, "drop-tail", false, "drop the first event that cannot be had any more and all after it")
	return c
}

func printRepair(w io.Writer, done *queue.Repaired, aside string) {
	if aside == "" {
		fmt.Fprintln(w, "nothing is damaged")
		return
	}
	if done.Log {
		fmt.Fprintln(w, "the queue log has been made anew")
	}
	if done.Archive {
		fmt.Fprintln(w, "the damaged part of the archive has been made anew")
	}
	if done.Snapshots > 0 {
		fmt.Fprintf(w, "%d snapshot(s) have been put aside\n", done.Snapshots)
	}
	if done.From > 0 {
		fmt.Fprintf(w, "events %d to %d have been dropped; those that can be read are in %s\n", done.From, done.To, done.Dropped)
		for _, line := range done.Lost.Lines() {
			fmt.Fprintf(w, "  %s\n", line)
		}
	} else {
		fmt.Fprintln(w, "no event is lost")
	}
	fmt.Fprintf(w, "what was replaced is in %s\n", aside)
}
