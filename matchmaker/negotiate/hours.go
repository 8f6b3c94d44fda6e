package negotiate

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"skua/internal/why"
	"skua/policy/classad"
)

// Attributes of slots that say why no job may start there.
const (
	attrStart     = "START"
	attrCanRun    = "CanRunJobs"
	attrCannotRun = "CannotRunJobsReason"
	attrClockMin  = "ClockMin" // minutes since midnight, in the machine's time zone
	attrClockDay  = "ClockDay" // day of the week from Sunday 0
	attrPaused    = "PausedUntil"
	attrLoad      = "LoadAvg"
	attrOurLoad   = "SkuaLoadAvg"
)

// shutting is why a slot takes no job, as far as it is not about the job.
type shutting struct {
	known   bool
	unable  bool  // it cannot run jobs at all
	closed  bool  // the hours of its policy are over
	opensAt int64 // when they begin again, in Unix seconds; 0 if that cannot be told
	paused  int64 // until when the person there has paused it; 0 if nobody has
	busy    *why.Busy
}

// shutting looks into a slot, once.
func (c *cycle) shutting(slot int) shutting {
	s := &c.shut[slot]
	if s.known {
		return *s
	}
	s.known = true
	ad := c.slots[slot].Ad
	if can, ok := ad.Bool(attrCanRun); ok && !can {
		s.unable = true
		return *s
	}
	if until, ok := ad.Int(attrPaused); ok {
		s.paused = until
		return *s
	}
	start, _ := ad.Lookup(attrStart)
	s.busy = busyWith(start, ad)
	if hours := hoursOf(start, ad); len(hours) > 0 {
		s.closed = !allTrue(hours, ad)
		if s.closed {
			s.opensAt = opensAt(hours, ad, c.snapshot.Now)
		}
	}
	return *s
}

// allowedLoad finds the number that a clause compares with.
var allowedLoad = regexp.MustCompile(`<=? ([0-9.]+)`)

// busyWith gives what keeps a slot busy of which START, as far as it does not look at the job, says no for nothing but
// the load; nil if there is more to it.
func busyWith(start *classad.Expr, ad *classad.Ad) *why.Busy {
	var b *why.Busy
	for _, clause := range start.Conjuncts() {
		refs := clause.ReferencesIn(ad)
		if len(refs.Target) > 0 || clause.Eval(ad, nil).IsTrue() {
			continue
		}
		load, ok := ad.Real(attrLoad)
		of := allowedLoad.FindStringSubmatch(clause.OldString())
		if !slices.Contains(refs.My, attrLoad) || !ok || of == nil {
			return nil
		}
		ours, _ := ad.Real(attrOurLoad)
		b = &why.Busy{Load: max(0, load-ours)}
		b.Allowed, _ = strconv.ParseFloat(of[1], 64)
	}
	return b
}

// hoursOf gives the clauses of START that read nothing but the clock.
func hoursOf(start *classad.Expr, slot *classad.Ad) []*classad.Expr {
	var hours []*classad.Expr
	for _, clause := range start.Conjuncts() {
		refs := clause.ReferencesIn(slot)
		clock := len(refs.My) > 0 && len(refs.Target) == 0
		for _, name := range refs.My {
			clock = clock && (strings.EqualFold(name, attrClockMin) || strings.EqualFold(name, attrClockDay))
		}
		if clock {
			hours = append(hours, clause)
		}
	}
	return hours
}

func allTrue(clauses []*classad.Expr, slot *classad.Ad) bool {
	for _, clause := range clauses {
		if !clause.Eval(slot, nil).IsTrue() {
			return false
		}
	}
	return true
}

// opensAt tries the minutes to come, up to a week of them.
func opensAt(hours []*classad.Expr, slot *classad.Ad, now time.Time) int64 {
	const day, week = 24 * 60, 7 * 24 * 60 // minutes
	minute, ok := slot.Int(attrClockMin)
	weekday, ok2 := slot.Int(attrClockDay)
	if !ok || !ok2 || minute < 0 || minute >= day || weekday < 0 || weekday > 6 {
		return 0
	}
	// The ad may be some minutes old. Time zones differ from UTC by whole quarters of an hour, which tells
	// how many; the machine's clock may also be a little ahead of ours.
	const quarter, oldest = 15, 10
	utc := now.Unix() / 60
	age := ((utc-minute)%quarter + quarter) % quarter
	if age > oldest {
		age -= quarter
	}
	clock := classad.NewAd()
	clock.SetParent(slot)
	for after := int64(1); after <= week; after++ {
		at := (weekday*day + minute + after) % week
		clock.SetInt(attrClockMin, at%day)
		clock.SetInt(attrClockDay, at/day)
		if allTrue(hours, clock) {
			return (utc - age + after) * 60
		}
	}
	return 0
}
