package policy_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/policy"
	"skua/policy/classad"
	"skua/policy/config"
)

func file(t testing.TB, text string) policy.File {
	t.Helper()
	var f policy.File
	if err := config.Decode("policy.toml", []byte(text), &f); err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Derive(f); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return f
}

// combined gives the sources by key, and checks that the result is good.
func combined(t testing.TB, central, local string) (*policy.Policy, map[string]policy.Source) {
	t.Helper()
	f, from, err := policy.Combine(file(t, central), file(t, local))
	if err != nil {
		t.Fatalf("%v, of\n%s\nand\n%s", err, central, local)
	}
	p, err := policy.Derive(f)
	if err != nil {
		t.Fatalf("%v, of\n%s\nand\n%s", err, central, local)
	}
	byKey := map[string]policy.Source{}
	for _, s := range from {
		byKey[s.Key] = s
	}
	return p, byKey
}

// Each key of a policy: what two files come to that both say it, and that one which alone says it is heard.
func TestCombine(t *testing.T) {
	const (
		both    = policy.FromBoth
		central = policy.FromCentral
		local   = policy.FromLocal
	)
	run := "[hours]\nrun = [\"Mon-Fri 08:00-20:00\"]\n"
	tests := []struct {
		key            string
		central, local string
		want           string
		from           policy.Origin
	}{
		{"preset", `preset = "lab-night"`, `preset = "desktop"`, "desktop", local},
		{"owner.idle_after", "[owner]\nidle_after = '20m'", "[owner]\nidle_after = '30m'", "30m", local},
		{"owner.continue_after", "[owner]\ncontinue_after = '10m'", "[owner]\ncontinue_after = '2m'", "10m", central},
		{"owner.background_load", "[owner]\nbackground_load = 0.2", "[owner]\nbackground_load = 0.5", "0.2", central},
		{"owner.may_pause", "[owner]\nmay_pause = '2h'", "[owner]\nmay_pause = '8h'", "8h", local},
		{"owner.on_battery", "[owner]\non_battery = 'above 50%'", "[owner]\non_battery = 'above 70%'", "above 70%", local},
		{"owner.on_battery", "[owner]\non_battery = 'always'", "[owner]\non_battery = 'never'", "never", local},
		{"owner.on_battery", "[owner]\non_battery = 'above 50%'", "[owner]\non_battery = 'always'", "above 50%", central},
		{"owner.on_metered", "[owner]\non_metered = 'never'", "[owner]\non_metered = 'always'", "never", central},
		{"owner.exclusive_apps", "[owner]\nexclusive_apps = ['zoom']", "[owner]\nexclusive_apps = ['obs', 'zoom']", "zoom, obs", both},
		{"owner.full_screen", "[owner]\nfull_screen = true", "[owner]\nfull_screen = false", "true", central},
		{"owner.inhibited", "[owner]\ninhibited = false", "[owner]\ninhibited = true", "true", local},
		{"owner.slots_connected", "[owner]\nslots_connected = 1", "[owner]\nslots_connected = 2", "2", local},
		{"hours.run", "[hours]\nrun = ['Mon-Fri 19:00-07:00']", "[hours]\nrun = ['20:00-24:00']", "Mon,Tue,Wed,Thu,Fri 20:00-24:00", both},
		{"hours.run", "[hours]\nrun = ['Mon']", "[hours]\nrun = ['Tue']", "never", both},
		{"hours.holidays", run + "holidays = ['12-25']", run + "holidays = ['05-01']", "12-25, 05-01", both},
		{
			"hours.run_on_holidays", run + "holidays = ['12-25']\nrun_on_holidays = ['00:00-06:00']",
			run + "holidays = ['12-25']\nrun_on_holidays = ['Mon-Fri 04:00-12:00']", "Mon,Tue,Wed,Thu,Fri 04:00-06:00", both,
		},
		{"limits.cpus", "[limits]\ncpus = '75%'", "[limits]\ncpus = 4", "75%, at most 4", both},
		{"limits.cpus", "[limits]\ncpus = '75%'", "[limits]\ncpus = '50%'", "50%", local},
		{"limits.memory", "[limits]\nmemory = '25%'", "[limits]\nmemory = '4GB'", "25%, at most 4GB", both},
		{"limits.disk", "[limits]\ndisk = '10GB'", "[limits]\ndisk = '20GB'", "10GB", central},
		{"limits.disk_floor", "[limits]\ndisk_floor = '5GB'", "[limits]\ndisk_floor = '10GB'", "10GB", local},
		{"limits.temperature", "[limits]\ntemperature = '80C'", "[limits]\ntemperature = '85C'", "80C", central},
		{"limits.network", "[limits]\nnetwork = 'host'", "[limits]\nnetwork = 'outbound'", "outbound", local},
		{"limits.network_rate", "[limits]\nnetwork_rate = '20MB/s'", "[limits]\nnetwork_rate = '10MB/s'", "10MB/s", local},
		{"limits.in_use.cpus", "[limits.in_use]\ncpus = 0", "[limits.in_use]\ncpus = '25%'", "0", central},
		{"vacate.suspend_for", "[vacate]\nsuspend_for = '5m'", "[vacate]\nsuspend_for = '10m'", "5m", central},
		{"vacate.max_vacate_time", "[vacate]\nmax_vacate_time = '5m'", "[vacate]\nmax_vacate_time = '3m'", "3m", local},
		{"vacate.max_send_time", "[vacate]\nmax_send_time = '5m'", "[vacate]\nmax_send_time = '2m'", "2m", local},
		{"vacate.retirement", "[vacate]\nretirement = '2h'", "[vacate]\nretirement = '1h'", "1h", local},
		{"vacate.retirement", "[vacate]\nretirement = '2h'", "[vacate]\nretirement = '0'", "0s", local},
		{"checkpoints.periodic", "[checkpoints]\nperiodic = false", "[checkpoints]\nperiodic = true", "false", central},
		{"checkpoints.min_interval", "[checkpoints]\nmin_interval = '5m'", "[checkpoints]\nmin_interval = '20m'", "20m", local},
		{"checkpoints.max_interval", "[checkpoints]\nmax_interval = '4h'", "[checkpoints]\nmax_interval = '1h'", "4h", central},
		{"drain.reboot", "[drain]\nreboot = 'Mon 04:00'", "[drain]\nreboot = 'Tue 05:00'", "Tue 05:00", local},
		{"drain.before", "[drain]\nreboot = '04:00'\nbefore = '2h'", "[drain]\nreboot = '04:00'\nbefore = '1h'", "2h", central},
		{"drain.before", "[drain]\nreboot = '04:00'\nbefore = '2h'", "[drain]\nreboot = '05:00'\nbefore = '1h'", "1h", local},
		{"allow.users", "[allow]\nusers = ['ann']", "[allow]\nusers = ['bob']", "bob", local},
		{"allow.groups", "[allow]\ngroups = ['physics']", "[allow]\ngroups = ['maths']", "maths", local},
		{"shared_fs.domain", "[shared_fs]\ndomain = 'a.edu'", "[shared_fs]\ndomain = 'b.edu'", "b.edu", local},
		{"shared_fs.mounts", "[shared_fs]\nmounts = ['/srv/a']", "[shared_fs]\nmounts = ['/srv/b']", "/srv/b", local},
		{"shared_fs.mounts", "[shared_fs]\nmounts = ['/srv/a']", "[shared_fs]\nmounts = []", "none", local},
		{"machine.Room", "[machine]\nRoom = 'A'", "[machine]\nRoom = 'B'", `"B"`, local},
		{"machine.Room", "[machine]\nRoom = 'A'", "[machine]\nRoom = 'A'", `"A"`, both},
		{"expressions.WANT_VACATE", "[expressions]\nWANT_VACATE = 'true'", "[expressions]\nWANT_VACATE = 'false'", "false", local},
		{"expressions.RANK", "[expressions]\nRANK = '1'", "[expressions]\nRANK = '2'", "2", local},
		{"expressions.MaxJobRetirementTime", "[expressions]\nMaxJobRetirementTime = '1'", "[expressions]\nMaxJobRetirementTime = '2'", "2", local},
	}
	tested := map[string]bool{"expressions.WANT_SUSPEND": true} // by TestCombineUrgent
	const filler = "[machine]\nFiller = true\n"
	for _, tt := range tests {
		tested[tt.key] = true
		_, from := combined(t, tt.central, tt.local)
		if got, want := from[tt.key], (policy.Source{Key: tt.key, Value: tt.want, From: tt.from}); got != want {
			t.Errorf("%q and %q: got %+v, want %+v", tt.central, tt.local, got, want)
		}
		for _, one := range []struct {
			central, local, said string
			from                 policy.Origin
		}{{tt.central, filler, tt.central, central}, {filler, tt.local, tt.local, local}} {
			_, alone := combined(t, one.said, "")
			_, from := combined(t, one.central, one.local)
			if got, want := from[tt.key], (policy.Source{Key: tt.key, Value: alone[tt.key].Value, From: one.from}); want.Value == "" || got != want {
				t.Errorf("%q and %q: got %+v, want %+v", one.central, one.local, got, want)
			}
		}
	}
	// Expressions that both files can add to: X of the one and Y of the other beside what is derived.
	for _, tt := range []struct {
		name string
		all  bool // it takes all of them to be true, not one
	}{{"START", true}, {"SUSPEND", false}, {"CONTINUE", true}, {"PREEMPT", false}, {"KILL", false}, {"THROTTLE", false}, {"Draining", false}} {
		key := "expressions." + tt.name
		tested[key] = true
		x, y := fmt.Sprintf("[expressions]\n%s = 'X'\n", tt.name), fmt.Sprintf("[expressions]\n%s = 'Y'\n", tt.name)
		for _, files := range [][2]string{{x, y}, {x, filler}, {filler, y}} {
			// What is derived of this one is true for START and CONTINUE and false for the others.
			preset := "preset = 'dedicated'\n"
			p, _ := combined(t, preset+files[0], preset+files[1])
			for bits := range 4 {
				ad := classad.NewAd()
				ad.SetBool("X", bits&1 != 0)
				ad.SetBool("Y", bits&2 != 0)
				says := []bool{bits&1 != 0 || files[0] == filler, bits&2 != 0 || files[1] == filler}
				want := says[0] && says[1]
				if !tt.all {
					says = []bool{bits&1 != 0 && files[0] != filler, bits&2 != 0 && files[1] != filler}
					want = says[0] || says[1]
				}
				if got := value(t, p, ad, tt.name); got != want {
					t.Errorf("%s of %q: with %s it is %v, want %v", tt.name, files, strings.TrimSpace(ad.OldString()), got, want)
				}
			}
		}
	}
	for _, key := range keysOf(reflect.TypeFor[policy.File](), "") {
		if key = strings.Replace(key, "machine", "machine.Room", 1); !tested[key] {
			t.Errorf("no case for %s", key)
		}
	}
}

// keysOf are the keys of a file that hold values, not tables.
func keysOf(s reflect.Type, table string) []string {
	var keys []string
	for i := range s.NumField() {
		f := s.Field(i)
		key := table + f.Tag.Get("toml")
		if f.Type.Kind() == reflect.Struct && f.Type.Field(0).Tag.Get("toml") != "" {
			keys = append(keys, keysOf(f.Type, key+".")...)
		} else {
			keys = append(keys, key)
		}
	}
	return keys
}

// value is whether an expression is true.
func value(t *testing.T, p *policy.Policy, ad *classad.Ad, name string) bool {
	t.Helper()
	for _, line := range p.Explain(ad) {
		if line.Name == name {
			return line.Value.IsTrue()
		}
	}
	t.Fatalf("there is no %s", name)
	return false
}

// What only the presets say is combined like what is written.
func TestCombinePresets(t *testing.T) {
	for _, tt := range []struct {
		name           string
		central, local string
		preset         policy.Preset
		start          string // conditions that START must have, between blanks
		not            string // and one that it must not have
	}{
		{"no local file", `preset = "office"`, "", policy.Office, "", "KeyboardIdle"},
		{"no central policy", "", `preset = "office"`, policy.Office, "", "KeyboardIdle"},
		{"nobody says anything", "", "", policy.Desktop, "KeyboardIdle", "ClockDay"},
		{"the base's preset holds", `preset = "lab-night"`, "[machine]\nRoom = 'A'", policy.LabNight, "ClockDay KeyboardIdle", "Metered"},
		{"a desk in the lab", `preset = "lab-night"`, `preset = "desktop"`, policy.Desktop, "ClockDay KeyboardIdle", "Metered"},
		{"a laptop in the lab", `preset = "lab-night"`, `preset = "laptop"`, policy.Laptop, "ClockDay KeyboardIdle OnBatteryisfalse Metered", "never"},
		{"a laptop that calls itself a desktop", `preset = "laptop"`, `preset = "desktop"`, policy.Laptop, "KeyboardIdle OnBatteryisfalse", "ClockDay"},
		{"nobody's machine, its owner says, and the pool does not", `preset = "desktop"`, `preset = "dedicated"`, policy.Desktop, "KeyboardIdle", "ClockDay"},
		{"nobody's machine, the pool says, and its owner does not", `preset = "dedicated"`, `preset = "desktop"`, policy.Desktop, "KeyboardIdle OnBattery", "ClockDay"},
		{"somebody sits there after all", `preset = "dedicated"`, "[owner]\nidle_after = '1h'", policy.Desktop, "KeyboardIdle>3600", "ClockDay"},
		{"somebody may pause after all", `preset = "dedicated"`, "[owner]\nmay_pause = '1h'", policy.Desktop, "KeyboardIdle", "ClockDay"},
		{"not beside this owner", `preset = "office"`, "[owner]\nidle_after = '1h'", policy.Office, "KeyboardIdle>3600", "ClockDay"},
		{"not beside an owner in the lab", `preset = "lab-night"`, `preset = "office"`, policy.Office, "ClockDay KeyboardIdle>900", "Metered"},
		{"nor the other way round", "[owner]\nidle_after = '1h'", "[limits.in_use]\ncpus = '50%'", policy.Desktop, "KeyboardIdle>3600", "ClockDay"},
	} {
		p, _ := combined(t, tt.central, tt.local)
		start := strings.ReplaceAll(p.Start.String(), " ", "")
		for _, part := range strings.Fields(tt.start) {
			if !strings.Contains(start, part) {
				t.Errorf("%s: START is %s, without %s", tt.name, start, part)
			}
		}
		if strings.Contains(start, tt.not) || p.Preset != tt.preset {
			t.Errorf("%s: preset %s and START %s; want preset %s, and no %s", tt.name, p.Preset, start, tt.preset, tt.not)
		}
	}
}

// Nothing of the pool's grants a retirement that the owner's file does not.
func TestCombineRetirement(t *testing.T) {
	for _, tt := range []struct {
		central, local string
		want           time.Duration
	}{
		{"vacate.retirement = '2h'", "vacate.retirement = '0'", 0},
		{"vacate.retirement = '2h'", "machine.Room = 'A'", 2 * time.Hour},
		{"vacate.retirement = '2h'", "preset = 'desktop'", 0},
		{"vacate.retirement = '0'", "vacate.retirement = '2h'", 0},
		{"expressions.MaxJobRetirementTime = '7200'", "vacate.retirement = '0'", 0},
		{"expressions.MaxJobRetirementTime = '7200'", "vacate.retirement = '1h'", time.Hour},
		{"expressions.MaxJobRetirementTime = '7200'", "preset = 'desktop'", 0},
		{"expressions.MaxJobRetirementTime = '7200'", "machine.Room = 'A'", 2 * time.Hour},
		{"expressions.MaxJobRetirementTime = '7200'", "vacate.retirement = '0'\nexpressions.MaxJobRetirementTime = '60'", time.Minute},
	} {
		p, _ := combined(t, tt.central, tt.local)
		if got := p.Verdicts(nil, classad.NewAd()).Retirement; got != tt.want {
			t.Errorf("%q and %q: a job may have run for %v, want %v", tt.central, tt.local, got, tt.want)
		}
	}
}

// Nothing that the pool writes keeps a job on a machine that its owner's file has it leave at once.
func TestCombineUrgent(t *testing.T) {
	const (
		suspends = "expressions.WANT_SUSPEND = 'true'"
		retires  = "expressions.MaxJobRetirementTime = '86400'"
		day      = 24 * time.Hour
		floor    = "preset = 'dedicated'\nlimits.disk_floor = '5GB'"
		reboot   = "limits.disk_floor = '5GB'\ndrain.reboot = '12:10'"
		hours    = "hours.run = ['19:00-07:00']"
	)
	for _, tt := range []struct {
		central, local string
		free           int64 // KiB; 0 if it is not known
		suspend        bool
		retirement     time.Duration
	}{
		{suspends, floor, 1 << 30, true, 0},
		{suspends, floor, 1000, false, 0},
		{suspends, floor, 0, false, 0},
		{suspends, reboot, 1 << 30, false, 0},
		{suspends, hours, 1 << 30, false, 0},
		{suspends, "machine.Room = 'A'", 1 << 30, true, 0},
		{suspends + "\n" + floor, "machine.Room = 'A'", 1000, false, 0},
		{"expressions.WANT_SUSPEND = 'Nobody + 1'", floor, 1 << 30, false, 0},
		{"expressions.WANT_SUSPEND = 'false'", floor, 1 << 30, false, 0},
		{"expressions.WANT_SUSPEND = 'false'", suspends + "\n" + floor, 1000, true, 0},
		{suspends, "expressions.WANT_SUSPEND = 'false'", 1 << 30, false, 0},
		{retires, strings.TrimPrefix(floor, "preset = 'dedicated'\n"), 1 << 30, true, day},
		{retires, strings.TrimPrefix(floor, "preset = 'dedicated'\n"), 1000, false, 0},
		{retires, strings.TrimPrefix(floor, "preset = 'dedicated'\n"), 0, false, 0},
		{retires, reboot, 1 << 30, false, 0},
		{retires, "machine.Room = 'A'", 0, true, day},
		{suspends, retires + "\nlimits.disk_floor = '5GB'", 1000, false, day}, // as the owner has it
	} {
		p, _ := combined(t, tt.central, tt.local)
		ad := classad.NewAd()
		policy.SetClock(ad, noon)
		if tt.free > 0 {
			ad.SetInt("FreeDisk", tt.free)
		}
		got := p.Verdicts(ad, classad.NewAd())
		if got.WantSuspend != tt.suspend || got.Retirement != tt.retirement {
			t.Errorf("%q and %q, with %d KiB free: suspend first %v, retirement %v, want %v and %v", tt.central, tt.local, tt.free,
				got.WantSuspend, got.Retirement, tt.suspend, tt.retirement)
		}
	}
}

func TestCombineSources(t *testing.T) {
	_, from := combined(t, `preset = "lab-night"`, "preset = \"laptop\"\n[limits]\nmemory = '10%'\n")
	for key, want := range map[string]policy.Source{
		"limits.memory":         {Value: "10%", From: policy.FromLocal},
		"limits.cpus":           {Value: "50%", From: policy.FromLocalPreset},
		"hours.run":             {Value: "Mon,Tue,Wed,Thu,Fri 19:00-07:00, Sun,Sat", From: policy.FromCentralPreset},
		"owner.idle_after":      {Value: "15m", From: policy.FromBoth},
		"owner.slots_connected": {Value: "all", From: policy.FromBoth},
		"preset":                {Value: "laptop", From: policy.FromLocal},
	} {
		want.Key = key
		if from[key] != want {
			t.Errorf("got %+v, want %+v", from[key], want)
		}
	}
}

// A job must be allowed by both files, whichever lists they have.
func TestCombineAllow(t *testing.T) {
	p, _ := combined(t, "preset = 'dedicated'\n[allow]\nusers = ['ann', 'bob']", "preset = 'dedicated'\n[allow]\ngroups = ['maths']")
	for _, tt := range []struct {
		user, group string
		want        bool
	}{{"ann", "maths", true}, {"ann", "physics", false}, {"eve", "maths", false}, {"eve", "physics", false}} {
		job := classad.NewAd()
		job.SetString("Owner", tt.user)
		job.SetString("AcctGroup", tt.group)
		if got := p.Verdicts(nil, job).Start; got != tt.want {
			t.Errorf("a job of %s in %s: start %v, want %v", tt.user, tt.group, got, tt.want)
		}
	}
}

// A day that is a holiday for one file only has hours of both kinds.
func TestCombineHolidays(t *testing.T) {
	run := func(hours, holidays string) string {
		return fmt.Sprintf("preset = 'dedicated'\n[hours]\nrun = ['%s']\nholidays = %s\n", hours, holidays)
	}
	for _, tt := range []struct {
		name           string
		central, local string
		at             time.Time
		want           bool
	}{
		{"central holiday, in the local hours", run("19:00-24:00", "['12-24']"), "preset = 'dedicated'\n[hours]\nrun = ['08:00-20:00']", noonOf(12, 24), true},
		{"central holiday, outside of them", run("19:00-24:00", "['12-24']"), "preset = 'dedicated'\n[hours]\nrun = ['18:00-20:00']", noonOf(12, 24), false},
		{"no holiday", run("19:00-24:00", "['12-24']"), "preset = 'dedicated'\n[hours]\nrun = ['08:00-20:00']", noonOf(12, 23), false},
		{"local holiday", "preset = 'dedicated'\n[hours]\nrun = ['08:00-20:00']", run("19:00-24:00", "['12-24']"), noonOf(12, 24), true},
		{"a holiday of both", run("19:00-24:00", "['12-24']"), run("20:00-24:00", "['12-24']"), noonOf(12, 24), true},
		{"a holiday of one, and others of the other", run("19:00-24:00", "['12-24']"), run("08:00-20:00", "['12-31']"), noonOf(12, 24), false},
	} {
		p, _ := combined(t, tt.central, tt.local)
		ad := classad.NewAd()
		policy.SetClock(ad, tt.at)
		if got := p.Verdicts(ad, nil).Start; got != tt.want {
			t.Errorf("%s: start %v, want %v; START is %v", tt.name, got, tt.want, p.Start)
		}
	}
}

func noonOf(month time.Month, day int) time.Time {
	return time.Date(2026, month, day, 12, 0, 0, 0, time.UTC)
}

// FuzzCombine: of two good files, each with its preset, comes a good one, under which no job starts that one of
// them keeps away, and each is suspended that one of them suspends.
func FuzzCombine(f *testing.F) {
	for _, c := range []policy.Preset{policy.Desktop, policy.LabNight, policy.Office, policy.Laptop, policy.Dedicated} {
		for _, l := range []policy.Preset{policy.Desktop, policy.LabNight, policy.Office, policy.Laptop, policy.Dedicated} {
			f.Add(fmt.Sprintf("preset = %q", c), fmt.Sprintf("preset = %q", l), uint16(600), uint16(100), uint8(0))
			f.Add(fmt.Sprintf("preset = %q\nlimits.disk_floor = '5GB'\nallow.users = ['ann']", c),
				fmt.Sprintf("preset = %q\nlimits.temperature = '85C'\nhours.run = ['Mon-Wed 10:00-20:00']", l), uint16(700), uint16(2000), uint8(0x55))
		}
	}
	f.Add("preset = 'lab-night'\nhours.holidays = ['12-25']\nhours.run_on_holidays = ['Mon 01:00-02:00']", "preset = 'desktop'\nowner.idle_after = '1s'", uint16(9000), uint16(5), uint8(1))
	f.Add("preset = 'office'\nlimits.in_use.cpus = 3", "preset = 'laptop'\nowner.on_battery = 'above 50%'\nowner.exclusive_apps = ['zoom']", uint16(9), uint16(70), uint8(0xff))
	f.Fuzz(func(t *testing.T, central, local string, minute, idle uint16, bits uint8) {
		var files [2]policy.File
		var alone [2]*policy.Policy
		for i, text := range []string{central, local} {
			if config.Decode("policy.toml", []byte(text), &files[i]) != nil || files[i].Preset == "" || files[i].Expressions != (policy.Expressions{}) {
				return
			}
			var err error
			if alone[i], err = policy.Derive(files[i]); err != nil {
				return
			}
		}
		if files[0].Drain != (policy.Drain{}) && files[1].Drain != (policy.Drain{}) {
			return // the local reboot holds
		}
		both, _, err := policy.Combine(files[0], files[1])
		if err != nil {
			t.Fatal(err)
		}
		p, err := policy.Derive(both)
		if err != nil && strings.Contains(err.Error(), "is longer than") {
			return
		}
		if err != nil {
			t.Fatalf("two good policies come to a bad one: %v", err)
		}
		ad := classad.NewAd()
		policy.SetClock(ad, noon.Add(time.Duration(minute)*time.Minute))
		ad.SetInt("KeyboardIdle", int64(idle))
		ad.SetString("State", "Unclaimed")
		ad.SetInt("EnteredCurrentActivity", 0)
		ad.SetReal("LoadAvg", float64(bits&3)/4)
		ad.SetReal("SkuaLoadAvg", 0)
		ad.SetInt("BatteryPercent", int64(bits>>2))
		ad.SetInt("Temperature", int64(bits))
		ad.SetInt("FreeDisk", int64(idle)*1000)
		for i, name := range []string{"OnBattery", "Metered", "FullScreen", "Inhibited"} {
			ad.SetBool(name, bits>>i&1 != 0)
		}
		ad.SetString("RunningApps", []string{"", "zoom"}[bits>>7])
		job := classad.NewAd()
		job.SetString("Owner", "ann")
		got := p.Verdicts(ad, job)
		for i, one := range alone {
			want := one.Verdicts(ad, job)
			if got.Start && !want.Start {
				t.Errorf("a job starts that %s keeps away by %v", []string{"the central policy", "the local policy"}[i], one.Start)
			}
			if want.Suspend && !got.Suspend {
				t.Errorf("a job runs that %s suspends by %v", []string{"the central policy", "the local policy"}[i], one.Suspend)
			}
			if p.MayPause < one.MayPause && i == 1 {
				t.Errorf("the owner may pause for %v, and the local policy grants %v", p.MayPause, one.MayPause)
			}
			for _, n := range []int64{1, 2, 3, 8, 64} {
				if p.CPUs.Of(n) > one.CPUs.Of(n) {
					t.Errorf("jobs get %d cpus of %d, and %v is granted", p.CPUs.Of(n), n, one.CPUs)
				}
			}
		}
		if !slices.Contains([]policy.Preset{files[0].Preset, files[1].Preset}, p.Preset) {
			t.Errorf("the preset is %s", p.Preset)
		}
	})
}
