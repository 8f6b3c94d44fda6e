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

// Parse reads one event of either form, with or without its closing line. Dates that name no zone are
// taken to be in loc, and dates without a year in the current one; nil is the local zone.
func Parse(text string, loc *time.Location) (Event, error) {
	if loc == nil {
		loc = time.Local
	}
	text = strings.TrimLeft(text, "\r\n")
	if len(text) > MaxEvent {
		return Event{}, fmt.Errorf("an event of %d bytes", len(text))
	}
	if strings.HasPrefix(text, "{") {
		return parseJSON(text, loc)
	}
	if isXML(text) {
		return Event{}, errXML
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
	case Submit, ClusterSubmit:
		_, e.Host, _ = strings.Cut(first, "submitted from host:")
		e.Reason, e.UserNotes = plain(lines, 0), plain(lines, 1)
	case Execute:
		e.Host = rest("Job executing on host:")
		for i, l := range lines {
			if s, ok := strings.CutPrefix(strings.TrimSpace(l), "SlotName:"); ok {
				e.Slot = strings.Trim(strings.TrimSpace(s), `"`)
				lines = append(lines[:i:i], lines[i+1:]...)
				break
			}
		}
		e.attrs(lines)
	case ExecutableError:
		fmt.Sscanf(first, "(%d)", &e.Code)
	case Checkpointed:
		e.usage(lines)
	case Evicted:
		e.evicted(first, e.usage(lines))
	case Terminated:
		e.Exit = &Exit{}
		for _, l := range e.usage(lines) {
			e.exit(oneLine(l))
		}
	case ImageSize:
		e.imageSize(rest("Image size of job updated:"), lines)
	case ShadowException:
		e.Reason = plain(lines, 0)
		e.usage(lines[min(1, len(lines)):])
	case Generic:
		e.Reason = oneLine(first)
	case Aborted, Released, FactoryResumed:
		e.Reason = plain(lines, 0)
	case Suspended:
		for i, l := range lines {
			if n, _ := fmt.Sscanf(strings.TrimSpace(l), "Number of processes actually suspended: %d", &e.Processes); n == 1 {
				e.Reason = plain(lines, i+1)
			}
		}
	case Unsuspended:
	case Held:
		if e.Reason = plain(lines, 0); e.Reason == unspecified {
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
		e.attrs(lines)
	case AttributeUpdate:
		e.update(oneLine(first))
	case ClusterRemove:
		e.clusterRemove(lines)
	case FactoryPaused:
		for _, l := range lines {
			l = oneLine(l)
			code, _ := fmt.Sscanf(l, "PauseCode %d", &e.Code)
			hold, _ := fmt.Sscanf(l, "HoldCode %d", &e.Subcode)
			if code+hold == 0 && e.Reason == "" {
				e.Reason = l
			}
		}
	case FileTransfer:
		e.transfer(strings.TrimSpace(first), lines)
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

// evicted reads what usage left over. The code after "evicted." and the word before the reason are what
// the first versions of this package wrote.
func (e *Event) evicted(first string, lines []string) {
	fmt.Sscanf(after("Job was evicted.", first), "Code %d Subcode %d", &e.Code, &e.Subcode)
	for i, l := range lines {
		l = oneLine(l)
		switch {
		case i == 0 && strings.HasPrefix(l, "(0) Job terminated and was requeued"):
			e.Exit = &Exit{}
		case i == 0 && strings.HasPrefix(l, "("):
			e.Checkpointed = strings.HasPrefix(l, "(1)")
		case e.Exit != nil && e.exit(l):
		case e.Reason == "":
			e.Reason = after("Reason:", l)
		}
	}
}

// asReason is the reason of an eviction as it is written: one that could be taken for another line of it has
// the word before it that evicted takes away.
func asReason(s string) string {
	_, heading := newTable(s)
	if heading || timesLine.MatchString(s) || bytesLine.MatchString(s) || strings.HasPrefix(s, "(") ||
		strings.HasPrefix(s, "Job terminated of its own accord") || strings.HasPrefix(s, "Reason:") {
		return "Reason: " + s
	}
	return s
}

// exit reads a line that says how a job ended; it reports whether it was one.
func (e *Event) exit(l string) bool {
	if n, _ := fmt.Sscanf(l, "(1) Normal termination (return value %d)", &e.Exit.Code); n == 1 {
		return true
	}
	if n, _ := fmt.Sscanf(l, "(0) Abnormal termination (signal %d)", &e.Exit.Signal); n == 1 {
		return true
	}
	if core, ok := strings.CutPrefix(l, "(1) Corefile in: "); ok {
		e.Exit.Core = core
		return true
	}
	if when, ok := strings.CutPrefix(l, "Job terminated of its own accord at "); ok {
		when, _, _ = strings.Cut(strings.TrimSuffix(when, "."), " ")
		e.Ended, _ = time.Parse(time.RFC3339, when)
		return true
	}
	return l == "(0) No core file"
}

func (e *Event) imageSize(first string, lines []string) {
	e.MemoryMB, e.ResidentKB = -1, -1
	fmt.Sscanf(first, "%d", &e.ImageKB)
	for _, l := range lines {
		number, label, _ := strings.Cut(oneLine(l), " - ")
		n, err := strconv.ParseInt(number, 10, 64)
		switch {
		case err != nil:
		case strings.HasPrefix(label, "MemoryUsage"):
			e.MemoryMB = n
		case strings.HasPrefix(label, "ResidentSetSize"):
			e.ResidentKB = n
		case strings.HasPrefix(label, "ProportionalSetSize"):
			e.ProportionalKB = n
		}
	}
}

// attrs takes the lines that are "Name = value".
func (e *Event) attrs(lines []string) {
	for _, l := range lines {
		name, value, ok := strings.Cut(oneLine(l), " = ")
		if ok && name != "" && value != "" && !strings.Contains(name, " ") {
			e.Attrs = append(e.Attrs, Attr{Name: name, Value: value})
		}
	}
}

func (e *Event) update(first string) {
	if s, ok := strings.CutPrefix(first, "Changing job attribute "); ok {
		name, s, _ := strings.Cut(s, " from ")
		// Either value may be a string with " to " in it; nothing says which. Most often neither is.
		old, value, _ := strings.Cut(s, " to ")
		e.Attrs = []Attr{{Name: name, Value: value, Old: old}}
		return
	}
	name, value, _ := strings.Cut(after("Setting job attribute", first), " to ")
	e.Attrs = []Attr{{Name: name, Value: value}}
}

func (e *Event) clusterRemove(lines []string) {
	var f Factory
	how, note := plain(lines, 0), plain(lines, 1)
	if n, _ := fmt.Sscanf(how, "Materialized %d jobs from %d items.", &f.Jobs, &f.Items); n == 2 {
		_, how, _ = strings.Cut(how, "items.")
	}
	switch word, number, _ := strings.Cut(strings.TrimSpace(how), " "); word {
	case "Error":
		code, _ := strconv.Atoi(number)
		f.Completion = min(-1, Completion(code))
	case "Complete":
		f.Completion = Complete
	case "Paused":
		f.Completion = Paused
	}
	e.Factory, e.Reason = &f, note
}

func (e *Event) transfer(first string, lines []string) {
	for i, s := range transferSteps {
		if s != "" && first == s {
			e.Transfer = TransferStep(i)
		}
	}
	for _, l := range lines {
		l = strings.TrimSpace(l)
		if s, ok := strings.CutPrefix(l, "Transferring to host: "); ok {
			e.Host = s
		}
		if s, ok := strings.CutPrefix(l, "Seconds spent in queue: "); ok {
			e.Queued = seconds(s)
		}
	}
}

// seconds reads a number of them, as far as a duration has room for it.
func seconds(s string) time.Duration {
	n, _ := strconv.ParseInt(s, 10, 32)
	return time.Duration(max(0, n)) * time.Second
}

var (
	cpuTimes  = regexp.MustCompile(`^\s*Usr (\d+) (\d\d):(\d\d):(\d\d), Sys (\d+) (\d\d):(\d\d):(\d\d)`)
	timesLine = regexp.MustCompile(cpuTimes.String() + `  -  (Run|Total) (Remote|Local) Usage`)
	bytesLine = regexp.MustCompile(`^\s*(\d+)  -  (Run|Total) Bytes (Sent|Received) By Job`)
)

// usage takes the lines with CPU times, bytes and resources, and returns the others.
func (e *Event) usage(lines []string) []string {
	var others []string
	var rows table
	inTable := false
	of := func(which string) *Usage {
		if which == "Total" {
			return &e.Total
		}
		return &e.Run
	}
	for _, l := range lines {
		if t, ok := newTable(l); ok {
			rows, inTable = t, true
			continue
		}
		if inTable {
			if r, ok := rows.row(l); ok {
				e.Resources = append(e.Resources, r)
				continue
			}
		}
		if m := timesLine.FindStringSubmatch(l); m != nil {
			if m[10] == "Remote" {
				u := of(m[9])
				u.User, u.System = duration(m[1:5]), duration(m[5:9])
			}
		} else if m := bytesLine.FindStringSubmatch(l); m != nil {
			n, _ := strconv.ParseInt(m[1], 10, 64)
			if u := of(m[2]); m[3] == "Sent" {
				u.Sent = n
			} else {
				u.Received = n
			}
		} else {
			others = append(others, l)
		}
	}
	return others
}

// duration reads days, hours, minutes and seconds.
func duration(parts []string) time.Duration {
	var n [4]int64
	for i, p := range parts {
		n[i], _ = strconv.ParseInt(p, 10, 32)
	}
	return time.Duration(n[0]*86400+n[1]*3600+n[2]*60+n[3]) * time.Second
}
