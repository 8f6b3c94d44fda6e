package probe

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

func TestAppSeen(t *testing.T) {
	apps := []string{"zoom", "obs", "teams-for-linux-insiders", "steam", "elden ring game"}
	for _, tt := range []struct{ comm, exe, want string }{
		{"zoom", "/opt/zoom/zoom", "zoom"},
		{"ZoomLauncher", "/opt/zoom/ZOOM", "zoom"},
		{"Web Content", "/usr/bin/obs (deleted)", "obs"},
		{"obs", "", "obs"},
		{"obs-ffmpeg-mux", "/usr/bin/obs-ffmpeg-mux", ""},
		{"teams-for-linux", "/usr/lib/electron", "teams-for-linux-insiders"},
		{"teams", "/usr/lib/electron", ""},
		{"", `Zoom.exe`, "zoom"},
		{"Zoom.exe", "/usr/bin/wine64-preloader", "zoom"},
		{"ELDEN RING GAME", "/usr/bin/wine64-preloader", "elden ring game"}, // of which the rest is cut off
		{"Elden Ring.exe", "/usr/bin/wine64-preloader", ""},
		{"bash", "/usr/bin/bash", ""},
		{"", "", ""},
	} {
		if got := appSeen(apps, tt.comm, tt.exe); got != tt.want {
			t.Errorf("%q from %q is %q, want %q", tt.comm, tt.exe, got, tt.want)
		}
	}
}

func TestRunningAppsOfFiles(t *testing.T) {
	proc := t.TempDir()
	for pid, p := range map[string]struct{ comm, exe string }{
		"1": {"systemd", "/usr/lib/systemd/systemd"}, "812": {"Zoom", "/opt/zoom/zoom"}, "813": {"zoom", "/opt/zoom/zoom"},
		"900": {"python3", "/usr/bin/python3"}, "self": {"obs", "/usr/bin/obs"}, "901": {"", ""},
	} {
		dir := filepath.Join(proc, pid)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if p.comm == "" {
			continue // it ends just now
		}
		if err := os.WriteFile(filepath.Join(dir, "comm"), []byte(p.comm+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(p.exe, filepath.Join(dir, "exe")); err != nil {
			t.Fatal(err)
		}
	}
	got, err := runningApps(proc, []string{"obs", "zoom", "systemd"}, nil)
	if err != nil || !slices.Equal(got, []string{"systemd", "zoom"}) {
		t.Errorf("got %v, %v", got, err)
	}
	all := func(uint32) bool { return true }
	if got, err := runningApps(proc, []string{"zoom"}, all); err != nil || len(got) != 0 {
		t.Errorf("of users that are left out: %v, %v", got, err)
	}
	if _, err := runningApps(filepath.Join(proc, "none"), []string{"zoom"}, nil); err == nil {
		t.Error("no error without /proc")
	}
}

func TestOthersThan(t *testing.T) {
	skip := OthersThan(1000, 100)
	for uid, want := range map[uint32]bool{0: os.Getuid() == 0, 999: false, 1000: true, 1099: true, 1100: false} {
		if got := skip(uid); got != want {
			t.Errorf("user %d is left out: %v", uid, got)
		}
	}
}

// A program is seen while it runs.
func TestRunningAppsOfThisMachine(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("no program to run")
	}
	data, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	name := "skua-app-" + strconv.Itoa(os.Getpid())
	program := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(program, data, 0o755); err != nil {
		t.Fatal(err)
	}
	see := func() []string {
		got, err := runningApps("/proc", []string{name}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := see(); len(got) != 0 {
		t.Fatalf("before its start %v runs", got)
	}
	cmd := exec.CommandContext(t.Context(), program, "60")
	if err := cmd.Start(); err != nil {
		t.Skip("programs cannot be run from here: ", err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	eventually(t, "the program is not seen", func() bool { return slices.Equal(see(), []string{name}) })
}

func BenchmarkRunningApps(b *testing.B) {
	for b.Loop() {
		if _, err := runningApps("/proc", []string{"no-such-program"}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
