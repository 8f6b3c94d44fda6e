package policy_test

import (
	"strings"
	"testing"
	"time"

	"skua/internal/quantity"
	"skua/policy"
	"skua/policy/classad"
	"skua/policy/config"
)

// says are the verdicts that are a yes, in the words of a table. WANT_SUSPEND and WANT_VACATE are yes
// nearly always, so their no is told.
func says(v policy.Verdicts) string {
	var words []string
	for _, w := range []struct {
		yes  bool
		word string
	}{
		{v.Start, "start"},
		{v.Suspend, "suspend"},
		{v.Continue, "continue"},
		{v.Preempt, "preempt"},
		{v.Kill, "kill"},
		{v.Throttle, "throttle"},
		{v.Draining, "drain"},
		{!v.WantSuspend, "unsuspended"},
		{!v.WantVacate, "unvacated"},
		{v.Retirement > 0, "retire"},
	} {
		if w.yes {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, " ")
}

// parse reads a policy as an admin writes it.
func parse(t *testing.T, text string) *policy.Policy {
	t.Helper()
	var file policy.File
	if err := config.Decode("policy.toml", []byte(text), &file); err != nil {
		t.Fatal(err)
	}
	return derive(t, file)
}

const (
	busyAt      = "State = \"Claimed\"\nActivity = \"Busy\"\n"
	suspendedAt = "State = \"Claimed\"\nActivity = \"Suspended\"\nEnteredCurrentActivity = CurrentTime - 120\n"
)

// on is a moment so many days after a Monday.
func on(days, hour, minute int) time.Time {
	return time.Date(2026, 3, 2+days, hour, minute, 0, 0, time.UTC)
}

func TestPresets(t *testing.T) {
	plugged := "OnBattery = false\nBatteryPercent = 80\nMetered = false\n"
	night := on(0, 23, 0)
	for _, tt := range []struct {
		preset, name string
		now          time.Time
		ad           string
		want         string
	}{
		{"desktop", "nobody there", noon, "", "start continue"},
		{"desktop", "nobody there, and it has no battery", noon, "OnBattery = false", "start continue"},
		{"desktop", "owner at the keyboard", noon, busyAt + "KeyboardIdle = 2", "suspend"},
		{"desktop", "owner at the keyboard on battery", noon, busyAt + "KeyboardIdle = 2\nOnBattery = true\nBatteryPercent = 90", "suspend"},
		{"desktop", "nobody there, on battery", noon, busyAt + "OnBattery = true\nBatteryPercent = 99", "suspend"},
		{"desktop", "power is back", noon, suspendedAt + "OnBattery = false", "start continue"},
		{"desktop", "owner watches a film", noon, busyAt + "FullScreen = true", "suspend"},
		{"desktop", "owner shows slides", noon, busyAt + "Inhibited = true", "suspend"},
		{"desktop", "the night-time owner", night, busyAt + "KeyboardIdle = 0", "suspend"},
		{"desktop", "nobody watches the keyboard", noon, "KeyboardIdle = undefined", "suspend"},
		{"desktop", "owner stays", noon, suspendedAt + "KeyboardIdle = 0\nEnteredCurrentActivity = CurrentTime - 601", "suspend preempt"},
		{"desktop", "a network that costs", noon, "Metered = true", "start continue"},

		{"lab-night", "Monday noon, nobody there", noon, "", "suspend preempt unsuspended"},
		{"lab-night", "Monday noon, somebody there", noon, "KeyboardIdle = 0", "suspend preempt unsuspended"},
		{"lab-night", "Monday night", night, "", "start continue"},
		{"lab-night", "the night-time owner", night, busyAt + "KeyboardIdle = 0", "suspend"},
		{"lab-night", "the night-time owner has left five minutes ago", night, suspendedAt + "KeyboardIdle = 310", "continue"},
		{"lab-night", "Tuesday at seven", on(1, 7, 0), busyAt, "suspend preempt unsuspended"},
		{"lab-night", "Saturday noon", on(5, 12, 0), "", "start continue"},
		{"lab-night", "Sunday night, until Monday begins", on(6, 23, 59), "", "start continue"},
		{"lab-night", "a film at night", night, busyAt + "FullScreen = true", "suspend"},
		{"lab-night", "no clock", night, "ClockMin = undefined\nClockDay = undefined", "suspend preempt unsuspended"},

		{"office", "nobody there", noon, "", "start continue"},
		{"office", "owner at the keyboard", noon, busyAt + "KeyboardIdle = 2", "start continue throttle"},
		{"office", "owner at the keyboard, nothing runs", noon, "KeyboardIdle = 2", "start continue throttle"},
		{"office", "owner has paused for two minutes", noon, busyAt + "KeyboardIdle = 120", "start continue"},
		{"office", "the same while throttled", noon, busyAt + "KeyboardIdle = 120\nThrottled = true", "start continue throttle"},
		{"office", "owner gone for five minutes", noon, busyAt + "KeyboardIdle = 300\nThrottled = true", "start continue"},
		{"office", "nobody watches the keyboard", noon, busyAt + "KeyboardIdle = undefined", "start continue throttle"},
		{"office", "owner's programs compute", noon, busyAt + "LoadAvg = 3.0\nSkuaLoadAvg = 1.0", "start continue throttle"},
		{"office", "load is unknown", noon, busyAt + "LoadAvg = undefined", "start continue"},
		{"office", "owner shows slides", noon, busyAt + "Inhibited = true", "start continue throttle"},
		{"office", "owner fills the screen", noon, busyAt + "KeyboardIdle = 2\nFullScreen = true", "suspend throttle"},
		{"office", "the screen was filled a moment ago", noon, suspendedAt + "KeyboardIdle = 2\nEnteredCurrentActivity = CurrentTime - 60", "start throttle"},
		{"office", "the screen was filled a while ago", noon, suspendedAt + "KeyboardIdle = 2", "start continue throttle"},
		{"office", "owner at the keyboard on battery", noon, busyAt + "KeyboardIdle = 2\nOnBattery = true", "suspend throttle"},
		{"office", "the night-time owner", night, busyAt + "KeyboardIdle = 2", "start continue throttle"},

		{"laptop", "nobody there, plugged in", noon, plugged, "start continue"},
		{"laptop", "owner at the keyboard on battery", noon, busyAt + plugged + "KeyboardIdle = 2\nOnBattery = true", "suspend"},
		{"laptop", "nobody there, on battery", noon, busyAt + plugged + "OnBattery = true\nBatteryPercent = 100", "suspend"},
		{"laptop", "nobody knows of the battery", noon, busyAt + "Metered = false", "suspend"},
		{"laptop", "plugged in, on a network that costs", noon, plugged + "Metered = true", "continue"},
		{"laptop", "nobody knows what the network costs", noon, plugged + "Metered = undefined", "continue"},
		{"laptop", "the night-time owner", night, busyAt + plugged + "KeyboardIdle = 0", "suspend"},
		{"laptop", "a film, plugged in", noon, busyAt + plugged + "FullScreen = true", "suspend"},

		{"dedicated", "nobody there", noon, "", "start continue"},
		{"dedicated", "somebody at the console", noon, "KeyboardIdle = 0\nFullScreen = true\nInhibited = true", "start continue"},
		{"dedicated", "nothing is known", noon, "KeyboardIdle = undefined\nLoadAvg = undefined", "start continue"},
		{"dedicated", "on battery, as told by its UPS", noon, "OnBattery = true", "start continue"},
		{"dedicated", "others compute", noon, busyAt + "LoadAvg = 9.0", "start continue"},
		{"dedicated", "at night", night, busyAt, "start continue"},
	} {
		t.Run(tt.preset+"/"+tt.name, func(t *testing.T) {
			p := parse(t, `preset = "`+tt.preset+`"`)
			if got := says(p.Verdicts(slotAt(t, tt.now, tt.ad), nil)); got != tt.want {
				t.Errorf("it says %q, want %q", got, tt.want)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		name, policy string
		now          time.Time
		ad           string
		want         string
	}{
		{"plugged in", `owner.on_battery = "above 50%"`, noon, "OnBattery = false\nBatteryPercent = 3", "start continue"},
		{"battery is full", `owner.on_battery = "above 50%"`, noon, "OnBattery = true\nBatteryPercent = 90", "start continue"},
		{"battery at 51 %: what runs goes on, nothing begins", `owner.on_battery = "above 50%"`, noon, "OnBattery = true\nBatteryPercent = 51", ""},
		{"battery at 49 %", `owner.on_battery = "above 50%"`, noon, "OnBattery = true\nBatteryPercent = 49", "suspend"},
		{"charge unknown", `owner.on_battery = "above 50%"`, noon, "OnBattery = true", "suspend"},
		{"battery does not matter", `owner.on_battery = "always"`, noon, "OnBattery = true\nBatteryPercent = 1", "start continue"},

		{"nothing of them runs", `owner.exclusive_apps = ["Zoom", "obs"]`, noon, `RunningApps = ""`, "start continue"},
		{"something else runs", `owner.exclusive_apps = ["Zoom", "obs"]`, noon, `RunningApps = "zoomer,ob"`, "start continue"},
		{"one of them runs", `owner.exclusive_apps = ["Zoom", "obs"]`, noon, `RunningApps = "zoom"`, "suspend"},
		{"nobody knows what runs", `owner.exclusive_apps = ["Zoom", "obs"]`, noon, "", "suspend"},
		{"one with a blank in its name", `owner.exclusive_apps = ["Google Meet.EXE"]`, noon, `RunningApps = "google meet,obs"`, "suspend"},
		{"one runs in the office", "preset = 'office'\nowner.exclusive_apps = ['zoom']", noon, busyAt + `RunningApps = "zoom"`, "suspend"},

		{"a film that does not count", "owner.full_screen = false", noon, "FullScreen = true", "start continue"},
		{"a lit screen that does not count", "owner.inhibited = false", noon, "Inhibited = true", "start continue"},
		{"a network that costs", `owner.on_metered = "never"`, noon, "Metered = true", "continue"},

		{"cool", `limits.temperature = "85C"`, noon, "Temperature = 60.5", "start continue"},
		{"warm: what runs goes on, nothing begins", `limits.temperature = "85C"`, noon, "Temperature = 80.0", ""},
		{"hot", `limits.temperature = "85C"`, noon, busyAt + "Temperature = 85.0", "suspend"},
		{"cooled a little", `limits.temperature = "85C"`, noon, suspendedAt + "Temperature = 76.0", ""},
		{"cooled", `limits.temperature = "85C"`, noon, suspendedAt + "Temperature = 74.0", "start continue"},
		{"nobody knows how hot", `limits.temperature = "85C"`, noon, "", "suspend"},

		{"room on the disk", `limits.disk_floor = "5GiB"`, noon, "FreeDisk = 9000000", "start continue"},
		{"little room: nothing begins", `limits.disk_floor = "5GiB"`, noon, "FreeDisk = 5300000", "continue"},
		{"below the floor", `limits.disk_floor = "5GiB"`, noon, busyAt + "FreeDisk = 5000000", "continue preempt unsuspended"},
		{"nobody knows the room", `limits.disk_floor = "5GiB"`, noon, busyAt, "continue preempt unsuspended"},
		{"below the floor nobody is retired", "limits.disk_floor = '5GiB'\nvacate.retirement = '1h'", noon, busyAt + "FreeDisk = 5000000", "continue preempt unsuspended"},
		{"above it they would be", "limits.disk_floor = '5GiB'\nvacate.retirement = '1h'", noon, busyAt + "FreeDisk = 9000000", "start continue retire"},

		{"long before the reboot", `drain.reboot = "Mon-Fri 04:00"`, on(1, 3, 29), "", "start continue"},
		{"half an hour before it", `drain.reboot = "Mon-Fri 04:00"`, on(1, 3, 30), busyAt, "continue drain"},
		{"last call", `drain.reboot = "Mon-Fri 04:00"`, on(1, 3, 49), busyAt, "continue preempt drain unsuspended"},
		{"at the reboot", `drain.reboot = "Mon-Fri 04:00"`, on(1, 4, 0), "", "start continue"},
		{"not on Saturday", `drain.reboot = "Mon-Fri 04:00"`, on(5, 3, 50), "", "start continue"},
		{"a reboot after midnight drains the day before", `drain.reboot = "Mon 00:10"`, on(6, 23, 45), "", "continue drain"},
		{"and not on its own", `drain.reboot = "Mon 00:10"`, on(7, 23, 45), "", "start continue"},
		{"a reboot at midnight", `drain.reboot = "Mon 00:00"`, on(6, 23, 45), "", "continue drain"},
		{"owner comes in the drain", `drain.reboot = "04:00"`, on(1, 3, 35), busyAt + "KeyboardIdle = 0", "suspend drain"},
		{"a short drain is a last call", "drain.reboot = '04:00'\ndrain.before = '5m'", on(1, 3, 56), busyAt, "continue preempt drain unsuspended"},

		{"a holiday is free", "hours.run = ['19:00-07:00']\nhours.holidays = ['2026-03-02']", noon, "", "start continue"},
		{"the days between", "hours.run = ['19:00-07:00']\nhours.holidays = ['2026-02-24..2026-03-04']", noon, "", "start continue"},
		{"the day after", "hours.run = ['19:00-07:00']\nhours.holidays = ['2026-02-24..2026-03-01']", noon, "", "suspend preempt unsuspended"},
		{"every year", "hours.run = ['19:00-07:00']\nhours.holidays = ['03-02']", noon, "", "start continue"},
		{"owner comes on a holiday", "hours.run = ['19:00-07:00']\nhours.holidays = ['03-02']", noon, busyAt + "KeyboardIdle = 0", "suspend"},
		{"a holiday with hours", "hours.run = ['19:00-07:00']\nhours.holidays = ['03-02']\nhours.run_on_holidays = ['13:00-24:00']", noon, "", "suspend preempt unsuspended"},
		{"within them", "hours.run = ['19:00-07:00']\nhours.holidays = ['03-02']\nhours.run_on_holidays = ['13:00-24:00']", on(0, 13, 0), "", "start continue"},

		{"a share of the owner's machine", "limits.in_use.cpus = 1", noon, busyAt + "KeyboardIdle = 0", "start continue throttle"},
		{"office without throttle", "preset = 'office'\nlimits.in_use.cpus = 0", noon, busyAt + "KeyboardIdle = 0", "suspend"},
		{"a misspelt throttle throttles", "preset = 'office'\nexpressions.THROTTLE = 'KeybordIdle < 5'", noon, busyAt, "start continue throttle"},
		{"a dedicated machine with a hot processor", "preset = 'dedicated'\nlimits.temperature = '85C'", noon, busyAt + "Temperature = 99.0", "suspend"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := says(parse(t, tt.policy).Verdicts(slotAt(t, tt.now, tt.ad), nil)); got != tt.want {
				t.Errorf("it says %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAllow(t *testing.T) {
	for _, tt := range []struct {
		policy, job string
		open, start bool
	}{
		{"", `Owner = "jan"`, true, true},
		{`allow.users = ["mira", "jan"]`, `Owner = "jan"`, true, true},
		{`allow.users = ["mira", "jan"]`, `Owner = "ja"`, true, false},
		{`allow.users = ["mira", "jan"]`, "", true, false},
		{`allow.groups = ["physics"]`, "Owner = \"ann\"\nAcctGroup = \"physics\"", true, true},
		{`allow.groups = ["physics"]`, `Owner = "physics"`, true, false},
		{"allow.users = ['mira']\nallow.groups = ['physics']", `Owner = "mira"`, true, true},
		{"allow.users = ['mira']\nallow.groups = ['physics']", "Owner = \"jan\"\nAcctGroup = \"physics\"", true, true},
		{"allow.users = ['mira']\nallow.groups = ['physics']", `Owner = "jan"`, true, false},
		{"allow.users = ['mira']\nowner.idle_after = '2h'", `Owner = "mira"`, false, false},
		{`expressions.START = 'TARGET.Owner == "mira"'`, `Owner = "mira"`, true, true},
		{`expressions.START = 'false && TARGET.Owner == "mira"'`, `Owner = "mira"`, false, false},
		{`expressions.START = 'KeybordIdle > 5'`, `Owner = "mira"`, false, false},
		{`expressions.START = 'false || TARGET.Short'`, `Short = false`, true, false},
	} {
		p := parse(t, tt.policy)
		job, err := classad.ParseOldAd(tt.job)
		if err != nil {
			t.Fatal(err)
		}
		ad := slotAt(t, noon, "")
		if got := p.Open(ad); got != tt.open {
			t.Errorf("%s: the machine is open: %v, want %v", tt.policy, got, tt.open)
		}
		if got := p.Verdicts(ad, job).Start; got != tt.start {
			t.Errorf("%s: a job with %s may start: %v, want %v", tt.policy, tt.job, got, tt.start)
		}
	}
}

// TestRetirement: the machine grants, and a job may want less.
func TestRetirement(t *testing.T) {
	for _, tt := range []struct {
		policy, job string
		want        time.Duration
	}{
		{"", "MaxJobRetirementTime = 60", 0},
		{"vacate.retirement = '1h'", "", time.Hour},
		{"vacate.retirement = '1h'", "MaxJobRetirementTime = 60", time.Minute},
		{"vacate.retirement = '1h'", "MaxJobRetirementTime = 7200", time.Hour},
		{"vacate.retirement = '1h'", "MaxJobRetirementTime = -5", 0},
		{"expressions.MaxJobRetirementTime = 'TARGET.Long ? 1e300 : 5'", "Long = true", 365 * 24 * time.Hour},
	} {
		job, err := classad.ParseOldAd(tt.job)
		if err != nil {
			t.Fatal(err)
		}
		if got := parse(t, tt.policy).Verdicts(slotAt(t, noon, ""), job).Retirement; got != tt.want {
			t.Errorf("%s with a job that says %q: %v, want %v", tt.policy, tt.job, got, tt.want)
		}
	}
}

// TestPresetNumbers: what the expressions do not say.
func TestPresetNumbers(t *testing.T) {
	for _, tt := range []struct {
		policy   string
		cpus     float64 // in use, of 8
		mayPause time.Duration
		rate     quantity.Rate
		apps     string
	}{
		{"preset = 'desktop'", 0, 4 * time.Hour, 0, ""},
		{"preset = 'lab-night'", 0, 0, 0, ""},
		{"preset = 'office'", 2, 4 * time.Hour, 0, ""},
		{"preset = 'laptop'", 0, 24 * time.Hour, 0, ""},
		{"preset = 'dedicated'", 0, 0, 0, ""},
		{"owner.may_pause = '0'\nlimits.network_rate = '20MB/s'\nowner.exclusive_apps = ['OBS', 'zoom', 'obs']", 0, 0, 20e6, "obs,zoom"},
		{"limits.in_use.cpus = 1", 1, 4 * time.Hour, 0, ""},
		{"limits.in_use.cpus = '5%'", 0.4, 4 * time.Hour, 0, ""},
	} {
		p := parse(t, tt.policy)
		if got := p.InUseCPUs(8); got != tt.cpus {
			t.Errorf("%s: %v cpus in use, want %v", tt.policy, got, tt.cpus)
		}
		if p.MayPause != tt.mayPause || p.TransferRate != tt.rate || strings.Join(p.WatchedApps, ",") != tt.apps {
			t.Errorf("%s: may pause %v, rate %v, apps %q", tt.policy, p.MayPause, p.TransferRate, p.WatchedApps)
		}
	}
}

func TestKeyProblems(t *testing.T) {
	for text, want := range map[string]string{
		`owner.on_battery = "sometimes"`:              `owner.on_battery: "sometimes" is not a rule for the battery`,
		`owner.on_battery = "above 100%"`:             `"above 100%" is not a rule`,
		`owner.on_metered = "cheap"`:                  `"cheap" is not a rule for a network that costs`,
		`owner.exclusive_apps = "zoom"`:               "must be a list of programs' names",
		`owner.exclusive_apps = ["/usr/bin/zoom"]`:    "is not a program's name",
		`owner.exclusive_app = ["zoom"]`:              `unknown key "owner.exclusive_app"`,
		`hours.holidays = ["2026-02-30"]`:             `"2026-02-30" is not a date`,
		`hours.holidays = ["2026-03-02..2026-03-01"]`: "ends before it begins",
		`limits.temperature = "185F"`:                 `"185F" is not a temperature`,
		`limits.temperature = "850C"`:                 "from 30C to 120C",
		`limits.disk_floor = "5"`:                     `size "5" has no unit`,
		`limits.network_rate = "20MB"`:                `rate "20MB" is a size: write "20MB/s"`,
		`limits.network_rate = "fast"`:                `"fast" is not a rate`,
		`drain.reboot = "04:00-05:00"`:                "is not a time from 00:00 to 24:00",
		`drain.reboot = "24:00"`:                      "write 00:00 for midnight",
		`drain.reboot = "nightly at four"`:            "is not a moment of the week",
	} {
		var file policy.File
		err := config.Decode("policy.toml", []byte(text), &file)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
		}
	}
}
