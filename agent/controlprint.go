package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"skua/agent/control"
	"skua/agent/slot"
	"skua/internal/quantity"
)

// printStatus says in plain words what the agent does.
func printStatus(w io.Writer, s control.Status, now time.Time) {
	fmt.Fprintf(w, "%s: %s\n", s.Machine, headline(s, now))
	if s.WishUnkept {
		fmt.Fprintln(w, "  disk     cannot be written: an agent that is started again will not know what was last asked of it")
	}
	switch {
	case s.Idle < 0:
		fmt.Fprintln(w, "  owner    nobody is watched: the machine is for jobs")
	default:
		fmt.Fprintf(w, "  owner    last seen %s ago\n", roughly(s.Idle))
	}
	for _, u := range s.Unseen {
		name, remedy := u.Source, "jobs run once it is locked, left or in the background"
		if strings.HasPrefix(u.Source, ":") {
			name = "display " + u.Source
			remedy = `its user lets the agent look with "xhost +si:localuser:root"; if nobody uses it, name those that are used in displays of agent.toml`
		}
		fmt.Fprintf(w, "  unseen   %s: %s\n           %s\n", name, u.Why, remedy)
	}
	for _, sl := range s.Slots {
		fmt.Fprintf(w, "  %-8s %s\n", slotName(sl.Name), slotLine(sl, now))
	}
	if none := whyNone(s); none != "" {
		fmt.Fprintf(w, "  no job   %s\n", none)
	}
	pool := strings.Join(s.Pool, ", ")
	switch {
	case s.Refused:
		pool += " (this machine was put out of the pool: skua-agent join with a new token brings it back)"
	case !s.Connected:
		pool += " (not connected: it is tried again and again)"
	}
	if pool != "" {
		fmt.Fprintf(w, "  pool     %s\n", strings.TrimSpace(pool))
	}
	fmt.Fprintf(w, "  policy   %s\n", s.Policy)
	if c := s.Central; c != nil {
		fmt.Fprintf(w, "  central  policy of the group %s, number %d, signed %s\n", c.Group, c.Number, c.At.Local().Format("2 Jan 2006 15:04"))
	}
	if s.BadPolicy != "" {
		fmt.Fprintf(w, "           a newer policy is not in force: %s\n", s.BadPolicy)
	}
	switch {
	case s.Wish.Kind != "" || s.YouMayPause <= 0:
	case control.Unbounded(s.YouMayPause):
		fmt.Fprintln(w, "You may keep jobs away for any time: skua-agent pause 1h")
	default:
		fmt.Fprintf(w, "You may keep jobs away for %v at a time: skua-agent pause 1h\n", quantity.Duration(s.YouMayPause))
	}
}

// whyNone says what keeps jobs from the first slot, if that is its owner's: the first part of START that is not true.
func whyNone(s control.Status) string {
	if len(s.Slots) == 0 || s.Slots[0].State != slot.Owner.String() || noJob(s) != "" || len(s.Rules) == 0 {
		return ""
	}
	p, ad, err := told(s)
	if err != nil {
		return "" // policy explain says it
	}
	start := p.Explain(ad)[0]
	switch {
	case start.Value.IsTrue():
		return ""
	case len(start.Because) == 0:
		return "START is not true: " + start.Expr
	}
	return "START is not true: " + start.Because[0]
}

// headline is the state of the machine in one phrase.
func headline(s control.Status, now time.Time) string {
	switch {
	case s.Wish.Kind != "":
		said := fmt.Sprintf("%v (%s to go; skua-agent resume ends it)", s.Wish, roughly(s.Wish.Until.Sub(now)))
		if u := s.Wish.Under; u != nil && u.Until.After(s.Wish.Until) {
			said += "; after that, " + u.String()
		}
		return said
	case s.CannotRun != "":
		return "cannot run jobs: " + s.CannotRun
	}
	running, frozen := 0, 0
	for _, slot := range s.Slots {
		switch {
		case slot.Job == "":
		case slot.Still:
			frozen++
		default:
			running++
		}
	}
	switch {
	case running+frozen == 0:
		return "no job here"
	case frozen == 0:
		return counted(running, "job") + " running"
	case running == 0:
		return counted(frozen, "job") + " frozen"
	}
	return fmt.Sprintf("%s running, %d frozen", counted(running, "job"), frozen)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func slotName(name string) string {
	name, _, _ = strings.Cut(name, "@")
	return name
}

func slotLine(slot control.SlotStatus, now time.Time) string {
	line := slot.State + "/" + slot.Activity
	if !slot.Since.IsZero() {
		line += " for " + roughly(now.Sub(slot.Since))
	}
	if slot.Job != "" {
		line += fmt.Sprintf(", job %s of %s", slot.Job, slot.User)
	}
	if slot.Why != "" {
		line += ": " + slot.Why
	}
	return line
}

// printRan lists stays of jobs, the newest last.
func printRan(w io.Writer, list []control.Ran) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no job has run here yet")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "JOB\tFOR\tUNTIL\tSTAYED\tCPU\tMEMORY\tOUTCOME")
	for _, r := range list {
		stayed := "-"
		if !r.Began.IsZero() {
			stayed = roughly(r.Ended.Sub(r.Began))
		}
		outcome := r.Outcome
		if r.Why != "" {
			outcome += ": " + r.Why
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%.1f MB\t%s\n", r.Job, r.User, r.Ended.Local().Format("2 Jan 15:04"),
			stayed, roughly(r.CPU), float64(r.Memory)/1e6, outcome)
	}
	t.Flush()
}

// roughly gives a duration in the two largest units that matter.
func roughly(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d d %d h", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}
