package startd

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"skua/agent/starter"
	"skua/internal/job"
	"skua/internal/wire"
)

// askedInit counts how often it is asked what its job has used.
type askedInit struct {
	endedInit
	began time.Time
	asked int
}

func (*askedInit) Freeze() error { return nil }

func (*askedInit) Thaw() error { return nil }

func (*askedInit) Processes() starter.Processes { return starter.Processes{Peak: 1} }

func (i *askedInit) Look(context.Context, int64) (starter.Reading, error) {
	i.asked++
	return starter.Reading{Used: starter.Usage{Wall: time.Since(i.began)}}, nil
}

// A job that stands still is asked once what it has used: from then on only time passes.
func TestUsageOfAJobThatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := bareDaemon(t).keepers[0]
		tn := newTenant(k, asks(t, "c1", 1, 1), "c1")
		in := askedInit{began: time.Now()}
		tn.runs(&in, tn.lease)
		for _, c := range []struct {
			what  string
			do    func()
			asked int
		}{
			{"it runs", func() {}, 1},
			{"it still runs", func() {}, 2},
			{"it is frozen", tn.freeze, 3},
			{"it stands", func() {}, 3},
			{"it has stood for long", func() { time.Sleep(time.Hour) }, 3},
			{"it goes on", tn.thaw, 4},
		} {
			time.Sleep(time.Second)
			c.do()
			time.Sleep(time.Second)
			if u := tn.usage(t.Context()); in.asked != c.asked || u.Wall != time.Since(in.began) {
				t.Errorf("%s: asked %d times, want %d; %v have passed, want %v", c.what, in.asked, c.asked, u.Wall, time.Since(in.began))
			}
		}
	})
}

// What falls to a claim does not depend on which agent counts it.
func TestUsageOfAnAdoptedJob(t *testing.T) {
	used := func(d time.Duration) starter.Usage { return starter.Usage{User: d, Wall: 2 * d} }
	image := job.Usage{UserCPU: time.Hour, Wall: 2 * time.Hour}
	for _, tt := range []struct {
		name  string
		claim job.ClaimID
		lives func(*tenant) // with the agent before
		used  time.Duration // then, as the init counts it
		want  time.Duration
	}{
		{"from its beginning", "c2", func(tn *tenant) { tn.bring(job.Usage{}) }, time.Minute, time.Minute},
		{"from an image", "c2", func(tn *tenant) { tn.bring(image) }, 61 * time.Minute, time.Minute},
		{
			"started again from what it had saved", "c2",
			func(tn *tenant) {
				tn.bring(job.Usage{})
				tn.ranOnce(used(10 * time.Minute))
				tn.noteUsage()
			},
			time.Minute, 11 * time.Minute,
		},
		{
			"about to be", "c2",
			func(tn *tenant) {
				tn.bring(job.Usage{})
				tn.ranOnce(used(10 * time.Minute))
			},
			10 * time.Minute, 10 * time.Minute,
		},
		{"after a job that came from an image", "c1", func(tn *tenant) { tn.bring(image) }, time.Minute, time.Minute},
	} {
		d := bareDaemon(t)
		d.cfg.Starter = finder{in: endedInit{}}
		offer := asks(t, "c2", 1, 1)
		before := offer
		before.Claim = tt.claim
		tt.lives(newTenant(d.keepers[0], before, "c1"))
		k := d.keepers[0]
		k.readopt(t.Context(), claimRecord{V: wire.Version, Offer: offer}, "c1")
		if got := k.tenant.sinceStart(used(tt.used)); got.UserCPU != tt.want || got.Wall != 2*tt.want {
			t.Errorf("%s: %v in %v are counted to the claim, want %v in %v", tt.name, got.UserCPU, got.Wall, tt.want, 2*tt.want)
		}
	}
}
