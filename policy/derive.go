package policy

import (
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

	override(&d.idleAfter, f.Owner.IdleAfter)
	override(&d.continueAfter, f.Owner.ContinueAfter)
	override(&d.suspendFor, f.Vacate.SuspendFor)
	override(&d.maxVacateTime, f.Vacate.MaxVacateTime)
	p := &Policy{
		Preset:        f.Preset,
		IdleAfter:     d.idleAfter,
		ContinueAfter: d.continueAfter,
		SuspendFor:    d.suspendFor,
		MaxVacateTime: d.maxVacateTime,
		CPUs:          given(f.Limits.CPUs, d.cpus),
		Memory:        given(f.Limits.Memory, d.memory),
		Disk:          given(f.Limits.Disk, d.disk),
		Network:       d.network,
		Machine:       f.Machine.Ad,
		Shared:        f.SharedFS.Mounts,
	}
	if f.Limits.Network != "" {
		p.Network = f.Limits.Network
	}
	override(&p.MayPause, f.Owner.MayPause)
	if p.Machine == nil {
		p.Machine = classad.NewAd()
	}
	if f.SharedFS.Domain != "" {
		p.Machine = p.Machine.Clone()
		p.Machine.SetString("FileSystemDomain", f.SharedFS.Domain)
	}
	d.backgroundLoad = given(f.Owner.BackgroundLoad, d.backgroundLoad)

	t := d.freeTexts
	if d.hasOwner {
		t = d.ownerTexts
	}
	if err := p.express(t(hoursText(f.Hours.Run)), f.Expressions); err != nil {
		return nil, err
	}
	return p, nil
}

// express parses the derived expressions, except those that the admin wrote anew.
func (p *Policy) express(t texts, by Expressions) error {
	for _, e := range []struct {
		into    **classad.Expr
		derived string
		written *Expression
	}{
		{&p.Start, t.start, by.Start},
		{&p.Suspend, t.suspend, by.Suspend},
		{&p.Continue, t.resume, by.Continue},
		{&p.Preempt, t.preempt, by.Preempt},
		{&p.Kill, t.kill, by.Kill},
		{&p.WantSuspend, t.wantSuspend, by.WantSuspend},
		{&p.WantVacate, t.wantVacate, by.WantVacate},
		{&p.Rank, t.rank, by.Rank},
	} {
		if e.written != nil && e.written.Expr != nil {
			*e.into = e.written.Expr
			continue
		}
		expr, err := classad.ParseExpr(e.derived)
		if err != nil {
			return fmt.Errorf("derive %q: %w", e.derived, err)
		}
		*e.into = expr
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
