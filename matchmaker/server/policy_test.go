package server

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/blob"
	"skua/internal/job"
	"skua/internal/wire"
)

// kinds gives what the log says of a job.
func (p *pool) kinds(id job.ID) string {
	p.t.Helper()
	synctest.Wait()
	page, err := p.queue.Events(p.t.Context(), "", 0, 100_000)
	if err != nil {
		p.t.Fatal(err)
	}
	var kinds []string
	for _, ev := range page.Events {
		if slices.Contains(ev.Body.Jobs(), id) {
			kinds = append(kinds, ev.Body.Kind())
		}
	}
	return strings.Join(kinds, " ")
}

// start has the job that is offered next run.
func (a *agent) start() wire.Offer {
	a.t.Helper()
	a.advertise("Unclaimed")
	o := a.offered()
	a.accept(o)
	a.advertise("Claimed")
	return o
}

func (a *agent) used(o wire.Offer, u job.Usage) wire.Grant {
	a.t.Helper()
	return ask[wire.Grant](a.pool, a.conn, wire.AgentSubject(a.id, wire.VerbRenew), wire.Renew{V: wire.Version, ClaimRef: refOf(o), Usage: u})
}

// executing renews the lease of a job whose program began then; zero for one that has not.
func (a *agent) executing(o wire.Offer, began time.Time) wire.Grant {
	a.t.Helper()
	return ask[wire.Grant](a.pool, a.conn, wire.AgentSubject(a.id, wire.VerbRenew), wire.Renew{V: wire.Version, ClaimRef: refOf(o), Executing: began})
}

func signalled(n int) wire.Done {
	return wire.Done{Outcome: wire.Exited, Result: &job.Result{Signal: n}}
}

// What becomes of a run that ended by itself.
func TestExitPolicy(t *testing.T) {
	const retries = "JobMaxRetries = 2; OnExitRemove = NumJobCompletions > JobMaxRetries || ExitCode =?= 0; "
	for _, tt := range []struct {
		name, attrs string
		ends        []wire.Done
		want        job.State
		says        string
		kinds       string
	}{
		{"no policy", "", []wire.Done{exited(3)}, job.Completed, "", "submitted offered started ended"},
		{"success at once", retries, []wire.Done{exited(0)}, job.Completed, "", "submitted offered started ended"},
		{
			"one retry", retries,
			[]wire.Done{exited(1), exited(0)},
			job.Completed, "it exited with code 1: retry 1 of 2",
			"submitted offered started requeued offered started ended",
		},
		{
			"all retries fail", retries,
			[]wire.Done{exited(1), signalled(11), exited(1)},
			job.Completed, "signal 11 ended it: retry 2 of 2",
			"submitted offered started requeued offered started requeued offered started ended",
		},
		{
			"held on exit", `OnExitHold = ExitCode == 7; OnExitHoldReason = "look at it"; OnExitHoldSubCode = 42; `,
			[]wire.Done{exited(7)},
			job.Held, "look at it", "submitted offered started held",
		},
		{"not held on exit", "OnExitHold = ExitCode == 7; ", []wire.Done{exited(0)}, job.Completed, "", "submitted offered started ended"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inPool(t, func(t *testing.T, p *pool) {
				ann, desk := p.user("u1"), p.agent("desk")
				id := ann.submit(1, tt.attrs)
				for _, end := range tt.ends {
					o := desk.start()
					time.Sleep(time.Minute)
					desk.renew(o, "")
					desk.done(o, end)
				}
				p.wantState(id, tt.want)
				j := p.job(id)
				if !strings.Contains(j.LastReason+j.HoldReason, tt.says) {
					t.Errorf("the job says %q and %q, want %q", j.LastReason, j.HoldReason, tt.says)
				}
				if got := p.kinds(id); got != tt.kinds {
					t.Errorf("logged: %s\nwant:   %s", got, tt.kinds)
				}
				if j.State == job.Held && (j.HoldCode != job.HoldByPolicy || j.HoldSubCode != 42) {
					t.Errorf("held with code %d.%d", j.HoldCode, j.HoldSubCode)
				}
			})
		})
	}
}

// A job that fails at once and is to be repeated for ever must not fill the log.
func TestJobThatFailsForEverRests(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		id := ann.submit(1, "OnExitRemove = false; ")
		desk.advertise("Unclaimed")
		runs := 0
		for deadline := time.Now().Add(10 * time.Minute); time.Now().Before(deadline); {
			select {
			case o := <-desk.offers:
				runs++
				desk.accept(o)
				desk.done(o, exited(1))
				desk.advertise("Unclaimed")
			default:
				time.Sleep(time.Second)
				desk.send(wire.HeartbeatSubject("desk"), wire.Heartbeat{V: wire.Version})
			}
		}
		if runs < 8 || runs > 12 {
			t.Errorf("%d runs in ten minutes", runs)
		}
		p.wantState(id, job.Idle)
	})
}

func TestMemoryRetry(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		id := ann.submit(1, "RequestMemory = 100; RetryRequestMemory = 400; ")
		o := desk.start()
		over := wire.Done{Outcome: wire.Hold, Code: job.HoldOutOfResources, SubCode: 102, Reason: "it used 101 MB of 100", Usage: job.Usage{MaxRSS: 101 << 20}}
		desk.done(o, over)
		p.wantState(id, job.Idle)
		if n, _ := p.job(id).CurrentAd().Int("RequestMemory"); n != 400 {
			t.Errorf("it asks for %d MB now", n)
		}
		if why := p.job(id).LastReason; why != "it used 101 MB of 100; it asks for 400 MB from now on" {
			t.Errorf("it left because %q", why)
		}
		o = desk.start() // and the slot has not been sent to rest
		desk.done(o, over)
		p.wantState(id, job.Held) // 400 was the last
		if j := p.job(id); j.HoldCode != job.HoldOutOfResources || j.HoldSubCode != 102 {
			t.Errorf("held with code %d.%d", j.HoldCode, j.HoldSubCode)
		}
		if got, want := p.kinds(id), "submitted offered started evicted edited offered started held"; got != want {
			t.Errorf("logged: %s", got)
		}
	})
}

func TestPeriodicPolicy(t *testing.T) {
	t.Run("hold by memory, told by the agent only", func(t *testing.T) {
		inPool(t, func(t *testing.T, p *pool) {
			ann, desk := p.user("u1"), p.agent("desk")
			id := ann.submit(1, "PeriodicHold = MemoryUsage > 500; PeriodicHoldSubCode = 7; ")
			o := desk.start()
			desk.used(o, job.Usage{MaxRSS: 500 << 20})
			time.Sleep(policyEach)
			p.wantState(id, job.Running)
			desk.used(o, job.Usage{MaxRSS: 501 << 20}) // too little more for an event
			time.Sleep(policyEach)
			p.wantState(id, job.Held)
			if j := p.job(id); j.HoldCode != job.HoldByPolicy || j.HoldSubCode != 7 || !strings.Contains(j.HoldReason, "periodic_hold") {
				t.Errorf("held with %d.%d, %q", j.HoldCode, j.HoldSubCode, j.HoldReason)
			}
			if mem, _ := p.job(id).CurrentAd().Int("MemoryUsage"); mem != 501 {
				t.Errorf("MemoryUsage is %d", mem)
			}
			if c := desk.control(); c.Do != wire.KillClaim || c.For != wire.ForHold {
				t.Errorf("the agent was told %+v", c)
			}
		})
	})
	t.Run("release after a while", func(t *testing.T) {
		inPool(t, func(t *testing.T, p *pool) {
			ann, desk := p.user("u1"), p.agent("desk")
			id := ann.submit(1, "OnExitHold = ExitCode == 1; PeriodicRelease = NumHolds < 3 && time() - EnteredCurrentStatus > 600; ")
			for want := range 2 {
				desk.done(desk.start(), exited(1))
				p.wantState(id, job.Held)
				desk.advertise("Unclaimed")
				time.Sleep(10 * time.Minute)
				p.wantState(id, job.Held)
				time.Sleep(policyEach)
				if got := p.job(id).Holds; got != want+1 {
					t.Errorf("held %d times", got)
				}
				p.wantState(id, job.Idle)
			}
			desk.done(desk.start(), exited(1))
			time.Sleep(time.Hour)
			p.wantState(id, job.Held)
		})
	})
	t.Run("release by how the run ended", func(t *testing.T) {
		for _, tt := range []struct {
			name string
			end  wire.Done
			want job.State
		}{
			{"the code that is worth another try", exited(75), job.Idle},
			{"another code", exited(1), job.Held},
			{"a signal", signalled(11), job.Held},
		} {
			inPool(t, func(t *testing.T, p *pool) {
				ann, desk := p.user("u1"), p.agent("desk")
				id := ann.submit(1, "OnExitHold = ExitBySignal || ExitCode != 0; PeriodicRelease = ExitCode == 75 && NumJobCompletions < 5; ")
				o := desk.start()
				image := job.Image{Kind: job.FileImage, Digest: blob.Sum([]byte("image"))}
				p.held["u1/"+string(image.Digest)] = true
				if ack := desk.checkpoint(o, wire.Checkpoint{Image: &image}); ack.Fail != nil || ack.Stale {
					t.Fatalf("the image was answered with %+v", ack)
				}
				desk.done(o, tt.end)
				time.Sleep(2 * policyEach)
				p.wantState(id, tt.want)
				ad := p.job(id).CurrentAd()
				signal, _ := ad.Bool("ExitBySignal")
				if runs, _ := ad.Int("NumJobCompletions"); runs != 1 || signal != (tt.end.Result.Signal != 0) {
					t.Errorf("%s: after %d runs, ended by a signal: %v", tt.name, runs, signal)
				}
				if n := len(p.job(id).Images); n != 0 {
					t.Errorf("%s: it goes on from one of %d images of a run that is over", tt.name, n)
				}
			})
		}
	})
	t.Run("a job that its user holds stays held", func(t *testing.T) {
		inPool(t, func(t *testing.T, p *pool) {
			ann := p.user("u1")
			id := ann.submit(1, "PeriodicRelease = true; ")
			ann.act(wire.HoldJob, id)
			time.Sleep(time.Hour)
			p.wantState(id, job.Held)
		})
	})
	t.Run("remove when idle for long", func(t *testing.T) {
		inPool(t, func(t *testing.T, p *pool) {
			ann := p.user("u1")
			id := ann.submit(3, "PeriodicRemove = JobStatus == 1 && time() - QDate > 3600 && ProcId != 1; ")
			time.Sleep(time.Hour)
			p.wantState(id, job.Idle)
			time.Sleep(2 * policyEach)
			p.wantState(id, job.Removed)
			p.wantState(job.ID{Cluster: 1, Proc: 1}, job.Idle)
			p.wantState(job.ID{Cluster: 1, Proc: 2}, job.Removed)
		})
	})
	t.Run("vacate", func(t *testing.T) {
		inPool(t, func(t *testing.T, p *pool) {
			ann, desk := p.user("u1"), p.agent("desk")
			id := ann.submit(1, `PeriodicVacate = JobStatus == 2 && time() - JobCurrentStartDate > 90; PeriodicVacateReason = "move on"; `)
			o := desk.start()
			for range 15 {
				time.Sleep(10 * time.Second)
				desk.renew(o, "")
			}
			if c := desk.control(); c.Do != wire.VacateClaim {
				t.Errorf("the agent was told %+v", c)
			}
			desk.done(o, wire.Done{Outcome: wire.Evicted, Reason: "asked to leave"})
			if why := p.job(id).LastReason; why != "move on" {
				t.Errorf("it left because %q", why)
			}
		})
	})
	t.Run("hold and release that are both true take turns slowly", func(t *testing.T) {
		inPool(t, func(t *testing.T, p *pool) {
			ann := p.user("u1")
			id := ann.submit(1, "PeriodicHold = true; PeriodicRelease = true; ")
			time.Sleep(time.Hour)
			if n := len(strings.Fields(p.kinds(id))); n < 50 || n > 65 {
				t.Errorf("%d events in an hour", n)
			}
		})
	})
	t.Run("policy that came with an edit", func(t *testing.T) {
		inPool(t, func(t *testing.T, p *pool) {
			ann := p.user("u1")
			id := ann.submit(1, "PeriodicHold = false; ")
			ann.set(wire.Edit, wire.Selection{Jobs: []job.ID{id}}, job.Assigned{Name: "PeriodicHold", Expr: "time() - QDate > 600"})
			time.Sleep(9 * time.Minute)
			p.wantState(id, job.Idle)
			time.Sleep(3 * time.Minute)
			p.wantState(id, job.Held)
		})
	})
	t.Run("after a restart", func(t *testing.T) {
		inPool(t, func(t *testing.T, p *pool) {
			ann := p.user("u1")
			id := ann.submit(1, "PeriodicHold = time() - QDate > 600; ")
			p.stop()
			time.Sleep(time.Hour)
			p.run()
			p.wantState(id, job.Held)
		})
	})
}

func TestAllowedDurations(t *testing.T) {
	for _, tt := range []struct {
		attr   string
		begins time.Duration // after the start; until then the inputs come
		code   int
	}{
		{"AllowedJobDuration", 0, job.HoldJobDuration},
		{"AllowedJobDuration", 30 * time.Second, job.HoldJobDuration},
		{"AllowedExecuteDuration", 0, job.HoldExecuteDuration},
		{"AllowedExecuteDuration", 10 * time.Minute, job.HoldExecuteDuration},
	} {
		inPool(t, func(t *testing.T, p *pool) {
			ann, desk := p.user("u1"), p.agent("desk")
			id := ann.submit(1, tt.attr+" = 95; ")
			o := desk.start()
			begins := time.Now().Add(tt.begins)
			ends := time.Now().Add(95 * time.Second)
			if tt.code == job.HoldExecuteDuration {
				ends = begins.Add(95 * time.Second)
			}
			for time.Until(ends) > 10*time.Second {
				var executing time.Time
				if !time.Now().Before(begins) {
					executing = begins
				}
				desk.executing(o, executing)
				time.Sleep(10 * time.Second)
			}
			time.Sleep(time.Until(ends) - time.Second)
			p.wantState(id, job.Running)
			time.Sleep(time.Second)
			p.wantState(id, job.Held) // to the second, not at the next minute
			if j := p.job(id); j.HoldCode != tt.code {
				t.Errorf("%s: held with %d, %q", tt.attr, j.HoldCode, j.HoldReason)
			}
		})
	}
}

func TestDeferral(t *testing.T) {
	deferred := func(in, window time.Duration) string {
		return fmt.Sprintf("DeferralTime = %d; DeferralWindow = %d; DeferralPrepTime = 60; ", time.Now().Add(in).Unix(), int(window.Seconds()))
	}
	t.Run("offered when due", func(t *testing.T) {
		inPool(t, func(t *testing.T, p *pool) {
			ann, desk := p.user("u1"), p.agent("desk")
			desk.advertise("Unclaimed")
			id := ann.submit(1, deferred(time.Hour, time.Minute))
			for range 59 {
				desk.noOffer()
				time.Sleep(time.Minute)
				desk.send(wire.HeartbeatSubject("desk"), wire.Heartbeat{V: wire.Version})
			}
			if o := desk.offered(); o.Job != id {
				t.Errorf("offered %v", o.Job)
			}
		})
	})
	t.Run("held when missed", func(t *testing.T) {
		inPool(t, func(t *testing.T, p *pool) {
			ann := p.user("u1")
			id := ann.submit(1, deferred(time.Hour, time.Minute))
			time.Sleep(time.Hour + time.Minute)
			p.wantState(id, job.Idle)
			time.Sleep(time.Second)
			p.wantState(id, job.Held)
			if code := p.job(id).HoldCode; code != job.HoldMissedDeferral {
				t.Errorf("held with %d", code)
			}
		})
	})
	t.Run("goes on when it has begun", func(t *testing.T) {
		inPool(t, func(t *testing.T, p *pool) {
			ann, desk := p.user("u1"), p.agent("desk")
			// The clauses are submit's.
			id := ann.submit(1, `CronHour = "1"; CronMinute = "0"; DeferralWindow = 60; DeferralPrepTime = 60; ScheddInterval = 300; OnExitRemove = false;
				Requirements = (time() + ScheddInterval) >= (DeferralTime - DeferralPrepTime) && time() < (DeferralTime + DeferralWindow); `)
			for day := range 2 {
				at, _ := p.job(id).CurrentAd().Int("DeferralTime")
				time.Sleep(time.Until(time.Unix(at, 0)) - time.Minute)
				o := desk.start()
				desk.done(o, wire.Done{Outcome: wire.Evicted, Reason: "the owner is back"}) // before its time
				time.Sleep(30 * time.Second)
				o = desk.start()
				time.Sleep(45 * time.Second)
				desk.done(o, wire.Done{Outcome: wire.Evicted, Reason: "the owner is back"}) // after it
				time.Sleep(3 * time.Hour)
				p.wantState(id, job.Idle)
				desk.start()
				time.Sleep(testTerms.Outlives())
				p.wantState(id, job.Idle)
				time.Sleep(longestRest)
				o = desk.start()
				desk.done(o, exited(0))
				desk.advertise("Unclaimed")
				desk.noOffer()
				if next, _ := p.job(id).CurrentAd().Int("DeferralTime"); next != at+24*3600 {
					t.Errorf("day %d: the next run is %d s after the one before", day, next-at)
				}
			}
			time.Sleep(24 * time.Hour)
			p.wantState(id, job.Held) // one that has not begun is still missed
		})
	})
	t.Run("goes on however its run came to its end", func(t *testing.T) {
		for _, tt := range []struct {
			name, attrs string
			end         func(u *user, a *agent, o wire.Offer)
		}{
			{"evicted", "", func(_ *user, a *agent, o wire.Offer) {
				a.done(o, wire.Done{Outcome: wire.Evicted, Reason: "the owner is back"})
			}},
			{"lost", "", func(*user, *agent, wire.Offer) { time.Sleep(testTerms.Outlives()) }},
			{"held by its user", "", func(u *user, _ *agent, o wire.Offer) { u.act(wire.HoldJob, o.Job) }},
			{"held by its machine", "", func(_ *user, a *agent, o wire.Offer) {
				a.done(o, wire.Done{Outcome: wire.Hold, Code: job.HoldTransferInput})
			}},
			{"held when it ended", "OnExitHold = true; ", func(_ *user, a *agent, o wire.Offer) { a.done(o, exited(1)) }},
			{"to be run again", "OnExitRemove = false; ", func(_ *user, a *agent, o wire.Offer) { a.done(o, exited(1)) }},
		} {
			inPool(t, func(t *testing.T, p *pool) {
				ann, desk := p.user("u1"), p.agent("desk")
				id := ann.submit(1, deferred(time.Hour, time.Minute)+tt.attrs+"Requirements = time() < (DeferralTime + DeferralWindow); ")
				time.Sleep(time.Hour - 30*time.Second)
				o := desk.start()
				time.Sleep(45 * time.Second)
				tt.end(ann, desk, o)
				time.Sleep(3 * time.Hour)
				if p.job(id).State == job.Held {
					ann.act(wire.Release, id)
				}
				if j := p.job(id); j.State != job.Idle {
					t.Fatalf("%s: it is %v: %s", tt.name, j.State, j.HoldReason)
				}
				desk.start()
			})
		}
	})
	t.Run("that is no time", func(t *testing.T) {
		for _, tt := range []struct {
			expr string
			want job.State
			code int
		}{
			{`"noon"`, job.Held, job.HoldPolicyUndefined},
			{"Nothing", job.Held, job.HoldPolicyUndefined},
			{"false", job.Held, job.HoldMissedDeferral},
			{"undefined", job.Idle, 0},
		} {
			inPool(t, func(t *testing.T, p *pool) {
				ann, desk := p.user("u1"), p.agent("desk")
				id := ann.submit(1, deferred(time.Hour, time.Minute))
				ann.set(wire.Edit, wire.Selection{Jobs: []job.ID{id}}, job.Assigned{Name: "DeferralTime", Expr: tt.expr})
				p.wantState(id, tt.want)
				if j := p.job(id); j.HoldCode != tt.code {
					t.Errorf("%s: held with %d, %q", tt.expr, j.HoldCode, j.HoldReason)
				}
				if tt.want == job.Idle {
					desk.start()
				}
			})
		}
	})
	t.Run("by a clock that never shows it", func(t *testing.T) {
		inPool(t, func(t *testing.T, p *pool) {
			ann, desk := p.user("u1"), p.agent("desk")
			desk.advertise("Unclaimed")
			id := ann.submit(1, `CronDayOfMonth = "31"; CronMonth = "2"; `)
			if j := p.job(id); j.HoldCode != job.HoldInvalidCron || j.HoldReason != `its cron_... commands name no time: CronDayOfMonth = "31", CronMonth = "2"` {
				t.Errorf("held with %d, %q", j.HoldCode, j.HoldReason)
			}
			ann.set(wire.Edit, wire.Selection{Jobs: []job.ID{id}}, job.Assigned{Name: "CronMonth", Expr: `"3"`})
			ann.act(wire.Release, id)
			p.wantState(id, job.Idle)
			desk.noOffer()
			ann.set(wire.Edit, wire.Selection{Jobs: []job.ID{id}}, job.Assigned{Name: "CronHour", Expr: `"22-2"`})
			p.wantState(id, job.Held)
		})
	})
	t.Run("by the clock, after a hold", func(t *testing.T) {
		for _, runs := range []bool{false, true} {
			inPool(t, func(t *testing.T, p *pool) {
				ann, desk := p.user("u1"), p.agent("desk")
				id := ann.submit(1, `CronMinute = "30"; DeferralPrepTime = 60; OnExitHold = true; `)
				begun := time.Now() // midnight
				time.Sleep(30*time.Minute - 30*time.Second)
				if runs {
					o := desk.start()
					time.Sleep(45 * time.Second)
					desk.done(o, exited(1))
				}
				time.Sleep(2 * time.Hour)
				p.wantState(id, job.Held)
				if e := ann.explain(id); e.Hold == nil || e.Hold.Recurs == runs {
					t.Errorf("it is explained with %+v", e.Hold)
				}
				ann.act(wire.Release, id)
				p.wantState(id, job.Idle)
				at, _ := p.job(id).CurrentAd().Int("DeferralTime")
				want := begun.Add(2*time.Hour + 30*time.Minute)
				if runs { // for it is half past two already
					want = want.Add(time.Hour)
				}
				if at != want.Unix() {
					t.Errorf("released, it is to run at %v, want %v", time.Unix(at, 0).UTC(), want)
				}
				time.Sleep(time.Until(time.Unix(at, 0)) - 30*time.Second)
				desk.start()
				time.Sleep(45 * time.Second)
				p.wantState(id, job.Running)
			})
		}
	})
	t.Run("by the clock, again and again", func(t *testing.T) {
		inPool(t, func(t *testing.T, p *pool) {
			ann, desk := p.user("u1"), p.agent("desk")
			id := ann.submit(1, `CronMinute = "30"; DeferralWindow = 60; DeferralPrepTime = 60; OnExitRemove = false; `)
			begun := time.Now() // midnight, 1 January 2000
			for n := range 3 {
				at, _ := p.job(id).CurrentAd().Int("DeferralTime")
				if want := begun.Add(time.Duration(n)*time.Hour + 30*time.Minute); at != want.Unix() {
					t.Fatalf("run %d is to be at %v, want %v", n, time.Unix(at, 0), want)
				}
				time.Sleep(time.Until(time.Unix(at, 0)) - time.Minute)
				o := desk.start()
				time.Sleep(40 * time.Second)
				desk.done(o, exited(0))
			}
			if got, want := p.kinds(id), "submitted edited offered started requeued edited offered started requeued edited offered started requeued edited"; got != want {
				t.Errorf("logged: %s", got)
			}
			ann.set(wire.Edit, wire.Selection{Jobs: []job.ID{id}}, job.Assigned{Name: "CronMinute", Expr: `"50"`})
			if at, _ := p.job(id).CurrentAd().Int("DeferralTime"); at != begun.Add(2*time.Hour+50*time.Minute).Unix() {
				t.Errorf("by its new clock it is to run at %v", time.Unix(at, 0).UTC())
			}
		})
	})
}

func TestNoopJob(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(2, "IsNoopJob = ProcId == 0; NoopJobExitCode = 5; ")
		if o := desk.offered(); o.Job.Proc != 1 {
			t.Errorf("offered %v", o.Job)
		}
		p.wantState(id, job.Completed)
		if j := p.job(id); j.Result.ExitCode != 5 || j.Starts != 0 {
			t.Errorf("exit code %d after %d starts", j.Result.ExitCode, j.Starts)
		}
	})
}

// A job that is held for what its run left undone brings its standard streams back.
func TestHeldJobsOutputs(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		id := ann.submit(1, "")
		stdout := job.File{Name: job.StdoutFile, Size: 2, Inline: []byte("hi")}
		desk.done(desk.start(), wire.Done{
			Outcome: wire.Hold, Code: job.HoldTransferOutput, Reason: "result.dat is not there", Outputs: []job.File{stdout}, Result: &job.Result{ExitCode: 3},
		})
		p.wantState(id, job.Held)
		if j := p.job(id); j.Result == nil || j.Result.ExitCode != 3 || j.Completions != 0 {
			t.Errorf("held, it is %+v", j)
		}
		r := ann.query(wire.Query{Kind: wire.QueryFetch, Select: wire.Selection{Jobs: []job.ID{id}}})
		var row wire.JobRow
		if len(r.Rows) != 1 || json.Unmarshal(r.Rows[0], &row) != nil || len(row.Outputs) != 1 || string(row.Outputs[0].Inline) != "hi" {
			t.Errorf("to fetch: %s", r.Rows)
		}

		id = ann.submit(1, "OnExitHold = true; ")
		desk.done(desk.start(), wire.Done{Outcome: wire.Exited, Result: &job.Result{ExitCode: 1, Outputs: []job.File{stdout}}})
		fetch := wire.Query{Kind: wire.QueryFetch, Select: wire.Selection{Jobs: []job.ID{id}}}
		if rows := ann.query(fetch).Rows; len(rows) != 1 {
			t.Errorf("held when it ended, it has to fetch: %s", rows)
		}
		ann.act(wire.Remove, id)
		if rows := ann.query(fetch).Rows; len(rows) != 0 {
			t.Errorf("removed, it has to fetch: %s", rows)
		}
	})
}

// A run that ends by itself brings its outputs back, though the job goes on.
func TestRepeatedJobsOutputs(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		id := ann.submit(1, "OnExitRemove = false; ")
		want := func(when, content string) {
			t.Helper()
			r := ann.query(wire.Query{Kind: wire.QueryFetch, Select: wire.Selection{Jobs: []job.ID{id}}})
			got := ""
			for _, raw := range r.Rows {
				var row wire.JobRow
				if err := json.Unmarshal(raw, &row); err != nil {
					t.Fatal(err)
				}
				for _, f := range row.Outputs {
					got += f.Name + " " + string(f.Inline) + ";"
				}
			}
			if got != content {
				t.Errorf("%s there is to fetch: %q, want %q", when, got, content)
			}
		}
		ends := func(content string) wire.Done {
			return wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: []job.File{{Name: "out.txt", Size: int64(len(content)), Inline: []byte(content)}}}}
		}
		want("at first", "")
		desk.done(desk.start(), ends("one"))
		p.wantState(id, job.Idle)
		want("after the first run", "out.txt one;")
		time.Sleep(time.Minute)
		o := desk.start()
		want("during the second", "out.txt one;")
		desk.done(o, ends("two"))
		want("after the second", "out.txt two;")
		ann.act(wire.HoldJob, id)
		want("while it is held", "out.txt two;")
		ann.act(wire.Remove, id)
		want("when it is removed", "out.txt two;")
		time.Sleep(keepResults + time.Minute)
		want("ten days later", "")
	})
}

// Of a cluster's jobs those are looked at that may have a policy, and no others.
func TestConcerned(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		for _, tt := range []struct {
			name, attrs string
			own         string // of the second of three jobs
			want        int
		}{
			{"none", "", "", 0},
			{"plainly false, as submit writes them", "PeriodicHold = false; PeriodicRelease = false; PeriodicRemove = false; ", "", 0},
			{"one for all", "PeriodicRemove = JobStatus == 5; ", "", 3},
			{"one that another job has of its own", "", "periodicremove", 3},
			{"a duration", "AllowedJobDuration = 100; ", "", 3},
			{"a deferral", "DeferralTime = 1; ", "", 3},
		} {
			m := clusterOf(t, 3, tt.attrs)
			if tt.own != "" {
				m.Procs[1].SetBool(tt.own, true)
			}
			r := ask[wire.Submitted](p, ann.conn, wire.UserSubject("u1", wire.VerbSubmit), m)
			police := police{s: p.server}
			if got := police.concerned(&job.Submitted{Cluster: r.Cluster, Ad: m.Ad, Procs: m.Procs}); len(got) != tt.want {
				t.Errorf("%s: %v", tt.name, got)
			}
		}
	})
}
