package probe

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shirou/gopsutil/v3/disk"

	"skua/agent/rhythm"
	"skua/policy/classad"
)

// How often the machine is looked at.
const (
	lookIdle  = 5 * time.Minute  // while no job is here
	lookPower = 5 * time.Second  // while one is: a laptop that is unplugged should not have one for long
	lookOther = 10 * time.Second // the same for everything else

	busHoldOff = time.Second // between two questions of services on the bus, some of which change without end
)

// ConditionsConfig says what Conditions look at. The zero value looks at this machine.
type ConditionsConfig struct {
	ExecuteDir string                // where jobs run, for the free disk space; "" leaves that out
	SkipUser   func(uid uint32) bool // users whose programs are no apps; nil means none
	Watch      WatchConfig           // which displays are the machine's
	Bus        string                // address of the system's D-Bus; "" finds it, "none" leaves it out

	Proc string // "" means /proc
	Sys  string // "" means /sys

	Log *slog.Logger // nil means no logging
}

// Conditions are what changes about a machine while it is on, apart from its owner's input: power,
// temperature, a full screen, programs that want to be alone, the network's price.
//
// They are read now and then, or pushed, by [Conditions.Run]; whoever asks for them never waits. What
// cannot be told is left out of the ad.
type Conditions struct {
	cfg     ConditionsConfig
	log     *slog.Logger
	screens *screens
	kick    chan struct{} // wakes Run
	busy    atomic.Bool   // a job is here
	asking  atomic.Bool   // the screens are being asked

	busHoldOff time.Duration

	powerMu sync.Mutex // held while the power is read
	powerAt time.Time

	mu      sync.Mutex // guards what follows
	apps    []string
	now     reading
	changed func() // nil while not running
}

// reading is what was seen last.
type reading struct {
	sights
	percent     maybe[int64]
	temperature maybe[float64]
	disk        maybe[int64]
}

// sights are what a change of is news.
type sights struct {
	onBattery, fullScreen, inhibited, metered maybe[bool]

	apps maybe[string]
}

// NewConditions makes Conditions that know nothing until they are run or read.
func NewConditions(cfg ConditionsConfig) (*Conditions, error) {
	setDefault(&cfg.Proc, "/proc")
	setDefault(&cfg.Sys, "/sys")
	screens, err := newScreens(cfg.Watch)
	if err != nil {
		return nil, err
	}
	c := &Conditions{cfg: cfg, log: cfg.Log, screens: screens, kick: make(chan struct{}, 1), busHoldOff: busHoldOff}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Run looks until ctx ends, and calls changed when something has changed that a policy may go by: from
// its own goroutines, by one at a time or several. Every goroutine it starts has ended when it returns.
func (c *Conditions) Run(ctx context.Context, changed func()) error {
	c.mu.Lock()
	c.changed = changed
	c.mu.Unlock()
	var wg sync.WaitGroup
	defer c.screens.close()
	defer wg.Wait()
	wg.Go(func() { c.followBus(ctx) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	var others time.Time // when all was looked at
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-c.kick:
		}
		now := time.Now()
		next, power, other := rhythm.Next(now, lookIdle), lookIdle/2, lookIdle/2
		if c.busy.Load() {
			next, power, other = rhythm.Next(now, lookPower), lookPower/4, lookOther-lookOther/8
		}
		c.LookAtPower(now, power)
		if now.Sub(others) >= other {
			others = now
			c.note(c.readOwn(ctx))
			if c.asking.CompareAndSwap(false, true) { // they are asked by themselves: anybody's may be slow to answer
				wg.Go(func() {
					defer c.asking.Store(false)
					c.askScreens(ctx)
				})
			}
		}
		timer.Reset(time.Until(next))
	}
}

// Read looks at everything once, for whoever has not got them running.
func (c *Conditions) Read(ctx context.Context) {
	defer c.screens.close()
	c.LookFirst(ctx)
	c.askScreens(ctx)
	c.readBus(ctx)
}

// Busy says whether a job is here, which is when Run looks often.
func (c *Conditions) Busy(busy bool) {
	if c.busy.Swap(busy) != busy && busy {
		c.wake()
	}
}

// SetApps says which programs are looked for, in lower case, none by default, and looks for them at once: as long as
// nobody has, all of them count as running.
func (c *Conditions) SetApps(apps []string) {
	c.mu.Lock()
	same := slices.Equal(c.apps, apps)
	c.apps = apps
	c.mu.Unlock()
	if !same {
		c.note(c.runningApps())
	}
}

func (c *Conditions) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// LookAtPower reads the power supplies if that was not done within the last while.
func (c *Conditions) LookAtPower(now time.Time, within time.Duration) {
	c.powerMu.Lock()
	defer c.powerMu.Unlock()
	if !c.powerAt.IsZero() && now.Sub(c.powerAt) < within {
		return
	}
	p, err := systemPower(c.cfg.Sys)
	if err != nil && c.powerAt.IsZero() && !isMissing(err) {
		c.log.Warn("whether the machine is on battery cannot be told", "error", err)
	}
	c.powerAt = now
	c.note(func(r *reading) { r.onBattery, r.percent = p.OnBattery, p.Percent })
}

// LookFirst reads all that can be read without waiting for anybody, so that nothing is decided without it.
func (c *Conditions) LookFirst(ctx context.Context) {
	c.LookAtPower(time.Now(), 0)
	c.note(c.readOwn(ctx))
}

// askScreens has the displays asked.
func (c *Conditions) askScreens(ctx context.Context) {
	if full := c.screens.fullScreen(ctx); ctx.Err() == nil {
		c.note(func(r *reading) { r.fullScreen = full })
	}
}

// readOwn reads what the machine itself tells.
func (c *Conditions) readOwn(ctx context.Context) func(*reading) {
	temperature := readTemperature(c.cfg.Sys)
	free := c.freeDisk(ctx)
	apps := c.runningApps()
	return func(r *reading) {
		r.temperature, r.disk = temperature, free
		apps(r)
	}
}

// note changes what is known, with mu held, and says so if that is news.
func (c *Conditions) note(change func(*reading)) {
	c.mu.Lock()
	was := c.now
	change(&c.now)
	is, changed := c.now, c.changed
	c.mu.Unlock()
	if is.news(was) && changed != nil {
		changed()
	}
}

// news reports whether a policy may see the machine otherwise than before: numbers are news when they
// come to be known, and then go along with the next ad.
func (r reading) news(was reading) bool {
	return r.sights != was.sights || r.disk.known != was.disk.known || r.temperature.known != was.temperature.known
}

func (c *Conditions) freeDisk(ctx context.Context) maybe[int64] {
	if c.cfg.ExecuteDir == "" {
		return maybe[int64]{}
	}
	u, err := disk.UsageWithContext(ctx, c.cfg.ExecuteDir)
	if err != nil {
		return maybe[int64]{}
	}
	return known(int64(u.Free >> 10))
}

// runningApps looks for the apps; without any nothing is looked at. What was seen is noted unless others are looked
// for meanwhile.
func (c *Conditions) runningApps() func(*reading) {
	c.mu.Lock()
	apps := c.apps
	c.mu.Unlock()
	var seen maybe[string]
	if len(apps) > 0 {
		running, err := runningApps(c.cfg.Proc, apps, c.cfg.SkipUser)
		if err != nil {
			c.log.Debug("running programs cannot be listed", "error", err)
		} else {
			seen = known(strings.Join(running, ","))
		}
	}
	return func(r *reading) {
		if slices.Equal(apps, c.apps) {
			r.apps = seen
		}
	}
}

// Set sets the attributes that are known.
func (c *Conditions) Set(ad *classad.Ad) {
	c.mu.Lock()
	r := c.now
	c.mu.Unlock()
	for _, b := range []struct {
		name string
		maybe[bool]
	}{
		{"OnBattery", r.onBattery},
		{"FullScreen", r.fullScreen},
		{"Inhibited", r.inhibited},
		{"Metered", r.metered},
	} {
		if b.known {
			ad.SetBool(b.name, b.value)
		}
	}
	if r.percent.known {
		ad.SetInt("BatteryPercent", r.percent.value)
	}
	if r.temperature.known {
		ad.SetReal("Temperature", math.Round(r.temperature.value*10)/10)
	}
	if r.disk.known {
		ad.SetInt("FreeDisk", r.disk.value)
	}
	if r.apps.known {
		ad.SetString("RunningApps", r.apps.value)
	}
}

// OnBattery reports whether the machine is known to run on its battery.
func (c *Conditions) OnBattery() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now.onBattery.value
}
