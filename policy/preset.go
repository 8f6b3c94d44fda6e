package policy

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"skua/internal/quantity"
)

// Preset names a policy to start from.
type Preset string

// The presets.
const (
	Desktop   Preset = "desktop"   // somebody's machine: jobs run while the owner is away
	Dedicated Preset = "dedicated" // nobody's machine: jobs always run
	LabNight  Preset = "lab-night" // not available yet
	Office    Preset = "office"    // not available yet
	Laptop    Preset = "laptop"    // not available yet
)

// defaults are the numbers of a preset.
type defaults struct {
	hasOwner       bool // the expressions look at keyboard and load
	idleAfter      time.Duration
	continueAfter  time.Duration
	backgroundLoad float64
	suspendFor     time.Duration
	maxVacateTime  time.Duration
	cpus           quantity.Share
	memory, disk   quantity.ByteShare
	network        Network
}

var presets = map[Preset]defaults{
	// The times and the load are those of HTCondor's desktop policy. Memory is half because a
	// suspended job keeps its memory while the owner works.
	Desktop: {
		hasOwner:       true,
		idleAfter:      15 * time.Minute,
		continueAfter:  5 * time.Minute,
		backgroundLoad: 0.3,
		suspendFor:     10 * time.Minute,
		maxVacateTime:  10 * time.Minute,
		cpus:           quantity.Share{Percent: 100},
		memory:         quantity.ByteShare{Percent: 50},
		disk:           quantity.ByteShare{Percent: 50},
		network:        NetworkNone,
	},
	Dedicated: {
		suspendFor:    10 * time.Minute,
		maxVacateTime: 10 * time.Minute,
		cpus:          quantity.Share{Percent: 100},
		memory:        quantity.ByteShare{Percent: 90},
		disk:          quantity.ByteShare{Percent: 90},
		network:       NetworkNone,
	},
}

var comingPresets = []Preset{LabNight, Office, Laptop}

// UnmarshalText reads the preset's name and refuses what is none.
func (p *Preset) UnmarshalText(text []byte) error {
	if _, err := Preset(text).defaults(); err != nil {
		return err
	}
	*p = Preset(text)
	return nil
}

func (p Preset) defaults() (defaults, error) {
	d, ok := presets[p]
	switch {
	case ok:
		return d, nil
	case slices.Contains(comingPresets, p):
		return defaults{}, fmt.Errorf("the preset %q is not available yet: use %q with [hours] or [owner], or %q", p, Desktop, Dedicated)
	}
	return defaults{}, fmt.Errorf("there is no preset %q: use %q or %q", p, Desktop, Dedicated)
}

// shortestIdle is the least that idle_after and continue_after can be: KeyboardIdle counts seconds.
const shortestIdle = time.Second

// texts are the expressions of a policy as source text.
type texts struct {
	start, suspend, resume, preempt, kill, wantSuspend, wantVacate, rank string
}

// ownerTexts is the policy of a machine with an owner, HTCondor's desktop policy in substance. hours
// is the expression for the hours in which jobs may run, "" for always.
//
// What must be a clear yes or no even where an attribute is missing is written with =?= and =!=:
// without a word about the keyboard the owner counts as present, without one about the load it counts
// as low.
func (d defaults) ownerTexts(hours string) texts {
	const (
		ourTimer = "(CurrentTime - EnteredCurrentActivity)"
		load     = "(LoadAvg - SkuaLoadAvg)"

		// The load must stand a little above the background before it suspends a job, or the job
		// would come and go with every breath of the machine. Nor does it count at once: the load
		// averages lag behind a job that has just started.
		hysteresis = 0.2
		settling   = 90 * time.Second
	)
	// Input within the last minute means that the owner is there, unless the admin lets jobs go on
	// sooner than that.
	present := min(time.Minute, d.continueAfter, d.idleAfter)
	// A job that was just suspended stays so for a moment.
	pause := min(10*time.Second, d.continueAfter)

	t := texts{
		start: fmt.Sprintf(`KeyboardIdle > %s && (%s <= %s || (State != "Unclaimed" && State != "Owner"))`,
			seconds(d.idleAfter), load, number(d.backgroundLoad)),
		suspend: fmt.Sprintf(`(KeyboardIdle < %s) =!= false || (%s >= %s && %s > %s) =?= true`,
			seconds(present), load, number(d.backgroundLoad+hysteresis), ourTimer, seconds(settling)),
		resume: fmt.Sprintf(`KeyboardIdle > %s && %s <= %s && %s > %s`,
			seconds(d.continueAfter), load, number(d.backgroundLoad), ourTimer, seconds(pause)),
		preempt: fmt.Sprintf(`(Activity == "Suspended" && %s > %s) || (SUSPEND =!= false && WANT_SUSPEND =!= true)`,
			ourTimer, seconds(d.suspendFor)),
		kill:        fmt.Sprintf(`Activity == "Vacating" && %s > %s`, ourTimer, seconds(d.maxVacateTime)),
		wantSuspend: "true",
		wantVacate:  "true",
		rank:        "0",
	}
	return t.within(hours)
}

// freeTexts is the policy of a machine without an owner.
func (d defaults) freeTexts(hours string) texts {
	t := d.ownerTexts("")
	t.start, t.suspend, t.resume = "true", "false", "true"
	return t.within(hours)
}

// within lets jobs run in the hours only. Where they end a job does not wait suspended, since they
// will not come back in a few minutes: it leaves. The conditions on the owner stay as they are.
func (t texts) within(hours string) texts {
	if hours == "" {
		return t
	}
	t.start = fmt.Sprintf("%s && (%s)", hours, t.start)
	t.suspend = fmt.Sprintf("(%s) || %s =!= true", t.suspend, hours)
	t.resume = fmt.Sprintf("%s && (%s)", hours, t.resume)
	t.wantSuspend = hours
	return t
}

// seconds writes d as a number of seconds.
func seconds(d time.Duration) string { return number(d.Seconds()) }

// number writes f the short way, "0.3" or "900".
func number(f float64) string { return strconv.FormatFloat(math.Round(f*1000)/1000, 'f', -1, 64) }
