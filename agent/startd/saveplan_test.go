package startd

import (
	"testing"
	"time"

	"skua/agent/control"
)

func TestSaveEach(t *testing.T) {
	const saveLeast, saveMost = 10 * time.Minute, 2 * time.Hour
	for _, tt := range []struct {
		name                string
		cost, between, want time.Duration
	}{
		{"what costs nothing", 0, time.Hour, saveLeast},
		{"small", 100 * time.Millisecond, time.Hour, saveLeast},
		{"as Young has it", 8 * time.Second, 12 * time.Hour, 831 * time.Second}, // sqrt(2 * 8 * 43200)
		{"a machine that nobody needs", 10 * time.Second, 1000 * time.Hour, saveMost},
		{"no more than a hundredth of the time", 50 * time.Second, time.Hour, 5000 * time.Second},
		{"however large", 2 * time.Minute, 1000 * time.Hour, 200 * time.Minute},
	} {
		if got := saveEach(tt.cost, tt.between, saveLeast, saveMost).Round(time.Second); got != tt.want {
			t.Errorf("%s: %v for an image and %v between cuts: every %v, want %v", tt.name, tt.cost, tt.between, got, tt.want)
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
