package policy

import (
	"fmt"
	"strings"
	"time"
)

// Moment is a minute of some days of the week, such as that of a nightly reboot.
//
// It is written "Mon-Fri 04:00", or "04:00" for every day.
type Moment struct {
	Days   [7]bool // from Sunday
	Minute int     // since midnight, less than 1440
}

// UnmarshalText reads the moment.
func (m *Moment) UnmarshalText(text []byte) error {
	moment := Moment{Days: [7]bool{true, true, true, true, true, true, true}}
	fields := strings.Fields(string(text))
	if len(fields) == 0 || len(fields) > 2 {
		return fmt.Errorf(`%q is not a moment of the week: write "Mon-Fri 04:00" or "04:00"`, text)
	}
	var err error
	if len(fields) == 2 {
		if moment.Days, err = parseDays(fields[0]); err != nil {
			return fmt.Errorf("%q: %w", text, err)
		}
	}
	if moment.Minute, err = parseMinute(fields[len(fields)-1]); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	if moment.Minute == dayMinutes {
		return fmt.Errorf("%q: write 00:00 for midnight, which is the beginning of a day", text)
	}
	*m = moment
	return nil
}

// MarshalText writes the moment as String does.
func (m Moment) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// String writes the moment in the form it is read in, day by day.
func (m Moment) String() string {
	return fmt.Sprintf("%s %02d:%02d", Span{Days: m.Days, To: dayMinutes}, m.Minute/60, m.Minute%60)
}

// before is the span of so many minutes, less than a day, that ends with the moment.
func (m Moment) before(minutes int) Span {
	s := Span{Days: m.Days, From: m.Minute - minutes, To: m.Minute}
	if s.From < 0 {
		s.From += dayMinutes
		for d, in := range m.Days {
			s.Days[(d+6)%7] = in
		}
	}
	if s.To == 0 {
		s.To = dayMinutes
	}
	return s
}

// minutesOf are the whole minutes of d, rounded up.
func minutesOf(d time.Duration) int { return int((d + time.Minute - 1) / time.Minute) }
