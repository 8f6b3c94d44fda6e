package submitfile

import (
	"maps"
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
		{"one of the pool's", "runtime_root = pool:debian-12.1", "pool:debian-12.1", ""},
		{"a file that is called so", "initialdir = in\nruntime_root = ./../a.dat", "/home/anna/run/a.dat", ""},
		{"no name", "runtime_root = pool:", "", "job.sub:2:16: runtime_root = pool:: \"\" cannot be the name"},
		{"no such name", "runtime_root = pool:Debian 12", "", "cannot be the name"},
		{"files are not sent, nor is one of the pool's", "should_transfer_files = NO\nruntime_root = pool:debian12", "", "would have to be sent"},
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

// Each of the pool's that is named is there once, with the place where it is named first.
func TestPoolRuntimes(t *testing.T) {
	d, err := Parse("job.sub", []byte(`executable = sim
runtime_root = pool:debian12
queue 2
runtime_root = pool:debian$(Process)
queue 2
runtime_root = a.dat
queue
queue runtime_root from (
  pool:debian12
  pool:alpine
)
`), here())
	if err != nil {
		t.Fatal(err)
	}
	sub, err := d.Expand(42)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"debian12": "job.sub:2:16: runtime_root = pool:debian12",
		"debian2":  "job.sub:4:16: runtime_root = pool:debian2",
		"debian3":  "job.sub:4:16: runtime_root = pool:debian3",
		"alpine":   "job.sub:8: runtime_root = pool:alpine",
	}
	if !maps.Equal(sub.Runtimes, want) {
		t.Errorf("of the pool's are named %q, want %q", sub.Runtimes, want)
	}
}
