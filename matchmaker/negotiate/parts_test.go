package negotiate

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"skua/internal/job"
	"skua/policy"
	"skua/policy/classad"
)

// parted makes a partitionable slot for four jobs at a time, with 4 cpus, 4000 MB and 4,000,000 KB, of which
// some are used.
func parted(t testing.TB, machine string, status Status, used policy.Parts, jobs int, extra string) Slot {
	t.Helper()
	s := slot(t, machine, status, "Cpus = 4; Memory = 4000; Disk = 4000000; "+extra)
	policy.PartitionAd(s.Ad, used, jobs, 4)
	e, err := classad.ParseExpr("START && WithinResourceLimits")
	if err != nil {
		t.Fatal(err)
	}
	s.Ad.Set(classad.AttrRequirements, e)
	return s
}

// asking makes a job that asks for so much.
func asking(t testing.TB, id, user string, cpus, memory int, attrs string) Batch {
	t.Helper()
	return waiting(t, id, user, fmt.Sprintf("RequestCpus = %d; RequestMemory = %d; RequestDisk = 1000; "+
		"Requirements = TARGET.Memory >= RequestMemory && TARGET.Cpus >= RequestCpus; %s", cpus, memory, attrs))
}

func TestPartsAreGiven(t *testing.T) {
	empty := func(machine string) Slot { return parted(t, machine, Free, policy.Parts{}, 0, "") }
	for _, tt := range []struct {
		name  string
		slots []Slot
		jobs  []Batch
		with  func(*Snapshot)
		want  string
	}{
		{
			name:  "several in one cycle, until the cpus are used up",
			slots: []Slot{empty("desk1")},
			jobs: []Batch{
				asking(t, "1.0", "ann", 1, 100, ""), asking(t, "2.0", "ann", 2, 100, ""), asking(t, "3.0", "ann", 2, 100, ""),
				asking(t, "4.0", "ann", 1, 100, ""), asking(t, "5.0", "ann", 1, 100, ""),
			},
			want: "1.0>desk1 2.0>desk1 4.0>desk1",
		},
		{
			name:  "until the memory is used up, which goes in steps",
			slots: []Slot{empty("desk1")},
			jobs: []Batch{
				asking(t, "1.0", "ann", 1, 1900, ""), asking(t, "2.0", "ann", 1, 1900, ""), asking(t, "3.0", "ann", 1, 160, ""), asking(t, "4.0", "ann", 1, 161, ""),
			},
			want: "1.0>desk1 2.0>desk1 3.0>desk1",
		},
		{
			name:  "what others have already is not given again",
			slots: []Slot{parted(t, "desk1", Free, policy.Parts{Cpus: 3, Memory: 3000}, 1, "")},
			jobs:  []Batch{asking(t, "1.0", "ann", 2, 100, ""), asking(t, "2.0", "ann", 1, 2000, ""), asking(t, "3.0", "ann", 1, 900, ""), asking(t, "4.0", "ann", 1, 1, "")},
			want:  "3.0>desk1",
		},
		{
			name:  "no more jobs than it may have",
			slots: []Slot{parted(t, "desk1", Free, policy.Parts{}, 3, "")},
			jobs:  []Batch{asking(t, "1.0", "ann", 1, 100, ""), asking(t, "2.0", "ann", 1, 100, "")},
			want:  "1.0>desk1",
		},
		{
			name:  "the next machine takes what does not fit",
			slots: []Slot{empty("desk1"), empty("desk2"), slot(t, "desk3", Free, "Cpus = 1")},
			jobs: []Batch{
				asking(t, "1.0", "ann", 3, 100, ""), asking(t, "2.0", "ann", 3, 100, ""), asking(t, "3.0", "ann", 1, 100, ""),
				asking(t, "4.0", "ann", 1, 100, ""), asking(t, "5.0", "ann", 1, 100, ""), asking(t, "6.0", "ann", 1, 100, ""),
			},
			want: "1.0>desk1 2.0>desk2 3.0>desk1 4.0>desk2 5.0>desk3",
		},
		{
			name:  "users take turns",
			slots: []Slot{empty("desk1")},
			jobs: []Batch{
				asking(t, "1.0", "ann", 1, 100, ""), asking(t, "2.0", "ann", 1, 100, ""), asking(t, "3.0", "ann", 1, 100, ""), asking(t, "4.0", "bob", 1, 100, ""), asking(t, "5.0", "bob", 1, 100, ""),
			},
			want: "1.0>desk1 4.0>desk1 2.0>desk1 5.0>desk1",
		},
		{
			name:  "Rank chooses",
			slots: []Slot{empty("desk1"), parted(t, "desk2", Free, policy.Parts{}, 0, "Fast = 2")},
			jobs:  []Batch{asking(t, "1.0", "ann", 3, 100, "Rank = TARGET.Fast ?: 0"), asking(t, "2.0", "ann", 3, 100, "Rank = TARGET.Fast ?: 0")},
			want:  "1.0>desk2 2.0>desk1",
		},
		{
			name:  "the job's own requirements hold for what is left",
			slots: []Slot{empty("desk1")},
			jobs: []Batch{
				asking(t, "1.0", "ann", 1, 100, ""),
				asking(t, "2.0", "ann", 1, 100, "Requirements = TARGET.Memory >= 3900"), asking(t, "3.0", "ann", 1, 100, "Requirements = TARGET.Memory >= 3800"),
			},
			want: "1.0>desk1 3.0>desk1",
		},
		{
			name:  "and the slot's",
			slots: []Slot{parted(t, "desk1", Free, policy.Parts{}, 0, "START = TARGET.RequestMemory <= MY.Memory / 2")},
			jobs:  []Batch{asking(t, "1.0", "ann", 1, 2000, ""), asking(t, "2.0", "ann", 1, 1100, ""), asking(t, "3.0", "ann", 1, 900, "")},
			want:  "1.0>desk1 3.0>desk1",
		},
		{
			name:  "a part of what there is",
			slots: []Slot{empty("desk1")},
			jobs:  []Batch{asking(t, "1.0", "ann", 1, 0, "RequestMemory = TARGET.TotalSlotMemory / 2"), asking(t, "2.0", "ann", 1, 2000, "")},
			want:  "1.0>desk1", // 2000 become 2048
		},
		{
			name:  "GPUs",
			slots: []Slot{parted(t, "desk1", Free, policy.Parts{}, 0, "GPUs = 1"), parted(t, "desk2", Free, policy.Parts{}, 0, "GPUs = 2")},
			jobs:  []Batch{asking(t, "1.0", "ann", 1, 1, "RequestGPUs = 1"), asking(t, "2.0", "ann", 1, 1, "RequestGPUs = 2"), asking(t, "3.0", "ann", 1, 1, "RequestGPUs = 1")},
			want:  "1.0>desk1 2.0>desk2",
		},
		{
			name:  "concurrency limits",
			slots: []Slot{empty("desk1")},
			jobs:  []Batch{asking(t, "1.0", "ann", 1, 1, `ConcurrencyLimits = "x"`), asking(t, "2.0", "ann", 1, 1, `ConcurrencyLimits = "x"`), asking(t, "3.0", "ann", 1, 1, "")},
			with:  func(s *Snapshot) { s.Limits = map[string]float64{"x": 1} },
			want:  "1.0>desk1 3.0>desk1",
		},
		{
			name:  "an owner's machine is not given",
			slots: []Slot{parted(t, "desk1", Owner, policy.Parts{}, 0, "")},
			jobs:  []Batch{asking(t, "1.0", "ann", 1, 1, "")},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Snapshot{Now: noon, Slots: tt.slots, Jobs: tt.jobs}
			if tt.with != nil {
				tt.with(&s)
			}
			if got := show(Cycle(s)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestPartsAreSound: whatever the jobs ask for, each matches what those before it have left, and who waits
// matches nothing that is left in the end.
func TestPartsAreSound(t *testing.T) {
	matched := 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 3))
		s := Snapshot{Now: noon}
		for i := range 1 + r.IntN(4) {
			name, status := fmt.Sprint("m", i), Free
			if r.IntN(6) == 0 {
				status = Status(r.IntN(4))
			}
			if r.IntN(3) == 0 {
				s.Slots = append(s.Slots, slot(t, name, status, fmt.Sprintf("Cpus = 2; Memory = %d; START = TARGET.Colour != 1", 500*r.IntN(4))))
				continue
			}
			used := policy.Parts{Cpus: int64(r.IntN(3)), Memory: int64(r.IntN(2000))}
			s.Slots = append(s.Slots, parted(t, name, status, used, r.IntN(3), "START = TARGET.Colour != 2 && TARGET.RequestMemory <= MY.Memory"))
		}
		byID := map[job.ID]Batch{}
		for i := range r.IntN(20) {
			j := asking(t, fmt.Sprintf("%d.0", i+1), []string{"ann", "bob"}[r.IntN(2)], r.IntN(4), 300*r.IntN(9), fmt.Sprintf("Colour = %d", r.IntN(4)))
			s.Jobs = append(s.Jobs, j)
			byID[j.first()] = j
		}
		plan := Cycle(s)
		now := map[string]*classad.Ad{} // what is left of the free slots
		for _, sl := range s.Slots {
			if sl.Status == Free {
				now[sl.Name] = sl.Ad
			}
		}
		fits := func(ad, sl *classad.Ad) bool {
			if part, _ := sl.Bool(policy.AttrPartitionable); part && (policy.JobsLeft(sl) < 1 || !policy.RequestOf(ad, sl).Fits(policy.PartsOf(sl))) {
				return false
			}
			return classad.Match(ad, sl)
		}
		for _, m := range plan.Matches {
			matched++
			j, sl := byID[m.Job], now[m.Slot.Name]
			if sl == nil || j.Ad == nil || !fits(j.Ad, sl) {
				t.Fatalf("seed %d: bad match of %v and %s in %s", seed, m.Job, m.Slot.Name, show(plan))
			}
			delete(byID, m.Job)
			delete(now, m.Slot.Name)
			if part, _ := sl.Bool(policy.AttrPartitionable); part {
				share, _ := policy.RequestOf(j.Ad, sl).Carve(policy.PartsOf(sl), policy.WholeOf(sl))
				now[m.Slot.Name] = policy.Taken(sl, share, 1)
			}
		}
		for id, j := range byID {
			if plan.Why(id) == nil {
				t.Fatalf("seed %d: job %v is neither matched nor waiting", seed, id)
			}
			for name, sl := range now {
				if fits(j.Ad, sl) {
					t.Fatalf("seed %d: job %v waits although %s has room for it", seed, id, name)
				}
			}
		}
		r.Shuffle(len(s.Jobs), func(i, k int) { s.Jobs[i], s.Jobs[k] = s.Jobs[k], s.Jobs[i] })
		r.Shuffle(len(s.Slots), func(i, k int) { s.Slots[i], s.Slots[k] = s.Slots[k], s.Slots[i] })
		again := Cycle(s)
		if show(again) != show(plan) {
			t.Fatalf("seed %d: the same snapshot in another order gave\n%s\nnot\n%s", seed, show(again), show(plan))
		}
		for id := range byID {
			if a, b := again.Why(id), plan.Why(id); !reflect.DeepEqual(a, b) {
				t.Fatalf("seed %d: in another order job %v waits because of %+v, not %+v", seed, id, a, b)
			}
		}
	}
	if matched < 500 {
		t.Errorf("only %d jobs were matched in all", matched)
	}
}

// partedDesk is a partitionable slot of a machine with a desktop's policy.
func partedDesk(t testing.TB, name string, status Status, used policy.Parts, jobs int) Slot {
	t.Helper()
	s := desk(t, name, status, "", "")
	policy.PartitionAd(s.Ad, used, jobs, 4)
	return s
}

// dynamicDesks are the slots that have been carved out of one.
func dynamicDesks(t testing.TB, name string, each policy.Parts, jobs int) []Slot {
	t.Helper()
	var all []Slot
	for i := range jobs {
		s := desk(t, name, Claimed, "", "")
		policy.DynamicAd(s.Ad, each, i+1, jobs)
		s.Name = policy.DynamicName(i+1, name)
		s.Ad.SetString("Name", s.Name)
		all = append(all, s)
	}
	return all
}

func TestCrowdedIsNotUnsuited(t *testing.T) {
	j := asking(t, "1.0", "ann", 2, 3000, "")
	for _, tt := range []struct {
		name string
		slot Slot
		want string
	}{
		{"too few cpus left", parted(t, "d", Free, policy.Parts{Cpus: 3}, 1, ""), "slot1@d has 1 cpu left, and the job asks for 2 cpus"},
		{
			"and too little memory", parted(t, "d", Free, policy.Parts{Cpus: 3, Memory: 2000}, 1, ""),
			"slot1@d has 1 cpu and 2 GB of memory left, and the job asks for 2 cpus and 2.9 GB of memory",
		},
		{"nothing left", parted(t, "d", Claimed, policy.Parts{Cpus: 4}, 1, ""), "slot1@d has 0 cpus left, and the job asks for 2 cpus"},
		{"as many jobs as it may have", parted(t, "d", Claimed, policy.Parts{Cpus: 1}, 4, ""), "slot1@d has 4 jobs, and may not have more at a time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := Cycle(Snapshot{Now: noon, Slots: []Slot{tt.slot}, Jobs: []Batch{j}}).Why(j.first())
			if w == nil || w.Crowded != 1 || w.Room == nil || w.Room.String() != tt.want {
				t.Errorf("it waits because of %+v (%v), want %q", w, w.Room, tt.want)
			}
		})
	}
	for _, tt := range []struct {
		name string
		slot Slot
		want func(w *Plan) bool
	}{
		{"never large enough", parted(t, "d", Free, policy.Parts{Cpus: 3}, 1, "Memory = 2000"), func(p *Plan) bool { return p.Why(j.first()).Unsuited == 1 }},
		{"its owner's", parted(t, "d", Owner, policy.Parts{Cpus: 3}, 1, ""), func(p *Plan) bool { return p.Why(j.first()).Owner == 1 }},
		{"not accepted", parted(t, "d", Free, policy.Parts{Cpus: 3}, 1, "START = false"), func(p *Plan) bool { return p.Why(j.first()).Unwanted == 1 }},
		{"large enough nowhere", slotOf(t, "slot1@d", "d", Free, "Cpus = 1"), func(p *Plan) bool { return p.Why(j.first()).Unsuited == 1 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if p := Cycle(Snapshot{Now: noon, Slots: []Slot{tt.slot}, Jobs: []Batch{j}}); !tt.want(p) {
				t.Errorf("it waits because of %+v", p.Why(j.first()))
			}
		})
	}
}

// BenchmarkCycleOfParts has machines of which jobs take parts of different sizes.
func BenchmarkCycleOfParts(b *testing.B) {
	s := Snapshot{Now: noon, Memo: new(Memo)}
	for i := range 1000 {
		s.Slots = append(s.Slots, partedDesk(b, fmt.Sprintf("desk%05d", i), Free, policy.Parts{}, 0))
	}
	for i := range 100 {
		s.Jobs = append(s.Jobs, cluster(b, i+1, 100, fmt.Sprintf("RequestCpus = %d\nRequestMemory = %d", 1+i%3, 200+10*i)))
	}
	for b.Loop() {
		if n := len(Cycle(s).Matches); n < 1000 {
			b.Fatal(n, "matches")
		}
	}
}
