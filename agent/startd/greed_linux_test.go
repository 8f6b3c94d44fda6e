package startd

import (
	"context"
	"strings"
	"testing"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
)

// A job that takes more than it may is held, with what it may have and what it had.
func TestGreedyJobs(t *testing.T) {
	d := newDesk(t, func(c *Config) {
		c.MaxProcesses = 100
		c.MeasureEach = time.Hour // only a disk that fills makes it look sooner
		facts := c.Facts
		c.Facts = func(ctx context.Context) (*classad.Ad, error) {
			ad, err := facts(ctx)
			ad.SetInt("TotalDisk", 30<<10) // of which the policy grants nine tenths
			return ad, err
		}
	})
	for _, tt := range []struct{ name, script, reason string }{
		{
			"forks without end", "echo up; while :; do (sleep 1000 &); done",
			"the job used more than 100 processes, which is what slot1@desk allows: it had 10",
		},
		{
			"fills the disk", "sleep 0.3; head -c 80000000 /dev/zero > big; sleep 1000",
			"MB of disk for its files, and slot1@desk allows 28.3 MB; request_disk asks for a slot with more",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			done := d.run(tt.script, "")
			if done.Outcome != wire.Hold || done.Code != job.HoldOutOfResources || !strings.Contains(done.Reason, tt.reason) {
				t.Errorf("the report is %+v, want a hold that says %q", done, tt.reason)
			}
		})
	}
}

// What a job reads and writes is in its report.
func TestTrafficIsReported(t *testing.T) {
	d := newDesk(t, nil)
	done := d.run("dd if=/dev/zero of=f bs=1M count=8 conv=fsync 2>/dev/null", "")
	if done.Result == nil || done.Result.Usage.Written < 8<<20 || done.Usage.Written != done.Result.Usage.Written {
		t.Errorf("the report is %+v", done)
	}
}
