package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skua/internal/why"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares what was printed with a file of testdata/golden, or with -update writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: printed\n%s\nwant\n%s", name, got, want)
	}
}

func TestExplanation(t *testing.T) {
	const now = 1_790_000_000
	for _, tt := range []struct {
		name string
		e    why.Explanation
	}{
		{"why-memory.txt", why.Explanation{
			Job: "12.3", State: "Idle", At: now,
			Waiting: &why.Waiting{
				Machines: 12, Unsuited: 12, Clause: "TARGET.Memory >= RequestMemory", Without: 12,
				Short: &why.Shortage{What: why.Memory, Asked: 16384, Too: 12, Largest: 8000, Try: 7680, Matches: 3},
			},
			Clauses: []why.Clause{
				{Text: `TARGET.Arch == "X86_64"`, Meet: 12},
				{Text: "TARGET.Memory >= RequestMemory", Meet: 0, Alone: 12, Offers: "7.8 GB", Asked: "16 GB"},
			},
			Changes: []why.Change{{Edits: []why.Edit{{Set: "RequestMemory", From: 16384, To: 7680, What: why.Memory}}, Matches: 3}},
			Share:   &why.Share{Place: 2, Of: 3, Effective: 1500, Real: 1.5, Factor: 1000, Slots: 1, Ahead: []why.User{{Name: "ben", Effective: 500, Waiting: 4}}},
		}},
		{"why-held.txt", why.Explanation{
			Job: "12.4", State: "Held", At: now,
			Hold: &why.Hold{Reason: "it used 2.1 GB of memory, and had asked for 1 GB", Code: 34, Since: now - 3600, Try: 3072},
			Last: &why.Lately{Reason: "it used 2.1 GB of memory", Slot: "slot1@desk7"},
		}},
		{"why-suspended.txt", why.Explanation{
			Job: "12.5", State: "Suspended", At: now, Evictions: 2,
			Run:  &why.Run{Slot: "slot1@desk7", Since: now - 7200, Suspended: now - 60, Reason: "the owner of desk7 is back"},
			Last: &why.Lately{Reason: "the owner of desk3 came back", Slot: "slot1@desk3"},
		}},
	} {
		var out bytes.Buffer
		a := &app{out: &out}
		a.printExplanation(&tt.e)
		golden(t, tt.name, out.String())
	}
}

func TestFold(t *testing.T) {
	const text = "     0 TARGET.Memory >= RequestMemory (it asks for 100 TB, the most is 10.6 GB)"
	for _, tt := range []struct {
		width, indent int
		line          string
		want          string
	}{
		{0, 2, text, text},
		{200, 2, text, text},
		{40, leading(text), text, "     0 TARGET.Memory >= RequestMemory|       (it asks for 100 TB, the most is|       10.6 GB)"},
		{30, 2, red + "short" + plain, red + "short" + plain},
		{24, 2, strings.Repeat("x", 30) + " y", strings.Repeat("x", 30) + "|  y"},
		{10, 2, text, text},
	} {
		if got := strings.Join(fold(tt.line, tt.width, tt.indent), "|"); got != tt.want {
			t.Errorf("folded to %d: %q, want %q", tt.width, got, tt.want)
		}
	}
}
