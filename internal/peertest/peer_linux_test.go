package peertest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/internal/eventlog"
)

// patience is how long HTCondor's programs may take for anything.
const patience = 2 * time.Minute

// peer is the root directory with HTCondor in it; the test is skipped without one.
func peer(t *testing.T) string {
	t.Helper()
	root := os.Getenv("SKUA_PEER")
	if root == "" {
		t.Skip("SKUA_PEER names no root directory with HTCondor in it; make test-peer makes one")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can use another root directory")
	}
	if _, err := os.Stat(filepath.Join(root, "usr", "bin", "condor_wait")); err != nil {
		t.Skip("there is no HTCondor: ", err)
	}
	return root
}

// inPeer makes a command that runs in the peer's root, where dir is called /mnt.
func inPeer(ctx context.Context, root, dir string, command ...string) *exec.Cmd {
	const script = `mount --bind "$1" "$1" && mount --bind "$2" "$1/mnt" && mount -t proc proc "$1/proc" &&
		cd / && root=$1 && shift 2 && exec chroot "$root" "$@"`
	cmd := exec.CommandContext(ctx, "unshare", append([]string{
		"--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "--", "sh", "-c", script, "sh", root, dir,
	}, command...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TZ=UTC", "LC_ALL=C.UTF-8"}
	return cmd
}

// ask runs a command in the peer's root to its end.
func ask(t *testing.T, root, dir string, command ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := inPeer(ctx, root, dir, command...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w\n%s", err, exit.Stderr)
		}
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// readLog has HTCondor's Python module read every event of /mnt/job.log that is there now.
const readLog = `
import json, htcondor2, classad2
def plain(v):
    if isinstance(v, classad2.ClassAd): return {k: plain(x) for k, x in v.items()}
    if isinstance(v, (bool, int, float, str)): return v
    return str(v)
for e in htcondor2.JobEventLog("/mnt/job.log").events(stop_after=0):
    print(json.dumps({"type": int(e.type), "cluster": e.cluster, "proc": e.proc, "time": e.timestamp, "ad": {k: plain(e[k]) for k in e.keys()}}))
`

// peerEvent is an event as HTCondor read it.
type peerEvent struct {
	Type, Cluster, Proc int
	Time                int64
	Ad                  map[string]any
}

// peerReads gives the events that HTCondor's Python module finds in dir/job.log.
func peerReads(t *testing.T, root, dir string) []peerEvent {
	t.Helper()
	var all []peerEvent
	for line := range strings.Lines(ask(t, root, dir, "python3", "-c", readLog)) {
		var e peerEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, e)
	}
	return all
}

// events reads a log.
func events(t *testing.T, path string) []eventlog.Event {
	t.Helper()
	r, err := eventlog.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.Location = time.UTC
	var all []eventlog.Event
	for {
		e, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
}

// logs are logs that Skua has written with every kind of event: one of each, and the life of two jobs.
var logs = []string{
	filepath.Join("..", "eventlog", "testdata", "events.log"),
	filepath.Join("..", "..", "submit", "courier", "testdata", "life.log"),
}

// place puts a log where commands in the peer's root find it.
func place(t *testing.T, log string) (dir string, text string) {
	t.Helper()
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "job.log"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, string(data)
}

// TestJobEventLogReadsEveryEvent: HTCondor's Python module reads the same events as we do, and finds the
// attributes in them that our JSON form has.
func TestJobEventLogReadsEveryEvent(t *testing.T) {
	root := peer(t)
	for _, log := range logs {
		dir, _ := place(t, log)
		want, got := events(t, log), peerReads(t, root, dir)
		if len(got) != len(want) {
			t.Errorf("%s: HTCondor reads %d events, there are %d", log, len(got), len(want))
		}
		kinds := map[eventlog.Kind]bool{}
		for i := range min(len(got), len(want)) {
			g, w := got[i], want[i]
			if g.Type != int(w.Kind) || g.Cluster != w.Job.Cluster || g.Proc != w.Job.Proc || g.Time != w.Time.Unix() {
				t.Errorf("%s: event %d is read as %d of %d.%d at %d, it is\n%s", log, i, g.Type, g.Cluster, g.Proc, g.Time, w)
				continue
			}
			kinds[w.Kind] = true
			compareAds(t, w, g.Ad)
		}
		t.Logf("%s: events %d kinds %d", filepath.Base(log), len(got), len(kinds))
	}
}

// lost are attributes that HTCondor's reader does not find although its text has them.
var lost = map[eventlog.Kind][]string{
	eventlog.Evicted:         {"Reason", "Cpus", "CpusUsage", "RequestCpus", "Disk", "DiskUsage", "RequestDisk", "Memory", "MemoryUsage", "RequestMemory", "TimeSlotBusyUsage"},
	eventlog.Suspended:       {"Reason"},
	eventlog.AttributeUpdate: {"Attribute", "Value", "OldValue"}, // found only where there was a value before
	eventlog.ClusterSubmit:   {"LogNotes", "UserNotes"},
}

// compareAds wants the attributes of HTCondor's ad in the event's JSON form, and the other way round.
func compareAds(t *testing.T, e eventlog.Event, theirs map[string]any) {
	t.Helper()
	var ours map[string]any
	if err := json.Unmarshal(e.AppendJSON(nil), &ours); err != nil {
		t.Fatal(err)
	}
	if ours["MyType"] == "FutureEvent" {
		return // known to HTCondor, not to us
	}
	for name, v := range ours {
		if s, ok := v.(string); ok && strings.HasPrefix(s, "/Expr(") {
			delete(ours, name) // an expression, which each prints in its own way
			delete(theirs, name)
		}
	}
	for _, name := range lost[e.Kind] {
		delete(ours, name)
		delete(theirs, name)
	}
	for _, name := range slices.Sorted(maps.Keys(theirs)) {
		if theirs[name] == "Undefined" || name == "ResidentSetSize" && theirs[name] == 0. {
			continue // a blank cell of the table, and a size that is not known
		}
		if a, b := fmt.Sprint(ours[name]), fmt.Sprint(theirs[name]); a != b {
			t.Errorf("%s = %s for HTCondor, %s in our JSON of\n%s", name, b, a, e)
		}
		delete(ours, name)
	}
	for name := range ours {
		t.Errorf("HTCondor finds no %s in\n%s", name, e)
	}
}

// TestCondorWaitEchoesWhatWasWritten: condor_wait reads every event and writes it as text again, which is
// the same text.
func TestCondorWaitEchoesWhatWasWritten(t *testing.T) {
	root := peer(t)
	for _, log := range logs {
		dir, text := place(t, log)
		// It would wait for ever for the jobs that have not ended.
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		out, err := inPeer(ctx, root, dir, "condor_wait", "-allevents", "-echo:ISO_DATE", "-wait", "1", "/mnt/job.log").Output()
		cancel()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		got := strings.SplitAfter(strings.TrimSuffix(string(out), "Time expired.\n"), "...\n")
		want := strings.SplitAfter(text, "...\n")
		if len(got) != len(want) {
			t.Errorf("%s: condor_wait echoes %d events of %d\n%s", log, len(got), len(want), out)
			continue
		}
		for i := range want {
			if head := echoed(want[i]); got[i] != head {
				t.Errorf("%s: condor_wait echoes\n%s of\n%s", log, got[i], head)
			}
		}
	}
}

// echoed is an event without what HTCondor's reader passes over: reason and table of an eviction, the reason
// of a suspension, an attribute that had no value before. An unknown size it takes for none.
func echoed(event string) string {
	lines := strings.SplitAfter(event, "\n")
	var last int // that it does not pass over
	switch {
	case strings.HasPrefix(event, "004"):
		last = slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, "Run Bytes Received") }) + 1
		for last < len(lines) && (strings.HasPrefix(lines[last], "\t(0) ") || strings.HasPrefix(lines[last], "\t(1) ")) {
			last++
		}
		if strings.Contains(event, "was requeued") && last < len(lines) && !strings.HasPrefix(lines[last], "...") &&
			!strings.Contains(lines[last], "Partitionable") {
			last++ // here it does read the reason
		}
	case strings.HasPrefix(event, "010"):
		last = 2
	case strings.HasPrefix(event, "033") && strings.Contains(event, "Setting job attribute"):
		head, _, _ := strings.Cut(event, " attribute ")
		return head + " attribute  to \n...\n"
	case strings.HasPrefix(event, "006") && !strings.Contains(event, "ResidentSetSize"):
		return lines[0] + "\t0  -  ResidentSetSize of job (KB)\n...\n"
	default:
		return event
	}
	return strings.Join(lines[:last], "") + "...\n"
}
