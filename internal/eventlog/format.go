package eventlog

import (
	"fmt"
	"strings"
	"time"
)

// end closes every event.
const end = "...\n"

// timeLayout is how dates are written.
const timeLayout = "2006-01-02 15:04:05"

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
	indented := func() {
		if reason != "" {
			line("\t%s", reason)
		}
	}
	switch e.Kind {
	case Submit:
		line("Job submitted from host: %s", oneLine(e.Host))
		if reason != "" {
			line("    %s", reason)
		}
	case Execute:
		line("Job executing on host: %s", oneLine(e.Host))
		if e.Slot != "" {
			line("\tSlotName: %s", oneLine(e.Slot))
		}
	case Checkpointed:
		line("Job was checkpointed.")
		b = e.Run.appendTimes(b, "\t", "Run")
		line("\t%d  -  Run Bytes Sent By Job For Checkpoint", e.Run.Sent)
	case Evicted:
		if e.Code != 0 {
			line("Job was evicted. Code %d Subcode %d", e.Code, e.Subcode)
		} else {
			line("Job was evicted.")
		}
		if e.Checkpointed {
			line("\t(1) Job was checkpointed.")
		} else {
			line("\t(0) CPU times")
		}
		b = e.Run.appendTimes(b, "\t\t", "Run")
		b = e.Run.appendBytes(b, "Run")
		if reason != "" {
			line("\tReason: %s", reason)
		}
		b = appendResources(b, e.Resources)
	case Terminated:
		line("Job terminated.")
		b = e.Exit.append(b)
		b = e.Run.appendTimes(b, "\t\t", "Run")
		b = e.Total.appendTimes(b, "\t\t", "Total")
		b = e.Run.appendBytes(b, "Run")
		b = e.Total.appendBytes(b, "Total")
		b = appendResources(b, e.Resources)
	case ImageSize:
		line("Image size of job updated: %d", e.ImageKB)
		if e.MemoryMB >= 0 {
			line("\t%d  -  MemoryUsage of job (MB)", e.MemoryMB)
		}
		if e.ResidentKB >= 0 {
			line("\t%d  -  ResidentSetSize of job (KB)", e.ResidentKB)
		}
	case ShadowException:
		line("Shadow exception!")
		line("\t%s", reason)
		b = e.Run.appendBytes(b, "Run")
	case Generic:
		const longest = 127 // HTCondor's reader has no room for more
		line("%s", strings.ToValidUTF8(reason[:min(len(reason), longest)], ""))
	case Aborted:
		line("Job was aborted.")
		indented()
	case Suspended:
		line("Job was suspended.")
		line("\tNumber of processes actually suspended: %d", e.Processes)
		indented()
	case Unsuspended:
		line("Job was unsuspended.")
	case Held:
		if reason == "" {
			reason = "Reason unspecified"
		}
		line("Job was held.")
		line("\t%s", reason)
		line("\tCode %d Subcode %d", e.Code, e.Subcode)
	case Released:
		line("Job was released.")
		indented()
	case Disconnected:
		line("Job disconnected, attempting to reconnect")
		line("    %s", reason)
		line("    Trying to reconnect to %s %s", oneLine(e.Slot), oneLine(e.Host))
	case Reconnected:
		line("Job reconnected to %s", oneLine(e.Slot))
		line("    startd address: %s", oneLine(e.Host))
		line("    starter address: %s", oneLine(e.Host))
	case ReconnectFailed:
		line("Job reconnection failed")
		line("    %s", reason)
		line("    Can not reconnect to %s, rescheduling job", oneLine(e.Slot))
	case AdInformation:
		line("Job ad information event triggered.")
		for l := range strings.Lines(e.Reason) {
			if l = oneLine(l); l != "" && l != "..." {
				line("%s", l)
			}
		}
	case FileTransfer:
		line("%v", e.Transfer)
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

func (x *Exit) append(b []byte) []byte {
	switch {
	case x == nil:
		return append(b, "\t(1) Normal termination (return value 0)\n"...)
	case x.Signal == 0:
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
	b = fmt.Appendf(b, "%sUsr %s, Sys %s  -  %s Remote Usage\n", indent, clock(u.User), clock(u.System), which)
	return fmt.Appendf(b, "%sUsr %s, Sys %s  -  %s Local Usage\n", indent, clock(0), clock(0), which)
}

func (u Usage) appendBytes(b []byte, which string) []byte {
	b = fmt.Appendf(b, "\t%d  -  %s Bytes Sent By Job\n", u.Sent, which)
	return fmt.Appendf(b, "\t%d  -  %s Bytes Received By Job\n", u.Received, which)
}

// clock writes a duration as days and hours:minutes:seconds.
func clock(d time.Duration) string {
	s := int64(max(0, d) / time.Second)
	return fmt.Sprintf("%d %02d:%02d:%02d", s/86400, s/3600%24, s/60%60, s%60)
}

// cell is a value of the table, whose columns are told apart by blanks.
func cell(s string) string { return strings.ReplaceAll(oneLine(s), " ", "_") }

func appendResources(b []byte, rs []Resource) []byte {
	if len(rs) == 0 {
		return b
	}
	b = append(b, "\tPartitionable Resources :    Usage  Request Allocated \n"...)
	for _, r := range rs {
		b = fmt.Appendf(b, "\t   %-20s : %8s %8s %9s \n", oneLine(r.Name), cell(r.Usage), cell(r.Request), cell(r.Allocated))
	}
	return b
}
