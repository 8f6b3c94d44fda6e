package probe

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"skua/agent/session"
	"skua/agent/x11"
)

// DefaultQuiet is how long a source must be still before its next input counts as a return.
const DefaultQuiet = 250 * time.Millisecond

// Active says that the owner touched something after a quiet time.
type Active struct {
	At     time.Time // when the event reached the watcher
	Source string    // the display, ":0", or a group of terminals
}

// WatchConfig is what a Watcher is made of. The zero value watches everything on this machine.
type WatchConfig struct {
	// Displays are the X displays to watch, as ":7"; nil finds those of this machine, now and later.
	Displays     []string
	SkipDisplays bool   // watch no X display at all
	XAuthority   string // cookie file of the displays; "" finds each server's own

	// SkipTTYs leaves terminals out. Machines that share a /dev, as namespaces of one host do, see
	// each other's terminals.
	SkipTTYs bool

	// Sessions has users' desktop sessions watched by helpers in them, for what a display server tells its
	// user only. The program must call session.MaybeHelper first; without helpers, and in sessions in which
	// they see nothing, the owner counts as present.
	Sessions bool

	// SkipDevices leaves the keyboards and pointers of the machine out. Machines that share a /dev have them
	// in common, too.
	SkipDevices bool

	// Quiet is how long a source must be still before its next input is reported; 0 means
	// DefaultQuiet.
	Quiet time.Duration

	// OnActive is called at the first input after every quiet time, from a goroutine of the watcher
	// and by one at a time. Events wait while it runs, so it should do what is urgent and return.
	// It may call the watcher's methods. nil means that nobody is told.
	OnActive func(Active)

	// OnSleep is called with true before the machine goes to sleep, which waits for it some seconds, and with
	// false when it is awake again; with Sessions only. nil means that nobody is told, and no sleep waits.
	OnSleep func(begins bool)

	Dev  string // where devices are; "" means /dev
	Proc string // where processes are; "" means /proc
	X11  string // where the sockets of X servers are; "" means /tmp/.X11-unix

	Sys     string // where devices say what they are; "" means /sys
	RunUser string // where users' runtime directories are; "" means /run/user

	SystemBus string // address of the bus on which logind is; "" means the machine's

	Log *slog.Logger // nil means no logging
}

// A Watcher follows the owner's input. Its methods may be called at any time and from anywhere.
type Watcher struct {
	cfg      WatchConfig
	displays []int // numbers of cfg.Displays
	log      *slog.Logger
	boot     time.Time // what never had input is idle since then

	callMu sync.Mutex // held while OnActive runs

	peopleChanged, displaysChanged chan struct{} // have a value when there is something to look at

	mu       sync.Mutex // guards what follows, and the fields of every source
	sources  []*source
	departed [2]time.Time // last input of sources that are gone: all of them, the console's
	begun    bool         // Run was called
	opening  int          // loops that do not know yet which sources there are

	logins              []session.Session // what logind tells
	logind, logindAsked bool              // it does; it is known whether it does
	compositors         map[uint32]bool   // users with a Wayland compositor
	serverless          map[uint32]bool   // users whose compositors' sockets nobody answers on
}

// NewWatcher checks cfg and gives a Watcher that watches once it runs.
func NewWatcher(cfg WatchConfig) (*Watcher, error) {
	w := &Watcher{
		cfg: cfg, log: cfg.Log, boot: bootTime(), serverless: make(map[uint32]bool),
		peopleChanged: make(chan struct{}, 1), displaysChanged: make(chan struct{}, 1),
	}
	if cfg.Quiet < 0 {
		return nil, fmt.Errorf("quiet time %v is negative", cfg.Quiet)
	}
	if cfg.Quiet == 0 {
		w.cfg.Quiet = DefaultQuiet
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	for _, name := range cfg.Displays {
		n, err := x11.ParseDisplay(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(w.displays, n) {
			w.displays = append(w.displays, n)
		}
	}
	setDefault(&w.cfg.Dev, "/dev")
	setDefault(&w.cfg.Proc, "/proc")
	setDefault(&w.cfg.X11, "/tmp/.X11-unix")
	setDefault(&w.cfg.Sys, "/sys")
	setDefault(&w.cfg.RunUser, "/run/user")
	return w, nil
}

func setDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// Run watches until ctx ends. A source that cannot be watched is logged and tried again, and does
// not end the others. Every goroutine Run starts has ended when it returns.
func (w *Watcher) Run(ctx context.Context) error {
	return w.run(ctx)
}

// Settle waits until every source that is there when the watcher starts has been reached, or could not
// be, for the first time: until then Idle knows less than it soon will. It waits a second at most.
func (w *Watcher) Settle(ctx context.Context) {
	const glance, limit = 10 * time.Millisecond, time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.mu.Lock()
		open := slices.ContainsFunc(w.sources, func(s *source) bool { return s.since.IsZero() && s.err == nil })
		settled := w.begun && w.opening == 0 && !open
		w.mu.Unlock()
		if settled {
			return
		}
	}
}

// opened notes that one of the watcher's loops knows its sources.
func (w *Watcher) opened() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opening--
}

// nudge tells whoever waits on the channel, which has room for one, that there is something to look at.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Idle says how long ago the owner last touched anything: KeyboardIdle. What has never been touched
// counts from the machine's start, so that a restarted agent does not take itself for the owner.
func (w *Watcher) Idle(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(0, now.Sub(w.lastInput(now, false)))
}

// ConsoleIdle is Idle for the screens and keyboards of the machine itself, remote terminals left
// out. It is false when no such source has been seen.
func (w *Watcher) ConsoleIdle(now time.Time) (time.Duration, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := !w.departed[1].IsZero()
	for _, s := range w.sources {
		seen = seen || s.console && !s.since.IsZero()
	}
	return max(0, now.Sub(w.lastInput(now, true))), seen
}

// lastInput gives the time of the newest input of all sources or of the console's. The caller holds w.mu.
func (w *Watcher) lastInput(now time.Time, console bool) time.Time {
	last := w.boot
	gone := w.departed[0]
	if console {
		gone = w.departed[1]
	}
	if gone.After(last) {
		last = gone
	}
	for _, s := range w.sources {
		if console && !s.console {
			continue
		}
		if s.busy {
			return now
		}
		if s.last.After(last) {
			last = s.last
		}
	}
	return last
}

// SourceState says how one source of input is doing, for status and for people.
type SourceState struct {
	Name      string    // as in Active
	Console   bool      // part of the machine itself
	Watching  bool      // input would be seen
	Busy      bool      // input within the last quiet time
	Since     time.Time // first time it was watched; zero means never, and then it has no say in Idle
	LastInput time.Time // zero means none known
	Err       error     // why it is not watched

	FullScreen bool // something fills its screen and wants no company, as far as that is told
}

// Sources lists what is watched, and what should be and is not.
func (w *Watcher) Sources() []SourceState {
	w.mu.Lock()
	defer w.mu.Unlock()
	states := make([]SourceState, len(w.sources))
	for i, s := range w.sources {
		states[i] = SourceState{
			Name: s.name, Console: s.console, Watching: s.watching, Busy: s.busy,
			Since: s.since, LastInput: s.last, Err: s.err, FullScreen: s.full,
		}
	}
	return states
}

// Unseen lists the sources that count as the owner at work since nothing tells of their input.
func (w *Watcher) Unseen() []SourceState {
	return slices.DeleteFunc(w.Sources(), func(s SourceState) bool { return s.Watching || !s.Busy || s.Err == nil })
}

// source is one place that input comes from. Its fields are guarded by the watcher's mutex.
type source struct {
	w        *Watcher
	name     string
	console  bool
	watching bool
	busy     bool      // the source itself will say when it is quiet again
	since    time.Time // first time it was watched
	last     time.Time // newest input, while not busy
	full     bool      // something fills its screen and wants no company, as far as that is told
	err      error
}

func (w *Watcher) addSource(name string, console bool) *source {
	s := &source{w: w, name: name, console: console}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sources = append(w.sources, s)
	return s
}

// remove forgets the source, but not when it had input.
func (s *source) remove() {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sources = slices.DeleteFunc(w.sources, func(o *source) bool { return o == s })
	if s.busy {
		s.last = time.Now()
	}
	if s.last.After(w.departed[0]) {
		w.departed[0] = s.last
	}
	if s.console && s.last.After(w.departed[1]) {
		w.departed[1] = s.last
	}
}

// watched notes that input is seen from now on, the newest having been at last.
func (s *source) watched(last time.Time) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.busy { // while it could not be seen
		s.busy, s.last = false, last
	}
	s.watching, s.err = true, nil
	if s.since.IsZero() {
		s.since = time.Now()
	}
	if last.After(s.last) {
		s.last = last
	}
	s.w.log.Info("owner input is watched", keySource, s.name)
	nudge(s.w.peopleChanged) // who has a display that is watched needs no helper
}

// touched reports input that ends a quiet time. With untilQuiet the source stays busy until inputWas
// is called.
func (s *source) touched(at time.Time, untilQuiet bool) {
	w := s.w
	w.mu.Lock()
	s.last, s.busy = at, untilQuiet
	w.mu.Unlock()
	if w.cfg.OnActive == nil {
		return
	}
	w.callMu.Lock()
	defer w.callMu.Unlock()
	w.cfg.OnActive(Active{At: at, Source: s.name})
}

// inputWas notes when the newest input was, and that the source is not busy.
func (s *source) inputWas(last time.Time) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.last, s.busy = last, false
}

// failed notes why the source is not watched, and logs it when that is news. Losing a source that
// was watched counts as a touch: a screen that vanishes has usually been made to by somebody.
func (s *source) failed(err error) { s.failedAs(slog.LevelWarn, err) }

// failedAs is failed with a word for the log of another weight.
func (s *source) failedAs(level slog.Level, err error) {
	s.w.mu.Lock()
	lost := s.watching
	news := s.err == nil || s.err.Error() != err.Error()
	if s.busy {
		s.last = time.Now() // until now somebody may have been there
	}
	s.watching, s.busy, s.err = false, false, err
	s.w.mu.Unlock()
	if news {
		s.w.log.Log(context.Background(), level, "owner input is not seen", keySource, s.name, "error", err)
	}
	nudge(s.w.peopleChanged)
	if lost {
		s.touched(time.Now(), false)
	}
}

const keySource = "source" // log key: SourceState.Name
