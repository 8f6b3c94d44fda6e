package startd

import (
	"testing"

	"skua/internal/job"
	"skua/internal/wire"
)

// The next job runs in the init of the one before, or, if something of that is left in it which cannot be removed, in one of its
// own.
func TestNextJob(t *testing.T) {
	for _, tt := range []struct {
		name, first string
		same        bool
	}{
		{"an init as new", "true", true},
		{"a connection that is not over", `perl -MIO::Socket::INET -e '$l = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die "listen: $!";
$c = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $l->sockport) or die "connect: $!"; $s = $l->accept; close $c; close $s;'`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const pid = "; echo $$" // the same for the first job of each init
			d := newDesk(t, nil)
			next := d.makeOffer("true"+pid, "")
			d.mu.Lock()
			d.next = &next
			d.mu.Unlock()
			first := d.run(tt.first+pid, "")
			second := d.end(wire.ClaimRef{Claim: next.Claim})
			if first.Result == nil || second.Result == nil {
				t.Fatalf("the reports are %+v and %+v", first, second)
			}
			was, is := d.file(first.Result.Outputs, job.StdoutFile), d.file(second.Result.Outputs, job.StdoutFile)
			if was == "" || is == "" || (was != is) != tt.same {
				t.Errorf("the jobs have the pids %q and %q, in the same init: %v", was, is, tt.same)
			}
		})
	}
}
