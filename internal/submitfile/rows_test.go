package submitfile

import (
	"slices"
	"testing"
)

// TestLaterBuilderWins has attributes that two builders set, of which only one looks at what changes from job to job.
func TestLaterBuilderWins(t *testing.T) {
	for _, tt := range []struct{ lines, attr, want string }{
		{"priority = $(Process)\nleave_in_queue = JobStatus == 4", "LeaveJobInQueue", "JobStatus == 4"},
		{"priority = 1\nleave_in_queue = $(Process) > 5", "LeaveJobInQueue", "0 > 5"},
		{"accounting_group_user = u$(Process)\nnice_user = true\nmax_job_retirement_time = 60", "MaxJobRetirementTime", "60"},
	} {
		s := mustExpand(t, "executable = sim\n"+tt.lines+"\nqueue 2\n", here())
		if e, ok := s.Procs[0].Ad.Flat().Lookup(tt.attr); !ok || e.OldString() != tt.want {
			t.Errorf("%s\n%s = %v, want %s", tt.lines, tt.attr, e, tt.want)
		}
	}
}

// TestOwnAdsHoldWhatVaries: what is the same for all jobs is in the cluster's ad, wherever it came from.
func TestOwnAdsHoldWhatVaries(t *testing.T) {
	s := mustExpand(t, "executable = sim\narguments = $(Process)\noutput = o.$INT(n)\nn = 3 + 0 * $(Process)\nerror = e.$(Process)\nqueue 3\n", here())
	for _, p := range s.Procs {
		if names := p.Ad.Names(); !slices.Equal(names, []string{"ProcId", "Args", "Err"}) {
			t.Errorf("job %v has %q of its own", p.ID, names)
		}
	}
	if out, _ := s.Cluster.Str("Out"); out != "o.3" {
		t.Errorf("the jobs' output is %q", out)
	}
	s = mustExpand(t, "executable = sim\noutput = $(x)\nqueue x from (\n a\n\n b\n)\n", here())
	for i, want := range []string{"a", "/dev/null", "b"} {
		if out, _ := s.Procs[i].Ad.Str("Out"); out != want {
			t.Errorf("job %d writes to %q, want %q", i, out, want)
		}
	}
	if _, ok := s.Procs[0].Ad.Flat().Lookup("TransferOut"); ok {
		t.Error("a job with output has what only one without needs")
	}
}
