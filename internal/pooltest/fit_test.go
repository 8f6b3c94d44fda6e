package pooltest_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/fit"
	"skua/internal/job"
	"skua/internal/pooltest"
)

const (
	libc = "/usr/lib/x86_64-linux-gnu/libc.so.6"
	blas = "/usr/lib/x86_64-linux-gnu/libblas.so.3"
)

// likenesses are what the machines of a pool have, one after another.
func likenesses(all ...pooltest.Likeness) func(int) pooltest.Likeness {
	return func(n int) pooltest.Likeness { return all[n] }
}

func files(list string) []fit.File { return fit.ParseFiles(list) }

// preferring is a job's wish to begin on the first machine.
const preferring = `Rank = TARGET.Machine == "desk1" ? 1 : 0`

// movedFrom starts a job on desk1 and has its owner come back for good, so that it is left with an image.
func movedFrom(t *testing.T, p *pooltest.Pool, attrs string) job.ID {
	t.Helper()
	time.Sleep(2 * time.Minute) // all machines are offered
	id := p.SubmitAs(t, "sleep 2h", 1, preferring+"\n"+attrs)[0]
	p.Await(t, "the job runs on desk1", time.Second, time.Minute, func() bool { return p.Running(id) == "desk1" })
	time.Sleep(time.Hour)
	p.Machines()[0].Type(1000 * time.Hour)
	p.Await(t, "the job has left", time.Second, 20*time.Minute, func() bool { return p.Job(id).Evictions == 1 })
	return id
}

// count says how many events of a kind a job has had.
func count(p *pooltest.Pool, id job.ID, kind string) (n int) {
	for _, k := range p.Events(id) {
		if k == kind {
			n++
		}
	}
	return n
}

// A job that has begun on a processor with much is offered only to machines that have as much, and after it
// has been on one with more still, to those that have that.
func TestImageIsOfferedWhereItFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 4, Likeness: likenesses(
			pooltest.Likeness{Features: "avx,avx2,sse2", Usual: files(libc + "=0123456789abcdef/1900000")},
			pooltest.Likeness{Features: "avx,sse2", Usual: files(libc + "=0123456789abcdef/1900000")},
			pooltest.Likeness{Features: "avx,avx2,avx512f,sse2", Usual: files(libc + "=fedcba9876543210/1900000")},
			pooltest.Likeness{Features: "avx,avx2,avx512f,sse2", Usual: files(libc + "=0123456789abcdef/1900000")},
		)})
		id := movedFrom(t, p, "")
		p.Await(t, "the job goes on", time.Second, 10*time.Minute, func() bool { return p.Running(id) != "" })
		if got := p.Offered(id); !slices.Equal(got, []string{"desk1", "desk4"}) {
			t.Errorf("the job was offered to %v, want desk1 and then desk4", got)
		}
		if got := p.Job(id).Images[0].Fit; got == nil || fit.FeatureList(got.Features) != "avx,avx2,sse2" || got.FileList() != libc+"=0123456789abcdef/1900000" {
			t.Errorf("its image needs %+v", got)
		}
		p.Machines()[3].Type(time.Hour)
		p.Await(t, "another image", time.Second, 20*time.Minute, func() bool { return p.Job(id).Evictions == 2 })
		if got := p.Job(id).Images[0].Fit; got == nil || fit.FeatureList(got.Features) != "avx,avx2,avx512f,sse2" {
			t.Errorf("after it was on desk4 its image needs %+v", got)
		}
		p.AwaitState(t, id, job.Completed, 3*time.Hour)
		if again := p.RepeatedWork(id); again != 0 {
			t.Errorf("%v of work were done twice", again)
		}
		p.CheckCompleted(t)
	})
}

// Of a library that few jobs use a machine says nothing at first. It looks when it is offered such a job, refuses
// it, and is not offered it again; the job loses nothing.
func TestUnfitMachineRefusesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 2, Likeness: likenesses(
			pooltest.Likeness{Features: "sse2", Other: files(blas + "=0123456789abcdef/500000")},
			pooltest.Likeness{Features: "sse2", Other: files(blas + "=fedcba9876543210/500000")},
		)})
		time.Sleep(2 * time.Minute) // all machines are offered
		id := p.SubmitAs(t, "sleep 2h", 1, preferring)[0]
		p.Await(t, "the job runs on desk1", time.Second, time.Minute, func() bool { return p.Running(id) == "desk1" })
		time.Sleep(time.Hour)
		p.Machines()[0].Type(5 * time.Hour)
		time.Sleep(4 * time.Hour)
		synctest.Wait()
		if got := p.Offered(id); !slices.Equal(got, []string{"desk1", "desk2"}) {
			t.Errorf("the job was offered to %v, want desk1 and, once, desk2", got)
		}
		if events := p.Events(id); count(p, id, "declined") != 1 || count(p, id, "image-dropped") != 0 || events[len(events)-1] != "declined" {
			t.Errorf("events are %v, the last one the only refusal", events)
		}
		p.AwaitState(t, id, job.Completed, 3*time.Hour)
		if runs := p.Runs(id); runs[0].Nonce != runs[len(runs)-1].Nonce || p.RepeatedWork(id) != 0 {
			t.Errorf("it did not go on from its image: %+v", runs)
		}
		p.CheckCompleted(t)
	})
}

// A machine that fits by all that is known and cannot restore a job gives it back once. The job loses nothing, is not
// offered to it again with a later image either, and goes on where others can.
func TestMachineThatCannotRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 3, Likeness: likenesses(
			pooltest.Likeness{Features: "sse2"}, pooltest.Likeness{Features: "sse2", CannotRestore: true}, pooltest.Likeness{Features: "sse2"},
		)})
		desk1, desk3 := p.Machines()[0], p.Machines()[2]
		desk3.Type(5 * time.Hour)
		time.Sleep(2 * time.Minute) // all machines are offered
		id := p.SubmitAs(t, "sleep 2h", 1, preferring)[0]
		p.Await(t, "the job runs on desk1", time.Second, time.Minute, func() bool { return p.Running(id) == "desk1" })
		time.Sleep(time.Hour)
		desk1.Type(time.Hour)
		p.Await(t, "desk2 has given the job back", time.Second, 30*time.Minute, func() bool { return count(p, id, "restore-failed") == 1 && p.Job(id).Evictions == 2 })
		if j := p.Job(id); len(j.Images) == 0 || !slices.Equal(j.Images[0].Failed, []string{"desk2"}) || !strings.Contains(j.LastReason, "no such kind of memory") {
			t.Errorf("its images are %+v, it last stopped because %q", j.Images, j.LastReason)
		}
		if got := strings.Join(p.Why(t, id).Details(time.UTC), "\n"); !strings.Contains(got, "its checkpoint could not be restored on the one machine that it does not fit") {
			t.Errorf("it waits because\n%s", got)
		}
		p.Await(t, "the job goes on on desk1", time.Second, 2*time.Hour, func() bool { return p.Running(id) == "desk1" })
		desk1.Type(1000 * time.Hour)
		p.Await(t, "another image", time.Second, 30*time.Minute, func() bool { return p.Job(id).Evictions == 3 })
		p.AwaitState(t, id, job.Completed, 24*time.Hour)
		if got, want := p.Offered(id), []string{"desk1", "desk2", "desk1", "desk3"}; !slices.Equal(got, want) {
			t.Errorf("the job was offered to %v, want %v", got, want)
		}
		if runs := p.Runs(id); runs[0].Nonce != runs[len(runs)-1].Nonce || p.RepeatedWork(id) != 0 || count(p, id, "image-dropped") != 0 {
			t.Errorf("it did not go on from its images: %+v, %v", runs, p.Events(id))
		}
		p.CheckCompleted(t)
	})
}

// A job whose checkpoint fits nowhere waits as long as it is to, says why, and starts over.
func TestStartsOver(t *testing.T) {
	for _, tt := range []struct {
		name, attrs string
		after       time.Duration
		restarted   bool // the matchmaker is, in the middle
	}{
		{"as the pool says", "", 3 * time.Hour, false},
		{"as the job says", "RestartAfter = 7200", 2 * time.Hour, false},
		{"under two matchmakers", "", 3 * time.Hour, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := start(t, pooltest.Config{Machines: 3, RestartAfter: 3 * time.Hour, Likeness: likenesses(
					pooltest.Likeness{Features: "avx,avx2,avx512f,sse2"}, pooltest.Likeness{Features: "avx,avx2,sse2"}, pooltest.Likeness{Features: "sse2"},
				)})
				id := movedFrom(t, p, tt.attrs)
				if got := p.Why(t, id).Sentence(time.UTC); !strings.Contains(got, "machine that matches") {
					t.Errorf("while desk1 is its owner's it waits because %q", got)
				}
				p.Machines()[0].Crash()
				p.Await(t, "the machine is forgotten", time.Minute, 10*time.Minute, func() bool {
					return strings.Contains(p.Why(t, id).Sentence(time.UTC), "its checkpoint was made")
				})
				gone := time.Now()
				if got := p.Why(t, id).Sentence(time.UTC); !strings.HasPrefix(got, "its checkpoint was made on a processor with avx512f, which 2 of 2 machines lack; if that stays so it starts over at ") ||
					!strings.HasSuffix(got, " (restart_after)") {
					t.Errorf("it waits because %q", got)
				}
				if tt.restarted {
					time.Sleep(tt.after / 2)
					p.RestartMatchmaker(5 * time.Minute)
				}
				time.Sleep(time.Until(gone.Add(tt.after - 5*time.Minute)))
				synctest.Wait()
				images := len(p.Job(id).Images)
				if got := p.Offered(id); len(got) != 1 || images == 0 {
					t.Fatalf("before its time the job was offered to %v and has %d images", got, images)
				}
				p.Await(t, "the job starts over", time.Minute, 10*time.Minute, func() bool { return p.Running(id) != "" })
				if took := time.Since(gone); took < tt.after-2*time.Minute || count(p, id, "stranded") != 1 {
					t.Errorf("it started over after %v: %v", took, p.Events(id))
				}
				p.AwaitState(t, id, job.Completed, 3*time.Hour)
				if dropped := count(p, id, "image-dropped"); dropped != images {
					t.Errorf("of its %d images %d were given up: %v", images, dropped, p.Events(id))
				}
				runs := p.Runs(id)
				again := slices.IndexFunc(runs, func(r pooltest.Run) bool { return r.Nonce != runs[0].Nonce })
				if again < 0 || runs[again].Done != 0 {
					t.Errorf("it did not start over: %+v", runs)
				}
				p.CheckCompleted(t)
			})
		})
	}
}

// When an older image fits somewhere, the job goes on from that.
func TestOlderImageIsTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 3, RestartAfter: time.Hour, Likeness: likenesses(
			pooltest.Likeness{Features: "avx,sse2"}, pooltest.Likeness{Features: "avx,avx2,sse2"}, pooltest.Likeness{Features: "avx,sse2"},
		)})
		p.Machines()[2].Type(14 * time.Hour)
		id := movedFrom(t, p, "")
		p.Await(t, "the job goes on on desk2", time.Second, 10*time.Minute, func() bool { return p.Running(id) == "desk2" })
		time.Sleep(5 * time.Minute) // not long enough for an image while it runs
		p.Machines()[1].Type(1000 * time.Hour)
		p.Await(t, "another image", time.Second, 20*time.Minute, func() bool { return p.Job(id).Evictions == 2 })
		p.Machines()[1].Crash()
		p.AwaitState(t, id, job.Completed, 24*time.Hour)
		runs := p.Runs(id)
		last := runs[len(runs)-1]
		if last.Nonce != runs[0].Nonce || last.Machine != "desk3" {
			t.Errorf("it did not go on from its older image: %+v", runs)
		}
		if again := p.RepeatedWork(id); again < 5*time.Minute || again > 6*time.Minute {
			t.Errorf("%v of work were done twice, want what was done on desk2", again)
		}
		p.CheckCompleted(t)
	})
}

// In a pool whose jobs are held to a level, a job goes on from a new processor on an old one, since its image needs no
// more than the level. One that wants none does not.
func TestBaselineOfThePool(t *testing.T) {
	const old = "avx,avx2,bmi1,bmi2,fma,sse2"
	for _, tt := range []struct {
		name, attrs string
		moves       bool
	}{
		{"a job that says nothing", "", true},
		{"a job that says so itself", `CpuBaseline = "x86-64-v2"`, true},
		{"a job that wants none", `CpuBaseline = "none"`, false},
		{"a job whose environment says otherwise", `Environment = "OPENBLAS_CORETYPE=SkylakeX"`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := start(t, pooltest.Config{Machines: 2, Baseline: fit.V3, Likeness: likenesses(
					pooltest.Likeness{Features: old + ",avx512f,avx512vl", Microarch: "x86_64-v4"}, pooltest.Likeness{Features: old, Microarch: "x86_64-v3"},
				)})
				id := movedFrom(t, p, tt.attrs)
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				image := p.Job(id).Images[0].Fit
				if got := p.Running(id) == "desk2"; got != tt.moves || (image.Baseline != "") != tt.moves {
					t.Errorf("it runs on %q, from an image that needs %+v", p.Running(id), image)
				}
				ad := p.Job(id).CurrentAd()
				if got, _ := ad.Str(fit.AttrJobBaseline); got != string(image.Baseline) {
					t.Errorf("its ad says %s = %q", fit.AttrJobBaseline, got)
				}
				p.Check(t)
			})
		})
	}
}

// A job that dies of an illegal instruction where it has gone on may do so since it did not keep to its baseline. So that
// is not its end: the image is given up. Where it began, the same is its own doing.
func TestIllegalInstructionIsNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 2, Baseline: fit.V3, Likeness: likenesses(
			pooltest.Likeness{Features: "avx,avx2,avx512f", Microarch: "x86_64-v4"}, pooltest.Likeness{Features: "avx,avx2", Microarch: "x86_64-v3"},
		)})
		time.Sleep(2 * time.Minute) // all machines are offered
		id := p.SubmitAs(t, "sleep 132 2h", 1, preferring)[0]
		p.Await(t, "the job runs on desk1", time.Second, time.Minute, func() bool { return p.Running(id) == "desk1" })
		time.Sleep(time.Hour)
		p.Machines()[0].Type(1000 * time.Hour)
		p.AwaitState(t, id, job.Completed, 5*time.Hour)
		runs := p.Runs(id)
		if first, last := runs[0], runs[len(runs)-1]; last.Nonce == first.Nonce || last.Done != 0 || last.Machine != "desk2" {
			t.Errorf("it did not start over: %+v", runs)
		}
		if r := p.Job(id).Result; r == nil || r.ExitCode != 132 {
			t.Errorf("its result is %+v", r)
		}
		if count(p, id, "image-dropped") == 0 {
			t.Errorf("no image was given up: %v", p.Events(id))
		}
		p.CheckCompleted(t)
	})
}
