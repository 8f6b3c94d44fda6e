package probe

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// unpack writes the tree of a file of testdata into a new directory.
func unpack(t *testing.T, name string) string {
	t.Helper()
	a, err := txtar.ParseFile(filepath.Join("testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := txtar.Write(a, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Each file of testdata/power is the /sys of a machine.
func TestPower(t *testing.T) {
	yes, no := known(true), known(false)
	for _, tt := range []struct {
		machine string
		want    Power
	}{
		{"desktop", Power{OnBattery: no}},
		{"desktop-mouse", Power{OnBattery: no}},
		{"laptop-plugged", Power{no, known(int64(80))}},
		{"laptop-unplugged", Power{yes, known(int64(43))}},
		{"laptop-full", Power{no, known(int64(100))}},
		{"laptop-two-batteries", Power{yes, known(int64(25))}}, // 10 of 20 Wh and 10 of 60
		{"laptop-usb-c", Power{no, known(int64(61))}},
		{"laptop-no-charger-entry", Power{yes, known(int64(55))}},
		{"laptop-hidden-charger", Power{no, known(int64(34))}},
		{"laptop-unsure", Power{Percent: known(int64(70))}},
		{"laptop-battery-out", Power{OnBattery: no}},
		{"laptop-odd", Power{OnBattery: yes}},
		{"ups", Power{yes, known(int64(90))}},
	} {
		t.Run(tt.machine, func(t *testing.T) {
			got, err := readPower(unpack(t, "power/"+tt.machine))
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	if got, err := readPower(t.TempDir()); err == nil || got != (Power{}) {
		t.Errorf("without the directory: %+v, %v", got, err)
	}
}

func TestTemperature(t *testing.T) {
	for _, tt := range []struct {
		machine string
		want    maybe[float64]
	}{
		{"intel", known(71.0)},     // of the package, and not the disk's 88
		{"intel-two", known(64.5)}, // packages
		{"intel-no-package", known(58.0)},
		{"amd", known(52.25)},               // Tdie; Tctl says 79.25
		{"arm", known(47.774)},              // from its thermal zone
		{"firmware-only", maybe[float64]{}}, // acpitz is no processor
		{"broken", known(40.0)},             // sensors that say -273 and 65535 degrees are left out
	} {
		t.Run(tt.machine, func(t *testing.T) {
			if got := readTemperature(unpack(t, "temperature/"+tt.machine)); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// What power and temperature of this machine are depends on it; that reading them ends well does not.
func TestPowerOfThisMachine(t *testing.T) {
	if _, err := os.Stat("/sys/class/power_supply"); err != nil {
		t.Skip("the system has no power supplies to ask")
	}
	p, err := readPower("/sys")
	if err != nil {
		t.Error(err)
	}
	t.Logf("power %+v, temperature %+v", p, readTemperature("/sys"))
}

func FuzzSupply(f *testing.F) {
	f.Add("Battery", "Discharging", "0", "43", "50000000", "21500000")
	f.Add("Mains", "", "1", "", "", "")
	f.Add("Battery", "Unknown", "-1", "1e9", "-5", "9223372036854775807")
	f.Fuzz(func(t *testing.T, kind, status, online, capacity, full, now string) {
		dir := filepath.Join(t.TempDir(), "class", "power_supply", "X0")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"type": kind, "status": status, "online": online, "capacity": capacity, "charge_full": full, "charge_now": now,
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p, err := readPower(filepath.Join(dir, "..", "..", ".."))
		if err != nil {
			t.Fatal(err)
		}
		if p.Percent.known && (p.Percent.value < 0 || p.Percent.value > 100) {
			t.Errorf("the battery has %d %%", p.Percent.value)
		}
	})
}
