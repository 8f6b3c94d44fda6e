package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"skua/internal/diag"
)

func TestEdits(t *testing.T) {
	for _, tt := range []struct {
		line   string // words separated by |
		chosen bool   // by a constraint
		jobs   string
		set    string
	}{
		{"12|RequestMemory|2048", false, "12", "RequestMemory=2048"},
		{"12|13.4|RequestMemory=4GB|JobPrio=-3", false, "12|13.4", "RequestMemory=4096|JobPrio=-3"},
		{"12|RequestDisk|1.5 MB", false, "12", "RequestDisk=1536"},
		{"ann|JobPrio|5", false, "ann", "JobPrio=5"},
		{"JobPrio|5", true, "", "JobPrio=5"},
		{"12|+Night|true|MY.Room|\"B2\"", false, "12", `Night=true|Room="B2"`},
		{"12|Requirements=Memory > 8 && Arch == \"X86_64\"", false, "12", `Requirements=Memory > 8 && Arch == "X86_64"`},
		{"12|Requirements|Memory >= 8", false, "12", "Requirements=Memory >= 8"},
		{"12|Arguments|\"-n '5 6'\"", false, "12", `Arguments="-n '5 6'"`},
		{"12|Environment=\"A=1 B=2\"", false, "12", `Environment="A=1 B=2"`},
	} {
		jobs, edits := splitEdits(strings.Split(tt.line, "|"), tt.chosen)
		set, _, err := parseEdits(edits)
		var got []string
		for _, s := range set {
			got = append(got, fmt.Sprintf("%s=%s", s.Name, s.Expr))
		}
		if err != nil || strings.Join(jobs, "|") != tt.jobs || strings.Join(got, "|") != tt.set {
			t.Errorf("%s: jobs %q, edits %q (%v); want %s and %s", tt.line, jobs, got, err, tt.jobs, tt.set)
		}
	}
	for _, tt := range []struct{ words, want string }{
		{"RequestMemory", "no value for RequestMemory"},
		{"request_memory=2048", "is a command of job descriptions"},
		{"JobPrio=5 +", "is not an expression"},
		{"2x|5", "is not the name of an attribute"},
		{"Env=4GB", "is not an expression"},
	} {
		if _, _, err := parseEdits(strings.Split(tt.words, "|")); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.words, err, tt.want)
		}
	}
	for _, tt := range []struct{ words, what, hint string }{
		{"RequestMemroy=4GB", "RequestMemroy = 4GB is not a size", "did you mean RequestMemory?"},
		{"RequestMemory=4X", "RequestMemory = 4X is not a size", "sizes are written as in RequestMemory=4GB"},
		{"requestdisk=4.5 Giga", "requestdisk = 4.5 Giga is not a size", "sizes are written as in requestdisk=4GB"},
	} {
		var p *diag.Problem
		if _, _, err := parseEdits([]string{tt.words}); !errors.As(err, &p) || p.What != tt.what || p.Hint != tt.hint {
			t.Errorf("%s: %v, %+v", tt.words, err, p)
		}
	}
	if _, notes, _ := parseEdits([]string{"JobBatchName=night"}); len(notes) != 1 {
		t.Errorf("notes on an attribute in the place of a text: %q", notes)
	}
}

func TestSignedWords(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"prio -5 12", "prio --by=-5 12"},
		{"prio +5 12.3 --all", "prio --by=+5 12.3 --all"},
		{"prio -p -5 12", "prio -p -5 12"},
		{"edit 12 JobPrio -5 Rank 1", "edit 12 JobPrio=-5 Rank 1"},
		{"edit 12 -- JobPrio -5", "edit 12 -- JobPrio -5"},
		{"q -5", "q -5"},
		{"", ""},
	} {
		if got := signedWords(strings.Fields(tt.in)); !slices.Equal(got, strings.Fields(tt.want)) {
			t.Errorf("%s becomes %q, want %s", tt.in, got, tt.want)
		}
	}
}

func FuzzEdits(f *testing.F) {
	f.Add("12", "JobPrio", "5")
	f.Add("RequestMemory=4GB", "x", "=")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		_, edits := splitEdits([]string{a, b, c}, false)
		set, _, err := parseEdits(edits)
		for _, s := range set {
			if err == nil && (s.Name == "" || s.Expr == "") {
				t.Errorf("%q gives the assignment %+v", edits, s)
			}
		}
	})
}
