package pooltest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
	"skua/internal/pooltest"
	"skua/internal/wire"
)

// A job that fails is run again as often as it may be, from its beginning, and then it has ended.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 2})
		id := p.SubmitAs(t, "sleep 3 5m", 1, "JobMaxRetries = 2\nOnExitRemove = NumJobCompletions > JobMaxRetries || ExitCode =?= 0")[0]
		p.AwaitState(t, id, job.Completed, time.Hour)
		if got, want := p.Events(id), []string{"submitted", "started", "requeued", "started", "requeued", "started", "ended"}; !slices.Equal(got, want) {
			t.Errorf("events are %v, want %v", got, want)
		}
		if j := p.Job(id); j.Result.ExitCode != 3 || j.Completions != 3 {
			t.Errorf("exit code %d after %d runs", j.Result.ExitCode, j.Completions)
		}
		nonces := map[uint64]bool{}
		for _, r := range p.Runs(id) {
			nonces[r.Nonce] = true
		}
		if len(nonces) != 3 {
			t.Errorf("it began %d times", len(nonces))
		}
	})
}

// A job that takes longer than it may is ended where it runs and held; with more time it goes on.
func TestAllowedDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 1})
		id := p.SubmitAs(t, "sleep 1h", 1, "AllowedJobDuration = 600")[0]
		p.AwaitState(t, id, job.Running, time.Minute)
		begun := time.Now()
		p.AwaitState(t, id, job.Held, 15*time.Minute)
		if took := time.Since(begun).Round(time.Minute); took != 10*time.Minute {
			t.Errorf("it was held after %v", took)
		}
		p.Await(t, "it has been ended", time.Second, time.Minute, func() bool { return p.Running(id) == "" })
		if code := p.Job(id).HoldCode; code != job.HoldJobDuration {
			t.Errorf("held with code %d", code)
		}
		p.Edit(t, id, "AllowedJobDuration", "7200")
		p.Act(t, wire.Release, id)
		p.AwaitState(t, id, job.Completed, 2*time.Hour)
		p.CheckCompleted(t)
	})
}

// A deferred job is brought to its machine ahead of its time and begins at the moment.
func TestDeferredJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 1})
		at := time.Now().Add(3 * time.Hour)
		id := p.SubmitAs(t, "sleep 5m", 1, fmt.Sprintf("DeferralTime = %d\nDeferralPrepTime = 120\nDeferralWindow = 60", at.Unix()))[0]
		p.AwaitState(t, id, job.Completed, 4*time.Hour)
		runs := p.Runs(id)
		if first := runs[0].From.Sub(at); first < 0 || first > time.Minute {
			t.Errorf("it began %v after its time", first)
		}
		p.CheckCompleted(t)
	})
}

// A job that leaves by its own policy goes on elsewhere, with its work.
func TestPeriodicVacate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 2})
		id := p.SubmitAs(t, "sleep 1h", 1, "PeriodicVacate = JobStatus == 2 && NumJobStarts == 1 && time() - JobCurrentStartDate > 600")[0]
		p.AwaitState(t, id, job.Completed, 3*time.Hour)
		if got := strings.Join(p.Events(id), " "); got != "submitted started checkpointed evicted started ended" {
			t.Errorf("events are %s", got)
		}
		if again := p.RepeatedWork(id); again > time.Minute {
			t.Errorf("%v of its work were done again", again)
		}
		p.CheckCompleted(t)
	})
}

// A policy that a running job is given is heeded while it runs, also by a matchmaker that was restarted.
func TestEditWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 1})
		id, next := p.Submit(t, "sleep 5h"), p.Submit(t, "sleep 10m")
		p.AwaitState(t, id, job.Running, time.Minute)
		p.Edit(t, id, "PeriodicRemove", "time() - JobCurrentStartDate > 1800")
		time.Sleep(10 * time.Minute)
		p.RestartMatchmaker(time.Minute)
		time.Sleep(10 * time.Minute)
		if state := p.State(id); state != job.Running {
			t.Errorf("the job is %v", state)
		}
		p.AwaitState(t, id, job.Removed, 12*time.Minute)
		p.AwaitState(t, next, job.Completed, time.Hour)
		if on := p.Running(id); on != "" {
			t.Errorf("the removed job runs on %s", on)
		}
	})
}

// Jobs of a cluster that want to be gone by their own word are, and the others are not disturbed.
func TestPeriodicReleaseAndRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 2})
		ids := p.SubmitAs(t, "sleep 1 5m", 3, `OnExitHold = ExitCode != 0 && NumHolds < 2
PeriodicRelease = NumHolds < 3 && time() - EnteredCurrentStatus > 300
PeriodicRemove = ProcId == 2 && NumHolds == 2`)
		for i, want := range []job.State{job.Completed, job.Completed, job.Removed} {
			p.AwaitState(t, ids[i], want, 2*time.Hour)
		}
		if got, want := p.Events(ids[0]), []string{"submitted", "started", "held", "released", "started", "held", "released", "started", "ended"}; !slices.Equal(got, want) {
			t.Errorf("events are %v, want %v", got, want)
		}
	})
}
