package policy

import (
	"fmt"
	"time"

	"skua/internal/diag"
	"skua/internal/quantity"
)

// Preset names a policy to start from.
type Preset string

// The presets.
const (
	Desktop   Preset = "desktop"   // somebody's machine: jobs run while the owner is away
	LabNight  Preset = "lab-night" // a room of machines: jobs run at night and at weekends, while nobody is there
	Office    Preset = "office"    // somebody's machine: jobs run beside the owner, throttled
	Laptop    Preset = "laptop"    // as desktop, but never on battery or on a network that costs
	Dedicated Preset = "dedicated" // nobody's machine: jobs always run
)

// defaults are the numbers of a preset.
type defaults struct {
	hasOwner       bool // the expressions look at keyboard, screen and load
	mobile         bool // a machine that says nothing of a battery is on one
	idleAfter      time.Duration
	continueAfter  time.Duration
	backgroundLoad float64
	mayPause       time.Duration
	onBattery      Battery
	onMetered      Metered
	fullScreen     bool // a program that fills the screen keeps jobs away
	inhibited      bool // a program that keeps the screen on counts as the owner
	run            []Span
	suspendFor     time.Duration
	maxVacateTime  time.Duration
	maxSendTime    time.Duration
	minInterval    time.Duration
	maxInterval    time.Duration
	cpus           quantity.Share
	inUse          quantity.Share // of the machine's cpus, for jobs while the owner is there
	memory, disk   quantity.ByteShare
	network        Network
}

var everyPreset = []Preset{Desktop, LabNight, Office, Laptop, Dedicated}

func (p Preset) defaults() (defaults, error) {
	// The times and the load are those of HTCondor's desktop policy. Memory is half because a
	// suspended job keeps its memory while the owner works.
	d := defaults{
		hasOwner:       true,
		idleAfter:      15 * time.Minute,
		continueAfter:  5 * time.Minute,
		backgroundLoad: 0.3,
		mayPause:       4 * time.Hour,
		onBattery:      BatteryNever,
		onMetered:      MeteredAlways,
		fullScreen:     true,
		inhibited:      true,
		suspendFor:     10 * time.Minute,
		maxVacateTime:  10 * time.Minute,
		maxSendTime:    time.Hour,
		minInterval:    10 * time.Minute,
		maxInterval:    2 * time.Hour,
		cpus:           quantity.Share{Percent: 100},
		memory:         quantity.ByteShare{Percent: 50},
		disk:           quantity.ByteShare{Percent: 50},
		network:        NetworkNone,
	}
	switch p {
	case Desktop:
	case LabNight:
		// Whoever sits down in such a room is not the machine's owner, and may be anybody.
		d.run, d.mayPause = nights(), 0
		d.memory = quantity.ByteShare{Percent: 75}
	case Office:
		d.inUse = quantity.Share{Percent: 25}
		d.memory = quantity.ByteShare{Percent: 25}
	case Laptop:
		d.mobile, d.mayPause = true, 24*time.Hour
		d.onMetered = MeteredNever
		d.cpus = quantity.Share{Percent: 50} // less heat, less noise
	case Dedicated:
		d.hasOwner, d.mayPause, d.onBattery = false, 0, Battery{}
		d.fullScreen, d.inhibited = false, false
		d.memory, d.disk = quantity.ByteShare{Percent: 90}, quantity.ByteShare{Percent: 90}
	default:
		return d, p.unknown()
	}
	return d, nil
}

// nights are the hours of lab-night: "Mon-Fri 19:00-07:00", "Sat-Sun".
func nights() []Span {
	return []Span{
		{Days: [7]bool{1: true, 2: true, 3: true, 4: true, 5: true}, From: 19 * 60, To: 7 * 60},
		{Days: [7]bool{0: true, 6: true}, To: dayMinutes},
	}
}

// UnmarshalText reads the preset's name and refuses what is none.
func (p *Preset) UnmarshalText(text []byte) error {
	if _, err := Preset(text).defaults(); err != nil {
		return err
	}
	*p = Preset(text)
	return nil
}

func (p Preset) unknown() error {
	var names []string
	for _, known := range everyPreset {
		names = append(names, string(known))
	}
	if hint := diag.DidYouMean(string(p), names); hint != "" {
		return fmt.Errorf("there is no preset %q; %s", string(p), hint)
	}
	return fmt.Errorf(`there is no preset %q: use "desktop", "lab-night", "office", "laptop" or "dedicated"`, string(p))
}

// shortestIdle is the least that idle_after and continue_after can be: KeyboardIdle counts seconds.
const shortestIdle = time.Second
