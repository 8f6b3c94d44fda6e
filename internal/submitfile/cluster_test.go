package submitfile

import (
	"strings"
	"testing"

	"skua/policy/classad"
)

func TestWithClusterID(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`"out.77.0"`, `strcat("out.", ClusterId, ".0")`},
		{`"a\"77\\"`, `strcat("a\"", ClusterId, "\\")`},
		{`Memory > 77 && Name == "x77"`, `Memory > ClusterId && Name == strcat("x", ClusterId, "")`},
		{`"untouched"`, `"untouched"`},
	} {
		if got := withClusterID(strings.ReplaceAll(tt.in, "77", standIn)); got != tt.want {
			t.Errorf("%s became %s, want %s", tt.in, got, tt.want)
		}
		if _, err := classad.ParseExpr(tt.want); err != nil {
			t.Errorf("%s: %v", tt.want, err)
		}
	}
}

func TestUnnumbered(t *testing.T) {
	d, err := Parse("job.sub", []byte("executable = sim\narguments = $(Cluster) $INT(ClusterId)\noutput = o.$(Cluster).$(Process)\n"+
		"+Half = $(Cluster) / 2\n+Next = $(Process) + 1\nqueue 2\n"), here())
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Expand(Unnumbered)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Cluster.Lookup("ClusterId"); ok {
		t.Error("the cluster has a number")
	}
	s.Cluster.SetInt("ClusterId", 9) // as when it is queued
	ad := s.Procs[1].Ad
	for name, want := range map[string]string{"Args": `"9 9"`, "Out": `"o.9.1"`, "Half": "4", "Next": "2"} {
		if got := ad.Eval(name, nil).OldString(); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
}

// TestNumberIsNotComputedWith has values that would be computed from the number that stands for the
// cluster's.
func TestNumberIsNotComputedWith(t *testing.T) {
	for _, lines := range []string{
		"n = $(Cluster) / 10\narguments = $INT(n)", "arguments = $INT(Cluster,%012d)", "arguments = $REAL(Cluster)",
		"arguments = $SUBSTR(Cluster,2)", "n = $(Cluster) % 2\narguments = $CHOICE(n,a,b)", "n = $(Cluster) + 1\narguments = $EVAL(n)",
	} {
		d, err := Parse("job.sub", []byte("executable = sim\n"+lines+"\nqueue\n"), here())
		if err == nil {
			_, err = d.Expand(Unnumbered)
		}
		if err == nil || !strings.Contains(err.Error(), "no number before the job is queued") {
			t.Errorf("%s: %v", lines, err)
		}
	}
}
