package server

import (
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/fit"
	"skua/internal/job"
	"skua/internal/quantity"
	"skua/internal/why"
	"skua/internal/wire"
	"skua/policy/classad"
)

func TestRestartAfter(t *testing.T) {
	duration := func(d time.Duration) *quantity.Duration {
		q := quantity.Duration(d)
		return &q
	}
	stuck := &why.Waiting{Machines: 2, Unfit: 2}
	for _, tt := range []struct {
		name string
		pool *quantity.Duration
		job  string
		w    *why.Waiting
		want time.Duration // until it starts over; 0 for never
	}{
		{"by default", nil, "", stuck, 24 * time.Hour},
		{"as the pool says", duration(time.Hour), "", stuck, time.Hour},
		{"the pool waits for ever", duration(0), "", stuck, 0},
		{"as the job says", duration(time.Hour), "RestartAfter = 60", stuck, time.Minute},
		{"the job says it to a pool that waits for ever", duration(0), "RestartAfter = 60", stuck, time.Minute},
		{"the job waits for ever", nil, "RestartAfter = -1", stuck, 0},
		{"the job says nonsense", nil, `RestartAfter = "soon"`, stuck, 24 * time.Hour},
		{"one machine fits", nil, "", &why.Waiting{Machines: 2, Unfit: 1, Owner: 1}, 0},
		{"no machine meets its requirements", nil, "", &why.Waiting{Machines: 2, Unsuited: 2}, 0},
		{"no machine is there", nil, "", &why.Waiting{}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ad, err := classad.ParseOldAd(tt.job)
			if err != nil {
				t.Fatal(err)
			}
			settings := Settings{Checkpoints: CheckpointSettings{RestartAfter: tt.pool}}
			s := &Server{cfg: Config{RestartAfter: settings.restartAfter()}}
			now := time.Unix(1000, 0)
			got := s.startsOverAt(&job.Job{Ad: ad}, tt.w, now)
			if tt.want == 0 && got != 0 || tt.want != 0 && got != now.Add(tt.want).Unix() {
				t.Errorf("it starts over at %d, %d s from now", got, got-now.Unix())
			}
		})
	}
}

// The time for which a job is stuck goes on while nobody can tell, and is over when a machine is there.
func TestStranded(t *testing.T) {
	stuck, unknown, fits := &why.Waiting{Machines: 2, Unfit: 2}, &why.Waiting{Machines: 2, Unsuited: 2}, &why.Waiting{Machines: 2, Unfit: 1, Owner: 1}
	for _, tt := range []struct {
		name string
		was  bool
		w    *why.Waiting
		want string
	}{
		{"no machine fits any more", false, stuck, "begins"},
		{"still none", true, stuck, ""},
		{"nobody can tell", true, unknown, ""},
		{"nobody can tell of one that was not stuck", false, unknown, ""},
		{"no machine is there", true, &why.Waiting{}, ""},
		{"one that fits is its owner's", true, fits, "over"},
		{"one that fits is about to be offered", true, nil, "over"},
		{"one fits as before", false, fits, ""},
	} {
		j := &job.Job{ID: job.ID{Cluster: 1}, Epoch: 3}
		if tt.was {
			j.Stranded = time.Unix(1000, 0)
		}
		got := ""
		if b, ok := stranded(j, tt.w).(*job.Stranded); ok {
			if got = "begins"; b.Over {
				got = "over"
			}
			if b.Job != j.ID || b.Epoch != 3 {
				t.Errorf("%s: the event is about %v in epoch %d", tt.name, b.Job, b.Epoch)
			}
		}
		if got != tt.want {
			t.Errorf("%s: the event logged is %q, want %q", tt.name, got, tt.want)
		}
	}
}

// What an agent says of an image's needs is bounded, and of other checkpoints it is of no concern. An offer of the
// job repeats it once.
func TestImageNeedsAreChecked(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		ad := desktop(t, "", `CpuFeatures = "avx"`)
		desk.advertiseAs("Unclaimed", ad)
		id := ann.submit(1, `Requirements = true; `)
		o := desk.offered()
		desk.accept(o)
		send := func(kind job.ImageKind, name string, n fit.Needs) wire.Ack {
			image := job.Image{Kind: kind, Digest: blob.Sum([]byte(name)), At: time.Now().UTC(), Fit: &n}
			p.held["u1/"+string(image.Digest)] = true
			return desk.checkpoint(o, wire.Checkpoint{Image: &image})
		}
		if ack := send(job.CRIUImage, "bad", fit.Needs{Features: []string{`x") || true`}}); ack.Fail == nil {
			t.Error("needs that are no needs were taken")
		}
		if ack := send(job.FileImage, "files", fit.Needs{Features: []string{"avx"}}); ack.Fail != nil || p.job(id).Images[0].Fit != nil {
			t.Errorf("a job's own files: %+v, %+v", ack, p.job(id).Images)
		}
		needs := fit.Needs{Features: []string{"avx"}, Files: []fit.File{{Path: "/usr/lib/libc.so.6", ID: "0123456789abcdef/1"}}}
		if ack := send(job.CRIUImage, "good", needs); ack.Fail != nil || !needs.Equal(p.job(id).Images[0].Fit) {
			t.Errorf("good needs: %+v, %+v", ack, p.job(id).Images[0].Fit)
		}
		desk.done(o, wire.Done{Outcome: wire.Evicted, Reason: "the owner is back"})
		lab := p.agent("lab")
		lab.advertiseAs("Unclaimed", desktop(t, "", `CpuFeatures = "avx"`))
		o = lab.offered()
		if len(o.Images) != 2 || !needs.Equal(o.Images[0].Fit) {
			t.Errorf("images offered: %+v", o.Images)
		}
		if _, ok := o.Ad.Lookup(fit.AttrJobFiles); ok {
			t.Error("the offered ad lists the files again")
		}
	})
}
