package submitfile

import (
	"errors"
	"strings"
	"testing"

	"skua/internal/diag"
	"skua/internal/fit"
)

func TestBaseline(t *testing.T) {
	const clause = `TARGET.Microarch >= "x86_64-v3"`
	for _, tt := range []struct {
		name, commands string
		want           string // CpuBaseline
		clause         bool   // in Requirements
		note           string // part of what is remarked
		fault          string // part of what is wrong
	}{
		{name: "nothing", commands: ""},
		{name: "a level", commands: "cpu_baseline = x86-64-v3", want: "x86-64-v3", clause: true},
		{name: "in capitals", commands: "cpu_baseline = X86-64-V3", want: "x86-64-v3", clause: true},
		{name: "none, against the pool's", commands: "cpu_baseline = none", want: fit.NoBaseline},
		{name: "no level", commands: "cpu_baseline = haswell", fault: "no level of x86-64"},
		{name: "no level there is", commands: "cpu_baseline = x86-64-v5", fault: "no level of x86-64"},
		{name: "the user's own requirement", commands: "cpu_baseline = x86-64-v3\nrequirements = Microarch == \"x86_64-v3\"", want: "x86-64-v3"},
		{name: "variables that do not matter", commands: "cpu_baseline = x86-64-v3\nenvironment = \"GODEBUG=gctrace=1 A=2\"", want: "x86-64-v3", clause: true},
		{
			name: "variables of the user's own", commands: "cpu_baseline = x86-64-v3\nenvironment = \"OPENBLAS_CORETYPE=SkylakeX\"",
			want: "x86-64-v3", clause: true, note: "cpu_baseline is not kept: the job's environment sets OPENBLAS_CORETYPE, which stays as it is",
		},
		{
			name: "in the old form", commands: "cpu_baseline = x86-64-v3\nenv = OPENBLAS_CORETYPE=SkylakeX;A=1",
			want: "x86-64-v3", clause: true, note: "sets OPENBLAS_CORETYPE",
		},
		{name: "the same values", commands: "cpu_baseline = x86-64-v3\nenvironment = \"OPENBLAS_CORETYPE=Haswell\"", want: "x86-64-v3", clause: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Parse("job.sub", []byte("executable = sim\n"+tt.commands+"\nqueue 2\n"), here())
			if err != nil {
				t.Fatal(err)
			}
			sub, err := d.Expand(42)
			if tt.fault != "" {
				var p *diag.Problem
				if !errors.As(err, &p) || !strings.Contains(p.What, tt.fault) || p.Hint != fit.BaselineHint {
					t.Errorf("it is refused with %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			ad := sub.Procs[1].Ad
			if got, _ := ad.Str(fit.AttrBaseline); got != tt.want {
				t.Errorf("%s is %q, want %q", fit.AttrBaseline, got, tt.want)
			}
			r, _ := ad.Lookup("Requirements")
			if got := strings.Contains(r.String(), clause); got != tt.clause {
				t.Errorf("Requirements are %v", r)
			}
			var notes []string
			for _, n := range sub.Notes {
				if strings.Contains(n, "cpu_baseline") {
					notes = append(notes, n)
				}
			}
			if got := strings.Join(notes, "\n"); tt.note == "" && got != "" || !strings.Contains(got, tt.note) || len(notes) > 1 {
				t.Errorf("remarks are %q, want %q", got, tt.note)
			}
		})
	}
}
