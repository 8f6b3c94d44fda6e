//go:build !windows

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skua/packaging"
)

// What systemd says of the unit is told as it is.
func TestUnitNotRunning(t *testing.T) {
	for _, tt := range []struct {
		load, active, sub string
		what              string // "" means that it runs
	}{
		{"loaded", "active", "running", ""},
		{"loaded", "reloading", "reload", ""},
		{"loaded", "activating", "auto-restart", "ends again and again"},
		{"loaded", "activating", "auto-restart-queued", "ends again and again"},
		{"loaded", "activating", "start", "is being started"},
		{"loaded", "deactivating", "stop-sigterm", "jobs leave first"},
		{"loaded", "inactive", "dead", "does not run"},
		{"loaded", "failed", "failed", "has failed"},
		{"not-found", "inactive", "dead", "not installed"},
		{"not-found", "failed", "failed", "not installed"}, // uninstalled since
		{"", "", "", "does not run"},
	} {
		err := unitNotRunning(fmt.Sprintf("LoadState=%s\nActiveState=%s\nSubState=%s\n", tt.load, tt.active, tt.sub))
		if (err == nil) != (tt.what == "") || err != nil && !strings.Contains(err.Error(), tt.what) {
			t.Errorf("%s, %s, %s: %v, want %q", tt.load, tt.active, tt.sub, err, tt.what)
		}
	}
}

// Without systemd nothing is done, and nothing is said to be done.
func TestUnmanaged(t *testing.T) {
	for platform, refused := range map[string]bool{"linux-systemd": false, "unix-systemv": true, "linux-openrc": true, "linux-upstart": true} {
		if err := unmanaged(platform); (err != nil) != refused {
			t.Errorf("%s: %v", platform, err)
		}
	}
}

// The units beside the agent's come and go with it, also where an older agent has not brought them.
func TestPutUnits(t *testing.T) {
	dir := t.TempDir()
	for _, there := range []bool{false, true, true, false} {
		if err := putUnits(dir, there); err != nil {
			t.Fatal(err)
		}
		for name, want := range packaging.Units {
			if !there {
				want = ""
			}
			got, _ := os.ReadFile(filepath.Join(dir, name)) // "" when there is none
			if string(got) != want {
				t.Errorf("installed=%v: %s is %q, want %q", there, name, got, want)
			}
		}
	}
}
