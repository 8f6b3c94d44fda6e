package negotiate

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"skua/internal/job"
	"skua/policy/classad"
)

// slot makes a slot of a machine of that name from extra attributes.
func slot(t testing.TB, machine string, status Status, extra string) Slot {
	t.Helper()
	return slotOf(t, "slot1@"+machine, machine, status, extra)
}

func slotOf(t testing.TB, name, machine string, status Status, extra string) Slot {
	t.Helper()
	ad, err := classad.ParseAd(`[ Requirements = START; START = true; Memory = 1024; ` + extra + ` ]`)
	if err != nil {
		t.Fatal(err)
	}
	ad.SetString("Name", name)
	ad.SetString("Machine", machine)
	return Slot{Name: name, Agent: job.AgentID("a-" + machine), Machine: machine, Status: status, Ad: ad}
}

// waiting makes a job of user from its id and attributes.
func waiting(t testing.TB, id, user, attrs string) Batch {
	t.Helper()
	ad, err := classad.ParseAd(`[ Requirements = TARGET.Memory >= RequestMemory; RequestMemory = 100; ` + attrs + ` ]`)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := job.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	prio, _ := ad.Int("JobPrio")
	return Batch{
		Cluster: parsed.Cluster, Procs: []Range{{parsed.Proc, parsed.Proc + 1}},
		User: job.UserID(user), Prio: int(prio), Nice: Nice(ad), Ad: ad,
	}
}

// noon is when the snapshots of these tests are taken, a Monday.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// claims makes so many claims of each user.
func claims(running map[job.UserID]int) []Claim {
	var all []Claim
	for user, n := range running {
		for range n {
			all = append(all, Claim{User: user})
		}
	}
	return all
}

func (b *Batch) first() job.ID { return job.ID{Cluster: b.Cluster, Proc: b.Procs[0].From} }

// show renders matches as "1.0>desk1 2.0>desk2".
func show(p *Plan) string {
	var out []string
	for _, m := range p.Matches {
		out = append(out, fmt.Sprintf("%v>%s", m.Job, strings.TrimPrefix(m.Slot.Name, "slot1@")))
	}
	return strings.Join(out, " ")
}

func TestMatches(t *testing.T) {
	avoiding := func(j Batch, machines ...string) Batch {
		j.Avoid = machines
		return j
	}
	for _, tt := range []struct {
		name    string
		jobs    []Batch
		slots   []Slot
		running map[job.UserID]int
		served  map[job.UserID]uint64
		want    string
	}{
		{
			name: "nothing to do",
		},
		{
			name:  "ids in order, slots by name",
			jobs:  []Batch{waiting(t, "10.0", "u", ""), waiting(t, "9.1", "u", ""), waiting(t, "9.0", "u", "")},
			slots: []Slot{slot(t, "b", Free, ""), slot(t, "a", Free, "")},
			want:  "9.0>a 9.1>b",
		},
		{
			name:  "the job's requirements decide",
			jobs:  []Batch{waiting(t, "1.0", "u", "RequestMemory = 5000")},
			slots: []Slot{slot(t, "a", Free, ""), slot(t, "b", Free, "Memory = 8000")},
			want:  "1.0>b",
		},
		{
			name:  "so does START",
			jobs:  []Batch{waiting(t, "1.0", "u", `Owner = "ann"`)},
			slots: []Slot{slot(t, "a", Free, `START = TARGET.Owner == "bob"`), slot(t, "b", Free, `START = TARGET.Owner == "ann"`)},
			want:  "1.0>b",
		},
		{
			name:  "undefined is not yes",
			jobs:  []Batch{waiting(t, "1.0", "u", "Requirements = TARGET.HasMatlab")},
			slots: []Slot{slot(t, "a", Free, "")},
			want:  "",
		},
		{
			name:  "only free slots are matched",
			jobs:  []Batch{waiting(t, "1.0", "u", ""), waiting(t, "1.1", "u", "")},
			slots: []Slot{slot(t, "a", Owner, ""), slot(t, "b", Claimed, ""), slot(t, "c", Resting, ""), slot(t, "d", Free, "")},
			want:  "1.0>d",
		},
		{
			name:  "rank chooses",
			jobs:  []Batch{waiting(t, "1.0", "u", "Rank = TARGET.Memory"), waiting(t, "1.1", "u", "Rank = -TARGET.Memory")},
			slots: []Slot{slot(t, "a", Free, "Memory = 2000"), slot(t, "b", Free, "Memory = 3000"), slot(t, "c", Free, "Memory = 1000")},
			want:  "1.0>b 1.1>c",
		},
		{
			name:  "the slot's rank breaks a tie",
			jobs:  []Batch{waiting(t, "1.0", "u", `Owner = "ann"`)},
			slots: []Slot{slot(t, "a", Free, ""), slot(t, "b", Free, `Rank = TARGET.Owner == "ann" ? 10 : 0`)},
			want:  "1.0>b",
		},
		{
			name:  "priority goes before age",
			jobs:  []Batch{waiting(t, "1.0", "u", ""), waiting(t, "2.0", "u", "JobPrio = 5"), waiting(t, "3.0", "u", "JobPrio = -1")},
			slots: []Slot{slot(t, "a", Free, ""), slot(t, "b", Free, "")},
			want:  "2.0>a 1.0>b",
		},
		{
			name: "users take turns whatever their priorities",
			jobs: []Batch{
				waiting(t, "1.0", "ann", "JobPrio = 9"), waiting(t, "1.1", "ann", "JobPrio = 9"), waiting(t, "1.2", "ann", "JobPrio = 9"),
				waiting(t, "2.0", "bob", ""),
			},
			slots: []Slot{slot(t, "a", Free, ""), slot(t, "b", Free, ""), slot(t, "c", Free, "")},
			want:  "1.0>a 2.0>b 1.1>c",
		},
		{
			name:    "who has slots already waits",
			jobs:    []Batch{waiting(t, "1.0", "ann", ""), waiting(t, "2.0", "bob", ""), waiting(t, "2.1", "bob", ""), waiting(t, "2.2", "bob", "")},
			slots:   []Slot{slot(t, "a", Free, ""), slot(t, "b", Free, ""), slot(t, "c", Free, "")},
			running: map[job.UserID]int{"ann": 2},
			want:    "2.0>a 2.1>b 1.0>c",
		},
		{
			name:   "who was served last comes last",
			jobs:   []Batch{waiting(t, "1.0", "ann", ""), waiting(t, "2.0", "bob", ""), waiting(t, "3.0", "eve", "")},
			slots:  []Slot{slot(t, "a", Free, ""), slot(t, "b", Free, "")},
			served: map[job.UserID]uint64{"ann": 7, "bob": 6},
			want:   "3.0>a 2.0>b",
		},
		{
			name:  "a user's unmatchable job does not stop the next one",
			jobs:  []Batch{waiting(t, "1.0", "u", "RequestMemory = 1000000"), waiting(t, "1.1", "u", "")},
			slots: []Slot{slot(t, "a", Free, "")},
			want:  "1.1>a",
		},
		{
			name:  "a machine that failed the job is avoided",
			jobs:  []Batch{avoiding(waiting(t, "1.0", "u", "Rank = TARGET.Memory"), "a")},
			slots: []Slot{slot(t, "a", Free, "Memory = 9000"), slot(t, "b", Free, "")},
			want:  "1.0>b",
		},
		{
			name:  "unless there is no other",
			jobs:  []Batch{avoiding(waiting(t, "1.0", "u", ""), "a", "b")},
			slots: []Slot{slot(t, "a", Free, ""), slot(t, "b", Owner, "")},
			want:  "1.0>a",
		},
		{
			name:  "several slots of a machine",
			jobs:  []Batch{waiting(t, "1.0", "u", ""), waiting(t, "1.1", "u", "")},
			slots: []Slot{slotOf(t, "slot2@a", "a", Free, ""), slotOf(t, "slot1@a", "a", Free, "")},
			want:  "1.0>a 1.1>slot2@a",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Cycle(Snapshot{Now: noon, Jobs: tt.jobs, Slots: tt.slots, Claims: claims(tt.running), Served: tt.served})
			if show(got) != tt.want {
				t.Errorf("matched %q, want %q", show(got), tt.want)
			}
			matched := map[job.ID]bool{}
			for _, m := range got.Matches {
				matched[m.Job] = true
			}
			for _, b := range tt.jobs {
				if id := b.first(); matched[id] == (got.Why(id) != nil) {
					t.Errorf("job %v: matched is %v, but the reason to wait is %v", id, matched[id], got.Why(id))
				}
			}
		})
	}
}

func TestWhy(t *testing.T) {
	for _, tt := range []struct {
		name  string
		job   string
		slots []Slot
		want  string
	}{
		{
			"an empty pool", "", nil,
			"no machine is in the pool",
		},
		{
			"an impossible clause is named", `Requirements = TARGET.Memory >= 10 && TARGET.OpSys == "PLAN9"`,
			[]Slot{slot(t, "a", Free, ""), slot(t, "b", Owner, "")},
			`no machine matches: TARGET.OpSys == "PLAN9" is true on none of the 2 machines; dropping it would match 2`,
		},
		{
			"an impossible clause, and one machine", `Requirements = TARGET.OpSys == "PLAN9"`,
			[]Slot{slot(t, "a", Free, "")},
			`the pool's one machine does not match: TARGET.OpSys == "PLAN9" is not true there; without that it would match`,
		},
		{
			"a name that is misspelt", `Requirements = TARGET.Memroy > 10`,
			[]Slot{slot(t, "a", Free, ""), slot(t, "b", Free, "")},
			`no machine matches: TARGET.Memroy > 10 is true on none of the 2 machines: no machine has an attribute Memroy (Memory?)`,
		},
		{
			"a size that is none", "Requirements = TARGET.Memory >= RequestMemory; RequestMemory = lots",
			[]Slot{slot(t, "a", Free, ""), slot(t, "b", Free, "")},
			`no machine matches: TARGET.Memory >= RequestMemory is true on none of the 2 machines: RequestMemory comes to nothing, since lots has no value`,
		},
		{
			"each clause holds somewhere", `Requirements = TARGET.Memory >= 2000 && TARGET.HasMatlab`,
			[]Slot{slot(t, "a", Free, "Memory = 3000"), slot(t, "b", Free, "HasMatlab = true")},
			"no machine matches: none of the 2 machines meets all of the job's requirements",
		},
		{
			"START refuses", `Owner = "ann"`,
			[]Slot{slot(t, "a", Free, `START = TARGET.Owner == "bob"`), slot(t, "b", Free, "Memory = 1")},
			"no machine accepts the job now: 1 machine meets the job's requirements, but START refuses it there",
		},
		{
			"owners", "",
			[]Slot{slot(t, "a", Owner, "START = false"), slot(t, "b", Owner, "START = false"), slot(t, "c", Owner, "START = false")},
			"all 3 machines that match are in use by their owners",
		},
		{
			"one owner", "",
			[]Slot{slot(t, "a", Owner, ""), slot(t, "b", Free, "Memory = 1")},
			"the only machine that matches is in use by its owner",
		},
		{
			"other jobs", "",
			[]Slot{slot(t, "a", Claimed, ""), slot(t, "b", Claimed, "")},
			"all 2 machines that match have other jobs",
		},
		{
			"all sorts", "",
			[]Slot{
				slot(t, "a", Claimed, ""), slot(t, "b", Claimed, ""), slot(t, "c", Owner, ""), slot(t, "d", Resting, ""),
				slot(t, "e", Free, "START = false"),
			},
			"of the 4 machines that match, 1 is in use by its owner, 2 have other jobs and 1 gave a job back a moment ago" +
				"; START refuses the job on 1 more",
		},
		{
			"a machine counts once, for its best slot", "",
			[]Slot{slotOf(t, "slot1@a", "a", Owner, ""), slotOf(t, "slot2@a", "a", Claimed, "")},
			"the only machine that matches has another job",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := waiting(t, "1.0", "u", tt.job)
			plan := Cycle(Snapshot{Now: noon, Jobs: []Batch{j}, Slots: tt.slots})
			why := plan.Why(j.first())
			if why == nil {
				t.Fatalf("the job was matched: %s", show(plan))
			}
			if got := why.Sentence(time.UTC); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestWhyCountsThisCyclesMatches(t *testing.T) {
	jobs := []Batch{waiting(t, "1.0", "u", ""), waiting(t, "1.1", "u", "")}
	plan := Cycle(Snapshot{Jobs: jobs, Slots: []Slot{slot(t, "a", Free, "")}})
	const want = "the only machine that matches has another job"
	if got := plan.Why(jobs[1].first()); got == nil || got.Sentence(time.UTC) != want {
		t.Errorf("1.1 waits because %v, want %q", got, want)
	}
}

// TestGroups holds that jobs are judged together exactly if nothing can tell them apart.
func TestGroups(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b string
		slot string
		same bool
	}{
		{"an attribute nobody reads", "Colour = 1", "Colour = 2", "", true},
		{"one that the job reads", "RequestMemory = 1", "RequestMemory = 2", "", false},
		{"one that START reads", "Colour = 1", "Colour = 2", "START = TARGET.Colour == 1", false},
		{"one that START reads by way of another", "Colour = 1", "Colour = 2", "START = Nice; Nice = TARGET.Colour == 1", false},
		{"one that START reads without saying whose", "Colour = 1", "Colour = 2", "START = Colour == 1", false},
		{"one that the job reads by way of another", "RequestMemory = Half * 2; Half = 1", "RequestMemory = Half * 2; Half = 2", "", false},
		{"one that the slot's Rank reads", "Colour = 1", "Colour = 2", "Rank = TARGET.Colour", false},
		{"another Rank", "Rank = 1", "Rank = Memory", "", false},
		{"a name made at run time", "Colour = 1", "Colour = 2", `START = eval(strcat("Col", "our")) =?= 1`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			jobs := []Batch{waiting(t, "1.0", "u", tt.a), waiting(t, "1.1", "u", tt.b)}
			memo := new(Memo)
			memo.begin()
			streams := grouped(jobs, []Slot{slot(t, "m", Free, tt.slot)}, memo)
			if same := streams[0].group == streams[1].group; same != tt.same {
				t.Errorf("one group: %v, want %v", same, tt.same)
			}
		})
	}
}

// TestCycleIsSound checks random pools against what must hold of every plan.
func TestCycleIsSound(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := Snapshot{Now: noon, Claims: claims(map[job.UserID]int{"ann": r.IntN(3), "bob": r.IntN(3)})}
		for i := range r.IntN(6) {
			extra := fmt.Sprintf("Memory = %d; START = TARGET.Colour != %d; Rank = TARGET.Colour", 100*r.IntN(4), r.IntN(3))
			s.Slots = append(s.Slots, slot(t, fmt.Sprint("m", i), Status(r.IntN(4)), extra))
		}
		byID := map[job.ID]Batch{}
		for i := range r.IntN(12) {
			j := waiting(t, fmt.Sprintf("%d.0", i+1), []string{"ann", "bob", "eve"}[r.IntN(3)],
				fmt.Sprintf("RequestMemory = %d; Colour = %d; JobPrio = %d", 100*r.IntN(4), r.IntN(3), r.IntN(2)))
			s.Jobs = append(s.Jobs, j)
			byID[j.first()] = j
		}
		plan := Cycle(s)

		taken := map[string]bool{}
		for _, m := range plan.Matches {
			j, ok := byID[m.Job]
			if !ok || taken[m.Slot.Name] || m.Slot.Status != Free || !classad.Match(j.Ad, m.Slot.Ad) {
				t.Fatalf("seed %d: bad match of %v and %s", seed, m.Job, m.Slot.Name)
			}
			delete(byID, m.Job)
			taken[m.Slot.Name] = true
		}
		for id, j := range byID {
			if plan.Why(id) == nil {
				t.Fatalf("seed %d: job %v is neither matched nor waiting", seed, id)
			}
			for _, sl := range s.Slots {
				if sl.Status == Free && !taken[sl.Name] && classad.Match(j.Ad, sl.Ad) {
					t.Fatalf("seed %d: job %v waits although %s is left and matches", seed, id, sl.Name)
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
}
