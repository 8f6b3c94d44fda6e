package courier

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
	"skua/internal/transfer"
)

// slowFiles is a pool whose file service gives nothing for a while.
type slowFiles struct {
	*script
	until time.Time
}

func (p slowFiles) Fetch(ctx context.Context, _ job.ID, _ string, _ transfer.Progress) ([]string, error) {
	select {
	case <-time.After(time.Until(p.until)):
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// TestStreamsThatAreSlow: however many jobs are held at once, the others wait a minute for their streams, and no longer.
func TestStreamsThatAreSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := aLife(dir)
		s.page = 100
		a, b := job.ID{Cluster: 5}, job.ID{Cluster: 5, Proc: 1}
		said := []job.File{{Name: job.StdoutFile, Size: 5}}
		bodies := []job.Body{
			s.events[1].Body,
			&job.Offered{Job: a, Epoch: 1, Slot: "slot1@desk1", Machine: "desk1"}, &job.Started{Job: a, Epoch: 1},
			&job.Offered{Job: b, Epoch: 1, Slot: "slot1@desk2", Machine: "desk2"}, &job.Started{Job: b, Epoch: 1},
			&job.HeldBack{Job: a, Epoch: 1, Code: 12, Outputs: said}, &job.HeldBack{Job: b, Epoch: 1, Code: 12, Outputs: said},
		}
		s.events = nil
		for i, body := range bodies {
			s.events = append(s.events, job.Event{Seq: uint64(i + 1), At: noon, Body: body})
		}
		begun := time.Now()
		pool := slowFiles{s, begun.Add(time.Hour)}
		var took time.Duration
		s.after = func() { took = time.Since(begun) }
		c, err := New(Config{Pool: pool, Host: "here", Dir: t.TempDir(), Zone: time.UTC})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.Run(ctx)
		}()
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if n := strings.Count(content(t, filepath.Join(dir, "job.log")), "\n012 ("); n != 2 || took != streamsPatience {
			t.Errorf("after %v the log says of %d jobs that they are held, want 2 after %v", took, n, streamsPatience)
		}
		time.Sleep(time.Hour)
		stop()
		<-ended
		for id, r := range c.state.Runs {
			if r.Bring {
				t.Errorf("the streams of job %v are still to be brought", id)
			}
		}
	})
}
