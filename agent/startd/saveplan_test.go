package startd

import (
	"math/rand/v2"
	"testing"
	"time"

	"skua/agent/control"
)

func TestSaveEach(t *testing.T) {
	const saveLeast, saveMost = 10 * time.Minute, 2 * time.Hour
	for _, tt := range []struct {
		name                        string
		still, spent, between, want time.Duration
	}{
		{"what costs nothing", 0, 0, time.Hour, saveLeast},
		{"small", 100 * time.Millisecond, 0, time.Hour, saveLeast},
		{"as Young has it", 8 * time.Second, 0, 12 * time.Hour, 831 * time.Second}, // sqrt(2 * 8 * 43200)
		{"a machine that nobody needs", 10 * time.Second, 0, 1000 * time.Hour, saveMost},
		{"no more than a hundredth of the time", 50 * time.Second, 0, time.Hour, 5000 * time.Second},
		{"however large", 2 * time.Minute, 0, 1000 * time.Hour, 200 * time.Minute},
		{"what is packed at leisure is no reason", 8 * time.Second, 10 * time.Second, 12 * time.Hour, 831 * time.Second},
		{"unless that takes more than 2 % of a processor", 8 * time.Second, 20 * time.Second, 12 * time.Hour, 1000 * time.Second},
		{"however long policy lets it be", time.Second, 10 * time.Minute, time.Hour, 500 * time.Minute},
	} {
		cost := saveCost{still: tt.still, spent: tt.spent}
		if got := saveEach(cost, tt.between, saveLeast, saveMost).Round(time.Second); got != tt.want {
			t.Errorf("%s: %+v for an image and %v between cuts: every %v, want %v", tt.name, cost, tt.between, got, tt.want)
		}
	}
}

// Whatever an image costs, and whatever the policy wants, images take less than 2 % of a processor, and the job stands
// still for less than 1 % of its time.
func TestSaveEachKeepsItsShare(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	upTo := func(most time.Duration) time.Duration { return time.Duration(r.Int64N(int64(most))) }
	for range 10_000 {
		cost := saveCost{still: upTo(time.Minute), spent: upTo(10 * time.Minute)}
		least := upTo(time.Hour)
		each := saveEach(cost, upTo(1000*time.Hour), least, least+upTo(4*time.Hour))
		if cost.spent.Seconds() > 0.02*each.Seconds()+1e-6 || cost.still.Seconds() > 0.01*each.Seconds()+1e-6 {
			t.Fatalf("images that cost %+v are made every %v", cost, each)
		}
	}
}

func TestBetweenCuts(t *testing.T) {
	at := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	stay := func(hours int, outcome string) control.Ran {
		return control.Ran{Began: at, Ended: at.Add(time.Duration(hours) * time.Hour), Outcome: outcome}
	}
	for _, tt := range []struct {
		name string
		ran  []control.Ran
		want time.Duration
	}{
		{"nothing has run", nil, time.Hour},
		{"all ended by themselves", []control.Ran{stay(4, "exited"), stay(5, "exited")}, 10 * time.Hour},
		{"one was cut short", []control.Ran{stay(4, "exited"), stay(5, "evicted")}, 5 * time.Hour},
		{"never begun, and clocks put back", []control.Ran{{Ended: at, Outcome: "evicted"}, stay(-3, "evicted")}, time.Hour},
	} {
		if got := betweenCuts(tt.ran); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestUsualCut(t *testing.T) {
	now := time.Date(2026, 3, 20, 8, 40, 0, 0, time.UTC) // a Friday
	on := func(day, hour, minute int) time.Time { return time.Date(2026, 3, day, hour, minute, 0, 0, time.UTC) }
	for _, tt := range []struct {
		name string
		cuts []time.Time
		now  time.Time
		want bool
	}{
		{"nobody ever came", nil, now, false},
		{"the owner comes at nine", []time.Time{on(17, 9, 1), on(18, 8, 58), on(19, 9, 5)}, now, true},
		{"and is not expected at seven", []time.Time{on(17, 9, 1), on(18, 8, 58), on(19, 9, 5)}, now.Add(-100 * time.Minute), false},
		{"nor once nine is over", []time.Time{on(17, 9, 1), on(18, 8, 58), on(19, 9, 5)}, now.Add(time.Hour), false},
		{"two days are no habit", []time.Time{on(18, 8, 58), on(19, 9, 5), on(19, 9, 6)}, now, false},
		{"what is long ago is not", []time.Time{on(3, 9, 1), on(18, 8, 58), on(19, 9, 5)}, now, false},
		{"just after midnight", []time.Time{on(17, 0, 5), on(18, 0, 10), on(19, 0, 1)}, on(19, 23, 50), true},
		{"elsewhere it is another time of day", []time.Time{on(17, 9, 1), on(18, 8, 58), on(19, 9, 5)}, now.In(time.FixedZone("", 3600)), true},
	} {
		if got := usualCut(tt.cuts, tt.now); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
