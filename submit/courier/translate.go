package courier

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"skua/internal/eventlog"
	"skua/internal/job"
	"skua/policy/classad"
)

// run is what an entry of a log needs of the events before it. It is kept with the position, so that an
// entry that is written again after a crash has the same text.
type run struct {
	Slot    string    `json:"slot,omitempty"` // of the latest offer
	Machine string    `json:"machine,omitempty"`
	Started bool      `json:"started,omitempty"` // the job runs there, or did until the lease ran out
	Began   time.Time `json:"began,omitzero"`    // when it was started there
	Brought bool      `json:"brought,omitempty"` // the log says when its inputs were there
	Lapsed  bool      `json:"lapsed,omitempty"`
	Saved   bool      `json:"saved,omitempty"`   // the job has an image from which it can go on
	Used    job.Usage `json:"used"`              // of runs before this one
	Now     job.Usage `json:"now"`               // of this run, as last measured
	Said    int64     `json:"said_kb,omitempty"` // resident size in the latest image size entry
	Bring   bool      `json:"bring,omitempty"`   // the outputs of a run after which the job went on, or was held, are not here
	Gone    time.Time `json:"gone,omitzero"`     // since when the matchmaker has nothing of a job that has ended
	Expired bool      `json:"expired,omitempty"` // the matchmaker has given them up: what is not there now never will be
	End     *end      `json:"end,omitempty"`     // when the job has ended and its outputs are not here
}

// end is how a job ended.
type end struct {
	At     time.Time `json:"at"`
	Code   int       `json:"code"`
	Signal int       `json:"signal,omitempty"`
	Usage  job.Usage `json:"usage"`
	Sent   int64     `json:"sent"` // bytes of outputs
	Noop   bool      `json:"noop,omitempty"`

	Executing time.Time `json:"executing,omitzero"` // when the program began and ended, by the machine's clock
	Exited    time.Time `json:"exited,omitzero"`
}

// submitted is what the log says when a job enters the queue.
func submitted(id job.ID, o *origin, at time.Time, onHold bool) []eventlog.Event {
	entries := []eventlog.Event{{
		Kind: eventlog.Submit, Job: id, Time: at, Host: address(o.machine), Reason: o.notes, UserNotes: o.private,
	}}
	if onHold {
		entries = append(entries, eventlog.Event{
			Kind: eventlog.Held, Job: id, Time: at, Reason: job.OnHoldReason, Code: job.HoldOnSubmit,
		})
	}
	return entries
}

// translate gives what an event of the queue means in the log of one of its jobs, and what there is to
// remember afterwards. It changes nothing; r may be nil. The zone of the event's time is that of the log.
func translate(id job.ID, o *origin, r *run, ev job.Event) ([]eventlog.Event, *run) {
	var next run
	if r != nil {
		next = *r
	}
	entry := eventlog.Event{Job: id, Time: ev.At}
	say := func(k eventlog.Kind) []eventlog.Event {
		entry.Kind = k
		return []eventlog.Event{entry}
	}
	switch b := ev.Body.(type) {
	case *job.Offered:
		lost, lapsed := next.Slot, next.Lapsed
		next.Slot, next.Machine, next.Started, next.Lapsed = b.Slot, b.Machine, false, false
		if lapsed {
			next.Used, next.Now = next.Used.Add(next.Now), job.Usage{}
			entry.Slot, entry.Reason = lost, "Nothing more was heard of the machine"
			return say(eventlog.ReconnectFailed), &next
		}
		return nil, &next
	case *job.Started:
		next.Started, next.Began, next.Brought, next.Now = true, ev.At, false, job.Usage{}
		next.Slot = cmp.Or(b.Slot, next.Slot)
		entry.Host, entry.Slot = address(next.Machine), next.Slot
		return say(eventlog.Execute), &next
	case *job.Paused:
		entry.Reason = b.Reason
		entry.Processes = 1 // how many there are only the machine knows
		return say(eventlog.Suspended), r
	case *job.Continued:
		return say(eventlog.Unsuspended), r
	case *job.Measured:
		next.Now = b.Usage
		brought := next.brought(id, b.Executing, ev.At)
		entries := append(brought, next.imageSize(id, entry.Time, b.Usage)...)
		if b.Trial != nil && b.Trial.Failed != "" {
			entry.Reason = "This job cannot be checkpointed as it is: " + b.Trial.Failed
			entries = append(entries, say(eventlog.Generic)...)
		}
		return entries, &next
	case *job.Checkpointed:
		next.Saved = true
		entry.Run = eventlog.Usage{
			User:   max(0, b.Image.Usage.UserCPU-next.Used.UserCPU), // the image has the whole job's
			System: max(0, b.Image.Usage.SysCPU-next.Used.SysCPU),
			Sent:   b.Image.Bytes,
		}
		return say(eventlog.Checkpointed), &next
	case *job.RestoreFailed:
		entry.Reason = "Checkpoint " + b.Digest.Short() + " could not be restored: " + b.Reason
		return say(eventlog.Generic), r
	case *job.ImageDropped:
		entry.Reason = "Checkpoint " + b.Digest.Short() + " cannot be used: " + b.Reason
		return say(eventlog.Generic), r
	case *job.Lapsed:
		next.Lapsed = true
		entry.Host, entry.Slot = address(next.Machine), next.Slot
		entry.Reason = "Nothing was heard of the machine until its lease ran out"
		return say(eventlog.Disconnected), &next
	case *job.Revived:
		next.Lapsed = false
		entry.Host, entry.Slot = address(next.Machine), next.Slot
		return say(eventlog.Reconnected), &next
	case *job.Evicted:
		left := next.leave(id, o, entry.Time, b.Usage, b.Reason)
		return left, &next
	case *job.Requeued:
		entries := next.transfers(id, b.Result.Executing, b.Result.Exited, ev.At)
		entries = append(entries, next.imageSize(id, entry.Time, b.Result.Usage)...)
		left := next.leave(id, o, entry.Time, b.Result.Usage, b.Reason)
		for i := range left {
			left[i].Exit, left[i].Checkpointed = &eventlog.Exit{Code: b.Result.ExitCode, Signal: b.Result.Signal}, false
			left[i].Run.Sent = max(left[i].Run.Sent, sizeOf(b.Result.Outputs))
		}
		next.Saved = false // images are of a run that is over
		next.Bring = next.Bring || len(b.Result.Outputs) > 0
		return append(entries, left...), &next
	case *job.HeldBack:
		used := b.Usage
		if used == (job.Usage{}) {
			used = next.Now // held by somebody who does not know
		}
		if b.Result != nil {
			next.Saved = false // images are of a run that is over
		}
		left := next.leave(id, o, entry.Time, used, b.Reason)
		entry.Reason, entry.Code, entry.Subcode = b.Reason, b.Code, b.SubCode
		return append(left, say(eventlog.Held)...), &next
	case *job.Released:
		entry.Reason = b.Reason
		return say(eventlog.Released), r
	case *job.Edited:
		var entries []eventlog.Event
		for _, a := range b.Set {
			entry.Attrs = []eventlog.Attr{{Name: a.Name, Value: oldSyntax(a.Expr)}}
			entries = append(entries, say(eventlog.AttributeUpdate)...)
		}
		return entries, r
	case *job.Withdrawn:
		left := next.leave(id, o, entry.Time, next.Now, "")
		entry.Reason = b.Reason
		if next.Bring {
			return append(left, say(eventlog.Aborted)...), &run{Bring: true}
		}
		return append(left, say(eventlog.Aborted)...), nil
	case *job.Ended:
		next.Bring = false // these come in the place of them
		next.End = &end{
			At: ev.At, Code: b.Result.ExitCode, Signal: b.Result.Signal, Usage: b.Result.Usage,
			Sent: sizeOf(b.Result.Outputs), Noop: b.Noop, Executing: b.Result.Executing, Exited: b.Result.Exited,
		}
		return nil, &next
	case *job.Delivered:
		if next.End == nil {
			return nil, nil // it has been said
		}
		if b.Expired {
			next.Expired = true // it is said once it is known what is left to be brought
			return nil, &next
		}
		return terminated(id, o, next, ev.At.Location()), nil
	}
	return nil, r
}

// leave ends a run before the job's end, and says so if the log says that it had begun.
func (r *run) leave(id job.ID, o *origin, at time.Time, used job.Usage, reason string) []eventlog.Event {
	r.Used = r.Used.Add(used)
	r.Now = job.Usage{}
	started := r.Started
	r.Started, r.Lapsed = false, false
	if !started {
		return nil
	}
	return []eventlog.Event{{
		Kind: eventlog.Evicted, Job: id, Time: at, Reason: reason, Checkpointed: r.Saved,
		Run: usage(used), Resources: resources(o, used),
	}}
}

// imageSize is an entry when the job has become larger than the log says.
func (r *run) imageSize(id job.ID, at time.Time, u job.Usage) []eventlog.Event {
	kb := u.MaxRSS / 1024
	if kb <= r.Said {
		return nil
	}
	r.Said = kb
	return []eventlog.Event{{
		Kind: eventlog.ImageSize, Job: id, Time: at, ImageKB: kb, MemoryMB: (kb + 1023) / 1024, ResidentKB: kb,
	}}
}

// terminated is what the log says once a job's outputs are in place.
func terminated(id job.ID, o *origin, r run, zone *time.Location) []eventlog.Event {
	at := r.End.At.In(zone)
	entries := r.transfers(id, r.End.Executing, r.End.Exited, at)
	entries = append(entries, r.imageSize(id, at, r.End.Usage)...)
	total := r.Used.Add(r.End.Usage)
	e := eventlog.Event{
		Kind: eventlog.Terminated, Job: id, Time: at,
		Exit: &eventlog.Exit{Code: r.End.Code, Signal: r.End.Signal}, Ended: r.End.At,
		Run: usage(r.End.Usage), Total: usage(total),
		Resources: resources(o, r.End.Usage),
	}
	if r.End.Noop {
		e.Ended = time.Time{} // it never ran
	}
	e.Run.Sent, e.Total.Sent = max(e.Run.Sent, r.End.Sent), max(e.Total.Sent, r.End.Sent)
	if o.success != 0 { // who has only the log could not tell what the exit code means
		entries = append(entries, eventlog.Event{
			Kind: eventlog.AdInformation, Job: id, Time: at,
			Attrs: []eventlog.Attr{{Name: eventlog.SuccessExit, Value: strconv.Itoa(o.success)}},
		})
	}
	return append(entries, e)
}

// brought says when the inputs of the present run were moved, once: from its start until its program began.
func (r *run) brought(id job.ID, executing, now time.Time) []eventlog.Event {
	if r.Brought || executing.IsZero() || r.Began.IsZero() {
		return nil
	}
	r.Brought = true
	began := r.Began.In(now.Location())
	return []eventlog.Event{
		{Kind: eventlog.FileTransfer, Job: id, Time: began, Transfer: eventlog.InputStarted, Host: address(r.Machine)},
		{Kind: eventlog.FileTransfer, Job: id, Time: between(began, executing, now), Transfer: eventlog.InputFinished},
	}
}

// transfers says when the files of a run that has ended were moved.
func (r *run) transfers(id job.ID, executing, exited, now time.Time) []eventlog.Event {
	entries := r.brought(id, executing, now)
	if exited.IsZero() || r.Began.IsZero() {
		return entries
	}
	return append(entries,
		eventlog.Event{Kind: eventlog.FileTransfer, Job: id, Time: between(r.Began, exited, now), Transfer: eventlog.OutputStarted},
		eventlog.Event{Kind: eventlog.FileTransfer, Job: id, Time: now, Transfer: eventlog.OutputFinished},
	)
}

// between keeps a time by a machine's clock between two by the matchmaker's, in the zone of these.
func between(from, at, to time.Time) time.Time {
	switch {
	case at.Before(from):
		at = from
	case at.After(to):
		at = to
	}
	return at.In(to.Location())
}

func sizeOf(files []job.File) (n int64) {
	for _, f := range files {
		n += f.Size
	}
	return n
}

func usage(u job.Usage) eventlog.Usage {
	return eventlog.Usage{User: u.UserCPU, System: u.SysCPU, Sent: u.Sent, Received: u.Fetched}
}

// resources is the table of what the job took and had asked for.
func resources(o *origin, u job.Usage) []eventlog.Resource {
	cpus, memory, disk, wall := "", "", "", ""
	if u.Wall > 0 {
		cpus = strconv.FormatFloat((u.UserCPU+u.SysCPU).Seconds()/u.Wall.Seconds(), 'f', 2, 64)
		wall = strconv.FormatInt(int64(u.Wall/time.Second), 10)
	}
	if u.MaxRSS > 0 {
		memory = strconv.FormatInt((u.MaxRSS+1<<20-1)>>20, 10)
	}
	if u.MaxDisk > 0 {
		disk = strconv.FormatInt((u.MaxDisk+1<<10-1)>>10, 10)
	}
	var table []eventlog.Resource
	for _, r := range []eventlog.Resource{
		{Name: "Cpus", Usage: cpus, Request: o.cpus},
		{Name: "Disk (KB)", Usage: disk, Request: o.disk},
		{Name: "Memory (MB)", Usage: memory, Request: o.memory},
		{Name: "TimeSlotBusy (s)", Usage: wall},
	} {
		if r.Usage != "" || r.Request != "" {
			table = append(table, r)
		}
	}
	return table
}

// oldSyntax is an expression as event logs have it.
func oldSyntax(expr string) string {
	e, err := classad.ParseExpr(expr)
	if err != nil {
		return expr
	}
	return e.OldString()
}

// address writes a machine's name where HTCondor has an address. Programs that read logs take what
// stands between the brackets as it is.
func address(machine string) string { return fmt.Sprintf("<%s>", machine) }
