//go:build !windows

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"time"

	"skua/agent/startd"
)

// systemdOccasion tells whether systemd ends this service only to start it again, as "systemctl restart" and
// the upgrade of a package do, or because the machine goes down. To the service itself both look like a
// stop, so systemd is asked. Without an answer it is a stop, after which nothing of a job stays behind.
func systemdOccasion() startd.Occasion {
	unit := ownService()
	if unit == "" {
		return startd.Stopped
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	jobs, err := exec.CommandContext(ctx, "systemctl", "list-jobs", "--no-legend", "--plain", "--full").Output()
	if err != nil {
		return startd.Stopped
	}
	return occasionOf(jobs, unit)
}

// ownService is the systemd service whose main process this one is, "" if it is none's.
func ownService() string {
	if os.Getenv("SYSTEMD_EXEC_PID") != strconv.Itoa(os.Getpid()) {
		return "" // started by hand, perhaps out of somebody else's service
	}
	cgroups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	return serviceOf(cgroups)
}

// serviceOf finds the innermost service in /proc/PID/cgroup, in systemd's own hierarchy.
func serviceOf(cgroups []byte) string {
	for line := range bytes.Lines(cgroups) {
		_, at, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
		controllers, at, _ := strings.Cut(at, ":")
		if controllers != "" && controllers != "name=systemd" {
			continue
		}
		for ; len(at) > 1; at = path.Dir(at) {
			if name := path.Base(at); strings.HasSuffix(name, ".service") {
				return name
			}
		}
	}
	return ""
}

// occasionOf finds out of a list of systemd's jobs, a line "1204 skua-agent.service restart running" for
// each, why it ends the unit.
func occasionOf(jobs []byte, unit string) startd.Occasion {
	occasion := startd.Stopped
	for line := range bytes.Lines(jobs) {
		f := strings.Fields(string(line))
		switch {
		case len(f) != 4:
		case f[1] == "shutdown.target" && f[2] == "start":
			return startd.ShutsDown
		case f[1] == unit && f[2] == "restart":
			occasion = startd.HandsOver
		}
	}
	return occasion
}
