package eventlog

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// MaxEvent is the size of the largest event that is read; what is larger is not an event.
const MaxEvent = 1 << 20

// header matches the beginning of an event as HTCondor has written it since the 1990s: the date with
// or without a year, with blank or T, the time with fractions and zone or without.
var header = regexp.MustCompile(`^(\d{3}) \((-?\d+)\.(-?\d+)\.(-?\d+)\) (\d{4}-\d\d-\d\d|\d{1,2}/\d{1,2}(?:/\d{2,4})?)[ T](\d\d:\d\d:\d\d)(\.\d+)?(Z|[-+]\d\d:?\d\d)? ?(.*)$`)

// Parse reads one event, with or without its closing line. Dates that name no zone are taken to be
// in loc, and dates without a year in the current one; nil is the local zone.
func Parse(text string, loc *time.Location) (Event, error) {
	if loc == nil {
		loc = time.Local
	}
	if len(text) > MaxEvent {
		return Event{}, fmt.Errorf("an event of %d bytes", len(text))
	}
	lines := strings.Split(strings.TrimRight(text, "\r\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\r")
	}
	if n := len(lines) - 1; n > 0 && isEnd(lines[n]) {
		lines = lines[:n]
	}
	m := header.FindStringSubmatch(lines[0])
	if m == nil {
		return Event{}, fmt.Errorf("%.60q does not begin an event", lines[0])
	}
	var e Event
	kind, _ := strconv.Atoi(m[1])
	e.Kind = Kind(kind)
	var err1, err2, err3 error
	e.Job.Cluster, err1 = strconv.Atoi(m[2])
	e.Job.Proc, err2 = strconv.Atoi(m[3])
	e.Time, err3 = parseTime(m[5], m[6], m[8], loc)
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return Event{}, fmt.Errorf("%.60q does not begin an event: %w", lines[0], err)
		}
	}
	e.body(m[9], lines[1:])
	return e, nil
}

func isEnd(line string) bool { return strings.TrimRight(line, " \t\r") == "..." }

func parseTime(date, clock, zone string, loc *time.Location) (time.Time, error) {
	layout := "2006-01-02"
	if month, rest, ok := strings.Cut(date, "/"); ok {
		layout = "1/2"
		switch year := len(rest) - strings.IndexByte(rest, '/') - 1; {
		case !strings.Contains(rest, "/"):
			date = month + "/" + rest + "/" + strconv.Itoa(time.Now().In(loc).Year())
			layout = "1/2/2006"
		case year == 4:
			layout = "1/2/2006"
		default:
			layout = "1/2/06"
		}
	}
	layout, text := layout+" 15:04:05", date+" "+clock
	if zone != "" {
		layout, text = layout+"Z0700", text+strings.Replace(zone, ":", "", 1)
	}
	return time.ParseInLocation(layout, text, loc)
}

// body reads what the kind of event has in its lines. It takes what it recognises: logs of other
// versions have more lines or fewer, and no line of a body is worth losing the event for.
func (e *Event) body(first string, lines []string) {
	rest := func(prefix string) string { return after(prefix, first) }
	switch e.Kind {
	case Submit:
		e.Host = rest("Job submitted from host:")
		e.Reason = plain(lines, 0)
	case Execute:
		e.Host = rest("Job executing on host:")
		for _, l := range lines {
			if s, ok := strings.CutPrefix(strings.TrimSpace(l), "SlotName:"); ok {
				e.Slot = strings.TrimSpace(s)
			}
		}
	case Checkpointed:
		e.usage(lines)
	case Evicted:
		fmt.Sscanf(rest("Job was evicted."), "Code %d Subcode %d", &e.Code, &e.Subcode)
		e.Checkpointed = len(lines) > 0 && strings.HasPrefix(strings.TrimSpace(lines[0]), "(1)")
		for _, l := range e.usage(lines) {
			if s, ok := strings.CutPrefix(strings.TrimSpace(l), "Reason: "); ok {
				e.Reason = oneLine(s)
			}
		}
	case Terminated:
		e.Exit = &Exit{}
		for _, l := range e.usage(lines) {
			l = strings.TrimSpace(l)
			fmt.Sscanf(l, "(1) Normal termination (return value %d)", &e.Exit.Code)
			fmt.Sscanf(l, "(0) Abnormal termination (signal %d)", &e.Exit.Signal)
			if s, ok := strings.CutPrefix(l, "(1) Corefile in: "); ok {
				e.Exit.Core = oneLine(s)
			}
		}
	case ImageSize:
		e.MemoryMB, e.ResidentKB = -1, -1
		fmt.Sscanf(rest("Image size of job updated:"), "%d", &e.ImageKB)
		for _, l := range lines {
			number, label, _ := strings.Cut(oneLine(l), " - ")
			n, err := strconv.ParseInt(number, 10, 64)
			switch {
			case err != nil:
			case strings.HasPrefix(label, "MemoryUsage"):
				e.MemoryMB = n
			case strings.HasPrefix(label, "ResidentSetSize"):
				e.ResidentKB = n
			}
		}
	case ShadowException:
		e.usage(lines)
		e.Reason = plain(lines, 0)
	case Generic:
		e.Reason = oneLine(first)
	case Aborted, Released:
		e.Reason = plain(lines, 0)
	case Suspended:
		for i, l := range lines {
			if n, _ := fmt.Sscanf(strings.TrimSpace(l), "Number of processes actually suspended: %d", &e.Processes); n == 1 {
				e.Reason = plain(lines, i+1)
			}
		}
	case Unsuspended:
	case Held:
		if e.Reason = plain(lines, 0); e.Reason == "Reason unspecified" {
			e.Reason = ""
		}
		for _, l := range lines {
			fmt.Sscanf(strings.TrimSpace(l), "Code %d Subcode %d", &e.Code, &e.Subcode)
		}
	case Disconnected:
		e.Reason = plain(lines, 0)
		e.Slot, e.Host, _ = strings.Cut(after("Trying to reconnect to", plain(lines, 1)), " ")
	case Reconnected:
		e.Slot = rest("Job reconnected to")
		e.Host = after("startd address:", plain(lines, 0))
	case ReconnectFailed:
		e.Reason = plain(lines, 0)
		e.Slot, _, _ = strings.Cut(after("Can not reconnect to", plain(lines, 1)), ",")
	case AdInformation:
		for _, l := range lines {
			if l = oneLine(l); l != "" && l != "..." {
				e.Reason += l + "\n"
			}
		}
	case FileTransfer:
		for i, s := range transferSteps {
			if s != "" && strings.TrimSpace(first) == s {
				e.Transfer = TransferStep(i)
			}
		}
		for _, l := range lines {
			if s, ok := strings.CutPrefix(strings.TrimSpace(l), "Transferring to host: "); ok {
				e.Host = oneLine(s)
			}
		}
	default:
		e.Lines = append([]string{first}, lines...)
	}
	e.Host, e.Slot = oneLine(e.Host), oneLine(e.Slot)
}

// after is what follows prefix in a line, or the whole line if that is worded otherwise.
func after(prefix, line string) string {
	s, _ := strings.CutPrefix(line, prefix)
	return strings.TrimSpace(s)
}

// plain is line i of a body without its indentation, or empty.
func plain(lines []string, i int) string {
	if i >= len(lines) {
		return ""
	}
	return oneLine(lines[i])
}

var (
	cpuLine   = regexp.MustCompile(`^\s*Usr (\d+) (\d\d):(\d\d):(\d\d), Sys (\d+) (\d\d):(\d\d):(\d\d)  -  (Run|Total) Remote Usage`)
	bytesLine = regexp.MustCompile(`^\s*(\d+)  -  (Run|Total) Bytes (Sent|Received) By Job`)
)

// usage takes the lines with CPU times, bytes and resources, and returns the others.
func (e *Event) usage(lines []string) []string {
	var others []string
	table := false
	of := func(which string) *Usage {
		if which == "Total" {
			return &e.Total
		}
		return &e.Run
	}
	for _, l := range lines {
		if m := cpuLine.FindStringSubmatch(l); m != nil {
			u := of(m[9])
			u.User, u.System = duration(m[1:5]), duration(m[5:9])
		} else if m := bytesLine.FindStringSubmatch(l); m != nil {
			n, _ := strconv.ParseInt(m[1], 10, 64)
			if u := of(m[2]); m[3] == "Sent" {
				u.Sent = n
			} else {
				u.Received = n
			}
		} else if strings.HasPrefix(strings.TrimSpace(l), "Partitionable Resources") {
			table = true
		} else if name, values, ok := strings.Cut(l, " : "); table && ok {
			if r, ok := resource(oneLine(name), values); ok {
				e.Resources = append(e.Resources, r)
			}
		} else {
			others = append(others, l)
		}
	}
	return others
}

// resource reads a row of the table, whose usage is blank when it is not known.
func resource(name, values string) (Resource, bool) {
	r := Resource{Name: name}
	f := strings.Fields(oneLine(values))
	if name == "" || name == ":" {
		return r, false
	}
	switch len(f) {
	case 2:
		r.Request, r.Allocated = f[0], f[1]
	case 3, 4:
		r.Usage, r.Request, r.Allocated = f[0], f[1], f[2]
	default:
		return r, false
	}
	return r, true
}

// duration reads days, hours, minutes and seconds.
func duration(parts []string) time.Duration {
	var n [4]int64
	for i, p := range parts {
		n[i], _ = strconv.ParseInt(p, 10, 32)
	}
	return time.Duration(n[0]*86400+n[1]*3600+n[2]*60+n[3]) * time.Second
}
