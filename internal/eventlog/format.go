package eventlog

import (
	"fmt"
	"strings"
	"time"
)

// end closes every event of the text form.
const end = "...\n"

// timeLayout is how dates are written.
const timeLayout = "2006-01-02 15:04:05"

// endedLayout is how the moment is written at which a job ended by itself; always UTC.
const endedLayout = "2006-01-02T15:04:05Z"

// unspecified stands where a hold has no reason.
const unspecified = "Reason unspecified"

// Append adds the event's text, its closing line included, to b. The text depends on the event alone.
func (e Event) Append(b []byte) []byte {
	b = fmt.Appendf(b, "%03d (%03d.%03d.000) %s ", int(e.Kind), e.Job.Cluster, e.Job.Proc, e.Time.Format(timeLayout))
	b = e.appendBody(b)
	return append(b, end...)
}

// String is the event as it stands in the log.
func (e Event) String() string { return string(e.Append(nil)) }

func (e Event) appendBody(b []byte) []byte {
	line := func(format string, args ...any) { b = append(fmt.Appendf(b, format, args...), '\n') }
	reason := oneLine(e.Reason)
	optional := func(indent, text string) {
		if text = oneLine(text); text != "" {
			line("%s%s", indent, text)
		}
	}
	switch e.Kind {
	case Submit, ClusterSubmit:
		what := "Job"
		if e.Kind == ClusterSubmit {
			what = "Cluster"
		}
		line("%s submitted from host: %s", what, oneLine(e.Host))
		optional("    ", reason)
		optional("    ", e.UserNotes)
	case Execute:
		line("Job executing on host: %s", oneLine(e.Host))
		if e.Slot != "" {
			line("\tSlotName: %s", oneLine(e.Slot))
		}
		b = appendAttrs(b, "\t", e.Attrs)
	case ExecutableError:
		switch e.Code {
		case 0:
			line("(0) Job file not executable.")
		case 1:
			line("(1) Job not properly linked for Condor.")
		default:
			line("(%d) [Bad error number.]", e.Code)
		}
	case Checkpointed:
		line("Job was checkpointed.")
		b = e.Run.appendTimes(b, "\t", "Run")
		line("\t%d  -  Run Bytes Sent By Job For Checkpoint", e.Run.Sent)
	case Evicted:
		line("Job was evicted.")
		switch {
		case e.Exit != nil:
			line("\t(0) Job terminated and was requeued")
		case e.Checkpointed:
			line("\t(1) Job was checkpointed.")
		default:
			line("\t(0) CPU times")
		}
		b = e.Run.appendTimes(b, "\t\t", "Run")
		b = e.Run.appendBytes(b, "Run")
		if e.Exit != nil {
			b = e.Exit.append(b)
		}
		optional("\t", asReason(reason))
		b = appendResources(b, e.Resources)
	case Terminated:
		line("Job terminated.")
		exit := e.Exit
		if exit == nil {
			exit = &Exit{}
		}
		b = exit.append(b)
		b = e.Run.appendTimes(b, "\t\t", "Run")
		b = e.Total.appendTimes(b, "\t\t", "Total")
		b = e.Run.appendBytes(b, "Run")
		b = e.Total.appendBytes(b, "Total")
		b = appendResources(b, e.Resources)
		if !e.Ended.IsZero() {
			how, number := "exit-code", exit.Code
			if exit.Signal != 0 {
				how, number = "signal", exit.Signal
			}
			line("\n\tJob terminated of its own accord at %s with %s %d.", e.Ended.UTC().Format(endedLayout), how, number)
		}
	case ImageSize:
		line("Image size of job updated: %d", e.ImageKB)
		if e.MemoryMB >= 0 {
			line("\t%d  -  MemoryUsage of job (MB)", e.MemoryMB)
		}
		if e.ResidentKB >= 0 {
			line("\t%d  -  ResidentSetSize of job (KB)", e.ResidentKB)
		}
		if e.ProportionalKB > 0 {
			line("\t%d  -  ProportionalSetSize of job (KB)", e.ProportionalKB)
		}
	case ShadowException:
		line("Shadow exception!")
		line("\t%s", reason)
		b = e.Run.appendBytes(b, "Run")
	case Generic:
		line("%s", generic(reason))
	case Aborted:
		line("Job was aborted.")
		optional("\t", reason)
	case Suspended:
		line("Job was suspended.")
		line("\tNumber of processes actually suspended: %d", e.Processes)
		optional("\t", reason)
	case Unsuspended:
		line("Job was unsuspended.")
	case Held:
		if reason == "" {
			reason = unspecified
		}
		line("Job was held.")
		line("\t%s", reason)
		line("\tCode %d Subcode %d", e.Code, e.Subcode)
	case Released:
		line("Job was released.")
		optional("\t", reason)
	case Disconnected:
		line("Job disconnected, attempting to reconnect")
		line("    %s", orUnknown(reason))
		line("    Trying to reconnect to %s %s", orUnknown(cell(e.Slot)), orUnknown(oneLine(e.Host)))
	case Reconnected:
		line("Job reconnected to %s", orUnknown(oneLine(e.Slot)))
		line("    startd address: %s", orUnknown(oneLine(e.Host)))
		line("    starter address: %s", orUnknown(oneLine(e.Host)))
	case ReconnectFailed:
		line("Job reconnection failed")
		line("    %s", orUnknown(reason))
		line("    Can not reconnect to %s, rescheduling job", orUnknown(strings.ReplaceAll(oneLine(e.Slot), ",", "_")))
	case AdInformation:
		line("Job ad information event triggered.")
		b = appendAttrs(b, "", e.Attrs)
	case AttributeUpdate:
		b = append(e.appendUpdate(b), '\n')
	case ClusterRemove:
		var f Factory
		if e.Factory != nil {
			f = *e.Factory
		}
		line("Cluster removed")
		line("\tMaterialized %d jobs from %d items.\t%v", f.Jobs, f.Items, f.Completion)
		optional("\t", reason)
	case FactoryPaused:
		line("Job Materialization Paused")
		if reason != "" || e.Code != 0 {
			line("\t%s", reason)
		}
		if e.Code != 0 {
			line("\tPauseCode %d", e.Code)
		}
		if e.Subcode != 0 {
			line("\tHoldCode %d", e.Subcode)
		}
	case FactoryResumed:
		line("Job Materialization Resumed")
		optional("\t", reason)
	case FileTransfer:
		line("%v", e.Transfer)
		if e.Queued > 0 {
			line("\tSeconds spent in queue: %d", e.Queued/time.Second)
		}
		if e.Host != "" {
			line("\tTransferring to host: %s", oneLine(e.Host))
		}
	default:
		for i, l := range e.Lines {
			if l = strings.ReplaceAll(l, "\n", " "); i == 0 || !strings.HasPrefix(l, "...") {
				line("%s", l)
			}
		}
		if len(e.Lines) == 0 {
			line("")
		}
	}
	return b
}

// oneLine makes text safe for a line of the log, where a line of dots would end the event.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.Join(strings.Fields(s), " ")
}

// orUnknown is for the lines without which HTCondor cannot read an event.
func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// generic cuts a text to what HTCondor's reader has room for.
func generic(text string) string {
	const longest = 127
	return strings.ToValidUTF8(text[:min(len(text), longest)], "")
}

func appendAttrs(b []byte, indent string, attrs []Attr) []byte {
	for _, a := range attrs {
		if name, value := cell(a.Name), oneLine(a.Value); name != "" && value != "" && name != "..." {
			b = fmt.Appendf(b, "%s%s = %s\n", indent, name, value)
		}
	}
	return b
}

func (e Event) appendUpdate(b []byte) []byte {
	var a Attr
	if len(e.Attrs) > 0 {
		a = e.Attrs[0]
	}
	name, value := orUnknown(cell(a.Name)), oneLine(a.Value)
	if value == "" {
		value = "undefined"
	}
	if old := oneLine(a.Old); old != "" {
		return fmt.Appendf(b, "Changing job attribute %s from %s to %s", name, old, value)
	}
	return fmt.Appendf(b, "Setting job attribute %s to %s", name, value)
}

func (x *Exit) append(b []byte) []byte {
	if x.Signal == 0 {
		return fmt.Appendf(b, "\t(1) Normal termination (return value %d)\n", x.Code)
	}
	b = fmt.Appendf(b, "\t(0) Abnormal termination (signal %d)\n", x.Signal)
	if x.Core != "" {
		return fmt.Appendf(b, "\t(1) Corefile in: %s\n", oneLine(x.Core))
	}
	return append(b, "\t(0) No core file\n"...)
}

// appendTimes writes the CPU time. What HTCondor calls local, the time spent on the submit side, is
// nothing here.
func (u Usage) appendTimes(b []byte, indent, which string) []byte {
	b = fmt.Appendf(b, "%s%s  -  %s Remote Usage\n", indent, u.times(), which)
	return fmt.Appendf(b, "%s%s  -  %s Local Usage\n", indent, Usage{}.times(), which)
}

func (u Usage) appendBytes(b []byte, which string) []byte {
	b = fmt.Appendf(b, "\t%d  -  %s Bytes Sent By Job\n", u.Sent, which)
	return fmt.Appendf(b, "\t%d  -  %s Bytes Received By Job\n", u.Received, which)
}

func (u Usage) times() string { return "Usr " + clock(u.User) + ", Sys " + clock(u.System) }

// clock writes a duration as days and hours:minutes:seconds.
func clock(d time.Duration) string {
	s := int64(max(0, d) / time.Second)
	return fmt.Sprintf("%d %02d:%02d:%02d", s/86400, s/3600%24, s/60%60, s%60)
}

// cell is a word where blanks tell one from the next.
func cell(s string) string { return strings.ReplaceAll(oneLine(s), " ", "_") }
