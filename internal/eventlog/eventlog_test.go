package eventlog

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"skua/internal/job"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	j12  = job.ID{Cluster: 12, Proc: 3}

	cluster12 = job.ID{Cluster: 12, Proc: -1}
)

// events has one of everything that is written.
var events = []Event{
	{Kind: Submit, Job: j12, Time: noon, Host: "<10.0.0.5:9618>", Reason: "night run"},
	{Kind: Submit, Job: j12, Time: noon, Host: "<10.0.0.5:9618>", Reason: "night run", UserNotes: "for the \"north\" grid"},
	{Kind: FileTransfer, Job: j12, Time: noon, Transfer: InputQueued},
	{Kind: FileTransfer, Job: j12, Time: noon, Transfer: InputStarted, Queued: 7 * time.Second, Host: "<10.0.0.7:9618>"},
	{Kind: FileTransfer, Job: j12, Time: noon, Transfer: InputFinished},
	{Kind: Execute, Job: j12, Time: noon.Add(2 * time.Second), Host: "<10.0.0.7:9618>", Slot: "slot1@desk7"},
	{Kind: Execute, Job: j12, Time: noon, Host: "<10.0.0.7:9618>", Slot: "slot1@desk7", Attrs: []Attr{{Name: "Cpus", Value: "2"}, {Name: "Memory", Value: "1024"}, {Name: "OpSys", Value: `"LINUX"`}}},
	{Kind: ExecutableError, Job: j12, Time: noon},
	{Kind: ExecutableError, Job: j12, Time: noon, Code: 1},
	{Kind: ImageSize, Job: j12, Time: noon, ImageKB: 1048576, MemoryMB: 512, ResidentKB: 524288},
	{Kind: ImageSize, Job: j12, Time: noon, ImageKB: 1048576, MemoryMB: 512, ResidentKB: 524288, ProportionalKB: 520000},
	{Kind: ImageSize, Job: j12, Time: noon, ImageKB: 100, MemoryMB: -1, ResidentKB: -1},
	{Kind: Suspended, Job: j12, Time: noon, Processes: 4, Reason: "the owner of desk7 came back"},
	{Kind: Suspended, Job: j12, Time: noon, Processes: 1},
	{Kind: Unsuspended, Job: j12, Time: noon},
	{Kind: Checkpointed, Job: j12, Time: noon, Run: Usage{User: 90 * time.Second, System: time.Second, Sent: 12 << 20}},
	{Kind: Evicted, Job: j12, Time: noon, Checkpointed: true, Reason: "the owner of desk7 came back", Run: Usage{User: 26*time.Hour + 3*time.Minute + 4*time.Second, Sent: 1, Received: 2}},
	{Kind: Evicted, Job: j12, Time: noon, Resources: []Resource{{Name: "Cpus", Request: "1", Allocated: "1"}, {Name: "Memory (MB)", Usage: "312", Request: "512", Allocated: "512"}}},
	{Kind: Evicted, Job: j12, Time: noon, Exit: &Exit{Code: 3}, Reason: "try 2 of 5: exit code 3 is none of success", Run: Usage{User: time.Second}},
	{Kind: Evicted, Job: j12, Time: noon, Exit: &Exit{Signal: 11}},
	{Kind: Disconnected, Job: j12, Time: noon, Reason: "desk7 does not answer", Slot: "slot1@desk7", Host: "<10.0.0.7:9618>"},
	{Kind: Reconnected, Job: j12, Time: noon, Slot: "slot1@desk7", Host: "<10.0.0.7:9618>"},
	{Kind: ReconnectFailed, Job: j12, Time: noon, Reason: "the lease of 2400 s ran out", Slot: "slot1@desk7"},
	{Kind: Held, Job: j12, Time: noon, Reason: "the output file result.txt is missing; there are: log.txt", Code: 12, Subcode: 2},
	{Kind: Held, Job: j12, Time: noon},
	{Kind: Released, Job: j12, Time: noon, Reason: "by anna"},
	{Kind: Released, Job: j12, Time: noon},
	{Kind: Aborted, Job: j12, Time: noon, Reason: "removed by anna"},
	{Kind: Aborted, Job: j12, Time: noon},
	{Kind: ShadowException, Job: j12, Time: noon, Reason: "the image could not be restored; the job starts again", Run: Usage{Sent: 5, Received: 6}},
	{Kind: Generic, Job: j12, Time: noon, Reason: "the newest image is damaged; the one before it is used"},
	{Kind: AdInformation, Job: j12, Time: noon, Attrs: []Attr{{Name: "JobStatus", Value: "2"}, {Name: "MemoryUsage", Value: "((ResidentSetSize + 1023) / 1024)"}, {Name: "Owner", Value: `"anna"`}, {Name: "Rate", Value: "0.5"}, {Name: "Wants", Value: "true"}}},
	{Kind: AttributeUpdate, Job: j12, Time: noon, Attrs: []Attr{{Name: "JobPrio", Value: "5", Old: "0"}}},
	{Kind: AttributeUpdate, Job: j12, Time: noon, Attrs: []Attr{{Name: "Project", Value: `"north"`}}},
	{Kind: ClusterSubmit, Job: cluster12, Time: noon, Host: "<10.0.0.5:9618>", Reason: "night run", UserNotes: "all of it"},
	{Kind: ClusterRemove, Job: cluster12, Time: noon, Factory: &Factory{Jobs: 1000, Items: 500, Completion: Complete}},
	{Kind: ClusterRemove, Job: cluster12, Time: noon, Factory: &Factory{Jobs: 10, Items: 500}, Reason: "removed by anna"},
	{Kind: ClusterRemove, Job: cluster12, Time: noon, Factory: &Factory{Jobs: 10, Items: 500, Completion: Paused}},
	{Kind: ClusterRemove, Job: cluster12, Time: noon, Factory: &Factory{Completion: -2}},
	{Kind: FactoryPaused, Job: cluster12, Time: noon, Reason: "held by anna", Code: 1, Subcode: 3},
	{Kind: FactoryPaused, Job: cluster12, Time: noon},
	{Kind: FactoryResumed, Job: cluster12, Time: noon, Reason: "released by anna"},
	{Kind: FileTransfer, Job: j12, Time: noon, Transfer: OutputQueued},
	{Kind: FileTransfer, Job: j12, Time: noon, Transfer: OutputStarted, Host: "<10.0.0.7:9618>"},
	{Kind: FileTransfer, Job: j12, Time: noon, Transfer: OutputFinished},
	{
		Kind: Terminated, Job: j12, Time: noon, Exit: &Exit{Code: 7}, Ended: noon.Add(-3 * time.Second),
		Run: Usage{User: time.Minute, Sent: 10, Received: 20}, Total: Usage{User: time.Hour, System: time.Minute, Sent: 30, Received: 40},
		Resources: []Resource{
			{Name: "Cpus", Usage: "0.98", Request: "1", Allocated: "1"},
			{Name: "Disk (KB)", Usage: "150", Request: "1500000000", Allocated: "2000000000"},
			{Name: "GPUs", Allocated: "1", Assigned: `"GPU-0a1b"`},
			{Name: "Memory (MB)", Usage: "5", Request: "128", Allocated: "128"},
			{Name: "TimeExecute (s)", Usage: "61"},
		},
	},
	{Kind: Terminated, Job: job.ID{Cluster: 123456, Proc: 99999}, Time: noon, Exit: &Exit{Signal: 11, Core: "core.17"}, Ended: noon},
	{Kind: Terminated, Job: j12, Time: noon, Exit: &Exit{Signal: 9}},
	{Kind: 14, Job: j12, Time: noon, Lines: []string{"Node 0 executing on host: <10.0.0.7:9618>", "\tSlotName: slot1@desk7"}},
}

func TestEventsAsText(t *testing.T) {
	var b []byte
	for _, e := range events {
		b = e.Append(b)
	}
	golden(t, "events.log", b)
}

func TestEventsAsJSON(t *testing.T) {
	var b []byte
	for _, e := range events {
		b = e.AppendJSON(b)
	}
	golden(t, "events.json", b)
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s has changed; run with -update and read the difference\n%s", path, got)
	}
}

func TestEventsReadBack(t *testing.T) {
	for i, e := range events {
		for form, text := range map[string]string{"text": e.String(), "JSON": string(e.AppendJSON(nil))} {
			got, err := Parse(text, time.UTC)
			if err != nil {
				t.Errorf("%v: %v", e.Kind, err)
				continue
			}
			if !reflect.DeepEqual(got, e) {
				t.Errorf("event %d, %v, read back from %s as\n%+v, want\n%+v\n%s", i, e.Kind, form, got, e, text)
			}
		}
	}
}

// TestEveryKindIsWritten keeps the list above whole.
func TestEveryKindIsWritten(t *testing.T) {
	seen := map[Kind]bool{}
	for _, e := range events {
		seen[e.Kind] = true
	}
	for k := range kinds {
		if !seen[k] {
			t.Errorf("no test writes %v", k)
		}
	}
}

func TestReasonCannotEndAnEvent(t *testing.T) {
	e := Event{Kind: Held, Job: j12, Time: noon, Reason: "first\n...\n000 (001.000.000) second\x00\xff"}
	text := e.String()
	if n := strings.Count(text, "...\n"); n != 1 {
		t.Errorf("%d ends in\n%s", n, text)
	}
	if got, err := Parse(text, time.UTC); err != nil || got.Reason != "first ... 000 (001.000.000) second ?" {
		t.Errorf("reason %q, %v", got.Reason, err)
	}
}

func TestParseWhatOthersWrote(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       Event
	}{
		{
			"old date, no year",
			"001 (7.0.000) 03/14 12:00:00 Job executing on host: <1.2.3.4:5>\n...\n",
			Event{Kind: Execute, Job: job.ID{Cluster: 7}, Time: time.Date(time.Now().UTC().Year(), 3, 14, 12, 0, 0, 0, time.UTC), Host: "<1.2.3.4:5>"},
		},
		{
			"ISO date with zone and fraction, carriage returns",
			"009 (007.000.000) 2026-03-14T12:00:00.123+01:00 Job was aborted by the user.\r\n\tvia condor_rm (by user anna)\r\n...\r\n",
			Event{Kind: Aborted, Job: job.ID{Cluster: 7}, Time: noon.Add(-time.Hour), Reason: "via condor_rm (by user anna)"},
		},
		{
			"more lines than we know",
			"000 (007.000.000) 2026-03-14 12:00:00 Job submitted from host: <1.2.3.4:5?addrs=1.2.3.4-5>\n    DAG Node: A\n    more\n...\n",
			Event{Kind: Submit, Job: job.ID{Cluster: 7}, Time: noon, Host: "<1.2.3.4:5?addrs=1.2.3.4-5>", Reason: "DAG Node: A", UserNotes: "more"},
		},
		{
			"terminated with a tag at the end",
			"005 (007.000.000) 2026-03-14 12:00:00 Job terminated.\n\t(1) Normal termination (return value 3)\n\t\tUsr 0 00:00:01, Sys 0 00:00:02  -  Run Remote Usage\n\n\tJob terminated of its own accord at 2026-03-14T12:00:00Z with exit-code 3.\n...\n",
			Event{Kind: Terminated, Job: job.ID{Cluster: 7}, Time: noon, Exit: &Exit{Code: 3}, Ended: noon, Run: Usage{User: time.Second, System: 2 * time.Second}},
		},
		{
			"two digits of a year",
			"011 (007.000.000) 3/14/26 12:00:00 Job was unsuspended.\n...\n",
			Event{Kind: Unsuspended, Job: job.ID{Cluster: 7}, Time: noon},
		},
		{
			"UTC with microseconds, no closing line",
			"013 (007.000.000) 2026-03-14T12:00:00.123456Z Job was released.\n\tvia condor_release (by user anna)\n",
			Event{Kind: Released, Job: job.ID{Cluster: 7}, Time: noon, Reason: "via condor_release (by user anna)"},
		},
		{
			"version 1: eviction with a code, word before the reason, table that is out of line",
			"004 (007.000.000) 2026-03-14 12:00:00 Job was evicted. Code 21 Subcode 5\n\t(1) Job was checkpointed.\n\t\tUsr 0 00:00:09, Sys 0 00:00:00  -  Run Remote Usage\n" +
				"\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  Run Local Usage\n\t1  -  Run Bytes Sent By Job\n\t2  -  Run Bytes Received By Job\n\tReason: the owner came back\n" +
				"\tPartitionable Resources :    Usage  Request Allocated \n\t   Disk (KB)            : 123456789 123456789 123456789 \n...\n",
			Event{
				Kind: Evicted, Job: job.ID{Cluster: 7}, Time: noon, Code: 21, Subcode: 5, Checkpointed: true, Reason: "the owner came back",
				Run: Usage{User: 9 * time.Second, Sent: 1, Received: 2}, Resources: []Resource{{Name: "Disk (KB)", Usage: "123456789", Request: "123456789", Allocated: "123456789"}},
			},
		},
		{
			"removed, with who ended it",
			"009 (007.000.000) 2026-03-14 12:00:00 Job was aborted.\n\tvia condor_rm (by user anna)\n\n\tJob terminated by itself at 2026-03-14T12:00:00Z (using method 0: OF_ITS_OWN_ACCORD).\n...\n",
			Event{Kind: Aborted, Job: job.ID{Cluster: 7}, Time: noon, Reason: "via condor_rm (by user anna)"},
		},
		{
			"JSON over many lines, with milliseconds",
			"{\n  \"HoldReason\": \"too long\",\n  \"EventTypeNumber\": 12,\n  \"HoldReasonCode\": 3,\n  \"EventTime\": \"2026-03-14T12:00:00.500\",\n  \"Cluster\": 7,\n  \"Proc\": 0\n}\n",
			Event{Kind: Held, Job: job.ID{Cluster: 7}, Time: noon, Reason: "too long", Code: 3},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.text, time.UTC)
			if err != nil {
				t.Fatal(err)
			}
			if !got.Time.Equal(tt.want.Time) {
				t.Errorf("time %v, want %v", got.Time, tt.want.Time)
			}
			got.Time, tt.want.Time = time.Time{}, time.Time{}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestHTCondorsOwn reads what a real HTCondor 23.9.6 wrote, and writes it as HTCondor did.
func TestHTCondorsOwn(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "htcondor.log"))
	if err != nil {
		t.Fatal(err)
	}
	// A line that is about the end of a job before it was removed is not kept.
	text = regexp.MustCompile(`\n\n\tJob terminated by itself at .*`).ReplaceAll(text, nil)
	for rest := text; len(rest) > 0; {
		n, whole, broken := cutEvent(rest)
		if !whole || broken {
			t.Fatalf("no whole event in %.200q", rest)
		}
		e, err := Parse(string(rest[:n]), time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.String(); got != string(rest[:n]) {
			t.Errorf("HTCondor wrote\n%s\nthis package\n%s", rest[:n], got)
		}
		rest = rest[n:]
	}
}

// TestHTCondorsOwnJSON reads the JSON of a real HTCondor, all events of a pool in one file.
func TestHTCondorsOwnJSON(t *testing.T) {
	r, err := OpenReader(filepath.Join("testdata", "htcondor.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	seen := map[Kind]int{}
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if seen[e.Kind]++; e.Kind == Terminated && (e.Exit == nil || e.Ended.IsZero() || len(e.Resources) < 4) {
			t.Errorf("not all was read of %s", e)
		}
	}
	for _, k := range []Kind{Submit, Execute, Evicted, Terminated, ImageSize, Suspended, Held, Released, ClusterSubmit, ClusterRemove} {
		if seen[k] == 0 {
			t.Errorf("no %v was read", k)
		}
	}
}

// FuzzParse checks that what is read is written so that it reads the same.
func FuzzParse(f *testing.F) {
	for _, e := range events {
		f.Add(e.String())
	}
	f.Add("000 (1.0.0) 1/2 03:04:05 x")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text, time.UTC)
		if err != nil {
			return
		}
		e.Time = e.Time.UTC()
		again := e.String()
		if n, whole, broken := cutEvent([]byte(again)); !whole || broken || n != len(again) {
			t.Fatalf("the event ends early:\n%q", again)
		}
		if e.Time.Year() < 0 || e.Time.Year() > 9999 || e.Job.Cluster < 0 || e.Job.Proc < 0 {
			return
		}
		got, err := Parse(again, time.UTC)
		if err != nil {
			t.Fatalf("%q is written as %q: %v", text, again, err)
		}
		if twice := got.String(); twice != again {
			t.Fatalf("%q is written as %q and then as %q", text, again, twice)
		}
	})
}

// FuzzParseJSON is the same for the other form; what is read can be written as text, too.
func FuzzParseJSON(f *testing.F) {
	for _, e := range events {
		f.Add(string(e.AppendJSON(nil)))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !strings.HasPrefix(text, "{") {
			return
		}
		e, err := Parse(text, time.UTC)
		if err != nil {
			return
		}
		e.Time = e.Time.UTC()
		again := e.AppendJSON(nil)
		if n, whole, broken := cutEvent(again); !whole || broken || n != len(again) {
			t.Fatalf("the event ends early:\n%q", again)
		}
		got, err := Parse(string(again), time.UTC)
		if err != nil {
			t.Fatalf("%q is written as %q: %v", text, again, err)
		}
		if twice := got.AppendJSON(nil); string(twice) != string(again) {
			t.Fatalf("%q is written as %q and then as %q", text, again, twice)
		}
		plain := e.Append(nil)
		if n, whole, broken := cutEvent(plain); !whole || broken || n != len(plain) {
			t.Fatalf("as text the event ends early:\n%q", plain)
		}
	})
}
