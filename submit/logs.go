package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/submit/client"
)

func (a *app) logsCommand() *cobra.Command {
	var s story
	var follow bool
	c := &cobra.Command{
		Use:   "logs {CLUSTER | JOB}...",
		Short: "tell what has happened to jobs",
		Long: `Logs tells the story of jobs from the pool's own record: when they were submitted, where they ran, why
they stood still, moved or were held, and how they ended. It needs no log file and works on every
machine. The record goes back as far as the matchmaker keeps events.`,
		Example: `  skua logs 12.3
  skua logs 12 --follow
  skua logs 12.3 --json`,
		ValidArgsFunction: a.completeJobs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("name a cluster (12) or a job (12.3)", "logs wants to know which jobs")
			}
			var err error
			if s.sel, err = selection(args); err != nil {
				return err
			}
			pool, _, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			s.app, s.live = a, map[job.ID]bool{}
			return s.tell(c.Context(), pool, follow)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the jobs have ended")
	c.Flags().BoolVar(&s.asJSON, "json", false, "print the events as JSON, one object in a line")
	return c
}

// story tells the events of jobs.
type story struct {
	*app
	sel    wire.Selection
	asJSON bool
	told   int             // events
	live   map[job.ID]bool // jobs that have not ended
	late   latecomers      // of the clusters of these
	slots  map[job.ID]string
}

func (s *story) tell(ctx context.Context, pool *client.Client, follow bool) error {
	s.slots = map[job.ID]string{}
	var since uint64
	if err := s.begin(ctx, pool); err != nil {
		return err
	}
	for {
		p, err := pool.Events(ctx, since)
		if err != nil {
			return err
		}
		s.page(p)
		if since = p.Next; !p.More {
			break
		}
	}
	switch {
	case follow && len(s.live) > 0:
		err := pool.Follow(ctx, since, func(p client.Page) error {
			if s.page(p); len(s.live) == 0 {
				return client.ErrEnough
			}
			return nil
		})
		if err != client.ErrEnough {
			return err
		}
	case s.told == 0 && len(s.live) == 0:
		return &diag.Problem{What: "nothing is known of such jobs", Hint: `"skua q" lists your jobs, "skua history" those that have ended`}
	}
	return nil
}

// begin finds the jobs that have not ended: the record may begin after they were submitted.
func (s *story) begin(ctx context.Context, pool *client.Client) error {
	clusters := slices.Clone(s.sel.Clusters)
	for _, id := range s.sel.Jobs {
		clusters = append(clusters, id.Cluster)
	}
	var err error
	if s.late, _, err = findLatecomers(ctx, pool, clusters); err != nil {
		return err
	}
	for _, c := range s.late {
		for _, id := range c.Jobs() {
			if s.means(id) {
				s.live[id] = true
			}
		}
	}
	rows, _, err := pool.Jobs(ctx, s.sel)
	if err != nil {
		return err
	}
	for _, r := range rows {
		s.live[r.ID] = true
	}
	return nil
}

func (s *story) page(p client.Page) {
	for _, ev := range p.Events {
		for _, id := range s.late.event(ev.Body) {
			delete(s.live, id)
		}
		for _, id := range ev.Body.Jobs() {
			if !s.means(id) {
				continue
			}
			s.told++
			switch ev.Body.(type) {
			case *job.Submitted, *job.Opened:
				s.live[id] = true
			case *job.Ended, *job.Withdrawn:
				delete(s.live, id)
			}
			s.event(id, ev)
		}
	}
}

func (s *story) means(id job.ID) bool {
	for _, c := range s.sel.Clusters {
		if id.Cluster == c {
			return true
		}
	}
	for _, j := range s.sel.Jobs {
		if id == j {
			return true
		}
	}
	return false
}

func (s *story) event(id job.ID, ev job.Event) {
	text := s.sentence(id, ev.Body)
	if s.asJSON {
		_ = json.NewEncoder(s.out).Encode(struct { // to a pipe that may have been closed
			Seq   uint64    `json:"seq"`
			At    time.Time `json:"at"`
			Job   job.ID    `json:"job"`
			Event string    `json:"event"`
			Text  string    `json:"text,omitempty"`
		}{ev.Seq, ev.At, id, ev.Body.Kind(), text})
		return
	}
	if text != "" {
		fmt.Fprintf(s.out, "%s  %-6s %s\n", ev.At.Local().Format(time.DateTime), id, printable(text))
	}
}

// sentence is what an event means for its job; empty for what is of no interest to its user.
func (s *story) sentence(id job.ID, body job.Body) string {
	switch b := body.(type) {
	case *job.Submitted:
		if b.Owner != "" {
			return "submitted by " + b.Owner
		}
		return "submitted"
	case *job.Opened:
		return "entered the queue"
	case *job.Offered:
		s.slots[id] = b.Slot
		return ""
	case *job.Declined:
		return because("not taken by "+s.slots[id], b.Reason)
	case *job.Started:
		s.slots[id] = cmp.Or(b.Slot, s.slots[id])
		return "started on " + s.slots[id]
	case *job.Paused:
		return because("suspended", b.Reason)
	case *job.Continued:
		return "went on"
	case *job.Checkpointed:
		return "checkpoint saved, " + amount(b.Image.Bytes)
	case *job.RestoreFailed:
		return because("could not go on from a checkpoint", b.Reason)
	case *job.ImageDropped:
		return because("a checkpoint cannot be used", b.Reason)
	case *job.Stranded:
		if b.Over {
			return "there is a machine again that can go on from its checkpoint"
		}
		return "no machine of the pool can go on from its checkpoint"
	case *job.Lapsed:
		return "nothing is heard of its machine"
	case *job.Revived:
		return "its machine is back, and the job runs"
	case *job.Evicted:
		return because("left "+s.slots[id], b.Reason) + took(b.Usage)
	case *job.Requeued:
		return because("is to be run again after "+exitOfResult(b.Result), b.Reason) + took(b.Result.Usage)
	case *job.Ended:
		if b.Noop {
			return "completed without having run, as its description asks"
		}
		if b.Result.Signal != 0 {
			return "ended by " + exitOfResult(b.Result) + took(b.Result.Usage)
		}
		return "completed with " + exitOfResult(b.Result) + took(b.Result.Usage)
	case *job.HeldBack:
		return because("held", b.Reason)
	case *job.Released:
		return because("released", b.Reason)
	case *job.Withdrawn:
		return because("removed", b.Reason)
	case *job.Edited:
		parts := make([]string, len(b.Set))
		for i, a := range b.Set {
			parts[i] = a.Name + " = " + a.Expr
		}
		return "edited: " + strings.Join(parts, ", ")
	case *job.Delivered:
		if b.Expired {
			return "outputs have not been fetched in time"
		}
		return "outputs are in place"
	}
	return ""
}

func because(what, reason string) string {
	if reason == "" {
		return what
	}
	return what + ": " + reason
}

func exitOfResult(r job.Result) string {
	if r.Signal != 0 {
		return fmt.Sprintf("signal %d", r.Signal)
	}
	return fmt.Sprintf("exit code %d", r.ExitCode)
}

// took is what a run used, as an addition to a sentence.
func took(u job.Usage) string {
	if u.Wall <= 0 {
		return ""
	}
	s := fmt.Sprintf("  (%s", u.Wall.Round(time.Second))
	if cpu := u.UserCPU + u.SysCPU; cpu > 0 {
		s += fmt.Sprintf(", processor %s", cpu.Round(time.Second/10))
	}
	if u.MaxRSS > 0 {
		s += ", memory " + amount(u.MaxRSS)
	}
	return s + ")"
}
