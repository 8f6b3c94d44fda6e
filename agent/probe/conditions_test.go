package probe

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"skua/policy/classad"
)

// unplug changes the charger of the machine below sys.
func unplug(t *testing.T, sys string, online bool) {
	t.Helper()
	text, status := "0\n", "Discharging\n"
	if online {
		text, status = "1\n", "Charging\n"
	}
	for name, text := range map[string]string{"AC/online": text, "BAT0/status": status} {
		if err := os.WriteFile(filepath.Join(sys, "class", "power_supply", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func conditionsOf(t *testing.T, sys string) *Conditions {
	t.Helper()
	c, err := NewConditions(ConditionsConfig{
		Sys: sys, Proc: t.TempDir(), Bus: "none", Watch: WatchConfig{SkipDisplays: true}, ExecuteDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConditions(t *testing.T) {
	c := conditionsOf(t, unpack(t, "power/laptop-unplugged"))
	ad := classad.NewAd()
	c.Set(ad)
	if names := ad.Names(); len(names) != 0 {
		t.Errorf("before anything was read it knows %v", names)
	}
	c.Read(t.Context())
	c.Set(ad)
	for name, want := range map[string]string{
		"OnBattery": "true", "BatteryPercent": "43", "Temperature": "undefined", "RunningApps": "undefined",
		"FullScreen": "undefined", "Inhibited": "undefined", "Metered": "undefined",
	} {
		if got := ad.Eval(name, nil).String(); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if free, _ := ad.Int("FreeDisk"); free <= 0 {
		t.Errorf("FreeDisk is %v", ad.Eval("FreeDisk", nil))
	}
	for _, name := range ad.Names() {
		if !slices.Contains(ConditionAttributes, name) {
			t.Errorf("%s is not among ConditionAttributes", name)
		}
	}
}

// While a job is here a laptop that is unplugged is noticed within seconds; without one it is looked at
// once a minute.
func TestConditionsLookMoreOftenWhileAJobIsHere(t *testing.T) {
	sys := unpack(t, "power/laptop-plugged")
	synctest.Test(t, func(t *testing.T) {
		c := conditionsOf(t, sys)
		ctx, stop := context.WithCancel(t.Context())
		var news atomic.Int32
		ended := make(chan error)
		go func() { ended <- c.Run(ctx, func() { news.Add(1) }) }()
		after := func(d time.Duration, what string, onBattery bool, changes int32) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if c.OnBattery() != onBattery || news.Load() != changes {
				t.Errorf("%s: on battery %v after %d changes, want %v after %d", what, c.OnBattery(), news.Load(), onBattery, changes)
			}
		}
		after(0, "at the start", false, 2)
		unplug(t, sys, false)
		after(lookIdle/2-time.Second, "unplugged while idle", false, 2)
		after(lookIdle+2*time.Second, "minutes later", true, 3) // one and a half times lookIdle after the look before, at the latest
		unplug(t, sys, true)
		c.LookAtPower(time.Now(), lookIdle)
		after(0, "what was read just now is fresh enough", true, 3)
		c.LookAtPower(time.Now(), 0)
		after(0, "asked for something newer", false, 4)
		unplug(t, sys, false)
		c.Busy(true)
		after(lookPower+lookPower/2, "a job comes", true, 5)
		unplug(t, sys, true)
		after(lookPower+lookPower/2, "plugged in while a job is here", false, 6)
		c.Busy(false)
		unplug(t, sys, false)
		after(lookPower, "idle again, what was read last is fresh enough", false, 6)
		after(lookIdle/2-lookPower, "still idle", false, 6)
		after(lookIdle+2*lookPower, "minutes later", true, 7)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestConditionsSeeApps(t *testing.T) {
	c := conditionsOf(t, t.TempDir())
	dir := filepath.Join(c.cfg.Proc, "812")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "comm"), []byte("zoom\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		apps []string
		want string
	}{{nil, "undefined"}, {[]string{"obs"}, `""`}, {[]string{"obs", "zoom"}, `"zoom"`}, {nil, "undefined"}} {
		c.SetApps(tt.apps)
		c.Read(t.Context())
		ad := classad.NewAd()
		c.Set(ad)
		if got := ad.Eval("RunningApps", nil).String(); got != tt.want {
			t.Errorf("of %v RunningApps is %s, want %s", tt.apps, got, tt.want)
		}
	}
}

// Programs that come to be looked for are known at once, and what was seen of others is not taken for them.
func TestConditionsSeeNewApps(t *testing.T) {
	c := conditionsOf(t, t.TempDir())
	if err := os.Mkdir(filepath.Join(c.cfg.Proc, "812"), 0o755); err != nil {
		t.Fatal(err)
	}
	says := func(want string) {
		t.Helper()
		ad := classad.NewAd()
		c.Set(ad)
		if got := ad.Eval("RunningApps", nil).String(); got != want {
			t.Errorf("RunningApps is %s, want %s", got, want)
		}
	}
	c.LookFirst(t.Context())
	says("undefined")
	before := c.readOwn(t.Context())
	c.SetApps([]string{"zoom"})
	says(`""`)
	c.note(before)
	says(`""`)
	c.SetApps(nil)
	says("undefined")
}

// What an agent decides first about jobs that it adopts it decides with the disk, the power and the programs known.
func TestConditionsLookFirst(t *testing.T) {
	c := conditionsOf(t, unpack(t, "power/laptop-unplugged"))
	if err := os.Mkdir(filepath.Join(c.cfg.Proc, "812"), 0o755); err != nil {
		t.Fatal(err)
	}
	c.SetApps([]string{"zoom"})
	c.LookFirst(t.Context())
	ad := classad.NewAd()
	c.Set(ad)
	for _, name := range []string{"FreeDisk", "OnBattery", "RunningApps"} {
		if ad.Eval(name, nil).String() == "undefined" {
			t.Errorf("%s is not known", name)
		}
	}
}
