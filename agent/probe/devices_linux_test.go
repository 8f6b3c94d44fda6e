package probe

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The sets of keys are those of real devices.
func TestHasInputKey(t *testing.T) {
	for _, tt := range []struct {
		name, keys string
		want       bool
	}{
		{"keyboard", "402000007 ff803078f800d001 feffffdfffefffff fffffffffffffffe", true},
		{"mouse", "1f0000 0 0 0 0", true},
		{"touch pad", "e520 10000 0 0 0 0", true},
		{"touch screen", "400 0 0 0 0 0", true},
		{"tablet", "1c03 3f0001 0 0 0 0", true},
		{"power button", "10000000000000 0", false},
		{"lid", "0", false},
		{"gamepad", "7cdb000000000000 0 0 0 0", false},
		{"nothing", "", false},
		{"nonsense", "zz yy xx ww vv uu", false},
	} {
		if got := hasInputKey(tt.keys + "\n"); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// FIFOs stand in for devices: they, too, say that there is something to read as often as something
// comes, whether anybody reads it or not.
func TestDevices(t *testing.T) {
	dev, sys := t.TempDir(), t.TempDir()
	w, events := watching(t, WatchConfig{SkipDisplays: true, SkipTTYs: true, Dev: dev, Sys: sys})
	plug := func(name, keys string) *os.File {
		t.Helper()
		capabilities := filepath.Join(sys, "class", "input", name, "device", "capabilities")
		if err := os.MkdirAll(capabilities, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(capabilities, "key"), []byte(keys), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dev, "input"), 0o755); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dev, "input", name)
		hidden := filepath.Join(dev, name) // it has a writer before it is found
		if err := unix.Mkfifo(hidden, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(hidden, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		if err := os.Rename(hidden, path); err != nil {
			t.Fatal(err)
		}
		return f
	}
	const keyboardKeys, buttonKeys = "402000007 ff803078f800d001 feffffdfffefffff fffffffffffffffe", "10000000000000 0"
	press := func(f *os.File) {
		t.Helper()
		if _, err := f.Write(make([]byte, 24)); err != nil {
			t.Fatal(err)
		}
	}
	keyboard := plug("event0", keyboardKeys)
	button := plug("event1", buttonKeys)
	awaitQuiet(t, w, sourceDevices)
	for range 3 {
		awaitQuiet(t, w, sourceDevices)
		drain(events)
		press(keyboard)
		awaitActive(t, events, sourceDevices)
	}
	second := plug("event2", keyboardKeys)
	awaitQuiet(t, w, sourceDevices)
	drain(events)
	eventually(t, "a keyboard that was plugged in is not watched", func() bool {
		press(second)
		return len(events) > 0
	})
	if idle, ok := w.ConsoleIdle(time.Now()); !ok || idle > testWait {
		t.Errorf("the console is idle for %v, %v", idle, ok)
	}
	awaitQuiet(t, w, sourceDevices)
	drain(events)
	press(button)
	press(keyboard)
	press(keyboard)
	awaitActive(t, events, sourceDevices)
	awaitQuiet(t, w, sourceDevices)
	if n := len(events); n != 0 {
		t.Errorf("%d more returns, want none", n)
	}
}
