package main

import (
	"testing"
	"time"

	"skua/policy/classad"
)

func TestJobChoice(t *testing.T) {
	ads := readAds(t, "testdata/condor/jobs.txt") // ann's 1.0 and 1.1, bob's 2.0, another's 3.2
	for _, tt := range []struct {
		name     string
		choice   jobChoice
		args     []string
		more     []string
		allUsers bool
		clusters int    // named outside the constraint
		jobs     int    // the same
		want     string // those of ads for which the constraint is true
	}{
		{name: "nothing said", want: "1.0 1.1 2.0 3.2"},
		{name: "ids", args: []string{"1", "3.2"}, allUsers: true, clusters: 1, jobs: 1, want: "1.0 1.1 2.0 3.2"},
		{name: "a user", args: []string{"bob"}, allUsers: true, want: "2.0"},
		{name: "a user with a domain", args: []string{"bob@pool"}, allUsers: true, want: "2.0"},
		{name: "a submitter", choice: jobChoice{submitter: "bob"}, allUsers: true, want: "2.0"},
		{name: "any of ids and users", args: []string{"1.1", "3", "bob"}, allUsers: true, want: "1.1 2.0 3.2"},
		{name: "a constraint", choice: jobChoice{constraint: "JobPrio < 0 || ProcId == 2"}, want: "2.0 3.2"},
		{name: "and more", choice: jobChoice{constraint: "JobPrio < 0 || ProcId == 2"}, more: []string{"JobStatus == 7"}, want: "3.2"},
		{name: "a user and a constraint", choice: jobChoice{constraint: "ProcId == 1 || true"}, args: []string{"ann", "2"}, more: []string{"JobStatus == 1 || JobStatus == 5"}, allUsers: true, want: "1.0 2.0"},
		{name: "everybody", choice: jobChoice{allUsers: true}, allUsers: true, want: "1.0 1.1 2.0 3.2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sel, err := tt.choice.selection(tt.args, tt.more...)
			if err != nil {
				t.Fatal(err)
			}
			if sel.AllUsers != tt.allUsers || len(sel.Clusters) != tt.clusters || len(sel.Jobs) != tt.jobs {
				t.Errorf("selection %+v", sel)
			}
			got := ""
			for _, ad := range ads {
				if sel.Constraint != "" && valueIn(ad, sel.Constraint) != "true" {
					continue
				}
				if got != "" {
					got += " "
				}
				got += valueIn(ad, "ClusterId") + "." + valueIn(ad, "ProcId")
			}
			if got != tt.want {
				t.Errorf("%q lets through %q, want %q", sel.Constraint, got, tt.want)
			}
		})
	}
	for _, bad := range []string{"12x", "-3", "1.2.3", `a"b`, "0"} {
		if sel, err := (&jobChoice{}).selection([]string{bad}); err == nil {
			t.Errorf("%q selects %+v", bad, sel)
		}
	}
	if _, err := (&jobChoice{constraint: "1 +"}).selection(nil); err == nil {
		t.Error("a constraint that is no expression was taken")
	}
}

func TestTimeOf(t *testing.T) {
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC).Unix()
	for text, want := range map[string]int64{
		"2026-11-22": at, "2026-11-22 01:00": at + 3600, "2026-11-22T00:00:09": at + 9, "2026-11-22T01:00:00+01:00": at, "17": 17,
	} {
		if got, err := timeOf(text); err != nil || got != want {
			t.Errorf("%s is %d and %v, want %d", text, got, err, want)
		}
	}
	if _, err := timeOf("yesterday"); err == nil {
		t.Error("yesterday is a time")
	}
}

func TestCompareRows(t *testing.T) {
	ordered := [][]string{{"-1"}, {"2"}, {"1.0E+01"}, {`"a"`}, {`"B"`}, {`"c"`}, {"undefined"}}
	for i := range ordered {
		for j := range ordered {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := compareRows(ordered[i], ordered[j]); got != want {
				t.Errorf("%s and %s compare as %d, want %d", ordered[i], ordered[j], got, want)
			}
		}
	}
}

// FuzzValues has texts in the place of values, which must not make the program end.
func FuzzValues(f *testing.F) {
	f.Add(`"a\"b"`)
	f.Add("1.0E+01")
	f.Add(`{ "a",1 }`)
	f.Add(`"`)
	f.Add("")
	f.Fuzz(func(t *testing.T, value string) {
		textOf(value)
		intOf(value)
		realOf(value)
		unparsed(value)
		if e, err := classad.ParseExpr(value); err == nil && e.Eval(nil, nil).Kind() == classad.String {
			text, _ := e.Eval(nil, nil).Str()
			if got := string(appendPlain(nil, e.Eval(nil, nil).String())); got != text {
				t.Errorf("%s is shown as %q, want %q", value, got, text)
			}
		}
	})
}
