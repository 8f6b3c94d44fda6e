package startd

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"skua/agent/slot"
	"skua/internal/job"
	"skua/policy"
	"skua/policy/classad"
)

// world is a machine and its owner, as far as a policy looks at them.
type world struct {
	rng *rand.Rand
	now time.Time

	there, back      time.Time // the owner is there until, and comes again at
	input            time.Time // the last one
	next             time.Time // input
	film, app        time.Time // until when
	unplugged        time.Time // until when
	burst            time.Time // of the load of other programs: until when
	load             float64   // its average over a minute
	arrival          time.Time // of the owner, or of anything else that is news, the latest
	arrivals         int
	fullScreen, loud bool
	hot              bool
}

// news notes that something has come that a policy may make jobs stand still for.
func (w *world) news() { w.arrivals, w.arrival = w.arrivals+1, w.now }

func (w *world) upTo(d time.Duration) time.Duration {
	return time.Duration(w.rng.Int64N(int64(d)))
}

// pass lets time pass, and says whether the owner has come: the first input after five minutes.
func (w *world) pass(step time.Duration) (touched bool) {
	w.now = w.now.Add(step)
	if !w.now.Before(w.back) { // comes, at any hour, for a minute or a morning
		w.there = w.now.Add(time.Minute + w.upTo(4*time.Hour))
		w.back = w.there.Add(w.upTo(9 * time.Hour))
		w.next = w.now
	}
	if w.now.Before(w.there) && !w.now.Before(w.next) {
		touched = w.now.Sub(w.input) > 5*time.Minute
		w.input = w.now
		pause := w.upTo(time.Minute)
		if w.rng.IntN(40) == 0 {
			pause = w.upTo(20 * time.Minute) // thinks, telephones, has coffee
		}
		w.next = w.now.Add(pause)
		switch w.rng.IntN(2000) {
		case 0, 1:
			w.film = w.now.Add(w.upTo(2 * time.Hour))
		case 2:
			w.app = w.now.Add(w.upTo(time.Hour))
		case 3, 4:
			w.unplugged = w.now.Add(w.upTo(3 * time.Hour))
		}
	}
	if touched {
		w.news()
	}
	if w.rng.IntN(3000) == 0 { // a backup, an update, a compile
		w.burst = w.now.Add(w.upTo(20 * time.Minute))
	}
	target := 0.05 + 0.2*w.rng.Float64()
	if w.now.Before(w.burst) {
		target += 2.5
	}
	w.load += (target - w.load) * (1 - math.Exp(-step.Seconds()/60))
	for _, c := range []struct {
		was *bool
		is  bool
	}{
		{&w.fullScreen, w.now.Before(w.film)},
		{&w.hot, w.now.Before(w.unplugged) || w.now.Before(w.app)},
		{&w.loud, w.load > 0.5 || w.loud && w.load > 0.3},
	} {
		if c.is && !*c.was {
			w.news()
		}
		*c.was = c.is
	}
	return touched
}

// ad is what the slot's ad says of the world.
func (w *world) ad(p *policy.Policy, s slot.Slot) *classad.Ad {
	facts := classad.NewAd()
	facts.SetInt("TotalCpus", 4)
	facts.SetInt("TotalMemory", 16<<10)
	facts.SetInt("TotalDisk", 100<<20)
	ad := p.SlotAd(facts, 1)
	ours := 0.0
	if s.Running() {
		ours = 1
	}
	running := ""
	if w.now.Before(w.app) {
		running = "zoom"
	}
	ad.SetInt("KeyboardIdle", int64(w.now.Sub(w.input)/time.Second))
	ad.SetReal("LoadAvg", w.load+ours)
	ad.SetReal("SkuaLoadAvg", ours)
	ad.SetBool("FullScreen", w.fullScreen)
	ad.SetBool("OnBattery", w.now.Before(w.unplugged))
	ad.SetBool("Metered", false)
	ad.SetString("RunningApps", running)
	ad.SetBool("Throttled", s.Throttled)
	ad.SetString("State", s.State.String())
	ad.SetString("Activity", s.Activity.String())
	ad.SetInt("EnteredCurrentActivity", s.Entered.Unix())
	ad.SetInt("CurrentTime", w.now.Unix())
	policy.SetClock(ad, w.now)
	return ad
}

// A week of owners who come and go at any hour: jobs never run beside one, or only throttled; nothing
// stands still or is slowed more often than something comes; and no job is begun only to be suspended within
// the minute, unless something has just come.
func TestWeekOfPresets(t *testing.T) {
	const step = 20 * time.Second
	monday := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	for _, preset := range []policy.Preset{policy.Desktop, policy.LabNight, policy.Office, policy.Laptop, policy.Dedicated} {
		t.Run(string(preset), func(t *testing.T) {
			for seed := range uint64(2) {
				file := policy.File{Preset: preset}
				file.Owner.ExclusiveApps = policy.Apps{"zoom"}
				p, err := policy.Derive(file)
				if err != nil {
					t.Fatal(err)
				}
				w := &world{rng: rand.New(rand.NewPCG(seed, 7)), now: monday, input: monday.Add(-time.Hour), back: monday.Add(time.Hour)}
				cfg := slot.Config{Bump: time.Second, SuspendFor: p.SuspendFor, MaxVacate: p.MaxVacateTime, Terms: job.DefaultTerms}
				beside := p.InUseCPUs(4) > 0
				var s slot.Slot
				var began, ends, left time.Time
				claims, starts, suspensions, throttles, departures := 0, 0, 0, 0, 0
				do := func(ev slot.Event) {
					was := s
					var effects []slot.Effect
					s, effects = s.Step(ev, cfg)
					for _, e := range effects {
						switch e {
						case slot.Start:
							starts++
							began, ends = w.now, w.now.Add(time.Minute+w.upTo(5*time.Hour))
						case slot.Vacate, slot.Kill:
							departures++
							left = w.now.Add(w.upTo(time.Minute))
						case slot.Throttle:
							throttles++
						}
					}
					if s.Activity == slot.Suspended && was.Activity != slot.Suspended {
						suspensions++
						if w.now.Sub(began) <= time.Minute && w.arrival.Before(began) {
							t.Errorf("seed %d, %v: a job of %v ago is suspended, and nothing has come since", seed, w.now, w.now.Sub(began))
						}
					}
				}
				look := func() { do(slot.Looked{At: w.now, Verdicts: Verdicts(p, w.ad(p, s), nil, preset != policy.Dedicated)}) }
				for w.now.Before(monday.AddDate(0, 0, 7)) {
					if w.pass(step) && preset != policy.Dedicated {
						do(slot.OwnerTouched{At: w.now})
						do(slot.OwnerStayed{At: w.now})
					}
					look()
					if s.State == slot.Unclaimed {
						claims++
						claim := job.ClaimID(string(rune('a' + claims)))
						do(slot.Offered{At: w.now, Claim: claim, Epoch: job.Epoch(claims), Job: job.ID{Cluster: claims}})
						do(slot.Granted{At: w.now, Claim: claim})
					}
					if s.State == slot.Preempting && !w.now.Before(left) || s.Running() && !w.now.Before(ends) {
						do(slot.Ended{At: w.now, Claim: s.Tenancy.Claim})
						do(slot.Acknowledged{At: w.now, Claim: s.Tenancy.Claim})
					}
					typing := w.now.Sub(w.input) < time.Minute && preset != policy.Dedicated
					if s.Running() && typing && !(beside && s.Throttled) {
						t.Fatalf("seed %d, %v: %v beside the owner", seed, w.now, s)
					}
				}
				edges := 7 // of the hours in which jobs run
				if suspensions > w.arrivals || throttles > w.arrivals+starts || departures > w.arrivals+edges {
					t.Errorf("seed %d: %d suspensions, %d throttles, %d departures for %d arrivals", seed, suspensions, throttles, departures, w.arrivals)
				}
				if starts == 0 || preset != policy.Dedicated && (suspensions == 0 || beside != (throttles > 0)) {
					t.Errorf("seed %d: nothing was tried: %d starts, %d suspensions, %d throttles", seed, starts, suspensions, throttles)
				}
				t.Logf("seed %d: %d arrivals, %d starts, %d suspensions, %d throttles, %d departures", seed, w.arrivals, starts, suspensions, throttles, departures)
			}
		})
	}
}
