package eventlog

import (
	"bytes"
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

// eventTime is how the JSON form writes dates; it is the clock on the wall, as in the text form.
const eventTime = "2006-01-02T15:04:05"

// AppendJSON adds the event as one line of JSON to b. The attributes have the names and types of
// HTCondor's event ads; those that HTCondor's ads leave out of what its text says are added.
func (e Event) AppendJSON(b []byte) []byte {
	o := object{b: append(b, '{')}
	adType := kinds[e.Kind].adType
	if adType == "" {
		adType = "FutureEvent"
	}
	o.put("MyType", adType)
	o.put("EventTypeNumber", int(e.Kind))
	o.put("EventTime", e.Time.Format(eventTime))
	o.put("Cluster", e.Job.Cluster)
	if e.Job.Proc >= 0 {
		o.put("Proc", e.Job.Proc)
	}
	o.put("Subproc", 0)
	e.members(&o)
	return append(o.b, '}', '\n')
}

// members adds what is particular to the kind.
func (e Event) members(o *object) {
	reason := oneLine(e.Reason)
	switch e.Kind {
	case Submit, ClusterSubmit:
		o.putText("SubmitHost", e.Host)
		o.putText("LogNotes", reason)
		o.putText("UserNotes", e.UserNotes)
	case Execute:
		o.putText("ExecuteHost", e.Host)
		o.putText("SlotName", e.Slot)
		if len(e.Attrs) > 0 {
			props := object{b: []byte{'{'}}
			props.putAttrs(e.Attrs)
			o.put("ExecuteProps", json.RawMessage(append(props.b, '}')))
		}
	case ExecutableError:
		o.put("ExecuteErrorType", e.Code)
	case Checkpointed:
		o.putTimes("Run", e.Run)
		o.put("SentBytes", e.Run.Sent)
	case Evicted:
		o.put("Checkpointed", e.Checkpointed)
		o.put("TerminatedAndRequeued", e.Exit != nil)
		o.putExit(e.Exit)
		o.putTimes("Run", e.Run)
		o.put("SentBytes", e.Run.Sent)
		o.put("ReceivedBytes", e.Run.Received)
		o.putText("Reason", reason)
		o.putResources(e.Resources)
	case Terminated:
		exit := e.Exit
		if exit == nil {
			exit = &Exit{}
		}
		o.putExit(exit)
		o.putTimes("Run", e.Run)
		o.putTimes("Total", e.Total)
		o.put("SentBytes", e.Run.Sent)
		o.put("ReceivedBytes", e.Run.Received)
		o.put("TotalSentBytes", e.Total.Sent)
		o.put("TotalReceivedBytes", e.Total.Received)
		o.putResources(e.Resources)
		if !e.Ended.IsZero() {
			t := toe{Who: "itself", How: "OF_ITS_OWN_ACCORD", When: e.Ended.Unix(), ExitBySignal: exit.Signal != 0}
			if t.ExitBySignal {
				t.ExitSignal = &exit.Signal
			} else {
				t.ExitCode = &exit.Code
			}
			o.put("ToE", t)
		}
	case ImageSize:
		o.put("Size", e.ImageKB)
		if e.MemoryMB >= 0 {
			o.put("MemoryUsage", e.MemoryMB)
		}
		if e.ResidentKB >= 0 {
			o.put("ResidentSetSize", e.ResidentKB)
		}
		if e.ProportionalKB > 0 {
			o.put("ProportionalSetSize", e.ProportionalKB)
		}
	case ShadowException:
		o.put("Message", reason)
		o.put("SentBytes", e.Run.Sent)
		o.put("ReceivedBytes", e.Run.Received)
	case Generic:
		o.put("Info", generic(reason))
	case Aborted, Released, FactoryResumed:
		o.putText("Reason", reason)
	case Suspended:
		o.put("NumberOfPIDs", e.Processes)
		o.putText("Reason", reason)
	case Unsuspended:
	case Held:
		o.putText("HoldReason", reason)
		o.put("HoldReasonCode", e.Code)
		o.put("HoldReasonSubCode", e.Subcode)
	case Disconnected:
		o.put("EventDescription", "Job disconnected, attempting to reconnect")
		o.putText("DisconnectReason", reason)
		o.putText("StartdName", e.Slot)
		o.putText("StartdAddr", e.Host)
	case Reconnected:
		o.put("EventDescription", "Job reconnected")
		o.putText("StartdName", e.Slot)
		o.putText("StartdAddr", e.Host)
		o.putText("StarterAddr", e.Host)
	case ReconnectFailed:
		o.put("EventDescription", "Job reconnect impossible: rescheduling job")
		o.putText("StartdName", e.Slot)
		o.putText("Reason", reason)
	case AdInformation:
		o.putAttrs(e.Attrs)
	case AttributeUpdate:
		if len(e.Attrs) > 0 {
			o.put("Attribute", cell(e.Attrs[0].Name))
			o.put("Value", oneLine(e.Attrs[0].Value))
			o.putText("OldValue", e.Attrs[0].Old)
		}
	case ClusterRemove:
		if f := e.Factory; f != nil {
			o.put("NextProcId", f.Jobs)
			o.put("NextRow", f.Items)
			o.put("Completion", int(f.Completion))
		}
		o.putText("Notes", reason)
	case FactoryPaused:
		o.putText("Reason", reason)
		o.put("PauseCode", e.Code)
		o.put("HoldCode", e.Subcode)
	case FileTransfer:
		o.put("Type", int(e.Transfer))
		if e.Queued > 0 {
			o.put("QueueingDelay", int64(e.Queued/time.Second))
		}
		o.putText("Host", e.Host)
	default:
		if len(e.Lines) > 0 {
			o.put("EventHead", e.Lines[0])
			if len(e.Lines) > 1 {
				o.put("EventPayloadLines", e.Lines[1:])
			}
		}
	}
}

// toe is HTCondor's "ticket of execution": who ended the job and how.
type toe struct {
	Who, How     string
	HowCode      int
	When         int64 // Unix time
	ExitBySignal bool
	ExitCode     *int `json:",omitempty"` // one of the two
	ExitSignal   *int `json:",omitempty"`
}

// object is a JSON object that is being written. A name is written once.
type object struct {
	b    []byte
	seen map[string]bool // in lower case
}

func (o *object) put(name string, value any) {
	if o.seen[strings.ToLower(name)] {
		return
	}
	if o.seen == nil {
		o.seen = map[string]bool{}
	}
	o.seen[strings.ToLower(name)] = true
	text, err := plainJSON(value)
	if err != nil {
		return // of the types that are put here none fails
	}
	if len(o.seen) > 1 {
		o.b = append(o.b, ',')
	}
	key, _ := plainJSON(name)
	o.b = append(append(append(o.b, key...), ':'), text...)
}

// plainJSON is JSON in which < and > stand as they are: addresses are full of them.
func plainJSON(value any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(value)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// putText adds a text that is not empty.
func (o *object) putText(name, text string) {
	if text = oneLine(text); text != "" {
		o.put(name, text)
	}
}

func (o *object) putTimes(which string, u Usage) {
	o.put(which+"RemoteUsage", u.times())
	o.put(which+"LocalUsage", Usage{}.times())
}

func (o *object) putExit(x *Exit) {
	o.put("TerminatedNormally", x != nil && x.Signal == 0)
	switch {
	case x == nil:
	case x.Signal != 0:
		o.put("TerminatedBySignal", x.Signal)
		o.putText("CoreFile", x.Core)
	default:
		o.put("ReturnValue", x.Code)
	}
}

func (o *object) putResources(rs []Resource) {
	for _, r := range rs {
		name, _, _ := strings.Cut(oneLine(r.Name), " (")
		if name == "" {
			continue
		}
		for _, v := range []struct{ attr, text string }{
			{name + "Usage", r.Usage}, {"Request" + name, r.Request}, {name, r.Allocated}, {"Assigned" + name, r.Assigned},
		} {
			if text := oneLine(v.text); text != "" {
				o.put(v.attr, valueOf(text))
			}
		}
	}
}

func (o *object) putAttrs(attrs []Attr) {
	for _, a := range attrs {
		if name, value := cell(a.Name), oneLine(a.Value); name != "" && value != "" {
			o.put(name, valueOf(value))
		}
	}
}

// valueOf is what an expression of the old ClassAd syntax is in JSON. HTCondor's way to write what is
// no literal is a string with slashes and Expr around it.
func valueOf(expr string) any {
	switch strings.ToLower(expr) {
	case "true":
		return true
	case "false":
		return false
	case "undefined":
		return nil
	}
	if n, err := strconv.ParseInt(expr, 10, 64); err == nil && strconv.FormatInt(n, 10) == expr {
		return n
	}
	if json.Valid([]byte(expr)) && strings.IndexByte("-0123456789", expr[0]) >= 0 {
		return json.Number(expr)
	}
	if inner := strings.TrimPrefix(expr, `"`); len(inner) < len(expr) && strings.HasSuffix(inner, `"`) {
		inner = strings.TrimSuffix(inner, `"`)
		if !strings.Contains(strings.ReplaceAll(inner, `\"`, ""), `"`) && !strings.HasSuffix(inner, `\`) {
			return strings.ReplaceAll(inner, `\"`, `"`)
		}
	}
	return `/Expr(` + expr + `)/`
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
