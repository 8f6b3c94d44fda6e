package courier

import (
	"testing"

	"skua/internal/job"
	"skua/policy/classad"
)

func TestJobsShareTheirOrigin(t *testing.T) {
	var all origins
	common := classad.NewAd()
	common.SetString("UserLog", "/home/ann/job.log")
	common.SetInt("RequestMemory", 100)
	one := func(attr, value string) *origin {
		ad := classad.NewAd()
		ad.SetString(attr, value)
		ad.SetParent(common)
		return all.of(ad)
	}
	first := one("Arguments", "1")
	if one("Arguments", "2") != first {
		t.Error("jobs that differ in what does not count have origins of their own")
	}
	if one("UserLog", "/home/ann/other.log") == first {
		t.Error("jobs with different logs share an origin")
	}
}

func TestOriginAfterAnEdit(t *testing.T) {
	var all origins
	before := &origin{log: "/home/ann/job.log", memory: "100", cpus: "1", notify: notifyNever}
	for _, tt := range []struct {
		name, expr string
		want       origin
	}{
		{"RequestMemory", "200", origin{log: before.log, memory: "200", cpus: "1"}},
		{"requestcpus", "2 * 2", origin{log: before.log, memory: "100", cpus: "4"}},
		{"RequestMemory", "2 * ImageSize", origin{log: before.log, cpus: "1"}},
		{"JobNotification", "1", origin{log: before.log, memory: "100", cpus: "1", notify: notifyAlways}},
		{"NotifyUser", `"ann@example.org"`, origin{log: before.log, memory: "100", cpus: "1", notifyTo: "ann@example.org"}},
		{"JobSuccessExitCode", "2", origin{log: before.log, memory: "100", cpus: "1", success: 2}},
		{"UserLog", `"/elsewhere"`, *before},
		{"JobPrio", "5", *before},
		{"RequestMemory", "(", *before},
	} {
		if got := all.edited(before, []job.Assigned{{Name: tt.name, Expr: tt.expr}}); *got != tt.want {
			t.Errorf("after %s = %s the origin is %+v, want %+v", tt.name, tt.expr, *got, tt.want)
		}
	}
}

// TestColumnsGiveTheSameOrigin: what the matchmaker is asked for says the same as the event did.
func TestColumnsGiveTheSameOrigin(t *testing.T) {
	for id, ad := range aLife("/home/ann").ads {
		ad.SetInt("JobNotification", int64(notifyError))
		ad.SetString("Cmd", `/bin/a "b"`)
		ad.SetInt("JobSuccessExitCode", 3)
		var values []string
		for _, name := range originAttrs {
			e, err := classad.ParseExpr(name)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, e.Eval(ad, nil).String())
		}
		if got, want := originOf(adOf(originAttrs, values)), originOf(ad); got != want {
			t.Errorf("%v: columns give %+v, the event %+v", id, got, want)
		}
	}
}
