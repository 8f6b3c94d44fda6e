package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/wire"
)

func TestOneJob(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		notes := 0
		ann.conn.Subscribe(wire.NoteSubject("u1"), func(bus.Msg) { notes++ })
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		switch {
		case o.Job != id || o.Epoch != 1 || o.Slot != "slot1@desk" || o.User != "u1" || o.Claim == "":
			t.Errorf("offer of %v, epoch %d, for %s of %s", o.Job, o.Epoch, o.Slot, o.User)
		case o.Read != "read u1 1.0 1" || o.Write != "write u1 1.0 1" || len(o.Key) != 32:
			t.Errorf("capabilities %q and %q, key of %d bytes", o.Read, o.Write, len(o.Key))
		case o.Terms.Lease != testTerms.Lease || o.Terms.Renew != testTerms.Renew || o.Terms.Offer != testTerms.Offer:
			t.Errorf("terms %+v", o.Terms)
		}
		if owner, _ := o.Ad.Str("Owner"); owner != "ann" {
			t.Errorf("the job's owner is %q", owner)
		}
		p.wantState(id, job.Idle)
		if g := desk.accept(o); g.Gone || g.Read == "" || g.Write == "" {
			t.Fatalf("accepting gave %+v", g)
		}
		p.wantState(id, job.Running)
		if g := desk.accept(o); g.Gone {
			t.Error("a repeated acceptance was told that the claim is gone")
		}
		desk.advertise("Claimed")
		for range 20 { // far beyond one lease
			time.Sleep(testTerms.Renew)
			if g := desk.renew(o, ""); g.Gone {
				t.Fatal("a renewal was told that the claim is gone")
			}
		}
		if ack := desk.done(o, exited(3)); ack.Stale || ack.Fail != nil {
			t.Fatalf("the result got %+v", ack)
		}
		p.wantState(id, job.Completed)
		if ack := desk.done(o, exited(4)); !ack.Stale {
			t.Errorf("the repeated result got %+v", ack)
		}
		if j := p.job(id); j.Result.ExitCode != 3 || j.Starts != 1 {
			t.Errorf("exit code %d after %d starts", j.Result.ExitCode, j.Starts)
		}
		if g := desk.renew(o, ""); !g.Gone {
			t.Error("a claim that is over was renewed")
		}
		if notes < 4 {
			t.Errorf("ann heard of %d events, there were four", notes)
		}
	})
}

func TestPauseIsLoggedOnce(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)
		for _, step := range []struct {
			paused string
			want   job.State
		}{
			{"the owner is back", job.Suspended},
			{"the owner is still there", job.Suspended},
			{"", job.Running},
			{"", job.Running},
		} {
			desk.renew(o, step.paused)
			p.wantState(id, step.want)
		}
		page, err := p.queue.Events(t.Context(), "u1", 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for _, ev := range page.Events {
			kinds = append(kinds, ev.Body.Kind())
		}
		if got := strings.Join(kinds, " "); got != "submitted offered started paused continued" {
			t.Errorf("logged: %s", got)
		}
	})
}

func TestLeaseLapsesAndRevives(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)
		desk.advertise("Claimed")
		time.Sleep(testTerms.Outlives() - time.Millisecond)
		p.wantState(id, job.Running)
		time.Sleep(time.Millisecond)
		p.wantState(id, job.Idle)
		if g := desk.renew(o, "the owner is back"); g.Gone {
			t.Fatal("nobody else has the job, but its claim did not revive")
		}
		p.wantState(id, job.Suspended)
		if j := p.job(id); j.Epoch != 1 || j.Starts != 1 {
			t.Errorf("epoch %d, %d starts", j.Epoch, j.Starts)
		}
	})
}

func TestLapsedJobRunsElsewhere(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk, lab := p.user("u1"), p.agent("desk"), p.agent("lab")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		old := desk.offered()
		desk.accept(old)
		desk.conn.Cut()
		lab.advertise("Unclaimed")
		time.Sleep(testTerms.Outlives())
		o := lab.offered()
		if o.Epoch != 2 || o.Claim == old.Claim {
			t.Errorf("the second offer has epoch %d", o.Epoch)
		}
		lab.accept(o)
		desk.conn.Heal()
		if g := desk.renew(old, ""); !g.Gone {
			t.Error("the superseded claim was renewed")
		}
		if ack := desk.done(old, exited(1)); !ack.Stale {
			t.Error("the superseded claim's result counted")
		}
		if ack := desk.checkpoint(old, wire.Checkpoint{Image: &job.Image{Kind: job.CRIUImage}}); !ack.Stale {
			t.Error("the superseded claim's checkpoint counted")
		}
		p.wantState(id, job.Running)
		if ack := lab.done(o, exited(0)); ack.Stale || ack.Fail != nil {
			t.Errorf("the result got %+v", ack)
		}
		if j := p.job(id); j.Result == nil || j.Result.ExitCode != 0 {
			t.Errorf("result %+v", j.Result)
		}
	})
}

func TestLateResultOfALapsedClaimCounts(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)
		desk.advertise("Claimed")
		time.Sleep(2 * testTerms.Outlives())
		p.wantState(id, job.Idle)
		if ack := desk.done(o, exited(0)); ack.Stale || ack.Fail != nil {
			t.Errorf("the result got %+v", ack)
		}
		p.wantState(id, job.Completed)
	})
}

func TestUnansweredOfferGoesElsewhere(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, dead, lab := p.user("u1"), p.agent("dead"), p.agent("lab")
		dead.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := dead.offered()
		lab.advertise("Unclaimed")
		lab.noOffer()
		time.Sleep(testTerms.Offer)
		if second := lab.offered(); second.Epoch != 2 {
			t.Errorf("epoch %d", second.Epoch)
		}
		if g := dead.accept(o); !g.Gone {
			t.Error("an offer that was given up was granted")
		}
		if avoid := p.job(id).Avoid; len(avoid) != 1 || avoid[0] != "dead" {
			t.Errorf("the job avoids %v", avoid)
		}
	})
}

func TestEvictedJobGoesOnFromItsImage(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk, lab := p.user("u1"), p.agent("desk"), p.agent("lab")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)
		image := job.Image{Kind: job.CRIUImage, Digest: blob.Sum([]byte("image")), Bytes: 5, At: time.Now().UTC()}
		if ack := desk.checkpoint(o, wire.Checkpoint{Image: &image}); ack.Fail == nil {
			t.Error("an image that nobody has uploaded was taken")
		}
		p.held["u1/"+string(image.Digest)], p.lost[image.Digest] = true, true
		if ack := desk.checkpoint(o, wire.Checkpoint{Image: &image}); !ack.Missing || ack.Fail == nil || len(p.job(id).Images) != 0 {
			t.Errorf("an image of which parts are lost got %+v", ack)
		}
		p.lost = nil
		for range 2 {
			if ack := desk.checkpoint(o, wire.Checkpoint{Image: &image}); ack.Fail != nil || ack.Stale {
				t.Fatalf("the checkpoint got %+v", ack)
			}
		}
		lab.advertise("Unclaimed")
		desk.advertise("Owner")
		if ack := desk.done(o, wire.Done{Outcome: wire.Evicted, Reason: "the owner is back", Usage: job.Usage{Wall: time.Minute}}); ack.Fail != nil {
			t.Fatalf("the eviction got %+v", ack)
		}
		o = lab.offered()
		if len(o.Images) != 1 || o.Images[0].Digest != image.Digest || o.Images[0].Agent != "desk" {
			t.Errorf("images offered: %+v", o.Images)
		}
		lab.accept(o)
		if ack := lab.checkpoint(o, wire.Checkpoint{Dropped: image.Digest, Reason: "damaged"}); ack.Fail != nil {
			t.Errorf("dropping got %+v", ack)
		}
		if j := p.job(id); len(j.Images) != 0 || j.Evictions != 1 || j.Usage.Wall != time.Minute {
			t.Errorf("images %v, %d evictions, usage %+v", j.Images, j.Evictions, j.Usage)
		}
	})
}

// An image that one machine cannot restore is kept and offered to others only, but not to all of them.
func TestImageThatCannotBeRestored(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, maker := p.user("u1"), p.agent("maker")
		maker.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := maker.offered()
		maker.accept(o)
		checkpoint := func(content string) (failed wire.Checkpoint) {
			image := job.Image{Kind: job.CRIUImage, Digest: blob.Sum([]byte(content)), Bytes: 5, Failed: []string{"desk4"}}
			p.held["u1/"+string(image.Digest)] = true
			if ack := maker.checkpoint(o, wire.Checkpoint{Image: &image}); ack.Fail != nil || ack.Stale {
				t.Fatalf("the checkpoint got %+v", ack)
			}
			return wire.Checkpoint{Dropped: image.Digest, Again: true, Reason: "criu restore: no"}
		}
		checkpoint("older")
		failed := checkpoint("image")
		maker.advertise("Owner")
		maker.done(o, wire.Done{Outcome: wire.Evicted, Reason: "the owner is back"})
		const tries = 3
		for n := range tries {
			desk := p.agent(job.AgentID(fmt.Sprint("desk", n+1)))
			desk.advertise("Unclaimed")
			o := desk.offered()
			desk.accept(o)
			last := n+1 == tries
			for range 2 { // the answer may be lost
				if ack := desk.checkpoint(o, failed); ack.Fail != nil || ack.Kept == last {
					t.Errorf("failure %d got %+v", n+1, ack)
				}
			}
			j := p.job(id)
			switch {
			case last && (len(j.Images) != 1 || j.Images[0].Digest == failed.Dropped):
				t.Errorf("after the last failure its images are %+v", j.Images)
			case !last && (len(j.Images) != 2 || j.Images[0].Failures != n+1 || len(j.Images[0].Failed) != n+1):
				t.Errorf("after %d failures its images are %+v", n+1, j.Images)
			}
			desk.done(o, wire.Done{Outcome: wire.Evicted, Reason: "could not run it"})
			time.Sleep(10 * time.Minute) // longer than a machine rests that has given a job back
			desk.advertise("Unclaimed")
			if last {
				desk.offered() // the one before
				return
			}
			desk.noOffer()
		}
	})
}

// A machine that cannot restore an image that it has made itself may try again: it fits.
func TestImageThatItsMakerCannotRestore(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)
		image := job.Image{Kind: job.CRIUImage, Digest: blob.Sum([]byte("image")), Bytes: 5}
		p.held["u1/"+string(image.Digest)] = true
		desk.checkpoint(o, wire.Checkpoint{Image: &image})
		if ack := desk.checkpoint(o, wire.Checkpoint{Dropped: image.Digest, Again: true}); !ack.Kept || ack.Fail != nil {
			t.Errorf("the failure got %+v", ack)
		}
		if j := p.job(id); len(j.Images) != 1 || j.Images[0].Failures != 1 || len(j.Images[0].Failed) != 0 {
			t.Errorf("its images are %+v", j.Images)
		}
	})
}

// TestReportWaits: while another matchmaker that may have a job's files does not answer, or the disk that should have them
// cannot be read, a report is neither acknowledged nor turned down. When the lease is over the job runs again.
func TestReportWaits(t *testing.T) {
	digest := blob.Sum([]byte("out"))
	outputs := []job.File{{Name: "a", Digest: digest, Size: 3}}
	for _, tt := range []struct {
		name string
		done wire.Done
		back bool // it comes back before the lease is over
		has  bool // the output is somewhere then
		disk bool // it is the disk
		want job.State
	}{
		{"it comes back, and has it", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: outputs}}, true, true, false, job.Completed},
		{"it comes back, and has it not", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: outputs}}, true, false, false, job.Held},
		{"held, and it comes back", wire.Done{Outcome: wire.Hold, Reason: "why", Code: job.HoldTransferOutput, Outputs: outputs}, true, true, false, job.Held},
		{"it can be read again", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: outputs}}, true, true, true, job.Completed},
		{"it stays away", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: outputs}}, false, true, false, job.Completed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inPool(t, func(t *testing.T, p *pool) {
				cannotTell := &p.away
				if tt.disk {
					cannotTell = &p.ill
				}
				*cannotTell = true
				ann, desk := p.user("u1"), p.agent("desk")
				id := ann.submit(1, "")
				o := desk.start()
				before, _ := p.queue.Last()
				for range 3 {
					if ack := desk.done(o, tt.done); ack.Fail == nil || ack.Stale {
						t.Fatalf("the report got %+v", ack)
					}
				}
				if after, _ := p.queue.Last(); after != before {
					t.Errorf("%d events are logged", after-before)
				}
				if *cannotTell = !tt.back; *cannotTell {
					time.Sleep(testTerms.Outlives() + time.Second)
					p.wantState(id, job.Idle)
					other := p.agent("other")
					other.advertise("Unclaimed")
					next := other.offered()
					other.accept(next)
					if ack := desk.done(o, tt.done); !ack.Stale {
						t.Errorf("the report of a run that is not waited for any more got %+v", ack)
					}
					o, desk = next, other // which puts it where the matchmaker can see it
				}
				p.held["u1/"+string(digest)] = tt.has
				if ack := desk.done(o, tt.done); ack.Fail != nil || ack.Stale {
					t.Errorf("then the report got %+v", ack)
				}
				p.wantState(id, tt.want)
				if j := p.job(id); tt.done.Outcome == wire.Hold && len(j.HeldOutputs) != 1 {
					t.Errorf("the held job has the outputs %+v", j.HeldOutputs)
				}
			})
		})
	}
}

func TestOutcomes(t *testing.T) {
	digest := blob.Sum([]byte("out"))
	file := func(name string) job.File { return job.File{Name: name, Digest: digest, Size: 3} }
	for _, tt := range []struct {
		name string
		done wire.Done
		want job.State
		says string // part of HoldReason or LastReason
	}{
		{"held by the machine", wire.Done{Outcome: wire.Hold, Reason: "no such input", Code: job.HoldTransferInput}, job.Held, "no such input"},
		{"good outputs", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: []job.File{file("a"), file("d/b"), {Name: "c", Size: 1, Inline: []byte("x")}}}}, job.Completed, ""},
		{"outputs that climb out", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: []job.File{file("../a")}}}, job.Held, "not a plain relative path"},
		{"an absolute output", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: []job.File{file("/etc/passwd")}}}, job.Held, "not a plain relative path"},
		{"a Windows path", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: []job.File{file(`a\..\b`)}}}, job.Held, "not a plain relative path"},
		{"an output twice", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: []job.File{file("a"), file("a")}}}, job.Held, "listed twice"},
		{"an output nobody uploaded", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: []job.File{{Name: "a", Digest: blob.Sum(nil)}}}}, job.Held, "has not been uploaded"},
		{"an inline file that lies", wire.Done{Outcome: wire.Exited, Result: &job.Result{Outputs: []job.File{{Name: "a", Size: 9, Inline: []byte("x")}}}}, job.Held, "1 bytes inline"},
		{"an exit without a result", wire.Done{Outcome: wire.Exited}, job.Idle, "does not know"},
		{"an outcome of the future", wire.Done{Outcome: "transcended"}, job.Idle, `"transcended"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inPool(t, func(t *testing.T, p *pool) {
				p.held["u1/"+string(digest)] = true
				ann, desk := p.user("u1"), p.agent("desk")
				desk.advertise("Unclaimed")
				id := ann.submit(1, "")
				o := desk.offered()
				desk.accept(o)
				desk.advertise("Claimed")
				if ack := desk.done(o, tt.done); ack.Fail != nil || ack.Stale {
					t.Fatalf("the report got %+v", ack)
				}
				p.wantState(id, tt.want)
				if j := p.job(id); !strings.Contains(j.HoldReason+j.LastReason, tt.says) {
					t.Errorf("the job says %q and %q", j.HoldReason, j.LastReason)
				}
			})
		})
	}
}
