package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
)

// The goldens of this file were printed by the tools of HTCondor 23.9.6 from the ads beside them.

// sameAsCondor compares what was printed with what HTCondor printed; blanks at the ends of lines are nothing
// that anybody sees.
func sameAsCondor(t *testing.T, got, golden string) {
	t.Helper()
	want, err := os.ReadFile("testdata/condor/" + golden)
	if err != nil {
		t.Fatal(err)
	}
	if g, w := trimLines(got), trimLines(string(want)); g != w {
		t.Errorf("printed\n%s\nand HTCondor\n%s", g, w)
	}
}

func trimLines(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

func TestJobTablesAsHTCondor(t *testing.T) {
	ads := readAds(t, "testdata/condor/jobs.txt")
	for _, tt := range []struct {
		golden string
		view   *queueView
		states []job.State
	}{
		{"q-nobatch.golden", &queueView{nobatch: true}, []job.State{job.Idle, job.Running, job.Held, job.Suspended}},
		{"q-run.golden", &queueView{run: true}, []job.State{job.Running, job.Suspended}},
		{"q-hold.golden", &queueView{hold: true}, []job.State{job.Held}},
	} {
		t.Run(tt.golden, func(t *testing.T) {
			var out bytes.Buffer
			rows := tt.view.jobsView(time.Unix(1795300250, 0)).to(&out, 0)
			for _, ad := range ads {
				if slices.Contains(tt.states, stateOf(ad)) {
					rows.row(evaluateAll(t, ad, rows.columns()))
				}
			}
			if err := rows.flush(); err != nil {
				t.Fatal(err)
			}
			sameAsCondor(t, out.String(), tt.golden)
		})
	}
}

func TestBatchTableAsHTCondor(t *testing.T) {
	at := time.Unix(1795300000, 0)
	id := func(c, p int) job.ID { return job.ID{Cluster: c, Proc: p} }
	batches := []wire.BatchRow{
		{Owner: "ann", Name: "nightly", First: 1, Last: 3, FirstJob: id(1, 0), LastJob: id(3, 2), Submitted: at, Total: 5, Done: 2, Idle: 2},
		{Owner: "ann", First: 4, Last: 4, FirstJob: id(4, 0), LastJob: id(4, 9), Submitted: at, Total: 10, Done: 8, Running: 1, Suspended: 1},
		{Owner: "ann", First: 5, Last: 5, FirstJob: id(5, 3), LastJob: id(5, 3), Submitted: at, Total: 5, Done: 4},
		{
			Owner: "bob", Name: "a name that is long, much longer than one would ever think is good", First: 100000, Last: 100000,
			FirstJob: id(100000, 12345), LastJob: id(100000, 12345), Submitted: at, Total: 200000, Done: 199999, Held: 1,
		},
	}
	var out bytes.Buffer
	batchTable(batches, 0, true).write(&out)
	sameAsCondor(t, out.String(), "q-batch.golden")
	out.Reset()
	batchTable(nil, 0, true).write(&out)
	sameAsCondor(t, out.String(), "q-batch-none.golden")
}

func TestHistoryAsHTCondor(t *testing.T) {
	var out bytes.Buffer
	rows := historyColumns(true).to(&out, 0)
	for _, ad := range readAds(t, "testdata/condor/history.txt") {
		rows.row(evaluateAll(t, ad, rows.columns()))
	}
	if err := rows.flush(); err != nil {
		t.Fatal(err)
	}
	sameAsCondor(t, out.String(), "history.golden")
}

func TestStatusAsHTCondor(t *testing.T) {
	ads := readAds(t, "testdata/condor/slots.txt")
	for _, tt := range []struct {
		golden string
		s      statusView
	}{
		{"status.golden", statusView{}},
		{"status-total.golden", statusView{total: true}},
		{"status-avail.golden", statusView{avail: true}},
	} {
		t.Run(tt.golden, func(t *testing.T) {
			var out bytes.Buffer
			tt.s.condor, tt.s.output = true, &output{}
			v := tt.s.view()
			exprs := append(v.exprs(), slotKind...)
			for i, e := range exprs {
				exprs[i] = strings.Replace(e, "time()", "1795300000", 1) // when the ads were looked at
			}
			match, err := classad.ParseExpr(tt.s.selection().Constraint)
			var rows [][]string
			for _, ad := range ads {
				if err != nil || match.Eval(ad, nil).IsTrue() {
					rows = append(rows, evaluateAll(t, ad, exprs))
				}
			}
			if err := (&app{out: &out}).printSlots(&tt.s, v, rows); err != nil {
				t.Fatal(err)
			}
			sameAsCondor(t, out.String(), tt.golden)
		})
	}
}

// TestOwnersInWords has status say what the owners' machines mean.
func TestOwnersInWords(t *testing.T) {
	sum := &slotTotals{}
	sum.add("X86_64", "LINUX", "Owner", "Idle")
	sum.add("X86_64", "LINUX", "Claimed", "Suspended")
	sum.add("X86_64", "LINUX", "Claimed", "Suspended")
	sum.add("X86_64", "WINDOWS", "Unclaimed", "Idle")
	var out bytes.Buffer
	if err := sum.print(&app{out: &out}, false, 0, false); err != nil {
		t.Fatal(err)
	}
	want := `
               Total Owner Claimed Unclaimed Preempting  Drain
  X86_64/LINUX     3     1       2         0          0      0
X86_64/WINDOWS     1     0       0         1          0      0
         Total     4     1       2         1          0      0

1 slot is with its owner: somebody uses the machine, or its policy lets no jobs run now
2 slots have a job that is frozen, for their owners or as their users want
`
	if out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", out.String(), want)
	}
}

// TestCompact has a line for each machine. HTCondor's heads are those of condor_status -compact.
func TestCompact(t *testing.T) {
	var rows [][]string
	cols, v := machineTable(true)
	for _, ad := range readAds(t, "testdata/condor/slots.txt") {
		rows = append(rows, evaluateAll(t, ad, v.exprs()))
	}
	tb := v.table(0)
	for _, r := range byMachine(rows, cols) {
		tb.add(v.cells(r)...)
	}
	var out bytes.Buffer
	tb.write(&out)
	want := `
Machine           Platform        Slots Cpus Gpus  TotalGb FreCpu  FreeGb  CpuLoad ST Jobs/Min MaxSlotGb
desk7.example.edu x64/Debian13        1    4    0    15.50      0    0.00     0.98 Cb _            15.50
lab1              x64/WINDOWS1000     3    4    0     8.00      2    4.00     1.20 ** _            40.00
`
	if "\n"+out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", out.String(), want)
	}
}

// TestReasons: a reason names the jobs that it is about, and not those of their batch that run.
func TestReasons(t *testing.T) {
	id := func(cluster, proc int) job.ID { return job.ID{Cluster: cluster, Proc: proc} }
	batch := wire.BatchRow{First: 3, Last: 6, FirstJob: id(3, 0), LastJob: id(6, 0)}
	for _, tt := range []struct {
		name string
		set  func(*wire.BatchRow)
		want string
	}{
		{"one waits", func(b *wire.BatchRow) { b.Running, b.Idle, b.Why, b.FirstIdle = 3, 1, "full", id(6, 0) }, "6.0 waiting: full\n"},
		{"some wait", func(b *wire.BatchRow) { b.Running, b.Idle, b.Why, b.FirstIdle = 1, 3, "full", id(4, 0) }, "4.0 and 2 more waiting: full\n"},
		{"all wait", func(b *wire.BatchRow) { b.Done, b.Idle, b.Why, b.FirstIdle = 1, 3, "full", id(4, 0) }, "3-6 waiting: full\n"},
		{"some wait, some are held", func(b *wire.BatchRow) {
			b.Idle, b.Why, b.FirstIdle, b.Held, b.HeldWhy, b.FirstHeld = 2, "full", id(3, 0), 2, "no", id(5, 0)
		}, "3.0 and 1 more waiting: full\n5.0 and 1 more held: no\n"},
		{"an older matchmaker", func(b *wire.BatchRow) { b.Running, b.Idle, b.Why = 3, 1, "full" }, "3-6 waiting: full\n"},
	} {
		var out bytes.Buffer
		b := batch
		tt.set(&b)
		(&app{out: &out}).printReasons([]wire.BatchRow{b})
		if out.String() != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, out.String(), tt.want)
		}
	}
}
