package startd

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The hours of a policy follow the machine's time zone.
func TestZoneFollowsItsFile(t *testing.T) {
	dir := t.TempDir()
	z := zone{file: filepath.Join(dir, "localtime")}
	set := func(name string) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join("/usr/share/zoneinfo", name))
		if err != nil {
			t.Skip("no time zones here:", err)
		}
		next := filepath.Join(dir, "next")
		if err := os.WriteFile(next, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, z.file); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		change func()
		after  time.Duration
		want   int // hour
	}{
		{"at first", func() { set("Europe/Berlin") }, 0, 14},
		{"changed just now", func() { set("Asia/Tokyo") }, 59 * time.Second, 14},
		{"changed", func() {}, time.Second, 21},
		{"the same", func() {}, time.Minute, 21},
		{"not to be read", func() { os.WriteFile(z.file, []byte("nonsense"), 0o644) }, time.Minute, 21},
		{"gone", func() { os.Remove(z.file) }, time.Minute, 21},
		{"back", func() { set("America/New_York") }, time.Minute, 8},
		{"the clock was set back", func() { set("UTC") }, -time.Hour, 11},
	} {
		tt.change()
		now = now.Add(tt.after)
		if got := z.local(now); got.Hour() != tt.want || !got.Equal(now) {
			t.Errorf("%s: at %v it is %v, want %d o'clock", tt.name, now, got, tt.want)
		}
	}
}

func TestZoneFile(t *testing.T) {
	for tz, want := range map[string]string{":/etc/localtime": "/etc/localtime", "/etc/localtime": "/etc/localtime", "Europe/Berlin": "", "": ""} {
		t.Setenv("TZ", tz)
		if got := zoneFile(); got != want {
			t.Errorf("TZ=%q: the zone is in %q, want %q", tz, got, want)
		}
	}
}
