package policy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"skua/internal/diag"
)

// Span is a time of the week: some days and, on them, from when to when. A span that ends before it
// begins ends on the following day, and belongs to the day on which it begins: "Fri 19:00-07:00" lasts
// until Saturday morning.
//
// It is written "Mon-Fri 19:00-07:00", "Sat,Sun", or "22:00-06:00" for every day.
type Span struct {
	Days     [7]bool // from Sunday
	From, To int     // minutes since midnight; To is 1 to 1440, From not equal to it
}

const dayMinutes = 24 * 60

var dayNames = [7]string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}

// UnmarshalText reads the span.
func (s *Span) UnmarshalText(text []byte) error {
	span := Span{Days: [7]bool{true, true, true, true, true, true, true}, To: dayMinutes}
	fields := strings.Fields(string(text))
	if len(fields) == 0 || len(fields) > 2 {
		return fmt.Errorf(`%q is not a time of the week: write "Mon-Fri 19:00-07:00", "Sat-Sun" or "22:00-06:00"`, text)
	}
	clock := fields[len(fields)-1]
	if len(fields) == 2 || !strings.Contains(clock, ":") {
		days, err := parseDays(fields[0])
		if err != nil {
			return fmt.Errorf("%q: %w", text, err)
		}
		span.Days = days
	}
	if len(fields) == 2 || strings.Contains(clock, ":") {
		from, to, err := parseClock(clock)
		if err != nil {
			return fmt.Errorf("%q: %w", text, err)
		}
		span.From, span.To = from, to
	}
	*s = span
	return nil
}

// parseDays reads days and runs of days between commas. A run may go past the end of the week.
func parseDays(text string) (days [7]bool, err error) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRun := strings.Cut(part, "-")
		if !isRun {
			last = first
		}
		from, err := parseDay(first)
		if err != nil {
			return days, err
		}
		to, err := parseDay(last)
		if err != nil {
			return days, err
		}
		for d := from; ; d = (d + 1) % 7 {
			days[d] = true
			if d == to {
				break
			}
		}
	}
	return days, nil
}

func parseDay(text string) (time.Weekday, error) {
	var full []string
	for d := time.Sunday; d <= time.Saturday; d++ {
		if strings.EqualFold(text, d.String()) || strings.EqualFold(text, dayNames[d]) {
			return d, nil
		}
		full = append(full, d.String())
	}
	if hint := diag.DidYouMean(text, full); hint != "" {
		return 0, fmt.Errorf("%q is not a day; %s", text, hint)
	}
	return 0, fmt.Errorf("%q is not a day: write Mon, Tue, Wed, Thu, Fri, Sat or Sun", text)
}

func parseClock(text string) (from, to int, err error) {
	first, last, ok := strings.Cut(text, "-")
	if !ok {
		return 0, 0, errors.New(`a time of day needs a beginning and an end, like "19:00-07:00"`)
	}
	if from, err = parseMinute(first); err != nil {
		return 0, 0, err
	}
	if to, err = parseMinute(last); err != nil {
		return 0, 0, err
	}
	if from == dayMinutes || from == to {
		return 0, 0, fmt.Errorf("%q is no time at all", text)
	}
	if to == 0 {
		to = dayMinutes // until midnight, not from it
	}
	return from, to, nil
}

// parseMinute reads "7:30" as minutes since midnight. 24:00 is the end of the day.
func parseMinute(text string) (int, error) {
	hour, minute, ok := strings.Cut(text, ":")
	h, errH := strconv.ParseUint(hour, 10, 8)
	m, errM := strconv.ParseUint(minute, 10, 8)
	if !ok || errH != nil || errM != nil || len(minute) != 2 || m > 59 || h*60+m > dayMinutes {
		return 0, fmt.Errorf("%q is not a time from 00:00 to 24:00", text)
	}
	return int(h*60 + m), nil
}

// MarshalText writes the span as String does.
func (s Span) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String writes the span in the form it is read in, day by day.
func (s Span) String() string {
	var days []string
	for d, in := range s.Days {
		if in {
			days = append(days, dayNames[d])
		}
	}
	text := strings.Join(days, ",")
	if s.From != 0 || s.To != dayMinutes {
		text += fmt.Sprintf(" %02d:%02d-%02d:%02d", s.From/60, s.From%60, s.To/60, s.To%60)
	}
	return text
}

// expression is true while the span lasts.
func (s Span) expression() string {
	if s.From < s.To {
		return all(daysText(s.Days), clockText(s.From, s.To))
	}
	var next [7]bool
	for d, in := range s.Days {
		next[(d+1)%7] = in
	}
	evening := all(daysText(s.Days), clockText(s.From, dayMinutes))
	morning := all(daysText(next), clockText(0, s.To))
	return evening + " || " + morning
}

// hoursText is the expression that is true in any of the spans, in parentheses; "" if there are none.
func hoursText(spans []Span) string {
	var parts []string
	for _, s := range spans {
		parts = append(parts, s.expression())
	}
	if len(parts) == 0 {
		return ""
	}
	return "(" + strings.Join(parts, " || ") + ")"
}

// daysText is true on the days; "" if that is always.
func daysText(days [7]bool) string {
	var runs []string
	for d := 0; d < 7; d++ {
		first := d
		for d < 7 && days[d] {
			d++
		}
		switch {
		case first == 0 && d == 7:
			return ""
		case d == first+1:
			runs = append(runs, fmt.Sprintf("ClockDay == %d", first))
		case d > first:
			runs = append(runs, fmt.Sprintf("(ClockDay >= %d && ClockDay <= %d)", first, d-1))
		}
	}
	switch len(runs) {
	case 0:
		return "false" // a span without days, as the zero Span
	case 1:
		return runs[0]
	}
	return "(" + strings.Join(runs, " || ") + ")"
}

// clockText is true from one minute of the day until before another; "" if that is always.
func clockText(from, to int) string {
	var parts []string
	if from > 0 {
		parts = append(parts, fmt.Sprintf("ClockMin >= %d", from))
	}
	if to < dayMinutes {
		parts = append(parts, fmt.Sprintf("ClockMin < %d", to))
	}
	return strings.Join(parts, " && ")
}

// all joins conditions, of which either may be "".
func all(days, clock string) string {
	switch {
	case days == "" && clock == "":
		return "true"
	case days == "":
		return "(" + clock + ")"
	case clock == "":
		return days
	}
	return "(" + days + " && " + clock + ")"
}
