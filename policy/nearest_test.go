package policy_test

import (
	"strings"
	"testing"
)

func TestNearestChange(t *testing.T) {
	for _, tt := range []struct{ policy, ad, expr, want string }{
		{"", "KeyboardIdle = 12", "START", "KeyboardIdle were 901, not 12"},
		{"", "KeyboardIdle = 12", "SUSPEND", "KeyboardIdle were 60, not 12"},
		{"", "", "SUSPEND", "KeyboardIdle were 59, not 3600"},
		{"", "OnBattery = true", "SUSPEND", "OnBattery were false, not true"},
		{"", "LoadAvg = 1.25\nSkuaLoadAvg = 0.5", "START", "LoadAvg were 0.79, not 1.25"},
		{"", "KeyboardIdle = 12\nFullScreen = true", "START", "KeyboardIdle were 901, not 12; FullScreen were false, not true"},
		{"", suspendedAt + "KeyboardIdle = 0", "PREEMPT", "the seconds in this activity were 601, not 120"},
		{"preset = 'laptop'", "Metered = false", "START", "OnBattery were false, not undefined"},
		{"limits.temperature = '85C'", "Temperature = 90.0", "SUSPEND", "Temperature were 84.99, not 90"},
		{"owner.exclusive_apps = ['zoom']", `RunningApps = "zoom"`, "SUSPEND", `RunningApps were "", not "zoom"`},
		{"owner.exclusive_apps = ['zoom']", `RunningApps = ""`, "SUSPEND", "KeyboardIdle were 59, not 3600"},
		{"hours.run = ['19:00-07:00']", "", "START", "ClockMin were 419, not 720"},
		{"preset = 'office'", busyAt, "THROTTLE", "KeyboardIdle were 59, not 3600"},
		{"preset = 'office'", busyAt + "KeyboardIdle = 120\nThrottled = true", "THROTTLE", "KeyboardIdle were 300, not 120"},
		{"preset = 'dedicated'", "", "START", ""},
	} {
		var got []string
		for _, line := range parse(t, tt.policy).Explain(slotAt(t, noon, tt.ad)) {
			if line.Name == tt.expr {
				for _, c := range line.If {
					got = append(got, c.String())
				}
			}
		}
		if got := strings.Join(got, "; "); got != tt.want {
			t.Errorf("%s with %q: %s would change if %q, want %q", tt.policy, tt.ad, tt.expr, got, tt.want)
		}
	}
}
