package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Power is where the machine's electricity comes from.
type Power struct {
	OnBattery maybe[bool]
	Percent   maybe[int64] // of all batteries together
}

// maybe is a value, or that it is not known.
type maybe[T comparable] struct {
	value T
	known bool
}

func known[T comparable](v T) maybe[T] { return maybe[T]{v, true} }

// suppliesMost bounds how many power supplies are looked at. Docks and mice count as some.
const suppliesMost = 64

// supply is one entry of /sys/class/power_supply.
type supply struct {
	kind      string // "Mains", "USB", "Battery", "UPS", ...
	ofDevice  bool   // it powers a mouse, not the machine
	status    string // of a battery: "Discharging", "Full", ...
	online    bool   // of a charger
	full, now float64
	percent   maybe[float64] // capacity
}

// readPower reads Linux's power supplies below sys, the directory /sys. A machine without any is not on
// battery; one whose directory cannot be read says nothing.
func readPower(sys string) (Power, error) {
	dir := filepath.Join(sys, "class", "power_supply")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return Power{}, fmt.Errorf("read power supplies: %w", err)
	}
	var all []supply
	for _, e := range entries[:min(len(entries), suppliesMost)] {
		if s, ok := readSupply(filepath.Join(dir, e.Name())); ok {
			all = append(all, s)
		}
	}
	return judgePower(all), nil
}

// judgePower makes one answer of all supplies. A charger that gives anything decides; a battery that
// discharges is said to; what neither tells is unknown.
func judgePower(all []supply) Power {
	var batteries, chargers, online, charging, discharging, unsure int
	var full, now, percents, told float64
	weighted := true
	for _, s := range all {
		switch {
		case s.ofDevice:
		case s.kind == "Battery" || s.kind == "UPS":
			batteries++
			switch s.status {
			case "Discharging":
				discharging++
			case "Charging":
				charging++
			case "Full", "Not charging":
			default:
				unsure++
			}
			full, now = full+s.full, now+s.now
			weighted = weighted && s.full > 0
			if s.percent.known {
				percents, told = percents+s.percent.value, told+1
			}
		default:
			chargers++
			if s.online {
				online++
			}
		}
	}
	var p Power
	switch {
	case batteries == 0 || online > 0:
		p.OnBattery = known(false)
	case discharging > 0:
		p.OnBattery = known(true)
	case charging > 0: // by a charger that is not told of
		p.OnBattery = known(false)
	case chargers > 0:
		p.OnBattery = known(true)
	case unsure == 0:
		p.OnBattery = known(false)
	}
	charge := math.NaN()
	switch {
	case batteries == 0:
	case weighted:
		charge = 100 * now / full
	case told > 0:
		charge = percents / told
	}
	if !math.IsNaN(charge) {
		p.Percent = known(int64(math.Round(min(100, max(0, charge)))))
	}
	return p
}

// readSupply reads one supply's directory. A supply that vanishes meanwhile is none.
func readSupply(dir string) (supply, bool) {
	kind, ok := readWord(dir, "type")
	if !ok {
		return supply{}, false
	}
	s := supply{kind: kind}
	scope, _ := readWord(dir, "scope")
	s.ofDevice = scope == "Device"
	if present, ok := readWord(dir, "present"); ok && present == "0" {
		return supply{}, false // an empty bay
	}
	online, _ := readNumber(dir, "online")
	s.online = online > 0 // 2 is a programmable supply
	s.status, _ = readWord(dir, "status")
	if n, ok := readNumber(dir, "capacity"); ok {
		s.percent = known(n)
	}
	for _, unit := range []string{"energy", "charge"} { // µWh, µAh
		full, ok := readNumber(dir, unit+"_full")
		now, ok2 := readNumber(dir, unit+"_now")
		if ok && ok2 && full > 0 && now >= 0 {
			s.full, s.now = full, now
			break
		}
	}
	return s, true
}

// readWord reads a file of one short line, as /sys and /proc have them.
func readWord(dir, name string) (string, bool) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return "", false
	}
	defer f.Close()
	var b [256]byte
	n, err := f.Read(b[:])
	if err != nil {
		return "", false
	}
	return strings.TrimSpace(string(b[:n])), true
}

// readNumber reads a file of one number.
func readNumber(dir, name string) (float64, bool) {
	word, ok := readWord(dir, name)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(word, 10, 64)
	return float64(n), err == nil
}

// isMissing reports whether a file or directory is simply not there.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
