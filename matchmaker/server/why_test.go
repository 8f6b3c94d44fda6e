package server

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/fit"
	"skua/internal/job"
	"skua/internal/why"
	"skua/internal/wire"
	"skua/policy"
	"skua/policy/classad"
)

var update = flag.Bool("update", false, "write the golden files anew")

// desktop is the ad of a machine with a desktop's policy, or that of hours if there are any.
func desktop(t *testing.T, hours, facts string) *classad.Ad {
	t.Helper()
	var file policy.File
	if hours != "" {
		var span policy.Span
		if err := span.UnmarshalText([]byte(hours)); err != nil {
			t.Fatal(err)
		}
		file.Hours.Run = []policy.Span{span}
	}
	p, err := policy.Derive(file)
	if err != nil {
		t.Fatal(err)
	}
	machine, err := classad.ParseOldAd(`
OpSys = "LINUX"
Arch = "X86_64"
TotalCpus = 4
TotalMemory = 8000
TotalDisk = 100000000
HasFileTransfer = true
HasCheckpointing = true
KeyboardIdle = 3600
LoadAvg = 0.05
SkuaLoadAvg = 0.0
` + facts)
	if err != nil {
		t.Fatal(err)
	}
	ad := p.SlotAd(machine, 1).Flat()
	ad.SetInt("CurrentTime", time.Now().Unix())
	ad.SetInt("EnteredCurrentActivity", time.Now().Add(-time.Hour).Unix())
	policy.SetClock(ad, time.Now().UTC())
	return ad
}

// explain asks why a job does not run.
func (u *user) explain(id job.ID) why.Explanation {
	u.t.Helper()
	r := u.query(wire.Query{Kind: wire.QueryWhy, Select: wire.Selection{Jobs: []job.ID{id}}})
	var e why.Explanation
	if r.Fail != nil || len(r.Rows) != 1 {
		u.t.Fatalf("why %v: %+v", id, r)
	}
	if err := json.Unmarshal(r.Rows[0], &e); err != nil {
		u.t.Fatal(err)
	}
	return e
}

// checkpointedElsewhere is a job with an image of a machine that has left. Two others stay.
func (p *pool) checkpointedElsewhere(
	ann *user, attrs, made string, pcs func(t *testing.T, p *pool, n int, state, hours, facts string) []*agent, stay string,
) job.ID {
	p.t.Helper()
	image := job.Image{
		Kind: job.CRIUImage, Digest: blob.Sum([]byte("image")), Bytes: 5, At: time.Now().UTC(),
		Fit: &fit.Needs{Features: fit.ParseFeatures("aes,avx,avx2,avx512f,sse2")},
	}
	if strings.HasPrefix(made, fit.AttrFile) {
		image.Fit = &fit.Needs{Files: fit.ParseFiles("/usr/lib/x86_64-linux-gnu/libc.so.6=58254ca972028402/1922136")}
	}
	if strings.Contains(attrs, fit.AttrBaseline) {
		image.Fit.Beyond = "it has used AVX-512"
	}
	p.held["u1/"+string(image.Digest)] = true
	pc := pcs(p.t, p, 1, "Unclaimed", "", made)[0]
	id := ann.submit(1, attrs)
	o := pc.offered()
	pc.accept(o)
	if ack := pc.checkpoint(o, wire.Checkpoint{Image: &image}); ack.Fail != nil {
		p.t.Fatal(ack.Fail.What)
	}
	pc.done(o, wire.Done{Outcome: wire.Evicted, Reason: "the owner is back"})
	pc.send(wire.AdSubject(pc.id), wire.Ad{V: wire.Version, Machine: string(pc.id), Bye: true})
	pcs(p.t, p, 2, "Unclaimed", "", stay)
	return id
}

// TestWhy stages what keeps jobs from running in a pool at work, and asks as skua why does.
func TestWhy(t *testing.T) {
	const usual = `RequestMemory = 1024; Requirements = TARGET.OpSys == "LINUX" && TARGET.Memory >= RequestMemory; `
	pcs := func(t *testing.T, p *pool, n int, state, hours, facts string) []*agent {
		var all []*agent
		for range n {
			pc := p.agent(job.AgentID(fmt.Sprintf("pc%d", len(p.user("u1").query(wire.Query{Kind: wire.QueryMachines}).Rows)+1)))
			pc.advertiseAs(state, desktop(t, hours, facts))
			all = append(all, pc)
		}
		return all
	}
	var told strings.Builder
	for _, tt := range []struct {
		name  string
		stage func(t *testing.T, p *pool, ann *user) job.ID
	}{
		{"no machine has the memory", func(t *testing.T, p *pool, ann *user) job.ID {
			pcs(t, p, 3, "Unclaimed", "", "TotalMemory = 16000")
			pcs(t, p, 2, "Owner", "", "")
			return ann.submit(1, usual+"RequestMemory = 16384; ")
		}},
		{"one clause excludes all", func(t *testing.T, p *pool, ann *user) job.ID {
			pcs(t, p, 3, "Unclaimed", "", "")
			pcs(t, p, 1, "Unclaimed", "", `OpSys = "WINDOWS"`)
			return ann.submit(1, `Requirements = TARGET.OpSys == "LINUX" && TARGET.HasMatlab; `)
		}},
		{"in use by owners", func(t *testing.T, p *pool, ann *user) job.ID {
			pcs(t, p, 3, "Owner", "", "KeyboardIdle = 5")
			return ann.submit(1, usual)
		}},
		{"policy hours", func(t *testing.T, p *pool, ann *user) job.ID {
			time.Sleep(12 * time.Hour) // it is noon on a Saturday
			pcs(t, p, 3, "Owner", "Mon-Sun 19:00-07:00", "")
			return ann.submit(1, usual)
		}},
		{"share used up", func(t *testing.T, p *pool, ann *user) job.ID {
			bob, pc := p.user("u2"), pcs(t, p, 1, "Unclaimed", "", "")[0]
			ann.submit(1, usual)
			o := pc.offered()
			pc.accept(o)
			pc.advertiseAs("Claimed", desktop(t, "", ""))
			id := ann.submit(1, usual)
			for range 12 * 60 * 6 {
				time.Sleep(testTerms.Renew)
				pc.renew(o, "")
				pc.send(wire.HeartbeatSubject(pc.id), wire.Heartbeat{V: wire.Version})
			}
			bob.submit(1, usual)
			pc.done(o, exited(0))
			pc.advertiseAs("Unclaimed", desktop(t, "", ""))
			if o = pc.offered(); o.User != "u2" {
				t.Errorf("after ann's half day the machine goes to %s", o.User)
			}
			pc.accept(o)
			pc.advertiseAs("Claimed", desktop(t, "", ""))
			return id
		}},
		{"concurrency limit", func(t *testing.T, p *pool, ann *user) job.ID {
			all := pcs(t, p, 3, "Unclaimed", "", "")
			p.user("u2").submit(2, usual+`ConcurrencyLimits = "matlab"; `)
			for _, a := range all[:2] {
				a.accept(a.offered())
			}
			return ann.submit(1, usual+`ConcurrencyLimits = "matlab"; `)
		}},
		{"held by its user", func(t *testing.T, p *pool, ann *user) job.ID {
			id := ann.submit(1, usual)
			ann.act(wire.HoldJob, id)
			return id
		}},
		{"held for memory", func(t *testing.T, p *pool, ann *user) job.ID {
			pc := pcs(t, p, 1, "Unclaimed", "", "")[0]
			id := ann.submit(1, usual)
			o := pc.offered()
			pc.accept(o)
			pc.done(o, wire.Done{
				Outcome: wire.Hold, Code: job.HoldOutOfResources, SubCode: 102, Reason: "1.5 GB in use, 1.0 GB asked for",
				Usage: job.Usage{MaxRSS: 1500 << 20},
			})
			return id
		}},
		{"deferred", func(t *testing.T, p *pool, ann *user) job.ID {
			pcs(t, p, 1, "Unclaimed", "", "")
			return ann.submit(1, usual+fmt.Sprintf("DeferralTime = %d; DeferralPrepTime = 300; ", time.Now().Add(7*time.Hour).Unix()))
		}},
		{"suspended since the owner is back", func(t *testing.T, p *pool, ann *user) job.ID {
			pc := pcs(t, p, 1, "Unclaimed", "", "")[0]
			id := ann.submit(1, usual)
			o := pc.offered()
			pc.accept(o)
			time.Sleep(10 * time.Second)
			pc.renew(o, "the owner is back")
			return id
		}},
		{"checkpoint fits no machine", func(t *testing.T, p *pool, ann *user) job.ID {
			image := job.Image{Kind: job.CRIUImage, Digest: blob.Sum([]byte("image")), Bytes: 5, At: time.Now().UTC()}
			p.held["u1/"+string(image.Digest)] = true
			pc := pcs(t, p, 1, "Unclaimed", "", "")[0]
			id := ann.submit(1, usual)
			o := pc.offered()
			pc.accept(o)
			if ack := pc.checkpoint(o, wire.Checkpoint{Image: &image}); ack.Fail != nil {
				t.Fatal(ack.Fail.What)
			}
			pc.done(o, wire.Done{Outcome: wire.Evicted, Reason: "the owner is back"})
			pc.send(wire.AdSubject(pc.id), wire.Ad{V: wire.Version, Machine: string(pc.id), Bye: true})
			pcs(t, p, 2, "Unclaimed", "", `Arch = "AARCH64"`)
			return id
		}},
		{"no processor is like that", func(t *testing.T, p *pool, ann *user) job.ID {
			return p.checkpointedElsewhere(ann, usual, `CpuFeatures = "aes,avx,avx2,avx512f,sse2"`, pcs, `CpuFeatures = "aes,avx,avx2,sse2"`)
		}},
		{"no processor is like that, in spite of a baseline", func(t *testing.T, p *pool, ann *user) job.ID {
			return p.checkpointedElsewhere(ann, usual+`CpuBaseline = "x86-64-v3"; `, `CpuFeatures = "aes,avx,avx2,avx512f,sse2"`, pcs, `CpuFeatures = "aes,avx,avx2,sse2"`)
		}},
		{"no system is like that, and it waits for ever", func(t *testing.T, p *pool, ann *user) job.ID {
			const file = `File_usr_lib_x86_64_linux_gnu_libc_so_6 = `
			return p.checkpointedElsewhere(ann, usual+"RestartAfter = -1; ", file+`"58254ca972028402/1922136"`, pcs, file+`"9b8f4ca972028402/1922136"`)
		}},
		{"input missing", func(t *testing.T, p *pool, ann *user) job.ID {
			pc := pcs(t, p, 1, "Unclaimed", "", "")[0]
			id := ann.submit(1, usual)
			o := pc.offered()
			pc.accept(o)
			pc.done(o, wire.Done{Outcome: wire.Hold, Code: job.HoldTransferInput, Reason: "data.csv: not found at http://data.example/data.csv"})
			return id
		}},
		{"evicted a moment ago", func(t *testing.T, p *pool, ann *user) job.ID {
			pc := pcs(t, p, 1, "Unclaimed", "", "")[0]
			id := ann.submit(1, usual)
			o := pc.offered()
			pc.accept(o)
			pc.done(o, wire.Done{Outcome: wire.Evicted, Reason: "the scratch disk is full"})
			return id
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inPoolWith(t, func(p *pool) { p.limits = map[string]float64{"matlab": 2} }, func(t *testing.T, p *pool) {
				ann := p.user("u1")
				e := ann.explain(tt.stage(t, p, ann))
				fmt.Fprintf(&told, "%s:\n    %s\n", tt.name, e.Sentence(time.UTC))
			})
		})
	}
	const golden = "testdata/why.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(told.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got := told.String(); got != string(want) {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

// TestNeediestJob: who asks about all jobs hears of one that cannot run before one that merely waits its turn.
func TestNeediestJob(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, bob := p.user("u1"), p.user("u2")
		needy := func(sel wire.Selection) (n wire.Needy) {
			t.Helper()
			r := ann.query(wire.Query{Kind: wire.QueryNeedy, Select: sel})
			if r.Fail != nil || len(r.Rows) > 1 || len(r.Rows) == 1 && json.Unmarshal(r.Rows[0], &n) != nil {
				t.Fatalf("the answer is %+v", r)
			}
			return n
		}
		if got := needy(wire.Selection{}); got != (wire.Needy{}) {
			t.Errorf("without jobs it is %+v", got)
		}
		p.agent("desk").advertiseAs("Owner", desktop(t, "", "KeyboardIdle = 5"))
		bob.act(wire.HoldJob, bob.submit(1, ""))
		waits := ann.submit(3, "")
		never := ann.submit(2, "Requirements = TARGET.HasMatlab; ")
		for _, tt := range []struct {
			sel    wire.Selection
			which  job.ID
			others int
		}{
			{wire.Selection{}, never, 4},
			{wire.Selection{Clusters: []int{waits.Cluster}}, waits, 2},
		} {
			if got := needy(tt.sel); got.Job != tt.which || got.Others != tt.others {
				t.Errorf("of %+v it is %+v, want %v and %d others", tt.sel, got, tt.which, tt.others)
			}
		}
		held := job.ID{Cluster: waits.Cluster, Proc: 2}
		ann.act(wire.HoldJob, held)
		if got := needy(wire.Selection{}); got.Job != held || got.Others != 4 {
			t.Errorf("with a held job it is %+v, want %v and 4 others", got, held)
		}
	})
}
