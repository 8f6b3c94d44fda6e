// Package quantity holds the durations, sizes and shares that people write in configuration files:
// "15m", "20GB", "75%". They are read with their unit and printed in the form they are read in.
//
// A number without its unit is refused: whoever wrote 15 knew whether it was minutes, and we do not.
package quantity

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time, never negative, written like "15m", "1h30m" or "7d".
type Duration time.Duration

// day is the 24 hours that "1d" means. Calendars and summer time do not come into it.
const day = 24 * time.Hour

// ParseDuration reads s. Besides the units of [time.ParseDuration] it knows d for days, which come
// first and are whole.
func ParseDuration(s string) (Duration, error) {
	if s == "" {
		return 0, fmt.Errorf(`an empty duration: write one like "15m" or "2h"`)
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil && s != "0" {
		return 0, fmt.Errorf(`duration %q has no unit: write "%ss" for seconds or "%sm" for minutes`, s, s, s)
	}
	var d time.Duration
	rest := s
	if days, after, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, badDuration(s)
		}
		d, rest = time.Duration(n)*day, after
	}
	if rest != "" {
		sub, err := time.ParseDuration(rest)
		if err != nil {
			return 0, badDuration(s)
		}
		if sub < 0 || strings.ContainsAny(rest, "+-") || d > math.MaxInt64-sub {
			return 0, fmt.Errorf("duration %q is negative or too long", s)
		}
		d += sub
	}
	return Duration(d), nil
}

func badDuration(s string) error {
	return fmt.Errorf(`%q is not a duration: write one like "90s", "15m", "2h" or "7d"`, s)
}

// Std gives d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// UnmarshalText reads the duration, as [ParseDuration] does.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// MarshalText writes the duration as String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String writes the duration without parts that are zero: "15m", not "15m0s".
func (d Duration) String() string {
	rest := time.Duration(d)
	var b strings.Builder
	if n := rest / day; n > 0 {
		fmt.Fprintf(&b, "%dd", n)
		rest %= day
	}
	if n := rest / time.Hour; n > 0 {
		fmt.Fprintf(&b, "%dh", n)
		rest %= time.Hour
	}
	if n := rest / time.Minute; n > 0 {
		fmt.Fprintf(&b, "%dm", n)
		rest %= time.Minute
	}
	if rest > 0 || b.Len() == 0 {
		b.WriteString(rest.String())
	}
	return b.String()
}
