package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTableFits(t *testing.T) {
	rows := func(cutAt int, paint func(int, string) string) string {
		tb := newTable("ID", "SIZE", "CMD")
		tb.right[0], tb.right[1], tb.left[1], tb.least[1], tb.cutAt, tb.paint = true, true, true, 6, cutAt, paint
		tb.add("1.0", "0.1", "sim --seed 1")
		tb.add("12.10", "10.0", "größe")
		var out bytes.Buffer
		tb.write(&out)
		return out.String()
	}
	for _, tt := range []struct {
		cutAt int
		want  string
	}{
		{0, "   ID SIZE   CMD\n  1.0    0.1 sim --seed 1\n12.10   10.0 größe\n"},
		{-1, "   ID SIZE   CMD\n  1.0    0.1 sim --seed 1\n12.10   10.0 größe\n"},
		{16, "   ID SIZE   CMD\n  1.0    0.1 sim\n12.10   10.0 grö\n"},
		{4, "   I\n  1.\n12.1\n"},
	} {
		red := func(int, string) string { return red } // not on what is no terminal
		if got := rows(tt.cutAt, red); got != tt.want {
			t.Errorf("cut at %d:\n%s\nwant\n%s", tt.cutAt, got, tt.want)
		}
	}
}

// TestTableStreams prints more rows than are looked at for the widths.
func TestTableStreams(t *testing.T) {
	tb := newTable("N", "TEXT")
	var out bytes.Buffer
	tb.stream(&out)
	for i := range 3 * enoughRows {
		tb.add(fmt.Sprint(i), "x")
	}
	if err := tb.write(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 3*enoughRows+2 || lines[1] != "0   x" || lines[3*enoughRows] != "2999 x" {
		t.Errorf("%d lines, %q ... %q", len(lines), lines[1], lines[len(lines)-2])
	}
}

func TestTimesAsHTCondor(t *testing.T) {
	for unix, want := range map[int64]string{0: "", 1767225600: " 1/1  00:00", 1795304521: "11/21 23:42", 1772323500: " 3/1  00:05"} {
		if got := moment(unix); got != want {
			t.Errorf("%d is %q, want %q", unix, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		-time.Second: "0+00:00:00", 59*time.Second + 999*time.Millisecond: "0+00:00:59", 49*time.Hour + 61*time.Second: "2+01:01:01",
	} {
		if got := span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestTamer(t *testing.T) {
	var out bytes.Buffer
	w := &tamer{w: &out}
	for _, piece := range []string{"a\x1b[2Jb\tc\n", "\xc2", "\x9b31m größe", "\x7f\r"} {
		if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	if want := "a [2Jb\tc\n\u00a031m größe  "; out.String() != want {
		t.Errorf("%q is written, want %q", out.String(), want)
	}
}

// A command is shown as a person would have typed it, whichever form the job's ad has.
func TestCommandOf(t *testing.T) {
	for _, tt := range []struct{ arguments, args, want string }{
		{`"-c echo' 'run;' 'exit' '3"`, "undefined", "sh -c 'echo run; exit 3'"},
		{`"it''s '' 7"`, "undefined", "sh its '' 7"},
		{`"plain --seed=7"`, "undefined", "sh plain --seed=7"},
		{"undefined", `"old style"`, "sh old style"},
		{"undefined", "undefined", "sh"},
	} {
		if got := commandOf([]string{`"/bin/sh"`, tt.arguments, tt.args}); got != tt.want {
			t.Errorf("%s, %s: %q, want %q", tt.arguments, tt.args, got, tt.want)
		}
	}
}
