//go:build !windows

package main

import (
	"testing"

	"skua/agent/startd"
)

func TestServiceOf(t *testing.T) {
	for _, tt := range []struct{ name, cgroups, want string }{
		{"a service", "0::/system.slice/skua-agent.service\n", "skua-agent.service"},
		{"its part for the agent", "0::/system.slice/skua-agent.service/agent\n", "skua-agent.service"},
		{"systemd beside older controllers", "5:devices:/other.service\n1:name=systemd:/system.slice/skua-agent.service\n0::/\n", "skua-agent.service"},
		{"the innermost", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/desk.service\n", "desk.service"},
		{"a terminal", "0::/user.slice/user-1000.slice/session-2.scope\n", ""},
		{"no systemd", "4:memory:/x.service\n0::/\n", ""},
		{"nothing", "", ""},
		{"a relative path", "0::x/y\n", ""},
	} {
		if got := serviceOf([]byte(tt.cgroups)); got != tt.want {
			t.Errorf("%s: the service is %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestOccasionOf(t *testing.T) {
	const unit = "skua-agent.service"
	for _, tt := range []struct {
		name, jobs string
		want       startd.Occasion
	}{
		{"restart", "1204 skua-agent.service restart running\n", startd.HandsOver},
		{"stop", "1204 skua-agent.service stop running\n", startd.Stopped},
		{"another unit's", "1204 ntp.service restart running\n1205 skua-agent.service stop running\n", startd.Stopped},
		{
			"switched off", "90 skua-agent.service stop running\n91 shutdown.target start waiting\n92 poweroff.target start waiting\n",
			startd.ShutsDown,
		},
		{"restarted, and then switched off", "80 skua-agent.service restart running\n91 shutdown.target start waiting\n", startd.ShutsDown},
		{"shutting down is called off", "91 shutdown.target stop waiting\n90 skua-agent.service stop running\n", startd.Stopped},
		{"no job", "", startd.Stopped},
		{"talk", "No jobs running.\n", startd.Stopped},
	} {
		if got := occasionOf([]byte(tt.jobs), unit); got != tt.want {
			t.Errorf("%s: occasion %v, want %v", tt.name, got, tt.want)
		}
	}
}
