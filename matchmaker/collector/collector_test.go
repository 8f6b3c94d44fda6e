package collector

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func adOf(machine string, slots ...string) wire.Ad {
	ad := wire.Ad{V: 1, Machine: machine}
	for _, name := range slots {
		s := classad.NewAd()
		s.SetString("Name", name)
		ad.Slots = append(ad.Slots, s)
	}
	return ad
}

func names(t *Table) string {
	var all []string
	for _, s := range t.Slots() {
		all = append(all, s.Name)
	}
	return strings.Join(all, " ")
}

func TestFullAdReplaces(t *testing.T) {
	table := New()
	for _, step := range []struct {
		agent job.AgentID
		ad    wire.Ad
		want  string
	}{
		{"b", adOf("desk2", "slot1@desk2"), "slot1@desk2"},
		{"a", adOf("desk1", "slot2@desk1", "slot1@desk1"), "slot1@desk1 slot2@desk1 slot1@desk2"},
		{"a", adOf("desk1", "slot1@desk1"), "slot1@desk1 slot1@desk2"},
		{"b", wire.Ad{V: 1, Bye: true}, "slot1@desk1"},
		{"b", wire.Ad{V: 1, Bye: true}, "slot1@desk1"},
		{"a", adOf("desk1"), ""},
	} {
		if err := table.Update(step.agent, step.ad, noon); err != nil {
			t.Fatal(err)
		}
		if got := names(table); got != step.want {
			t.Errorf("after the ad of %s: %q, want %q", step.agent, got, step.want)
		}
	}
}

func TestSilenceEndsIt(t *testing.T) {
	table := New()
	if table.Heartbeat("a", noon) {
		t.Error("a heartbeat made an unknown agent known")
	}
	for i, agent := range []job.AgentID{"a", "b"} {
		if err := table.Update(agent, adOf(string(agent), "slot1@"+string(agent)), noon.Add(time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if !table.Heartbeat("a", noon.Add(2*time.Minute)) {
		t.Error("the heartbeat of a known agent was not taken")
	}
	end := noon.Add(4 * time.Minute) // of b, which was heard of last at 12:01
	if gone := table.Expire(end.Add(-1)); gone != nil {
		t.Errorf("%v gone before their time", gone)
	}
	if gone := fmt.Sprint(table.Expire(end)); gone != "[b]" {
		t.Errorf("%s gone, want [b]", gone)
	}
	if got := names(table); got != "slot1@a" {
		t.Errorf("left are %q", got)
	}
}

// TestSeldomHeard has agents say how often they are heard of.
func TestSeldomHeard(t *testing.T) {
	for _, c := range []struct{ every, silent time.Duration }{
		{0, 3 * time.Minute},
		{time.Second, 3 * time.Minute},
		{-time.Hour, 3 * time.Minute},
		{wire.HeartbeatInterval, 3 * time.Minute},
		{2 * time.Minute, 6 * time.Minute},
		{wire.AdInterval, 15 * time.Minute},
		{1 << 62, 15 * time.Minute},
	} {
		table := New()
		ad := adOf("desk", "slot1@desk")
		ad.Every = c.every
		if err := table.Update("a", ad, noon); err != nil {
			t.Fatal(err)
		}
		if gone := table.Expire(noon.Add(c.silent - 1)); gone != nil {
			t.Errorf("one that is heard of every %v is gone before %v", c.every, c.silent)
		}
		if gone := table.Expire(noon.Add(c.silent)); len(gone) != 1 {
			t.Errorf("one that is heard of every %v is there after %v", c.every, c.silent)
		}
	}
}

func TestForget(t *testing.T) {
	table := New()
	for range 2 { // it comes back with its next ad
		if err := table.Update("a", adOf("desk", "slot1@desk"), noon); err != nil {
			t.Fatal(err)
		}
		if got := names(table); got != "slot1@desk" {
			t.Errorf("the table has %q", got)
		}
		table.Forget("a")
		if got := names(table); got != "" || table.Heartbeat("a", noon) {
			t.Errorf("forgotten, the table has %q", got)
		}
	}
}

func TestBadAdLeavesTheOldOne(t *testing.T) {
	table := New()
	if err := table.Update("a", adOf("desk1", "slot1@desk1"), noon); err != nil {
		t.Fatal(err)
	}
	many := make([]string, maxSlots+1)
	for i := range many {
		many[i] = fmt.Sprint("slot", i)
	}
	noAd := adOf("desk1", "slot1@desk1")
	noAd.Slots = append(noAd.Slots, nil)
	for name, ad := range map[string]wire.Ad{
		"no machine":      adOf("", "slot1@desk1"),
		"nameless slot":   adOf("desk1", ""),
		"a name twice":    adOf("desk1", "slot1@desk1", "slot1@desk1"),
		"a missing ad":    noAd,
		"too many slots":  adOf("desk1", many...),
		"an endless name": adOf("desk1", strings.Repeat("x", 300)),
	} {
		if err := table.Update("a", ad, noon); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if got := names(table); got != "slot1@desk1" {
			t.Errorf("%s: the table has %q", name, got)
		}
	}
}
