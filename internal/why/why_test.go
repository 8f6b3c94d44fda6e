package why

import (
	"strings"
	"testing"
	"time"
)

// noon is a Monday.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func TestMoment(t *testing.T) {
	zone := time.FixedZone("", 2*3600)
	for _, tt := range []struct {
		at   time.Time
		loc  *time.Location
		want string
	}{
		{noon.Add(7 * time.Hour), time.UTC, "19:00"},
		{noon.Add(7 * time.Hour), nil, "19:00"},
		{noon.Add(7 * time.Hour), zone, "21:00"},
		{noon.Add(-time.Hour), time.UTC, "11:00"},
		{noon.Add(12 * time.Hour), time.UTC, "Tue 00:00"},
		{noon.Add(10 * time.Hour), zone, "Tue 00:00"},
		{noon.Add(-24 * time.Hour), time.UTC, "Sun 12:00"},
		{noon.AddDate(0, 0, 7), time.UTC, "9 Mar 12:00"},
		{noon.AddDate(0, -1, 0), time.UTC, "2 Feb 12:00"},
		{noon.AddDate(1, 0, 0), time.UTC, "2027-03-02 12:00"},
	} {
		if got := moment(tt.at.Unix(), noon.Unix(), tt.loc); got != tt.want {
			t.Errorf("%v in %v is %q, want %q", tt.at, tt.loc, got, tt.want)
		}
	}
}

func TestAmounts(t *testing.T) {
	for _, tt := range []struct {
		what       Resource
		n          float64
		text, neat string
	}{
		{Memory, 8000, "7.8 GB", "7.5 GB"},
		{Memory, 16384, "16 GB", "16 GB"},
		{Memory, 100_000, "97.7 GB", "96 GB"},
		{Memory, 1500, "1.5 GB", "1.4 GB"},
		{Memory, 100, "100 MB", "100 MB"},
		{Memory, 3, "3 MB", "3 MB"},
		{Disk, 500_000_000, "476.8 GB", "464 GB"},
		{Disk, 100, "100 KB", "100 KB"},
		{Cpus, 1, "1 cpu", "1 cpu"},
		{Cpus, 3.5, "3.5 cpus", "3 cpus"},
		{"Licences", 12, "12", "12"},
		{Memory, 0, "0 B", "0 B"},
	} {
		if got := tt.what.Amount(tt.n); got != tt.text {
			t.Errorf("%v of %s is %q, want %q", tt.n, tt.what, got, tt.text)
		}
		neat := tt.what.Neat(tt.n)
		if got := tt.what.Amount(neat); got != tt.neat || neat > tt.n {
			t.Errorf("neatly, %v of %s is %q (%v), want %q", tt.n, tt.what, got, neat, tt.neat)
		}
	}
}

// TestSentences: what the golden files of package negotiate do not stage.
func TestSentences(t *testing.T) {
	at := noon.Unix()
	for _, tt := range []struct {
		w    Waiting
		want string
	}{
		{Waiting{Machines: 2, Claimed: 2, Own: true}, "all 2 machines that match have other jobs of its user"},
		{Waiting{Machines: 1, Claimed: 1, Ahead: []string{"bob"}}, "the only machine that matches has a job of bob, whose priority is better"},
		{
			Waiting{Machines: 9, Claimed: 8, Owner: 1, Ahead: []string{"bob", "eve", "kim", "lea", "mia"}},
			"of the 9 machines that match, 1 is in use by its owner and 8 have jobs of bob, eve, kim and 2 more, whose priority is better",
		},
		{Waiting{Machines: 2, Owner: 2, Paused: 2, At: at, PausedUntil: at + 3600}, "all 2 machines that match are paused by the person there until 13:00"},
		{
			Waiting{Machines: 1, Owner: 1, Busy: &Busy{Machines: 1, Load: 8.6, Allowed: 0.3}},
			"the only machine that matches is kept busy by other programs (load 8.6, 0.3 allowed)",
		},
		{
			Waiting{Machines: 4, Owner: 4, Paused: 1, At: at, PausedUntil: at + 3600, Busy: &Busy{Machines: 2, Load: 1, Allowed: 0.3}},
			"of the 4 machines that match, 1 is in use by its owner, 1 is paused by the person there until 13:00 and 2 are kept busy by other programs (load 1, 0.3 allowed)",
		},
		{Waiting{Machines: 1, Closed: 1, At: at, OpensAt: at + 3600}, "policy hours are closed until 13:00 on the only machine that matches"},
		{Waiting{Machines: 2, Closed: 2}, "policy hours are closed on all 2 machines that match"},
		{Waiting{Machines: 3, Closed: 1, Claimed: 2}, "of the 3 machines that match, 2 have other jobs and 1 is outside its hours"},
		{Waiting{Machines: 4, Closed: 2, Claimed: 2}, "of the 4 machines that match, 2 have other jobs and 2 are outside their hours"},
		{Waiting{Machines: 1, Unfit: 1, Clause: "TARGET.X"}, "its checkpoint fits no machine that is now in the pool: TARGET.X is not true on the one that meets the job's requirements"},
		{Waiting{Machines: 1, Unfit: 1}, "its checkpoint fits no machine that is now in the pool"},
		{
			Waiting{Machines: 3, Unfit: 2, Unwanted: 1},
			"no machine accepts the job now: 1 machine meets the job's requirements, but START refuses it there; its checkpoint does not fit 2 more",
		},
		{Waiting{Machines: 3, Unfit: 1, Owner: 1, Unsuited: 1}, "the only machine that matches is in use by its owner; its checkpoint does not fit 1 more"},
		{Waiting{Machines: 1, Unfit: 1, Misfits: []Misfit{{Machines: 1, Failed: true}}}, "its checkpoint could not be restored on the pool's one machine"},
		{
			Waiting{Machines: 2, Unable: 2, Reason: "no user namespaces"},
			"no machine can run it: 2 machines meet the job's requirements, but can run no jobs (no user namespaces)",
		},
		{Waiting{Machines: 1, Free: 1}, "the pool's one machine is free for it"},
		{Waiting{Machines: 2, Free: 2}, "all 2 machines that match are free"},
		{
			Waiting{Machines: 1, Unsuited: 1, Clause: "c", Short: &Shortage{What: Cpus, Asked: 8, Too: 1, Suit: 1, Largest: 1, Try: 1, Matches: 1}},
			"no machine has enough cpus for the 8 cpus that the job asks for: the pool's one machine offers 1 cpu; asking for 1 cpu would match 1",
		},
		{
			Waiting{Machines: 5, Unsuited: 5, Clause: "c", Short: &Shortage{What: Disk, Asked: 1 << 30, Too: 5, Suit: 2, Largest: 1 << 20}},
			"no machine has enough disk for the 1 TB that the job asks for: 5 machines have too little, the largest of the 2 that suit otherwise offers 1 GB",
		},
		{
			Waiting{Machines: 5, Unsuited: 5, Clause: "c", Short: &Shortage{What: Memory, Asked: 2048, Too: 5, Suit: 1, Largest: 1024}},
			"no machine has enough memory for the 2 GB that the job asks for: 5 machines have too little, the one that suits otherwise offers 1 GB",
		},
		{
			Waiting{Machines: 2, Unsuited: 2, Clause: strings.Repeat("x", 200)},
			"no machine matches: " + strings.Repeat("x", 120) + "... is true on none of the 2 machines",
		},
	} {
		if got := tt.w.Sentence(time.UTC); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	for _, tt := range []struct {
		e    Explanation
		want string
	}{
		{Explanation{State: "Idle"}, "it waits for the matchmaker"},
		{Explanation{State: "Removed", At: at, Ended: &Ended{At: at - 60, Reason: "ann asked for it"}}, "removed at 11:59: ann asked for it"},
		{Explanation{State: "Completed", At: at, Ended: &Ended{At: at - 60, Code: 2}}, "completed at 11:59 with exit code 2"},
		{Explanation{State: "Completed", At: at, Ended: &Ended{At: at - 60, Signal: 9}}, "completed at 11:59: signal 9 ended it"},
	} {
		if got := tt.e.Sentence(time.UTC); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// TestHolds: for every code there is a sentence that ends in the reason, and something to do.
func TestHolds(t *testing.T) {
	for _, tt := range []struct {
		code, sub int
		want      string
	}{
		{1, 0, "held by its user: REASON"},
		{3, 0, "held by its own policy: REASON"},
		{5, 0, "held: REASON"},
		{6, 0, "held because it could not be started: REASON"},
		{12, 0, "held because its outputs could not be brought back: REASON"},
		{13, 0, "held because an input is missing: REASON"},
		{14, 0, "held because it needs a shared file system: REASON"},
		{15, 0, "held since it was submitted, as its description wants"},
		{20, 0, "held because its time to start has passed: REASON"},
		{26, 0, "held: REASON"},
		{32, 0, "held because its inputs are too large: REASON"},
		{33, 0, "held because its outputs are too large: REASON"},
		{34, 102, "held because it used more memory than it may: REASON"},
		{34, 104, "held because it used more disk than it may: REASON"},
		{46, 0, "held because it took longer than it may: REASON"},
		{47, 0, "held because it took longer than it may: REASON"},
		{99, 0, "held: REASON"},
	} {
		h := Hold{Reason: "REASON", Code: tt.code, SubCode: tt.sub}
		if got := h.sentence(); got != tt.want {
			t.Errorf("code %d: %s, want %s", tt.code, got, tt.want)
		}
		if got := h.remedy("12.0"); !strings.Contains(got, "skua release 12.0") && tt.code != 14 && tt.code != 32 && tt.code != 33 {
			t.Errorf("code %d: the remedy is %q", tt.code, got)
		}
	}
	if got := (&Hold{Code: 20, Recurs: true}).remedy("12.0"); got != "let it wait for the next of its times: skua release 12.0" {
		t.Errorf("missed, with another time to come: the remedy is %q", got)
	}
	once := &Hold{Code: 6, Reason: "the job cannot be started: run job 12.0: execute ./x: it was saved with Windows line ends"}
	if got := once.sentence(); got != "held because it could not be started: execute ./x: it was saved with Windows line ends" {
		t.Errorf("not started: %s", got)
	}
	if got := (&Hold{Code: 26}).remedy("12.0"); !strings.Contains(got, "back in the pool") {
		t.Errorf("held by the pool: the remedy is %q", got)
	}
	if got := (&Hold{Code: 1}).sentence(); got != "held by its user" {
		t.Errorf("without a reason: %s", got)
	}
}

// TestHeldWhereItRan: what the sentence says of a held job is not said again.
func TestHeldWhereItRan(t *testing.T) {
	e := Explanation{Job: "1.0", Hold: &Hold{Reason: "not today", Code: byUser}, Last: &Lately{Reason: "not today", Slot: "slot1@desk"}}
	if got := strings.Join(e.Details(time.UTC), "\n"); !strings.Contains(got, "last stopped on slot1@desk") || strings.Contains(got, "not today") {
		t.Errorf("the details are\n%s", got)
	}
}
