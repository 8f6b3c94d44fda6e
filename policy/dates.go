package policy

import (
	"fmt"
	"strings"
	"time"
)

// Dates are some days in a row, or one that comes every year.
//
// They are written "2026-12-24", "2026-12-24..2027-01-01", or "12-25" for every year.
type Dates struct {
	from, to int // as ClockDate counts; month and day only if the day comes every year, and to is from then
}

// UnmarshalText reads the days.
func (d *Dates) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	if day, err := time.Parse("01-02", t); err == nil {
		*d = Dates{from: monthDay(day), to: monthDay(day)}
		return nil
	}
	first, last, isRun := strings.Cut(t, "..")
	if !isRun {
		last = first
	}
	from, errFrom := time.Parse(time.DateOnly, strings.TrimSpace(first))
	to, errTo := time.Parse(time.DateOnly, strings.TrimSpace(last))
	if errFrom != nil || errTo != nil || from.Year() == 0 || to.Year() == 0 {
		return fmt.Errorf(`%q is not a date: write "2026-12-24", "2026-12-24..2027-01-01", or "12-25" for every year`, text)
	}
	if to.Before(from) {
		return fmt.Errorf("%q ends before it begins", text)
	}
	*d = Dates{from: clockDate(from), to: clockDate(to)}
	return nil
}

// MarshalText writes the days as String does.
func (d Dates) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String writes the days in the form they are read in.
func (d Dates) String() string {
	day := func(n int) string { return fmt.Sprintf("%04d-%02d-%02d", n/10000, n/100%100, n%100) }
	switch {
	case d.from < 10000:
		return fmt.Sprintf("%02d-%02d", d.from/100, d.from%100)
	case d.from == d.to:
		return day(d.from)
	}
	return day(d.from) + ".." + day(d.to)
}

// expression is true on the days.
func (d Dates) expression() string {
	switch {
	case d.from < 10000:
		return fmt.Sprintf("ClockDate %% 10000 == %d", d.from)
	case d.from == d.to:
		return fmt.Sprintf("ClockDate == %d", d.from)
	}
	return fmt.Sprintf("(ClockDate >= %d && ClockDate <= %d)", d.from, d.to)
}

// clockDate counts days as ClockDate does: the digits of 2026-12-24, as a number.
func clockDate(t time.Time) int { return t.Year()*10000 + monthDay(t) }

func monthDay(t time.Time) int { return int(t.Month())*100 + t.Day() }
