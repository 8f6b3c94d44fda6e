package submitfile

import (
	"strings"
	"testing"
)

func TestRuntimeRoot(t *testing.T) {
	for _, tt := range []struct {
		name, commands string
		want           string // RuntimeRoot
		fault          string
	}{
		{"none", "", "", ""},
		{"an archive", "runtime_root = a.dat", "/home/anna/run/a.dat", ""},
		{"beside the job's directory", "initialdir = in\nruntime_root = ../a.dat", "/home/anna/run/a.dat", ""},
		{"one that is not there", "runtime_root = other.tar", "", "runtime_root = other.tar"},
		{"a directory", "runtime_root = in", "", "runtime_root = in is no file"},
		{"a macro of that name", "runtime = 3600\narguments = $(runtime)", "", ""},
		{"files are not sent", "should_transfer_files = NO\nruntime_root = a.dat", "", "would have to be sent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Parse("job.sub", []byte("executable = sim\n"+tt.commands+"\nqueue\n"), here())
			if err != nil {
				t.Fatal(err)
			}
			sub, err := d.Expand(42)
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) {
					t.Errorf("it is refused with %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			ad := sub.Procs[0].Ad
			if got, _ := ad.Str(attrRuntime); got != tt.want {
				t.Errorf("%s is %q, want %q", attrRuntime, got, tt.want)
			}
			r, _ := ad.Lookup("Requirements")
			if got := strings.Contains(r.String(), "TARGET.HasRuntimeRoots"); got != (tt.want != "") {
				t.Errorf("Requirements are %v", r)
			}
			if in, _ := ad.Str("TransferInput"); strings.Contains(in, "a.dat") {
				t.Errorf("it is sent as an input, too: %s", in)
			}
		})
	}
}
