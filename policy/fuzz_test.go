package policy_test

import (
	"encoding"
	"fmt"
	"testing"
	"time"

	"skua/internal/quantity"
	"skua/policy"
	"skua/policy/classad"
	"skua/policy/config"
)

// FuzzValues: what one of the small formats accepts it prints as what it reads as the same again.
func FuzzValues(f *testing.F) {
	for _, s := range []string{
		"never", "above 50%", "85C", "36.6 °C", "2026-12-24..2027-01-01", "12-25", "02-29", "Mon-Fri 04:00", "00:00", "20MB/s", "1.5 GiB/s", "always",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, v := range []struct {
			read, again encoding.TextUnmarshaler
		}{
			{new(policy.Battery), new(policy.Battery)},
			{new(policy.Temperature), new(policy.Temperature)},
			{new(policy.Dates), new(policy.Dates)},
			{new(policy.Moment), new(policy.Moment)},
			{new(quantity.Rate), new(quantity.Rate)},
		} {
			if v.read.UnmarshalText([]byte(text)) != nil {
				continue
			}
			printed := text
			if m, ok := v.read.(encoding.TextMarshaler); ok {
				b, err := m.MarshalText()
				if err != nil {
					t.Fatal(err)
				}
				printed = string(b)
			}
			if err := v.again.UnmarshalText([]byte(printed)); err != nil || fmt.Sprint(v.again) != fmt.Sprint(v.read) {
				t.Errorf("%T reads %q, prints %q, and reads that as %v (%v)", v.read, text, printed, v.again, err)
			}
		}
	})
}

// FuzzPolicy: a file that is accepted gives expressions that say yes or no of a machine of which nothing
// is known, and there the owner of one who is watched has the machine.
func FuzzPolicy(f *testing.F) {
	f.Add(written, uint16(600))
	f.Add("preset = 'office'\nlimits.in_use.cpus = '5%'\nlimits.disk_floor = '5GB'\nvacate.retirement = '1h'", uint16(5000))
	f.Add("preset = 'laptop'\nowner.on_battery = 'above 50%'\nlimits.temperature = '85C'\nowner.exclusive_apps = ['zoom', 'a b']", uint16(0))
	f.Add("preset = 'lab-night'\nhours.holidays = ['12-25']\nhours.run_on_holidays = ['Mon 01:00-02:00']\ndrain = { reboot = '00:10', before = '12h' }\nallow = { users = ['a'], groups = ['b'] }", uint16(9000))
	f.Fuzz(func(t *testing.T, text string, minute uint16) {
		var file policy.File
		if config.Decode("policy.toml", []byte(text), &file) != nil {
			return
		}
		p, err := policy.Derive(file)
		if err != nil {
			return
		}
		ad := classad.NewAd()
		policy.SetClock(ad, noon.Add(time.Duration(minute)*time.Minute))
		v := p.Verdicts(ad, nil)
		e := file.Expressions
		if own := e.Start != nil || e.Suspend != nil || e.Throttle != nil; own || p.Preset == policy.Dedicated {
			return
		}
		if beside := p.InUseCPUs(1000) > 0; !v.Suspend && !(beside && v.Throttle) || v.Start && !beside {
			t.Errorf("nothing is known, and the policy says %+v", v)
		}
	})
}
