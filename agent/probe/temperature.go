package probe

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// cpuSensors are the drivers of /sys/class/hwmon that measure processors.
var cpuSensors = []string{"coretemp", "k10temp", "k8temp", "zenpower", "cpu_thermal", "via_cputemp", "scpi_sensors", "soc_thermal"}

// cpuZones are how the names of thermal zones of processors begin, in lower case.
var cpuZones = []string{"x86_pkg_temp", "cpu", "soc", "tcpu"}

// Bounds of what is looked at, and of what can be a temperature in thousandths of a degree.
const (
	sensorsMost  = 128
	coldest      = -40_000
	hottest      = 150_000
	milliCelsius = 1000
)

// readTemperature gives the temperature of the hottest processor in degrees Celsius, from the sensors
// below sys, the directory /sys. Sensors of the processor itself count before the zones of the firmware,
// some of which never change.
func readTemperature(sys string) maybe[float64] {
	var hot maybe[float64]
	add := func(milli float64, ok bool) {
		if ok && milli > coldest && milli < hottest && (!hot.known || milli/milliCelsius > hot.value) {
			hot = known(milli / milliCelsius)
		}
	}
	monitors, _ := filepath.Glob(filepath.Join(sys, "class", "hwmon", "hwmon*"))
	for _, dir := range monitors[:min(len(monitors), sensorsMost)] {
		if name, _ := readWord(dir, "name"); slices.Contains(cpuSensors, name) {
			for _, input := range cpuInputs(dir) {
				add(readNumber(dir, input))
			}
		}
	}
	if hot.known {
		return hot
	}
	zones, _ := filepath.Glob(filepath.Join(sys, "class", "thermal", "thermal_zone*"))
	for _, dir := range zones[:min(len(zones), sensorsMost)] {
		kind, _ := readWord(dir, "type")
		kind = strings.ToLower(kind)
		if slices.ContainsFunc(cpuZones, func(begin string) bool { return strings.HasPrefix(kind, begin) }) {
			add(readNumber(dir, "temp"))
		}
	}
	return hot
}

// cpuInputs are the files of one monitor to read. Reading a core's sensor wakes the core, so where one
// stands for the whole package it is enough. AMD's Tctl may be tens of degrees off; Tdie, where it is
// given, is what was measured.
func cpuInputs(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var all, whole []string
	for _, e := range entries[:min(len(entries), 4*sensorsMost)] {
		base, ok := strings.CutSuffix(e.Name(), "_input")
		if !ok || !strings.HasPrefix(base, "temp") {
			continue
		}
		all = append(all, e.Name())
		if label, _ := readWord(dir, base+"_label"); strings.HasPrefix(label, "Package") || label == "Tdie" {
			whole = append(whole, e.Name())
		}
	}
	if whole != nil {
		return whole
	}
	return all
}
