package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"skua/internal/quantity"
	"skua/policy/classad"
)

// Combine makes one policy of what the pool's administrator wants of a group of machines and what the
// file of one of them says. Both must be good by themselves: [Derive] has taken them. The sources say,
// key by key, which file the result is from.
//
// A file says what is written in it and, if it names a preset, all that the preset says. What one file
// says holds; where both say something, the stricter of the two does, so that neither lets jobs do what
// the other does not; and where neither is stricter, the local one. What no file says, the preset of
// the result decides.
func Combine(central, local File) (File, []Source, error) {
	for _, f := range []struct{ only, other *File }{{&central, &local}, {&local, &central}} {
		if !f.other.saysAnything() {
			return *f.only, sources(f.only, &central, &local, &central, &local), nil
		}
	}
	c, err := central.said(local.Preset)
	if err != nil {
		return File{}, nil, err
	}
	l, err := local.said(central.Preset)
	if err != nil {
		return File{}, nil, err
	}
	var out File
	for _, k := range combiners {
		if err := k.combine(&out, &c, &l); err != nil {
			return File{}, nil, fmt.Errorf("combine %s: %w", k.key, err)
		}
	}
	from := sources(&out, &c, &l, &central, &local)
	if n := out.Owner.SlotsConnected; n != nil && *n == everySlot {
		out.Owner.SlotsConnected = nil
	}
	return out, from, nil
}

// everySlot is slots_connected of a preset: all slots make way for the owner, however many there are.
const everySlot = 1 << 30

// said gives the file with everything that it says spelled out. beside is the preset of the other file.
func (f File) said(beside Preset) (File, error) {
	if f.Preset == "" && beside != "" && f.speaksOfOwner() {
		d, err := beside.defaults()
		if err != nil {
			return f, err
		}
		if !d.hasOwner {
			f.Preset = Desktop // somebody sits here after all
		}
	}
	if f.Preset != "" {
		return f.spelledOut()
	}
	if f.Owner.IdleAfter != nil && f.Limits.InUse.CPUs == nil {
		f.Limits.InUse.CPUs = &quantity.Share{} // who waits for the owner to go does not run beside the owner
	}
	return f, nil
}

// spelledOut writes what the preset says in the place of all that is left out.
func (f File) spelledOut() (File, error) {
	d, err := f.Preset.defaults()
	if err != nil {
		return f, err
	}
	o := &f.Owner
	if d.hasOwner {
		fill(&f.Limits.InUse.CPUs, d.inUse)
		if *f.Limits.InUse.CPUs == (quantity.Share{}) {
			fill(&o.IdleAfter, quantity.Duration(d.idleAfter))
		}
		fill(&o.ContinueAfter, quantity.Duration(d.continueAfter))
		fill(&o.BackgroundLoad, d.backgroundLoad)
		fill(&o.MayPause, quantity.Duration(d.mayPause))
		fill(&o.FullScreen, d.fullScreen)
		fill(&o.Inhibited, d.inhibited)
		fill(&o.SlotsConnected, everySlot)
	}
	fill(&o.OnBattery, d.onBattery)
	o.OnMetered = cmp.Or(o.OnMetered, d.onMetered)
	if len(f.Hours.Run) == 0 {
		f.Hours.Run = d.run
	}
	fill(&f.Limits.CPUs, d.cpus)
	fill(&f.Limits.Memory, d.memory)
	fill(&f.Limits.Disk, d.disk)
	f.Limits.Network = cmp.Or(f.Limits.Network, d.network)
	fill(&f.Vacate.SuspendFor, quantity.Duration(d.suspendFor))
	fill(&f.Vacate.MaxVacateTime, quantity.Duration(d.maxVacateTime))
	fill(&f.Vacate.MaxSendTime, quantity.Duration(d.maxSendTime))
	fill(&f.Vacate.Retirement, 0)
	fill(&f.Checkpoints.Periodic, true)
	fill(&f.Checkpoints.MinInterval, quantity.Duration(d.minInterval))
	fill(&f.Checkpoints.MaxInterval, quantity.Duration(d.maxInterval))
	return f, nil
}

// fill sets what is not set.
func fill[T any](p **T, v T) {
	if *p == nil {
		*p = &v
	}
}

// combiner makes one key of the same key of two files, as they have been spelled out.
type combiner struct {
	key     string
	combine func(out, central, local *File) error
}

// combiners has every key of a policy file, in the order of the file: the expressions, which look at the
// others, come last.
var combiners = []combiner{
	{"preset", func(out, c, l *File) (err error) {
		out.Preset, err = combinePresets(c.Preset, l.Preset)
		return err
	}},

	optional("owner.idle_after", func(f *File) **quantity.Duration { return &f.Owner.IdleAfter }, larger),
	optional("owner.continue_after", func(f *File) **quantity.Duration { return &f.Owner.ContinueAfter }, larger),
	optional("owner.background_load", func(f *File) **float64 { return &f.Owner.BackgroundLoad }, smaller),
	optional("owner.may_pause", func(f *File) **quantity.Duration { return &f.Owner.MayPause }, larger),
	optional("owner.on_battery", func(f *File) **Battery { return &f.Owner.OnBattery }, Battery.stricter),
	plain("owner.on_metered", func(f *File) *Metered { return &f.Owner.OnMetered }, stricterOf(MeteredNever, MeteredAlways)),
	{"owner.exclusive_apps", func(out, c, l *File) error {
		out.Owner.ExclusiveApps = union(c.Owner.ExclusiveApps, l.Owner.ExclusiveApps)
		return nil
	}},
	optional("owner.full_screen", func(f *File) **bool { return &f.Owner.FullScreen }, either),
	optional("owner.inhibited", func(f *File) **bool { return &f.Owner.Inhibited }, either),
	optional("owner.slots_connected", func(f *File) **int { return &f.Owner.SlotsConnected }, larger),

	{"hours.run", func(out, c, l *File) error {
		out.Hours.Run = combineHours(c.Hours, l.Hours).Run
		return nil
	}},
	{"hours.holidays", func(out, c, l *File) error {
		out.Hours.Holidays = combineHours(c.Hours, l.Hours).Holidays
		return nil
	}},
	{"hours.run_on_holidays", func(out, c, l *File) error {
		out.Hours.RunOnHolidays = combineHours(c.Hours, l.Hours).RunOnHolidays
		return nil
	}},

	optional("limits.cpus", func(f *File) **quantity.Share { return &f.Limits.CPUs }, quantity.Share.Least),
	optional("limits.memory", func(f *File) **quantity.ByteShare { return &f.Limits.Memory }, quantity.ByteShare.Least),
	optional("limits.disk", func(f *File) **quantity.ByteShare { return &f.Limits.Disk }, quantity.ByteShare.Least),
	plain("limits.disk_floor", func(f *File) *quantity.Bytes { return &f.Limits.DiskFloor }, larger),
	plain("limits.temperature", func(f *File) *Temperature { return &f.Limits.Temperature }, smaller),
	plain("limits.network", func(f *File) *Network { return &f.Limits.Network }, stricterOf(NetworkNone, NetworkOutbound, NetworkHost)),
	plain("limits.network_rate", func(f *File) *quantity.Rate { return &f.Limits.NetworkRate }, smaller),
	optional("limits.in_use.cpus", func(f *File) **quantity.Share { return &f.Limits.InUse.CPUs }, quantity.Share.Least),

	// The sooner a job has gone, the sooner its owner has the memory back.
	optional("vacate.suspend_for", func(f *File) **quantity.Duration { return &f.Vacate.SuspendFor }, smaller),
	optional("vacate.max_vacate_time", func(f *File) **quantity.Duration { return &f.Vacate.MaxVacateTime }, smaller),
	optional("vacate.max_send_time", func(f *File) **quantity.Duration { return &f.Vacate.MaxSendTime }, smaller),
	optional("vacate.retirement", func(f *File) **quantity.Duration { return &f.Vacate.Retirement }, smaller),

	// Each image has the job stand still and writes to the owner's disk.
	optional("checkpoints.periodic", func(f *File) **bool { return &f.Checkpoints.Periodic }, both),
	optional("checkpoints.min_interval", func(f *File) **quantity.Duration { return &f.Checkpoints.MinInterval }, larger),
	optional("checkpoints.max_interval", func(f *File) **quantity.Duration { return &f.Checkpoints.MaxInterval }, larger),

	optional("drain.reboot", func(f *File) **Moment { return &f.Drain.Reboot }, second),
	{"drain.before", combineBefore},

	{"allow.users", func(out, c, l *File) error {
		out.Allow.Users = combineAllow(c.Allow, l.Allow).Users
		return nil
	}},
	{"allow.groups", func(out, c, l *File) error {
		out.Allow.Groups = combineAllow(c.Allow, l.Allow).Groups
		return nil
	}},

	// Which directories a machine has is a fact about it: the two keys are not mixed.
	{"shared_fs.domain", func(out, c, l *File) error {
		out.SharedFS.Domain = combineShared(c.SharedFS, l.SharedFS).Domain
		return nil
	}},
	{"shared_fs.mounts", func(out, c, l *File) error {
		out.SharedFS.Mounts = combineShared(c.SharedFS, l.SharedFS).Mounts
		return nil
	}},
	{"machine", combineAttributes},

	// Derived expressions of both files are those of the tables that have been combined. What a file
	// writes in their place is a further condition beside them.
	{"expressions.START", combineStart},
	further("expressions.SUSPEND", func(e *Expressions) **Expression { return &e.Suspend }, func(t texts) string { return t.suspend }, or, unless),
	further("expressions.CONTINUE", func(e *Expressions) **Expression { return &e.Continue }, func(t texts) string { return t.resume }, and, surely),
	further("expressions.PREEMPT", func(e *Expressions) **Expression { return &e.Preempt }, func(t texts) string { return t.preempt }, or, surely),
	further("expressions.KILL", func(e *Expressions) **Expression { return &e.Kill }, func(t texts) string { return t.kill }, or, surely),
	{"expressions.WANT_SUSPEND", func(out, c, l *File) error {
		out.Expressions.WantSuspend = l.Expressions.WantSuspend
		if e := c.Expressions.WantSuspend; e != nil && l.Expressions.WantSuspend == nil {
			// A job that is to go at once, for a full disk or at the end of the hours, is not suspended first.
			return join(&out.Expressions.WantSuspend, out, []string{"(" + e.String() + ")" + surely}, func(t texts) string { return t.wantSuspend }, and)
		}
		return nil
	}},
	optional("expressions.WANT_VACATE", func(f *File) **Expression { return &f.Expressions.WantVacate }, second),
	optional("expressions.RANK", func(f *File) **Expression { return &f.Expressions.Rank }, second),
	further("expressions.THROTTLE", func(e *Expressions) **Expression { return &e.Throttle }, func(t texts) string { return t.throttle }, or, unless),
	further("expressions.Draining", func(e *Expressions) **Expression { return &e.Draining }, func(t texts) string { return t.draining }, or, surely),
	{"expressions.MaxJobRetirementTime", func(out, c, l *File) error {
		out.Expressions.Retirement = l.Expressions.Retirement
		if l.Expressions.Retirement != nil || l.Vacate.Retirement != nil || c.Expressions.Retirement == nil { // it would stand in the place of those
			return nil
		}
		t, err := out.texts()
		if err != nil {
			return err
		}
		out.Expressions.Retirement, err = expression(unlessUrgent(t.urgently, c.Expressions.Retirement.String()))
		return err
	}},
}

// optional is a key that is nil where it is not said. stricter is given the central value first.
func optional[T any](key string, at func(*File) **T, stricter func(central, local T) T) combiner {
	return combiner{key, func(out, c, l *File) error {
		switch central, local := *at(c), *at(l); {
		case central == nil:
			*at(out) = local
		case local == nil:
			*at(out) = central
		default:
			v := stricter(*central, *local)
			*at(out) = &v
		}
		return nil
	}}
}

// plain is a key that is zero where it is not said.
func plain[T comparable](key string, at func(*File) *T, stricter func(central, local T) T) combiner {
	return combiner{key, func(out, c, l *File) error {
		var none T
		switch central, local := *at(c), *at(l); {
		case central == none:
			*at(out) = local
		case local == none:
			*at(out) = central
		default:
			*at(out) = stricter(central, local)
		}
		return nil
	}}
}

func larger[T cmp.Ordered](a, b T) T  { return max(a, b) }
func smaller[T cmp.Ordered](a, b T) T { return min(a, b) }
func second[T any](_, b T) T          { return b }
func either(a, b bool) bool           { return a || b }
func both(a, b bool) bool             { return a && b }

// stricterOf chooses between values that are listed from the strictest on.
func stricterOf[T comparable](order ...T) func(a, b T) T {
	return func(a, b T) T {
		if slices.Index(order, a) < slices.Index(order, b) {
			return a
		}
		return b
	}
}

// combinePresets gives the preset whose expressions look at all that those of either look at.
func combinePresets(central, local Preset) (Preset, error) {
	if central == "" || local == "" {
		return cmp.Or(local, central), nil
	}
	c, err := central.defaults()
	if err != nil {
		return "", err
	}
	l, err := local.defaults()
	if c.hasOwner && !l.hasOwner || c.mobile && !l.mobile {
		return central, err
	}
	return local, err
}

// union has what is in either, the first list's in front.
func union[S ~[]E, E comparable](a, b S) S {
	out := slices.Clone(a)
	for _, e := range b {
		if !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

// combineBefore keeps the time before a reboot with the reboot that it is about.
func combineBefore(out, c, l *File) error {
	switch {
	case l.Drain.Reboot == nil:
		out.Drain.Before = c.Drain.Before
	case c.Drain.Reboot == nil || *c.Drain.Reboot != *l.Drain.Reboot:
		out.Drain.Before = l.Drain.Before
	case c.Drain.Before != nil || l.Drain.Before != nil:
		before := max(given(c.Drain.Before, quantity.Duration(defaultDrain)), given(l.Drain.Before, quantity.Duration(defaultDrain)))
		out.Drain.Before = &before
	}
	return nil
}

func (a Allow) says() bool { return len(a.Users)+len(a.Groups) > 0 }

func (a Allow) equal(o Allow) bool {
	return slices.Equal(a.Users, o.Users) && slices.Equal(a.Groups, o.Groups)
}

// combineAllow gives the local lists, if there are any. A job must be allowed by both files:
// [combineStart] adds the central lists where they are others.
func combineAllow(c, l Allow) Allow {
	if l.says() {
		return l
	}
	return c
}

func combineShared(c, l SharedFS) SharedFS {
	if l.Domain != "" || l.Mounts != nil {
		return l
	}
	return c
}

// combineAttributes gives the attributes of both; where both have one, the local one.
func combineAttributes(out, c, l *File) error {
	if c.Machine.Ad == nil || l.Machine.Ad == nil {
		out.Machine = l.Machine
		if l.Machine.Ad == nil {
			out.Machine = c.Machine
		}
		return nil
	}
	out.Machine.Ad = c.Machine.Clone()
	for _, name := range l.Machine.Names() {
		e, _ := l.Machine.Lookup(name)
		out.Machine.Set(name, e)
	}
	return nil
}

// combineStart has START want all that either wants.
func combineStart(out, c, l *File) error {
	var conditions []string
	for _, f := range []*File{c, l} {
		if e := f.Expressions.Start; e != nil {
			// A condition that is neither true nor false, such as a number, must not become true beside
			// others. Each is taken by itself, so that those that do not look at the job can be told apart.
			for _, part := range e.Conjuncts() {
				conditions = append(conditions, "("+part.String()+")"+surely)
			}
		}
	}
	if c.Allow.says() && l.Allow.says() && !c.Allow.equal(l.Allow) {
		conditions = append(conditions, allowed(c.Allow.Users, c.Allow.Groups))
	}
	return join(&out.Expressions.Start, out, distinct(conditions), func(t texts) string { return t.start }, and)
}

// further is an expression that a file may write, as a further reason to do what its name says, or with
// [and] as a further condition for that. test makes a yes or no of it, as [Policy.Verdicts] does.
func further(key string, at func(*Expressions) **Expression, derived func(texts) string, joined func(a, b string) string, test string) combiner {
	return combiner{key, func(out, c, l *File) error {
		var conditions []string
		for _, f := range []*File{c, l} {
			if e := *at(&f.Expressions); e != nil {
				conditions = append(conditions, "("+e.String()+")"+test)
			}
		}
		return join(at(&out.Expressions), out, distinct(conditions), derived, joined)
	}}
}

// Tests of an expression that may be neither true nor false.
const (
	surely = " =?= true"
	unless = " =!= false"
)

// distinct leaves out what both files say alike.
func distinct(conditions []string) []string { return union(nil, conditions) }

// join makes an expression of conditions and of the derived one, which is all there is if there are no
// conditions.
func join(into **Expression, out *File, conditions []string, derived func(texts) string, joined func(a, b string) string) error {
	if len(conditions) == 0 {
		return nil
	}
	t, err := out.texts()
	if err != nil {
		return err
	}
	text := ""
	for _, c := range append(conditions, derived(t)) {
		text = joined(text, c)
	}
	*into, err = expression(text)
	return err
}

// texts are the expressions that are derived of a file, whatever it writes in their place.
func (f *File) texts() (texts, error) {
	d, err := cmp.Or(f.Preset, Desktop).defaults()
	if err != nil {
		return texts{}, err
	}
	s := f.settings(d)
	return s.texts(), nil
}

func expression(text string) (*Expression, error) {
	e, err := classad.ParseExpr(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	return &Expression{e}, nil
}
