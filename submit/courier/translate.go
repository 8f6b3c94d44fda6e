package courier

import (
	"fmt"
	"path/filepath"
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
	Lapsed  bool      `json:"lapsed,omitempty"`
	Saved   bool      `json:"saved,omitempty"` // the job has an image from which it can go on
	Used    job.Usage `json:"used"`            // of runs before this one
	End     *end      `json:"end,omitempty"`   // when the job has ended and its outputs are not here
}

// end is how a job ended.
type end struct {
	At     time.Time `json:"at"`
	Code   int       `json:"code"`
	Signal int       `json:"signal,omitempty"`
	Usage  job.Usage `json:"usage"`
	Sent   int64     `json:"sent"` // bytes of outputs
}

// SubmitMachine is the attribute of a job's ad with the name of the machine from which it was submitted.
const SubmitMachine = "SkuaSubmitMachine"

// logPath is the job's event log; empty when it has none.
func logPath(ad *classad.Ad) string {
	name, ok := ad.Str("UserLog")
	if !ok || name == "" {
		return ""
	}
	if !filepath.IsAbs(name) {
		iwd, _ := ad.Str("Iwd")
		name = filepath.Join(iwd, name)
	}
	if !filepath.IsAbs(name) {
		return "" // relative to nothing
	}
	return filepath.Clean(name)
}

// translate gives what an event of the queue means in the log of one of its jobs, and what there is to
// remember afterwards. It changes nothing; r may be nil.
func translate(id job.ID, ad *classad.Ad, r *run, ev job.Event) ([]eventlog.Event, *run) {
	var next run
	if r != nil {
		next = *r
	}
	entry := eventlog.Event{Job: id, Time: ev.At.Local()}
	say := func(k eventlog.Kind) []eventlog.Event {
		entry.Kind = k
		return []eventlog.Event{entry}
	}
	switch b := ev.Body.(type) {
	case *job.Submitted:
		name, _ := ad.Str(SubmitMachine)
		entry.Host = address(name)
		entry.Reason, _ = ad.Str("SubmitEventNotes")
		entries := say(eventlog.Submit)
		if b.OnHold(id.Proc) {
			entries = append(entries, eventlog.Event{
				Kind: eventlog.Held, Job: id, Time: entry.Time, Reason: job.OnHoldReason, Code: job.HoldOnSubmit,
			})
		}
		return entries, r
	case *job.Offered:
		lost, lapsed := next.Slot, next.Lapsed
		next.Slot, next.Machine, next.Started, next.Lapsed = b.Slot, b.Machine, false, false
		if lapsed {
			entry.Slot, entry.Reason = lost, "Nothing more was heard of the machine"
			return say(eventlog.ReconnectFailed), &next
		}
		return nil, &next
	case *job.Started:
		next.Started = true
		entry.Host, entry.Slot = address(next.Machine), next.Slot
		return say(eventlog.Execute), &next
	case *job.Paused:
		entry.Reason = b.Reason
		entry.Processes = 1 // how many there are only the machine knows
		return say(eventlog.Suspended), r
	case *job.Continued:
		return say(eventlog.Unsuspended), r
	case *job.Checkpointed:
		next.Saved = true
		entry.Run.Sent = b.Image.Bytes
		return say(eventlog.Checkpointed), &next
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
		next.Used = next.Used.Add(b.Usage)
		started := next.Started
		next.Started, next.Lapsed = false, false
		if !started {
			return nil, &next // as far as the log tells, it never ran there
		}
		entry.Reason, entry.Checkpointed = b.Reason, next.Saved
		entry.Run = usage(b.Usage)
		return say(eventlog.Evicted), &next
	case *job.HeldBack:
		next.Used = next.Used.Add(b.Usage)
		next.Started, next.Lapsed = false, false
		entry.Reason, entry.Code = b.Reason, b.Code
		return say(eventlog.Held), &next
	case *job.Released:
		entry.Reason = b.Reason
		return say(eventlog.Released), r
	case *job.Withdrawn:
		entry.Reason = b.Reason
		return say(eventlog.Aborted), nil
	case *job.Ended:
		next.End = &end{At: ev.At, Code: b.Result.ExitCode, Signal: b.Result.Signal, Usage: b.Result.Usage}
		for _, f := range b.Result.Outputs {
			next.End.Sent += f.Size
		}
		return nil, &next
	case *job.Delivered:
		if next.End == nil {
			return nil, nil // it has been said
		}
		return terminated(id, ad, next), nil
	}
	return nil, r
}

// terminated is what the log says once a job's outputs are in place.
func terminated(id job.ID, ad *classad.Ad, r run) []eventlog.Event {
	at := r.End.At.Local()
	var entries []eventlog.Event
	if kb := r.End.Usage.MaxRSS / 1024; kb > 0 {
		entries = append(entries, eventlog.Event{
			Kind: eventlog.ImageSize, Job: id, Time: at, ImageKB: kb, MemoryMB: (kb + 1023) / 1024, ResidentKB: kb,
		})
	}
	total := r.Used.Add(r.End.Usage)
	e := eventlog.Event{
		Kind: eventlog.Terminated, Job: id, Time: at,
		Exit: &eventlog.Exit{Code: r.End.Code, Signal: r.End.Signal},
		Run:  usage(r.End.Usage), Total: usage(total),
		Resources: resources(ad, r.End.Usage),
	}
	e.Run.Sent, e.Total.Sent = r.End.Sent, r.End.Sent
	return append(entries, e)
}

func usage(u job.Usage) eventlog.Usage { return eventlog.Usage{User: u.UserCPU, System: u.SysCPU} }

// resources is the table of what the job took and had asked for.
func resources(ad *classad.Ad, u job.Usage) []eventlog.Resource {
	cpus := ""
	if u.Wall > 0 {
		cpus = strconv.FormatFloat((u.UserCPU+u.SysCPU).Seconds()/u.Wall.Seconds(), 'f', 2, 64)
	}
	memory := ""
	if u.MaxRSS > 0 {
		memory = strconv.FormatInt((u.MaxRSS+1<<20-1)>>20, 10)
	}
	var table []eventlog.Resource
	for _, r := range []struct{ name, usage, attr string }{
		{"Cpus", cpus, "RequestCpus"},
		{"Disk (KB)", "", "RequestDisk"},
		{"Memory (MB)", memory, "RequestMemory"},
	} {
		n, ok := ad.Int(r.attr)
		if !ok {
			continue
		}
		request := strconv.FormatInt(n, 10)
		table = append(table, eventlog.Resource{Name: r.name, Usage: r.usage, Request: request})
	}
	return table
}

// address writes a machine's name where HTCondor has an address. Programs that read logs take what
// stands between the brackets as it is.
func address(machine string) string { return fmt.Sprintf("<%s>", machine) }
