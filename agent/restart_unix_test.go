//go:build !windows

package main

import "testing"

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

func TestListsRestart(t *testing.T) {
	const unit = "skua-agent.service"
	for _, tt := range []struct {
		name, jobs string
		want       bool
	}{
		{"restart", "1204 skua-agent.service restart running\n", true},
		{"stop", "1204 skua-agent.service stop running\n", false},
		{"another unit's", "1204 ntp.service restart running\n1205 skua-agent.service stop running\n", false},
		{"no job", "", false},
		{"talk", "No jobs running.\n", false},
	} {
		if got := listsRestart([]byte(tt.jobs), unit); got != tt.want {
			t.Errorf("%s: it is a restart: %v, want %v", tt.name, got, tt.want)
		}
	}
}
