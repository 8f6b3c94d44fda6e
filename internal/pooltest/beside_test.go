package pooltest_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
	"skua/internal/pooltest"
	"skua/policy"
)

// In the office a job goes on beside its machine's owner, with less of the machine.
func TestBesideTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pooltest.Start(t, pooltest.Config{Machines: 1, Policy: policy.File{Preset: policy.Office}})
		desk := p.Machines()[0]
		id := p.Submit(t, "sleep 3h")
		p.AwaitState(t, id, job.Running, time.Minute)
		time.Sleep(time.Minute)
		if got := p.Throttled(id); got != 0 {
			t.Errorf("without its owner the job has %v cpus", got)
		}
		desk.Type(30 * time.Minute)
		if got := p.Throttled(id); got != 1 {
			t.Errorf("at the owner's first touch the job has %v cpus, want a quarter of 4", got)
		}
		time.Sleep(32 * time.Minute) // two after the last input: the owner may only think
		if got := p.Throttled(id); got != 1 {
			t.Errorf("while the owner thinks the job has %v cpus", got)
		}
		desk.KillAgent()
		time.Sleep(time.Second)
		desk.StartAgent()
		time.Sleep(10 * time.Minute)
		if got := p.Throttled(id); got != 0 || p.Running(id) == "" {
			t.Errorf("after its owner has gone the job has %v cpus and runs on %q", got, p.Running(id))
		}
		p.AwaitState(t, id, job.Completed, 3*time.Hour)
		if got, want := p.Events(id), []string{"submitted", "started", "ended"}; !slices.Equal(got, want) {
			t.Errorf("events are %v, want %v", got, want)
		}
		desk.Type(time.Hour)
		time.Sleep(time.Minute)
		next := p.Submit(t, "sleep 10m")
		p.Await(t, "it runs", time.Second, time.Minute, func() bool { return p.Running(next) != "" })
		if got := p.Throttled(next); got != 1 {
			t.Errorf("a job that begins beside the owner has %v cpus", got)
		}
		p.AwaitState(t, next, job.Completed, time.Hour)
		p.CheckCompleted(t)
	})
}

// A desk that is bumped in the office slows the job for a moment only.
func TestBumpBesideTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pooltest.Start(t, pooltest.Config{Machines: 1, Policy: policy.File{Preset: policy.Office}})
		id := p.Submit(t, "sleep 1h")
		p.AwaitState(t, id, job.Running, time.Minute)
		time.Sleep(time.Minute)
		p.Machines()[0].Touch()
		if got := p.Throttled(id); got != 1 {
			t.Errorf("at the touch the job has %v cpus", got)
		}
		time.Sleep(3 * time.Second)
		if got := p.Throttled(id); got != 0 {
			t.Errorf("after a bump the job has %v cpus", got)
		}
	})
}

// A job that is throttled stands still while the owner's programs want all processors, and its user is told why.
func TestOfficeWithBusyOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pooltest.Start(t, pooltest.Config{Machines: 1, Policy: policy.File{Preset: policy.Office}})
		desk := p.Machines()[0]
		id := p.Submit(t, "sleep 1h")
		p.AwaitState(t, id, job.Running, time.Minute)
		desk.Compute(4)
		time.Sleep(5 * time.Second)
		if p.Running(id) == "" {
			t.Error("the job stands still though it is not throttled")
		}
		desk.Type(30 * time.Minute)
		for _, now := range []struct {
			owner float64
			runs  bool
		}{{4, false}, {2.9, true}, {3.2, true}, {3.9, false}, {3.2, false}, {0, true}, {3.9, false}} {
			desk.Compute(now.owner)
			time.Sleep(3 * time.Second)
			if runs := p.Running(id) != ""; runs != now.runs {
				t.Errorf("while the owner's programs want %v processors the job runs: %v", now.owner, runs)
			}
		}
		p.AwaitState(t, id, job.Suspended, 10*time.Minute)
		if why := p.Job(id).LastReason; why != "the owner's programs use all processors of the machine" {
			t.Errorf("it is suspended because %q", why)
		}
		p.Check(t)
		p.AwaitState(t, id, job.Completed, 3*time.Hour) // the owner has left long before, and the programs compute on
		p.CheckCompleted(t)
	})
}

// Where jobs cannot be slowed down they stand still for the owner.
func TestOfficeWithoutThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pooltest.Start(t, pooltest.Config{Machines: 1, NoThrottle: true, Policy: policy.File{Preset: policy.Office}})
		desk := p.Machines()[0]
		id := p.Submit(t, "sleep 1h")
		p.AwaitState(t, id, job.Running, time.Minute)
		time.Sleep(time.Minute)
		for range 2 {
			desk.Type(5 * time.Minute)
			p.AwaitState(t, id, job.Suspended, 5*time.Second)
			p.Check(t)
			p.Await(t, "it goes on", time.Second, 11*time.Minute, func() bool { return p.Running(id) != "" })
			p.Check(t)
			time.Sleep(6 * time.Minute)
		}
		p.AwaitState(t, id, job.Completed, 2*time.Hour)
		p.CheckCompleted(t)
	})
}

// With one slot connected to the keyboard the other goes on.
func TestSlotsConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pooltest.Start(t, pooltest.Config{Machines: 1, Slots: 2, Policy: policy.File{Owner: policy.Owner{SlotsConnected: new(1)}}})
		ids := p.SubmitN(t, "sleep 1h", 2)
		running := func() (n int) {
			for _, id := range ids {
				if p.Running(id) != "" {
					n++
				}
			}
			return n
		}
		p.Await(t, "both run", time.Second, time.Minute, func() bool { return running() == 2 })
		time.Sleep(5 * time.Minute)
		p.Machines()[0].Type(3 * time.Minute)
		if n := running(); n != 1 {
			t.Errorf("at the owner's first touch %d jobs run, want one", n)
		}
		time.Sleep(2 * time.Minute)
		if n := running(); n != 1 {
			t.Errorf("while the owner types %d jobs run, want one", n)
		}
		p.Await(t, "both run again", time.Second, 10*time.Minute, func() bool { return running() == 2 })
		for _, id := range ids {
			p.AwaitState(t, id, job.Completed, 2*time.Hour)
		}
		p.CheckCompleted(t)
	})
}

// Before a reboot no job comes, the one that runs leaves, and afterwards both go on.
func TestDrainForReboot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := time.Now().Add(time.Hour)
		reboot := policy.Moment{Minute: at.Hour()*60 + at.Minute()}
		reboot.Days[at.Weekday()] = true
		p := pooltest.Start(t, pooltest.Config{Machines: 1, Policy: policy.File{Drain: policy.Drain{Reboot: &reboot}}})
		id := p.Submit(t, "sleep 2h")
		p.Await(t, "it runs", time.Second, time.Minute, func() bool { return p.Running(id) != "" })
		time.Sleep(35*time.Minute - time.Second)
		if p.Running(id) == "" {
			t.Errorf("25 minutes before the reboot the job does not run: %v", p.Events(id))
		}
		p.Await(t, "it leaves", time.Second, 20*time.Minute, func() bool { return p.State(id) == job.Idle })
		if left := time.Until(at); left < 5*time.Minute {
			t.Errorf("the job left %v before the reboot", left)
		}
		late := p.Submit(t, "sleep 1m")
		time.Sleep(time.Until(at) - time.Second)
		if s := p.State(late); s != job.Idle {
			t.Errorf("a job that came in the drain is %v", s)
		}
		p.AwaitState(t, late, job.Completed, 3*time.Hour)
		p.AwaitState(t, id, job.Completed, 3*time.Hour)
		p.CheckCompleted(t)
		if again := p.RepeatedWork(id); again != 0 {
			t.Errorf("%v of its work were done again", again)
		}
	})
}

// Only those run whom the policy names.
func TestAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pooltest.Start(t, pooltest.Config{Machines: 1, Policy: policy.File{Allow: policy.Allow{Groups: []string{"physics"}}}})
		not := p.Submit(t, "sleep 1m")
		id := p.SubmitAs(t, "sleep 1m", 1, `AcctGroup = "physics"`)[0]
		p.AwaitState(t, id, job.Completed, 10*time.Minute)
		time.Sleep(10 * time.Minute)
		if s := p.State(not); s != job.Idle {
			t.Errorf("a job of somebody else is %v", s)
		}
	})
}

// Another policy comes into force under a job that runs, and does not touch it.
func TestPolicyIsReread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pooltest.Start(t, pooltest.Config{Machines: 1})
		desk := p.Machines()[0]
		id := p.Submit(t, "sleep 2h")
		p.Await(t, "it runs", time.Second, time.Minute, func() bool { return p.Running(id) != "" })
		time.Sleep(10 * time.Minute)
		desk.RefusePolicy(errors.New("policy.toml:3: no good"))
		desk.Type(time.Minute)
		if p.Running(id) != "" {
			t.Error("a policy that was refused is in force")
		}
		p.Await(t, "it goes on", time.Second, 10*time.Minute, func() bool { return p.Running(id) != "" })
		any := 1e6
		desk.SetPolicy(policy.File{Preset: policy.Office, Owner: policy.Owner{BackgroundLoad: &any}})
		time.Sleep(time.Minute)
		desk.Type(time.Minute)
		if got := p.Throttled(id); got != 1 {
			t.Errorf("under the new policy the job has %v cpus beside its owner", got)
		}
		p.AwaitState(t, id, job.Completed, 3*time.Hour)
		if n := len(p.Runs(id)); n != 2 {
			t.Errorf("the job ran in %d stretches, want 2: %v", n, p.Events(id))
		}
		p.CheckCompleted(t)
	})
}
