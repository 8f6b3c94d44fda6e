package negotiate

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"skua/internal/job"
	"skua/policy/classad"
)

func TestCharge(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name    string
		account Account
		after   time.Duration
		real    float64
		hours   float64
	}{
		{"a new user has the best priority", Account{}, 100 * day, 0.5, 0},
		{"it goes half of the way to the cpus in use", Account{Priority: 0.5, InUse: 8.5}, day, 4.5, 8.5 * 24},
		{"and half of the rest", Account{Priority: 0.5, InUse: 8.5}, 2 * day, 6.5, 8.5 * 48},
		{"a short step", Account{Priority: 10, InUse: 10}, time.Second, 10, 10. / 3600},
		{"what was used is forgotten", Account{Priority: 64}, 3 * day, 8, 0},
		{"down to the bound", Account{Priority: 64}, 30 * day, 0.5, 0},
		{"time does not run backwards", Account{Priority: 64, InUse: 3}, -day, 64, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.account.At = noon
			got := tt.account.Charge(noon.Add(tt.after), day)
			if math.Abs(got.Real()-tt.real) > 1e-9 || math.Abs(got.Hours-tt.hours) > 1e-9 {
				t.Errorf("real priority %v and %v hours, want %v and %v", got.Real(), got.Hours, tt.real, tt.hours)
			}
		})
	}
}

// What is used after a clock has been set back is charged.
func TestClockSetBack(t *testing.T) {
	const halfLife = time.Hour
	ahead := Account{}.Use(2, noon.Add(1000*time.Hour), halfLife)
	got := ahead.Charge(noon, halfLife).Charge(noon.Add(time.Hour), halfLife)
	want := Account{}.Use(2, noon, halfLife).Charge(noon.Add(time.Hour), halfLife)
	if got.Real() != want.Real() || got.Hours != want.Hours || !got.Last.Equal(want.Last) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestUse: what happens in between counts, and it does not matter in how many steps it is charged.
func TestUse(t *testing.T) {
	const halfLife = time.Hour
	var a Account
	a = a.Use(4, noon, halfLife)
	a = a.Use(-1, noon.Add(time.Hour), halfLife)
	once := a.Charge(noon.Add(3*time.Hour), halfLife)
	if once.InUse != 3 || once.Hours != 4+2*3 || !once.First.Equal(noon) || !once.Last.Equal(noon.Add(3*time.Hour)) {
		t.Errorf("got %+v", once)
	}
	often := a
	for i := range 120 {
		often = often.Charge(noon.Add(time.Hour+time.Duration(i+1)*time.Minute), halfLife)
	}
	if math.Abs(often.Priority-once.Priority) > 1e-9 || math.Abs(often.Hours-once.Hours) > 1e-9 {
		t.Errorf("in 120 steps %+v, in one %+v", often, once)
	}
	idle := once.Use(-3, noon.Add(3*time.Hour), halfLife).Charge(noon.Add(9*time.Hour), halfLife)
	if !idle.Last.Equal(noon.Add(3*time.Hour)) || idle.Hours != 10 {
		t.Errorf("after a rest %+v", idle)
	}
	if less := idle.Use(-5, idle.At, halfLife); less.InUse != 0 {
		t.Errorf("%v cpus in use", less.InUse)
	}
	if got := (Account{Factor: 10, Priority: 3}).Effective(); got != 30 {
		t.Errorf("effective priority %v, want 30", got)
	}
	if got := (Account{}).Effective(); got != 500 {
		t.Errorf("effective priority %v, want 500", got)
	}
}

// many is n waiting jobs of a user.
func many(t testing.TB, cluster, n int, user, attrs string) Batch {
	t.Helper()
	b := waiting(t, fmt.Sprintf("%d.0", cluster), user, attrs)
	b.Procs = []Range{{0, n}}
	return b
}

func freeSlots(t testing.TB, n int) []Slot {
	t.Helper()
	var all []Slot
	for i := range n {
		all = append(all, slot(t, fmt.Sprintf("m%03d", i), Free, ""))
	}
	return all
}

func TestShares(t *testing.T) {
	for _, tt := range []struct {
		name     string
		slots    int
		jobs     map[string]int // of each user, nice ones of "user/nice"
		accounts map[job.UserID]Account
		running  map[job.UserID]int
		want     string
	}{
		{"equal users share equally", 60, map[string]int{"ann": 100, "bob": 100}, nil, nil, "ann 30, bob 30"},
		{
			"twice the factor, half the share", 60,
			map[string]int{"ann": 100, "bob": 100},
			map[job.UserID]Account{"ann": {Factor: 2000}},
			nil, "ann 20, bob 40",
		},
		{
			"three priorities", 110,
			map[string]int{"ann": 200, "bob": 200, "eve": 200},
			map[job.UserID]Account{"ann": {Priority: 1}, "bob": {Priority: 2}, "eve": {Priority: 3}},
			nil, "ann 60, bob 30, eve 20",
		},
		{"what a user does not want is left to others", 60, map[string]int{"ann": 5, "bob": 100}, nil, nil, "ann 5, bob 55"},
		{
			"what they have already counts", 40,
			map[string]int{"ann": 100, "bob": 100},
			nil,
			map[job.UserID]int{"ann": 20},
			"ann 10, bob 30",
		},
		{
			"nobody waits while slots are free", 60,
			map[string]int{"ann": 100},
			map[job.UserID]Account{"ann": {Priority: 1e6}},
			map[job.UserID]int{"ann": 500},
			"ann 60",
		},
		{
			"nice jobs take what is left", 60,
			map[string]int{"ann/nice": 100, "bob": 50},
			map[job.UserID]Account{"bob": {Priority: 1e6}},
			nil, "ann 10, bob 50",
		},
		{"and share it", 60, map[string]int{"ann/nice": 100, "bob": 20, "bob/nice": 100}, nil, nil, "ann 20, bob 40"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Snapshot{Now: noon, Slots: freeSlots(t, tt.slots), Accounts: tt.accounts, Claims: claims(tt.running)}
			cluster := 0
			for name, n := range tt.jobs {
				cluster++
				user, nice, _ := strings.Cut(name, "/")
				s.Jobs = append(s.Jobs, many(t, cluster, n, user, fmt.Sprintf("NiceUser = %v", nice != "")))
			}
			got := map[string]int{}
			users := map[int]string{}
			for _, b := range s.Jobs {
				users[b.Cluster] = string(b.User)
			}
			for _, m := range Cycle(s).Matches {
				got[users[m.Job.Cluster]]++
			}
			var list []string
			for _, user := range []string{"ann", "bob", "eve"} {
				if got[user] > 0 {
					list = append(list, fmt.Sprintf("%s %d", user, got[user]))
				}
			}
			if text := strings.Join(list, ", "); text != tt.want {
				t.Errorf("got %s, want %s", text, tt.want)
			}
		})
	}
}

// TestSharesAreProportional: with enough jobs of everybody, the slots of two users are in inverse
// proportion to their priorities, to within one slot.
func TestSharesAreProportional(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 3))
		s := Snapshot{Now: noon, Slots: freeSlots(t, 20+r.IntN(100)), Accounts: map[job.UserID]Account{}}
		total := 0.0
		for i := range 2 + r.IntN(4) {
			user := fmt.Sprint("u", i)
			a := Account{Priority: 0.5 + 10*r.Float64(), Factor: 100 + 900*r.Float64()}
			s.Accounts[job.UserID(user)] = a
			total += 1 / a.Effective()
			s.Jobs = append(s.Jobs, many(t, i+1, 200, user, ""))
		}
		got := map[int]int{}
		for _, m := range Cycle(s).Matches {
			got[m.Job.Cluster]++
		}
		for _, b := range s.Jobs {
			want := float64(len(s.Slots)) / s.Accounts[b.User].Effective() / total
			if diff := math.Abs(float64(got[b.Cluster]) - want); diff > float64(len(s.Jobs)) {
				t.Errorf("seed %d: user %s got %d slots, not %.1f", seed, b.User, got[b.Cluster], want)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	running := []Claim{{User: "eve", Limits: "matlab"}, {User: "eve", Limits: "license.x:2"}}
	for _, tt := range []struct {
		name    string
		limits  map[string]float64
		jobs    []Batch
		matched int
		why     string // of the last job
	}{
		{"no limit of that name", nil, []Batch{many(t, 1, 5, "u", `ConcurrencyLimits = "matlab"`)}, 5, ""},
		{
			"one is in use",
			map[string]float64{"matlab": 3},
			[]Batch{many(t, 1, 5, "u", `ConcurrencyLimits = "matlab"`)},
			2, "the concurrency limit matlab is full: 3 of 3 in use",
		},
		{
			"in any case",
			map[string]float64{"matlab": 3},
			[]Batch{many(t, 1, 5, "u", `ConcurrencyLimits = "MatLab"`)},
			2, "the concurrency limit matlab is full: 3 of 3 in use",
		},
		{
			"amounts",
			map[string]float64{"matlab": 6},
			[]Batch{many(t, 1, 5, "u", `ConcurrencyLimits = "other, matlab:2"`)},
			2, "the concurrency limit matlab is full: 5 of 6 in use",
		},
		{
			"fractions",
			map[string]float64{"matlab": 1.3},
			[]Batch{many(t, 1, 5, "u", `ConcurrencyLimits = "matlab:0.1"`)},
			3, "the concurrency limit matlab is full: 1.3 of 1.3 in use",
		},
		{
			"none at all",
			map[string]float64{"matlab": 0},
			[]Batch{many(t, 1, 5, "u", `ConcurrencyLimits = "matlab"`)},
			0, "the concurrency limit matlab is full: 1 of 0 in use",
		},
		{
			"the rest of a group",
			map[string]float64{"license.*": 3, "license.y": 1, "*": 2},
			[]Batch{many(t, 1, 5, "u", `ConcurrencyLimits = "license.x"`), many(t, 2, 5, "u", `ConcurrencyLimits = "license.y"`)},
			2, "the concurrency limit license.y is full: 1 of 1 in use",
		},
		{
			"all others",
			map[string]float64{"*": 2},
			[]Batch{many(t, 1, 5, "u", `ConcurrencyLimits = "a"`), many(t, 2, 5, "u", `ConcurrencyLimits = "b"`)},
			4, "the concurrency limit b is full: 2 of 2 in use",
		},
		{
			"an expression",
			map[string]float64{"matlab": 2},
			[]Batch{many(t, 1, 5, "u", `ConcurrencyLimits = strcat("mat", "lab")`)},
			1, "the concurrency limit matlab is full: 2 of 2 in use",
		},
		{
			"an expression over the machine",
			map[string]float64{"big": 0},
			[]Batch{many(t, 1, 20, "u", `ConcurrencyLimits = TARGET.Memory > 4000 ? "big" : "small"`)},
			10, "the concurrency limit big is full: 0 of 0 in use",
		},
		{
			"who has no such limit goes on",
			map[string]float64{"matlab": 1},
			[]Batch{many(t, 1, 5, "u", `ConcurrencyLimits = "matlab"`), many(t, 2, 5, "u", "")},
			5, "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Snapshot{Now: noon, Jobs: tt.jobs, Claims: running, Limits: tt.limits, Slots: freeSlots(t, 10)}
			if strings.Contains(tt.name, "machine") {
				s.Slots = append(s.Slots, slot(t, "big", Free, "Memory = 8000"))
			}
			plan := Cycle(s)
			if len(plan.Matches) != tt.matched {
				t.Errorf("%d matches, want %d", len(plan.Matches), tt.matched)
			}
			last := s.Jobs[len(s.Jobs)-1]
			why := ""
			if w := plan.Why(job.ID{Cluster: last.Cluster, Proc: last.Procs[0].Upto - 1}); w != nil {
				why = w.Sentence(time.UTC)
			}
			if why != tt.why {
				t.Errorf("the last job waits because %q, want %q", why, tt.why)
			}
		})
	}
	in := LimitsInUse(Snapshot{Claims: running, Limits: map[string]float64{"matlab": 2, "idle": 5, "license.*": 3}})
	if want := []LimitUse{{"idle", 5, 0}, {"license.x", 3, 2}, {"matlab", 2, 1}}; !reflect.DeepEqual(in, want) {
		t.Errorf("in use: %v, want %v", in, want)
	}
}

func FuzzLimits(f *testing.F) {
	f.Add("matlab")
	f.Add("matlab:2, License.x:0.5 matlab")
	f.Add(":,::1e309,x:-3,y:NaN")
	f.Fuzz(func(t *testing.T, text string) {
		last := ""
		for i, s := range parseLimits(text) {
			if !(s.amount > 0) || s.name != strings.ToLower(s.name) || i > 0 && s.name <= last {
				t.Errorf("%q gives %v", text, parseLimits(text))
			}
			last = s.name
		}
	})
}

// TestBatches: jobs given together are matched as they are one by one, and no limit is exceeded.
func TestBatches(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 5))
		s := Snapshot{Now: noon, Limits: map[string]float64{"a": float64(r.IntN(4)), "b": 1}, Accounts: map[job.UserID]Account{"ann": {Priority: 3}}}
		for i := range 1 + r.IntN(12) {
			s.Slots = append(s.Slots, slot(t, fmt.Sprint("m", i), Status(r.IntN(4)), fmt.Sprintf(
				"Memory = %d; START = TARGET.Colour =!= %d", 100*r.IntN(5), r.IntN(4))))
		}
		var single []Batch
		for i := range 1 + r.IntN(4) {
			b := waiting(t, fmt.Sprintf("%d.0", i+1), []string{"ann", "bob"}[r.IntN(2)], fmt.Sprintf(
				`JobPrio = %d; NiceUser = %v; ConcurrencyLimits = %q; Colour = %d`, r.IntN(2), r.IntN(3) == 0, []string{"a", "b:0.5", ""}[r.IntN(3)], r.IntN(4)))
			b.Procs = nil
			seedOf := r.IntN(100)
			varying := r.IntN(3) // nothing that matters, the memory, the colour
			base := b.Ad
			b.AdOf = func(proc int) *classad.Ad {
				ad := classad.NewAd()
				ad.SetParent(base)
				ad.SetInt("ProcId", int64(proc))
				ad.SetString("Args", fmt.Sprint(proc))
				switch varying {
				case 1:
					ad.SetInt("RequestMemory", int64(100*((proc*7+seedOf)%5)))
				case 2:
					ad.SetInt("Colour", int64((proc+seedOf)%4))
				}
				return ad
			}
			b.Varies = [][]string{{"Args"}, {"args", "requestmemory"}, {"Colour", "Args"}}[varying]
			from := 0
			for range 1 + r.IntN(3) {
				from += 1 + r.IntN(3)
				upto := from + 1 + r.IntN(4)
				b.Procs = append(b.Procs, Range{from, upto})
				for proc := from; proc < upto; proc++ {
					one := b
					one.Procs, one.Varies, one.AdOf, one.Ad = []Range{{proc, proc + 1}}, nil, nil, b.AdOf(proc)
					single = append(single, one)
				}
				from = upto
			}
			b.Ad = b.AdOf(b.Procs[0].From)
			if r.IntN(2) == 0 {
				b.Table = b.Cluster
			}
			s.Jobs = append(s.Jobs, b)
		}
		ones := s
		ones.Jobs = single
		s.Memo = new(Memo)
		Cycle(s)
		together, alone := Cycle(s), Cycle(ones)
		if show(together) != show(alone) {
			t.Fatalf("seed %d: together\n%s\none by one\n%s", seed, show(together), show(alone))
		}
		used := maps.Clone(s.Limits)
		for _, m := range together.Matches {
			for _, b := range single {
				if b.Cluster == m.Job.Cluster && b.Procs[0].From == m.Job.Proc {
					for _, l := range parseLimits(LimitsOf(b.Ad, nil)) {
						if used[l.name] -= l.amount; used[l.name] < -1e-9 {
							t.Errorf("seed %d: limit %s is exceeded", seed, l.name)
						}
					}
				}
			}
		}
		for _, b := range single {
			id := b.first()
			x, y := together.Why(id), alone.Why(id)
			if !reflect.DeepEqual(x, y) {
				t.Fatalf("seed %d: job %v waits because of %+v together, %+v alone", seed, id, x, y)
			}
		}
	}
}

// TestSharedMemo: cycles may share a memo, also at the same time and over different pools.
func TestSharedMemo(t *testing.T) {
	memo := new(Memo)
	var wg sync.WaitGroup
	for i := range 8 {
		s := Snapshot{Now: noon, Memo: memo, Slots: freeSlots(t, 2+i%3), Jobs: []Batch{many(t, 1, 5, "u", ""), many(t, 2, 5, "v", "")}}
		alone := s
		alone.Memo = nil
		want := show(Cycle(alone))
		wg.Go(func() {
			for range 20 {
				if got := show(Cycle(s)); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
		})
	}
	wg.Wait()
}

// TestPristine: of jobs that differ in nothing that matters, no ad is asked for.
func TestPristine(t *testing.T) {
	b := many(t, 1, 100_000, "u", "")
	b.Varies = []string{"Args", "Colour"}
	b.AdOf = func(proc int) *classad.Ad {
		t.Errorf("the ad of job %d is made", proc)
		return b.Ad
	}
	plan := Cycle(Snapshot{Now: noon, Jobs: []Batch{b}, Slots: freeSlots(t, 3)})
	if got := show(plan); got != "1.0>m000 1.1>m001 1.2>m002" {
		t.Errorf("matched %s", got)
	}
	if plan.Why(job.ID{Cluster: 1, Proc: 2}) != nil || plan.Why(job.ID{Cluster: 1, Proc: 99_999}) == nil ||
		plan.Why(job.ID{Cluster: 1, Proc: 100_000}) != nil || plan.Why(job.ID{Cluster: 2}) != nil {
		t.Error("the wrong jobs wait")
	}
}

// TestTable: what is known of a table is not looked up again, whichever of its jobs still wait.
func TestTable(t *testing.T) {
	memo := new(Memo)
	made := 0
	cycle := func(from, upto int) string {
		made = 0
		b := many(t, 1, upto, "u", "RequestMemory = 5000")
		b.Procs, b.Varies, b.Table = []Range{{from, upto}}, []string{"RequestMemory"}, "cluster 1"
		base := b.Ad
		b.AdOf = func(proc int) *classad.Ad {
			made++
			ad := classad.NewAd()
			ad.SetParent(base)
			ad.SetInt("RequestMemory", int64(100+900*(proc%3))) // of every third 1900
			return ad
		}
		b.Ad = b.AdOf(from)
		return show(Cycle(Snapshot{Now: noon, Memo: memo, Slots: freeSlots(t, 3), Jobs: []Batch{b}}))
	}
	if got := cycle(0, 300); got != "1.0>m000 1.1>m001 1.3>m002" || made < 300 {
		t.Errorf("at first %s, and %d ads were made", got, made)
	}
	if got := cycle(2, 300); got != "1.3>m000 1.4>m001 1.6>m002" || made > 4 {
		t.Errorf("then %s, and %d ads were made", got, made)
	}
	if got := cycle(299, 302); got != "1.300>m000 1.301>m001" || made > 6 {
		t.Errorf("with new jobs %s, and %d ads were made", got, made)
	}
}

// TestChangingAttributes: what START reads of a job's past tells those apart that have one.
func TestChangingAttributes(t *testing.T) {
	b := many(t, 1, 4, "u", "NumJobStarts = 0")
	b.Varies = []string{"NumJobStarts"}
	b.AdOf = func(proc int) *classad.Ad {
		ad := classad.NewAd()
		ad.SetParent(b.Ad)
		ad.SetInt("NumJobStarts", int64(proc%2))
		return ad
	}
	slots := []Slot{slot(t, "a", Free, "START = TARGET.NumJobStarts > 0"), slot(t, "b", Free, "START = TARGET.NumJobStarts > 0")}
	if got := show(Cycle(Snapshot{Now: noon, Jobs: []Batch{b}, Slots: slots})); got != "1.1>a 1.3>b" {
		t.Errorf("matched %s", got)
	}
}

// TestOpensAt: the hours of a policy are read from its START, in the machine's own time zone and from an
// ad that may be some minutes old.
func TestOpensAt(t *testing.T) {
	for _, tt := range []struct {
		name, hours string
		zone        int // seconds east of UTC
		age         time.Duration
		now         time.Time
		want        time.Time
	}{
		{"this evening", "Mon-Fri 19:00-07:00", 0, 0, noon, noon.Add(7 * time.Hour)},
		{"from an old ad", "Mon-Fri 19:00-07:00", 0, 5 * time.Minute, noon, noon.Add(7 * time.Hour)},
		{"far away", "Mon-Fri 19:00-07:00", 5*3600 + 1800, 4 * time.Minute, noon, noon.Add(90 * time.Minute)},
		{"at the weekend", "Sat-Sun", -3600, 0, noon, noon.Add(4*24*time.Hour + 13*time.Hour)},
		{"between minutes", "12:30-13:00", 0, 0, noon.Add(20 * time.Second), noon.Add(30 * time.Minute)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := desk(t, "desk", Owner, tt.hours, "")
			made := tt.now.Add(-tt.age).In(time.FixedZone("", tt.zone))
			s.Ad.SetInt("ClockMin", int64(made.Hour()*60+made.Minute()))
			s.Ad.SetInt("ClockDay", int64(made.Weekday()))
			c := newCycle(Snapshot{Now: tt.now, Slots: []Slot{s}})
			if got := c.shutting(0); !got.closed || got.opensAt != tt.want.Unix() {
				t.Errorf("closed %v until %v, want %v", got.closed, time.Unix(got.opensAt, 0).UTC(), tt.want)
			}
		})
	}
}
