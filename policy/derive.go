package policy

import (
	"cmp"
	"fmt"
	"time"

	"skua/internal/diag"
	"skua/internal/quantity"
	"skua/policy/classad"
)

// Derive makes the policy that f describes. Problems name the key at fault; package config has named
// the line of those that it could see.
func Derive(f File) (*Policy, error) {
	if f.Preset == "" {
		f.Preset = Desktop
	}
	d, err := f.Preset.defaults()
	if err != nil {
		return nil, &diag.Problem{What: "preset: " + err.Error(), Err: err}
	}
	if err := f.check(d); err != nil {
		return nil, err
	}

	s := f.settings(d)
	p := &Policy{
		Preset:         f.Preset,
		IdleAfter:      s.idleAfter,
		ContinueAfter:  s.continueAfter,
		SuspendFor:     s.suspendFor,
		MaxVacateTime:  s.maxVacateTime,
		MaxSendTime:    s.maxSendTime,
		Periodic:       given(f.Checkpoints.Periodic, true),
		OnMetered:      s.onMetered,
		MinInterval:    s.minInterval,
		MaxInterval:    max(s.maxInterval, s.minInterval),
		MayPause:       s.mayPause,
		CPUs:           given(f.Limits.CPUs, s.cpus),
		Memory:         given(f.Limits.Memory, s.memory),
		Disk:           given(f.Limits.Disk, s.disk),
		DiskFloor:      f.Limits.DiskFloor,
		InUse:          s.inUse,
		Network:        cmp.Or(f.Limits.Network, s.network),
		TransferRate:   f.Limits.NetworkRate,
		WatchedApps:    f.Owner.ExclusiveApps,
		SlotsConnected: given(f.Owner.SlotsConnected, 0),
		Machine:        f.Machine.Ad,
		Shared:         f.SharedFS.Mounts,
	}
	override(&p.MayPause, f.Owner.MayPause)
	if p.Machine == nil {
		p.Machine = classad.NewAd()
	}
	if f.SharedFS.Domain != "" {
		p.Machine = p.Machine.Clone()
		p.Machine.SetString("FileSystemDomain", f.SharedFS.Domain)
	}
	if err := p.express(s.texts(), f.Expressions); err != nil {
		return nil, err
	}
	return p, nil
}

// settings are the numbers of the preset with those of the file in their place.
func (f *File) settings(d defaults) settings {
	s := settings{
		defaults: d, apps: f.Owner.ExclusiveApps, temperature: f.Limits.Temperature, diskFloor: f.Limits.DiskFloor,
		holidays: f.Hours.Holidays, onHolidays: f.Hours.RunOnHolidays,
		reboot: f.Drain.Reboot, before: defaultDrain,
		users: f.Allow.Users, groups: f.Allow.Groups,
	}
	override(&s.idleAfter, f.Owner.IdleAfter)
	override(&s.continueAfter, f.Owner.ContinueAfter)
	override(&s.mayPause, f.Owner.MayPause)
	override(&s.suspendFor, f.Vacate.SuspendFor)
	override(&s.maxVacateTime, f.Vacate.MaxVacateTime)
	override(&s.maxSendTime, f.Vacate.MaxSendTime)
	override(&s.minInterval, f.Checkpoints.MinInterval)
	override(&s.maxInterval, f.Checkpoints.MaxInterval)
	override(&s.before, f.Drain.Before)
	override(&s.retirement, f.Vacate.Retirement)
	s.backgroundLoad = given(f.Owner.BackgroundLoad, s.backgroundLoad)
	s.onBattery = given(f.Owner.OnBattery, s.onBattery)
	s.onMetered = cmp.Or(f.Owner.OnMetered, s.onMetered)
	s.fullScreen = given(f.Owner.FullScreen, s.fullScreen)
	s.inhibited = given(f.Owner.Inhibited, s.inhibited)
	s.inUse = given(f.Limits.InUse.CPUs, s.inUse)
	if len(f.Hours.Run) > 0 {
		s.run = f.Hours.Run
	}
	return s
}

// defaultDrain is how long before a reboot no job comes any more.
const defaultDrain = 30 * time.Minute

// express parses the derived expressions, except those that the admin wrote anew.
func (p *Policy) express(t texts, by Expressions) error {
	for _, e := range p.listed(t, by) {
		if e.written != nil && e.written.Expr != nil {
			*e.expr = e.written.Expr
			continue
		}
		expr, err := classad.ParseExpr(e.derived)
		if err != nil {
			return fmt.Errorf("derive %q: %w", e.derived, err)
		}
		*e.expr = expr
	}
	return nil
}

// override sets a duration that the file gives.
func override(d *time.Duration, by *quantity.Duration) {
	if by != nil {
		*d = by.Std()
	}
}

// given is what v points to, or otherwise the default.
func given[T any](v *T, otherwise T) T {
	if v == nil {
		return otherwise
	}
	return *v
}

// mustParse is for expressions that stand in the source.
func mustParse(src string) *classad.Expr {
	e, err := classad.ParseExpr(src)
	if err != nil {
		panic(err)
	}
	return e
}
