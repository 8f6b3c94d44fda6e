package eventlog

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"skua/internal/job"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	j12  = job.ID{Cluster: 12, Proc: 3}
)

// events has one of everything that Skua writes.
var events = []Event{
	{Kind: Submit, Job: j12, Time: noon, Host: "<10.0.0.5:9618>", Reason: "night run"},
	{Kind: FileTransfer, Job: j12, Time: noon, Transfer: InputStarted, Host: "<10.0.0.7:9618>"},
	{Kind: FileTransfer, Job: j12, Time: noon, Transfer: InputFinished},
	{Kind: Execute, Job: j12, Time: noon.Add(2 * time.Second), Host: "<10.0.0.7:9618>", Slot: "slot1@desk7"},
	{Kind: ImageSize, Job: j12, Time: noon, ImageKB: 1048576, MemoryMB: 512, ResidentKB: 524288},
	{Kind: ImageSize, Job: j12, Time: noon, ImageKB: 100, MemoryMB: -1, ResidentKB: -1},
	{Kind: Suspended, Job: j12, Time: noon, Processes: 4, Reason: "the owner of desk7 came back"},
	{Kind: Unsuspended, Job: j12, Time: noon},
	{Kind: Checkpointed, Job: j12, Time: noon, Run: Usage{User: 90 * time.Second, System: time.Second, Sent: 12 << 20}},
	{Kind: Evicted, Job: j12, Time: noon, Checkpointed: true, Reason: "the owner of desk7 came back", Run: Usage{User: 26*time.Hour + 3*time.Minute + 4*time.Second, Sent: 1, Received: 2}},
	{Kind: Evicted, Job: j12, Time: noon, Code: 21, Subcode: 5, Resources: []Resource{{"Cpus", "", "1", "1"}, {"Memory (MB)", "312", "512", "512"}}},
	{Kind: Disconnected, Job: j12, Time: noon, Reason: "desk7 does not answer", Slot: "slot1@desk7", Host: "<10.0.0.7:9618>"},
	{Kind: Reconnected, Job: j12, Time: noon, Slot: "slot1@desk7", Host: "<10.0.0.7:9618>"},
	{Kind: ReconnectFailed, Job: j12, Time: noon, Reason: "the lease of 2400 s ran out", Slot: "slot1@desk7"},
	{Kind: Held, Job: j12, Time: noon, Reason: "the output file result.txt is missing; there are: log.txt", Code: 12, Subcode: 2},
	{Kind: Held, Job: j12, Time: noon},
	{Kind: Released, Job: j12, Time: noon, Reason: "by anna"},
	{Kind: Released, Job: j12, Time: noon},
	{Kind: Aborted, Job: j12, Time: noon, Reason: "removed by anna"},
	{Kind: ShadowException, Job: j12, Time: noon, Reason: "the image could not be restored; the job starts again"},
	{Kind: Generic, Job: j12, Time: noon, Reason: "the newest image is damaged; the one before it is used"},
	{Kind: AdInformation, Job: j12, Time: noon, Reason: "Proc = 3\nMemoryUsage = 512\n"},
	{Kind: Terminated, Job: j12, Time: noon, Exit: &Exit{Code: 7}, Run: Usage{User: time.Minute, Sent: 10, Received: 20}, Total: Usage{User: time.Hour, System: time.Minute, Sent: 30, Received: 40}, Resources: []Resource{{"Cpus", "0.98", "1", "1"}}},
	{Kind: Terminated, Job: job.ID{Cluster: 123456, Proc: 99999}, Time: noon, Exit: &Exit{Signal: 11, Core: "core.17"}},
	{Kind: Terminated, Job: j12, Time: noon, Exit: &Exit{Signal: 9}},
	{Kind: 33, Job: j12, Time: noon, Lines: []string{"Changing job attribute JobPrio from 0 to 5", "\tby anna"}},
}

func TestEventsAsText(t *testing.T) {
	var b []byte
	for _, e := range events {
		b = e.Append(b)
	}
	golden := filepath.Join("testdata", "events.log")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != string(want) {
		t.Errorf("the text of the events has changed; run with -update and read the difference\n%s", b)
	}
}

func TestEventsReadBack(t *testing.T) {
	for _, e := range events {
		got, err := Parse(e.String(), time.UTC)
		if err != nil {
			t.Errorf("%v: %v", e.Kind, err)
			continue
		}
		if !reflect.DeepEqual(got, e) {
			t.Errorf("%v read back as\n%+v, want\n%+v\n%s", e.Kind, got, e, e)
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
			Event{Kind: Submit, Job: job.ID{Cluster: 7}, Time: noon, Host: "<1.2.3.4:5?addrs=1.2.3.4-5>", Reason: "DAG Node: A"},
		},
		{
			"terminated with a tag at the end",
			"005 (007.000.000) 2026-03-14 12:00:00 Job terminated.\n\t(1) Normal termination (return value 3)\n\t\tUsr 0 00:00:01, Sys 0 00:00:02  -  Run Remote Usage\n\n\tJob terminated of its own accord at 2026-03-14T12:00:00Z with exit-code 3.\n...\n",
			Event{Kind: Terminated, Job: job.ID{Cluster: 7}, Time: noon, Exit: &Exit{Code: 3}, Run: Usage{User: time.Second, System: 2 * time.Second}},
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
		if n, whole := cutEvent([]byte(again)); !whole || n != len(again) {
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
