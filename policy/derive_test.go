package policy_test

import (
	"strings"
	"testing"
	"time"

	"skua/internal/quantity"
	"skua/policy"
	"skua/policy/classad"
)

// noon is a Monday. All moments of these tests are told from it.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// slotAt is the ad of a slot of a quiet machine, with attrs in place of what it says.
func slotAt(t *testing.T, now time.Time, attrs string) *classad.Ad {
	t.Helper()
	ad, err := classad.ParseOldAd(`
State = "Unclaimed"
Activity = "Idle"
KeyboardIdle = 3600
LoadAvg = 0.05
SkuaLoadAvg = 0.0
`)
	if err != nil {
		t.Fatal(err)
	}
	ad.SetInt("CurrentTime", now.Unix())
	ad.SetInt("EnteredCurrentActivity", now.Add(-time.Hour).Unix())
	policy.SetClock(ad, now)
	changes, err := classad.ParseOldAd(attrs)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range changes.Names() {
		e, _ := changes.Lookup(name)
		ad.Set(name, e)
	}
	return ad
}

func derive(t *testing.T, f policy.File) *policy.Policy {
	t.Helper()
	p, err := policy.Derive(f)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDesktop(t *testing.T) {
	p := derive(t, policy.File{})
	const busy, suspended = "State = \"Claimed\"\nActivity = \"Busy\"\n", "State = \"Claimed\"\nActivity = \"Suspended\"\n"
	quiet := policy.Verdicts{WantSuspend: true, WantVacate: true}
	with := func(change func(*policy.Verdicts)) policy.Verdicts {
		v := quiet
		change(&v)
		return v
	}
	mayRun := with(func(v *policy.Verdicts) { v.Start, v.Continue = true, true })
	for _, tt := range []struct {
		name, ad string
		want     policy.Verdicts
	}{
		{"idle for an hour", "", mayRun},
		{"idle for exactly 15 minutes is not yet idle", "KeyboardIdle = 900", with(func(v *policy.Verdicts) { v.Continue = true })},
		{"idle for longer", "KeyboardIdle = 901", mayRun},
		{"away for a coffee", "KeyboardIdle = 200", quiet},
		{"at the keyboard", "KeyboardIdle = 0", with(func(v *policy.Verdicts) { v.Suspend = true })},
		{"a minute ago", "KeyboardIdle = 60", quiet},
		{"nobody watches the keyboard", "KeyboardIdle = undefined", with(func(v *policy.Verdicts) { v.Suspend = true })},
		{"others compute", "LoadAvg = 0.4", quiet},
		{"others compute hard", "LoadAvg = 1.9", with(func(v *policy.Verdicts) { v.Suspend = true })},
		{"our own load does not count", busy + "LoadAvg = 2.1\nSkuaLoadAvg = 2.0", mayRun},
		{
			"a claimed slot is not taken back for a passing load", busy + "LoadAvg = 0.4",
			with(func(v *policy.Verdicts) { v.Start = true }),
		},
		{
			"load lags behind a job that has just started", busy + "LoadAvg = 2\nEnteredCurrentActivity = CurrentTime - 80",
			with(func(v *policy.Verdicts) { v.Start = true }),
		},
		{
			"load is unknown", busy + "LoadAvg = undefined",
			with(func(v *policy.Verdicts) { v.Start = true }),
		},
		{
			"suspended, owner still there", suspended + "KeyboardIdle = 5\nEnteredCurrentActivity = CurrentTime - 590",
			with(func(v *policy.Verdicts) { v.Suspend = true }),
		},
		{
			"suspended for longer than 10 minutes", suspended + "KeyboardIdle = 5\nEnteredCurrentActivity = CurrentTime - 601",
			with(func(v *policy.Verdicts) { v.Suspend, v.Preempt = true, true }),
		},
		{
			"suspended, owner gone for 5 minutes", suspended + "KeyboardIdle = 301\nEnteredCurrentActivity = CurrentTime - 310",
			with(func(v *policy.Verdicts) { v.Start, v.Continue = false, true }),
		},
		{
			"suspended a moment ago", suspended + "EnteredCurrentActivity = CurrentTime - 10",
			with(func(v *policy.Verdicts) { v.Start = true }),
		},
		{
			"vacating in time", "State = \"Preempting\"\nActivity = \"Vacating\"\nKeyboardIdle = 5\nEnteredCurrentActivity = CurrentTime - 600",
			with(func(v *policy.Verdicts) { v.Suspend = true }),
		},
		{
			"vacating for too long", "State = \"Preempting\"\nActivity = \"Vacating\"\nKeyboardIdle = 5\nEnteredCurrentActivity = CurrentTime - 601",
			with(func(v *policy.Verdicts) { v.Suspend, v.Kill = true, true }),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := p.Verdicts(slotAt(t, noon, tt.ad), nil); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// TestNightOwner: hours say when jobs may run. They never switch off the watch over the keyboard.
func TestNightOwner(t *testing.T) {
	p := derive(t, policy.File{Hours: policy.Hours{Run: spans(t, "Mon-Fri 19:00-07:00", "Sat-Sun")}})
	const busy = "State = \"Claimed\"\nActivity = \"Busy\"\n"
	at := func(days, hour, minute int) time.Time {
		return time.Date(2026, 3, 2+days, hour, minute, 0, 0, time.UTC)
	}
	for _, tt := range []struct {
		name           string
		now            time.Time
		ad             string
		start, suspend bool
		wantSuspend    bool
	}{
		{"Monday noon, nobody there", noon, "", false, true, false},
		{"Monday evening", at(0, 19, 0), "", true, false, true},
		{"Monday 18:59", at(0, 18, 59), "", false, true, false},
		{"Monday night, owner at work", at(0, 23, 0), "KeyboardIdle = 30", false, true, true},
		{"owner comes in at three in the night", at(1, 3, 0), busy + "KeyboardIdle = 0", false, true, true},
		{"owner left ten minutes ago", at(1, 3, 0), "KeyboardIdle = 600", false, false, true},
		{"Tuesday 06:59", at(1, 6, 59), busy, true, false, true},
		{"Tuesday 07:00: the hours end and the job leaves", at(1, 7, 0), busy, false, true, false},
		{"Saturday noon", at(5, 12, 0), "", true, false, true},
		{"Saturday noon, owner there", at(5, 12, 0), "KeyboardIdle = 1", false, true, true},
		{"Monday 03:00 belongs to no span", at(7, 3, 0), "", false, true, false},
		{"no clock", noon, "ClockMin = undefined\nClockDay = undefined", false, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := p.Verdicts(slotAt(t, tt.now, tt.ad), nil)
			if got.Start != tt.start || got.Suspend != tt.suspend || got.WantSuspend != tt.wantSuspend {
				t.Errorf("start %v suspend %v want-suspend %v, want %v %v %v",
					got.Start, got.Suspend, got.WantSuspend, tt.start, tt.suspend, tt.wantSuspend)
			}
			if got.Suspend && !got.WantSuspend != got.Preempt {
				t.Errorf("preempt is %v with suspend %v and want-suspend %v", got.Preempt, got.Suspend, got.WantSuspend)
			}
		})
	}
}

func TestDedicated(t *testing.T) {
	want := policy.Verdicts{Start: true, Continue: true, WantSuspend: true, WantVacate: true}
	p := derive(t, policy.File{Preset: policy.Dedicated})
	if got := p.Verdicts(slotAt(t, noon, "KeyboardIdle = 0\nLoadAvg = 9.0"), nil); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := p.Verdicts(nil, nil); got != want {
		t.Errorf("with no ad: got %+v, want %+v", got, want)
	}
	p = derive(t, policy.File{Preset: policy.Dedicated, Hours: policy.Hours{Run: spans(t, "20:00-06:00")}})
	if got := p.Verdicts(slotAt(t, noon, ""), nil); got.Start || !got.Preempt {
		t.Errorf("outside its hours: got %+v", got)
	}
}

// TestShortTimes: a policy for tests and demonstrations must not start what it would suspend.
func TestShortTimes(t *testing.T) {
	p := derive(t, policy.File{Owner: policy.Owner{
		IdleAfter:     new(quantity.Duration(3 * time.Second)),
		ContinueAfter: new(quantity.Duration(2 * time.Second)),
	}})
	for idle, want := range map[string]policy.Verdicts{
		"KeyboardIdle = 1": {Suspend: true, WantSuspend: true, WantVacate: true},
		"KeyboardIdle = 3": {Continue: true, WantSuspend: true, WantVacate: true},
		"KeyboardIdle = 4": {Start: true, Continue: true, WantSuspend: true, WantVacate: true},
	} {
		if got := p.Verdicts(slotAt(t, noon, idle), nil); got != want {
			t.Errorf("%s: got %+v, want %+v", idle, got, want)
		}
	}
}

func TestOverrides(t *testing.T) {
	var file policy.File
	for text, into := range map[string]**policy.Expression{
		`TARGET.Owner == "mira" && KeyboardIdle > 10`: &file.Expressions.Start,

		`KeybordIdle < 60`:       &file.Expressions.Suspend,
		`TARGET.JobPrio * 2 + 1`: &file.Expressions.Rank,
	} {
		*into = new(policy.Expression)
		if err := (*into).UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	p := derive(t, file)
	job := classad.NewAd()
	job.SetString("Owner", "mira")
	job.SetInt("JobPrio", 4)
	machine := slotAt(t, noon, "")
	got := p.Verdicts(machine, job)
	if !got.Start || p.Verdicts(machine, nil).Start {
		t.Errorf("START looks at the job's owner, but got %+v", got)
	}
	if !got.Suspend {
		t.Error("a SUSPEND with a misspelt attribute does not suspend")
	}
	if got := classad.Rank(p.SlotAd(machine, 1), job); got != 9 {
		t.Errorf("rank is %v, want 9", got)
	}
}

func TestSlotAd(t *testing.T) {
	facts, err := classad.ParseOldAd("TotalCpus = 8\nTotalMemory = 16000\nTotalDisk = 100000000\nKeyboardIdle = 3600\nLoadAvg = 0.0\nSkuaLoadAvg = 0.0\n")
	if err != nil {
		t.Fatal(err)
	}
	extra := classad.NewAd()
	extra.SetString("Room", "B204")
	p := derive(t, policy.File{
		Limits: policy.Limits{
			CPUs: &quantity.Share{Percent: 75}, Memory: &quantity.ByteShare{Percent: 50}, Disk: &quantity.ByteShare{Bytes: 20 << 30},
		},
		Machine: policy.Attributes{Ad: extra},
	})
	ad := p.SlotAd(facts, 2)
	for name, want := range map[string]int64{"Cpus": 3, "Memory": 4000, "Disk": 10 << 20, "TotalCpus": 8, "TotalSlots": 2} {
		if got, _ := ad.Int(name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	if room, _ := ad.Str("Room"); room != "B204" {
		t.Errorf("Room is %q", room)
	}
	for request, want := range map[string]bool{
		"RequestCpus = 3\nRequestMemory = 4000": true,
		"RequestCpus = 4":                       false,
		"RequestMemory = 4001":                  false,
		"RequestDisk = 20000000":                false,
		"":                                      true,
	} {
		job, err := classad.ParseOldAd(request + "\nRequirements = true\n")
		if err != nil {
			t.Fatal(err)
		}
		if got := classad.Match(ad, job); got != want {
			t.Errorf("a job with %q matches: %v, want %v", request, got, want)
		}
	}
	if _, ok := facts.Lookup("START"); ok {
		t.Error("the facts were changed")
	}
	p.SlotAd(nil, 0) // a machine of which nothing is known
}

// TestMatchGoesByTheSlotsVerdict: what a machine cannot tell, the matchmaker does not take a job's word for either. A slot
// that matched and then said no would be offered the same job again and again.
func TestMatchGoesByTheSlotsVerdict(t *testing.T) {
	for _, tt := range []struct {
		name         string
		preset       policy.Preset
		machine, job string
		want         bool
	}{
		{"no battery", policy.Desktop, "", "", true},
		{"no battery, the job says otherwise", policy.Desktop, "", "OnBattery = true", true},
		{"on battery, the job says otherwise", policy.Desktop, "OnBattery = true", "OnBattery = false", false},
		{"a laptop that cannot tell", policy.Laptop, "Metered = false", "OnBattery = false", false},
		{"a laptop that can", policy.Laptop, "OnBattery = false\nMetered = false", "", true},
		{"nobody watches the keyboard", policy.Desktop, "KeyboardIdle = undefined", "KeyboardIdle = 7200", false},
		{"asked for by the job", policy.Desktop, "", "Requirements = TARGET.OnBattery =!= true", true},
		{"asked for by the job, of what only the job says", policy.Desktop, "", "OnBattery = false\nRequirements = TARGET.OnBattery =?= false", false},
	} {
		p := derive(t, policy.File{Preset: tt.preset})
		job, err := classad.ParseOldAd("Requirements = true\n" + tt.job)
		if err != nil {
			t.Fatal(err)
		}
		slot := p.SlotAd(nil, 1)
		known := slotAt(t, noon, tt.machine)
		for _, name := range known.Names() {
			e, _ := known.Lookup(name)
			slot.Set(name, e)
		}
		slot = slot.Flat() // as it is sent
		if got := classad.Match(slot, job); got != tt.want {
			t.Errorf("%s: matches: %v, want %v", tt.name, got, tt.want)
		}
		if got := p.Verdicts(slot, job).Start && job.Eval("Requirements", slot).IsTrue(); got != tt.want {
			t.Errorf("%s: the slot takes it: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestDeriveRefuses(t *testing.T) {
	second := new(quantity.Duration(time.Second))
	for _, tt := range []struct {
		name string
		file policy.File
		want string
	}{
		{"unknown preset", policy.File{Preset: "desk"}, `preset: there is no preset "desk"`},
		{"misspelt preset", policy.File{Preset: "lab-nite"}, `did you mean "lab-night"?`},
		{"idle time of a machine that is shared with its owner", policy.File{Preset: policy.Office, Owner: policy.Owner{IdleAfter: second}}, "owner.idle_after would do nothing"},
		{"holidays from nothing", policy.File{Hours: policy.Hours{Holidays: make([]policy.Dates, 1)}}, "hours.holidays would do nothing"},
		{"hours of no holidays", policy.File{Preset: policy.LabNight, Hours: policy.Hours{RunOnHolidays: make([]policy.Span, 1)}}, "without hours.holidays"},
		{"no slot makes way", policy.File{Owner: policy.Owner{SlotsConnected: new(0)}}, "owner.slots_connected cannot be 0"},
		{"drain for nothing", policy.File{Drain: policy.Drain{Before: second}}, "drain.before would do nothing"},
		{"short drain", policy.File{Drain: policy.Drain{Before: second, Reboot: new(policy.Moment)}}, `drain.before = "1s"`},
		{"two users in one", policy.File{Allow: policy.Allow{Users: []string{"mira,jan"}}}, `allow.users: "mira,jan" is no name`},
		{"throttle on a dedicated machine", policy.File{Preset: policy.Dedicated, Limits: policy.Limits{InUse: policy.InUse{CPUs: &quantity.Share{Count: 1}}}}, `"dedicated" does not look at the owner`},
		{"no idle time", policy.File{Owner: policy.Owner{IdleAfter: new(quantity.Duration(0))}}, "owner.idle_after cannot be less than a second"},
		{"no time to continue", policy.File{Owner: policy.Owner{ContinueAfter: new(quantity.Duration(1))}}, "owner.continue_after"},
		{"negative load", policy.File{Owner: policy.Owner{BackgroundLoad: new(-0.1)}}, "owner.background_load cannot be -0.1"},
		{"no time between images", policy.File{Checkpoints: policy.Checkpoints{MinInterval: new(quantity.Duration(0))}}, "checkpoints.min_interval"},
		{"no time at most", policy.File{Checkpoints: policy.Checkpoints{MaxInterval: new(quantity.Duration(1))}}, "checkpoints.max_interval"},
		{"no time to vacate", policy.File{Vacate: policy.Vacate{MaxVacateTime: new(quantity.Duration(0))}}, "vacate.max_vacate_time"},
		{
			"owner of a dedicated machine",
			policy.File{Preset: policy.Dedicated, Owner: policy.Owner{IdleAfter: second}},
			`the preset "dedicated" does not look at the owner`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := policy.Derive(tt.file)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	p := derive(t, policy.File{})
	lines := p.Explain(slotAt(t, noon, "KeyboardIdle = 12"))
	if len(lines) != 11 || lines[0].Name != "START" || lines[7].Name != "RANK" {
		t.Fatalf("got %v", lines)
	}
	start := lines[0]
	if start.Value.IsTrue() || len(start.Because) != 1 || start.Because[0] != "KeyboardIdle > 900 (KeyboardIdle is 12)" {
		t.Errorf("START is explained by %q", start.Because)
	}
	busy := p.Explain(slotAt(t, noon, "LoadAvg = 1.67"))[0].Because
	if len(busy) != 1 || !strings.Contains(busy[0], "LoadAvg is 1.67, SkuaLoadAvg is 0") {
		t.Errorf("START of a busy machine is explained by %q", busy)
	}
	file := policy.File{}
	file.Expressions.Start = new(policy.Expression)
	if err := file.Expressions.Start.UnmarshalText([]byte("LoadAvg >= 9.2")); err != nil {
		t.Fatal(err)
	}
	if got := derive(t, file).Explain(slotAt(t, noon, "LoadAvg = 1.67"))[0].Expr; !strings.Contains(got, "LoadAvg >= 9.2") {
		t.Errorf("9.2 is shown as %q", got)
	}
	if want := "SUSPEND      is true      (KeyboardIdle < 60) =!= false || "; !strings.HasPrefix(lines[1].String(), want) {
		t.Errorf("got %q, want a line like %q", lines[1], want)
	}
}
