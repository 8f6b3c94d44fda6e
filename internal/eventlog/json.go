package eventlog

import (
	"bytes"
	"encoding/json"
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
