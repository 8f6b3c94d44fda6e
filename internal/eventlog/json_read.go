package eventlog

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// isoTime matches the dates of event ads.
var isoTime = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[-+]\d\d:?\d\d)?$`)

// ad is a JSON object that is read. Names are taken without regard to case, as in any ad.
type ad map[string]any

func parseJSON(text string, loc *time.Location) (Event, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var members map[string]any
	if err := dec.Decode(&members); err != nil {
		return Event{}, fmt.Errorf("%.60q is not an event: %w", text, err)
	}
	a := ad{}
	for name, v := range members {
		a[strings.ToLower(name)] = v
	}
	var e Event
	if _, ok := a.int("EventTypeNumber"); !ok {
		return Event{}, fmt.Errorf("%.60q is not an event: it has no EventTypeNumber", text)
	}
	at := a.text("EventTime")
	m := isoTime.FindStringSubmatch(at)
	if m == nil {
		return Event{}, fmt.Errorf("%.60q is not an event: its EventTime is %.30q", text, at)
	}
	var err error
	if e.Time, err = parseTime(m[1], m[2], m[3], loc); err != nil {
		return Event{}, fmt.Errorf("%.60q is not an event: %w", text, err)
	}
	e.Kind = Kind(a.number("EventTypeNumber"))
	if e.Kind < 0 || e.Kind > highest {
		return Event{}, errors.New("an event of a number that there cannot be")
	}
	e.Job.Cluster, e.Job.Proc = int(a.numberOr("Cluster", -1)), int(a.numberOr("Proc", -1))
	e.fromAd(a, members)
	return e, nil
}

// highest is the last number that three digits have room for.
const highest Kind = 999

// fromAd takes what is particular to the kind; members has the names as they were written.
func (e *Event) fromAd(a ad, members map[string]any) {
	e.Reason = a.text("Reason")
	switch e.Kind {
	case Submit, ClusterSubmit:
		e.Host, e.Reason, e.UserNotes = a.text("SubmitHost"), a.text("LogNotes"), a.text("UserNotes")
	case Execute:
		e.Host, e.Slot = a.text("ExecuteHost"), a.text("SlotName")
		props, _ := a["executeprops"].(map[string]any)
		e.Attrs = attrsOf(props, nil)
	case ExecutableError:
		e.Code = int(a.number("ExecuteErrorType"))
	case Checkpointed:
		e.Run = a.usage("Run", "")
		e.Run.Received = 0
	case Evicted:
		e.Checkpointed = a["checkpointed"] == true
		if a["terminatedandrequeued"] == true {
			e.Exit = a.exit()
		}
		e.Run, e.Resources = a.usage("Run", ""), a.resources(members)
	case Terminated:
		e.Exit, e.Run, e.Total, e.Resources = a.exit(), a.usage("Run", ""), a.usage("Total", "Total"), a.resources(members)
		if t, ok := a["toe"].(map[string]any); ok && t["Who"] == "itself" {
			if n, ok := number(t["When"]); ok {
				e.Ended = time.Unix(n, 0).UTC()
			}
		}
	case ImageSize:
		e.ImageKB, e.ProportionalKB = a.number("Size"), a.number("ProportionalSetSize")
		e.MemoryMB, e.ResidentKB = a.numberOr("MemoryUsage", -1), a.numberOr("ResidentSetSize", -1)
	case ShadowException:
		e.Reason, e.Run.Sent, e.Run.Received = a.text("Message"), a.number("SentBytes"), a.number("ReceivedBytes")
	case Generic:
		e.Reason = a.text("Info")
	case Suspended:
		e.Processes = int(a.number("NumberOfPIDs"))
	case Held:
		e.Reason = a.text("HoldReason")
		e.Code, e.Subcode = int(a.number("HoldReasonCode")), int(a.number("HoldReasonSubCode"))
	case Disconnected:
		e.Reason, e.Slot, e.Host = a.text("DisconnectReason"), a.text("StartdName"), a.text("StartdAddr")
	case Reconnected, ReconnectFailed:
		e.Slot, e.Host = a.text("StartdName"), a.text("StartdAddr")
	case AdInformation:
		e.Reason = ""
		e.Attrs = attrsOf(members, []string{"mytype", "eventtypenumber", "eventtime", "cluster", "proc", "subproc"})
	case AttributeUpdate:
		e.Attrs = []Attr{{Name: a.text("Attribute"), Value: a.text("Value"), Old: a.text("OldValue")}}
	case ClusterRemove:
		e.Reason = a.text("Notes")
		e.Factory = &Factory{int(a.number("NextProcId")), int(a.number("NextRow")), Completion(a.number("Completion"))}
	case FactoryPaused:
		e.Code, e.Subcode = int(a.number("PauseCode")), int(a.number("HoldCode"))
	case FileTransfer:
		e.Transfer, e.Host = TransferStep(a.number("Type")), a.text("Host")
		e.Queued = seconds(strconv.FormatInt(a.number("QueueingDelay"), 10))
	case Aborted, Released, FactoryResumed, Unsuspended:
	default:
		e.Reason = ""
		e.Lines = []string{a.text("EventHead")}
		list, _ := a["eventpayloadlines"].([]any)
		for _, l := range list {
			s, _ := l.(string)
			e.Lines = append(e.Lines, s)
		}
	}
}

func (a ad) text(name string) string {
	s, _ := a[strings.ToLower(name)].(string)
	return oneLine(s)
}

func (a ad) int(name string) (int64, bool) { return number(a[strings.ToLower(name)]) }

func (a ad) number(name string) int64 { return a.numberOr(name, 0) }

func (a ad) numberOr(name string, none int64) int64 {
	if n, ok := a.int(name); ok {
		return n
	}
	return none
}

// number is an integer, or a real cut to one: HTCondor's ads have bytes as reals.
func number(v any) (int64, bool) {
	text, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	if n, err := text.Int64(); err == nil {
		return n, true
	}
	f, err := text.Float64()
	const most = 1 << 62
	return int64(min(max(f, -most), most)), err == nil
}

func (a ad) exit() *Exit {
	if sig, ok := a.int("TerminatedBySignal"); ok {
		return &Exit{Signal: int(sig), Core: a.text("CoreFile")}
	}
	return &Exit{Code: int(a.number("ReturnValue"))}
}

func (a ad) usage(times, bytes string) Usage {
	var u Usage
	if m := cpuTimes.FindStringSubmatch(a.text(times + "RemoteUsage")); m != nil {
		u.User, u.System = duration(m[1:5]), duration(m[5:9])
	}
	u.Sent, u.Received = a.number(bytes+"SentBytes"), a.number(bytes+"ReceivedBytes")
	return u
}

// units are the labels of resources whose name does not say what they are counted in.
var units = map[string]string{
	"disk": "Disk (KB)", "memory": "Memory (MB)", "gpusmemory": "GPUsMemory (MB)",
	"timeexecute": "TimeExecute (s)", "timeslotbusy": "TimeSlotBusy (s)",
}

// resources gathers the table's rows from the attributes, in the order of their names.
func (a ad) resources(members map[string]any) []Resource {
	rows := map[string]*Resource{}
	row := func(name string) *Resource {
		r := rows[strings.ToLower(name)]
		if r == nil {
			r = &Resource{Name: cmp.Or(units[strings.ToLower(name)], name)}
			rows[strings.ToLower(name)] = r
		}
		return r
	}
	for name, v := range members {
		if rest, ok := strings.CutSuffix(name, "Usage"); ok && rest != "" {
			if _, isText := v.(string); !isText { // RunRemoteUsage and its like
				row(rest).Usage = cell(exprOf(v))
			}
		} else if rest, ok := strings.CutPrefix(name, "Request"); ok && rest != "" {
			row(rest).Request = cell(exprOf(v))
		} else if rest, ok := strings.CutPrefix(name, "Assigned"); ok && rest != "" {
			row(rest).Assigned = exprOf(v)
		}
	}
	for name, v := range members {
		if r := rows[strings.ToLower(name)]; r != nil {
			r.Allocated = cell(exprOf(v))
		}
	}
	var all []Resource
	for _, r := range rows {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(x, y Resource) int { return strings.Compare(x.Name, y.Name) })
	return all
}

// attrsOf gives the members of an object, but for some, in the order of their names.
func attrsOf(members map[string]any, but []string) []Attr {
	var all []Attr
	for name, v := range members {
		if !slices.Contains(but, strings.ToLower(name)) {
			all = append(all, Attr{Name: cell(name), Value: exprOf(v)})
		}
	}
	slices.SortFunc(all, func(x, y Attr) int { return strings.Compare(x.Name, y.Name) })
	return all
}

// exprOf is the way back from valueOf.
func exprOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "undefined"
	case string:
		if inner, ok := strings.CutPrefix(v, "/Expr("); ok && strings.HasSuffix(inner, ")/") {
			return oneLine(strings.TrimSuffix(inner, ")/"))
		}
		return `"` + strings.ReplaceAll(oneLine(v), `"`, `\"`) + `"`
	case bool, json.Number:
		return fmt.Sprint(v)
	}
	text, _ := plainJSON(v) // an object or a list, which no event of ours has
	return oneLine(string(text))
}
