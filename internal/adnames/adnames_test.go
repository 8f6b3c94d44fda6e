package adnames

import (
	"slices"
	"strings"
	"testing"

	"skua/policy/classad"
)

func TestDoubts(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"JobStatus == 5 && NumJobStarts > 3", ""},
		{"jobstatus == 5", ""},
		{"JobStaus == 5", "JobStaus is no attribute that is known here; did you mean JobStatus?"},
		{"MY.HoldReasonCdoe == 12", "HoldReasonCdoe is no attribute that is known here; did you mean HoldReasonCode?"},
		{"TARGET.Memroy + KFlosp", "KFlosp is no attribute that is known here; did you mean KFlops?; Memroy is no attribute that is known here; did you mean Memory?"},
		{"KFlosx", ""}, // one's own
		{"Project == \"wing\"", ""},
	} {
		e, err := classad.ParseExpr(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(Doubts(e, map[string]bool{"kflosx": true}, slices.Concat(Job, Machine)), "; "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.text, got, tt.want)
		}
	}
}
