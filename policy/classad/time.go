package classad

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// timeArithmetic applies an operator to values of which at least one is a time.
func timeArithmetic(o op, x, y Value) Value {
	switch {
	case x.kind == AbsTime && y.kind == RelTime && (o == opAdd || o == opSub):
		d := truncate(y.float())
		if o == opSub {
			d = -d
		}
		return absValue(x.int()+d, x.off)
	case x.kind == RelTime && y.kind == AbsTime && o == opAdd:
		return timeArithmetic(o, y, x)
	case x.kind == AbsTime && y.kind == AbsTime && o == opSub:
		return relValue(float64(x.int() - y.int()))
	case x.kind == RelTime && y.kind == RelTime && (o == opAdd || o == opSub):
	case x.kind == RelTime && y.isNumber() && (o == opMul || o == opDiv):
		if o == opDiv && y.number() == 0 {
			return errorValue
		}
	case x.isNumber() && y.kind == RelTime && o == opMul:
	default:
		return errorValue
	}
	number := func(v Value) float64 {
		if v.kind == RelTime {
			return v.float()
		}
		return v.number()
	}
	v := realArithmetic(o, number(x), number(y))
	if v.kind == Real {
		v.kind = RelTime
	}
	return v
}

// clock is the instant secs as a clock with the given offset shows it.
func clock(secs int64, east int) time.Time { return time.Unix(secs, 0).In(time.FixedZone("", east)) }

// localOffset is this machine's offset from UTC at an instant.
func localOffset(secs int64) int32 {
	_, east := time.Unix(secs, 0).Zone()
	return int32(east / 60 * 60) // offsets of old times have seconds, which ISO 8601 cannot print
}

// formatAbsTime prints 2024-02-29T13:14:15+05:30.
func formatAbsTime(secs int64, east int) string {
	sign, off := '+', east
	if east <= 0 {
		sign, off = '-', -east // UTC itself is -00:00
	}
	return clock(secs, east).Format("2006-01-02T15:04:05") + fmt.Sprintf("%c%02d:%02d", sign, off/3600, off/60%60)
}

var errTime = errors.New(`expected a time like "2024-02-29T13:14:15+01:00"`)

// parseAbsTime reads a date, perhaps with a time of day and an offset from UTC, with or without the
// separators of ISO 8601. Without an offset it is local time.
func parseAbsTime(s string) (secs int64, east int32, err error) {
	s = strings.TrimSpace(s)
	s, off, hasZone := cutZone(s)
	if s, _, hasFraction := strings.Cut(s, "."); hasFraction && len(s) < len("20240229T131415") {
		return 0, 0, errTime
	}
	digits := make([]byte, 0, len("20240229131415"))
	for i := range len(s) {
		switch c := s[i]; {
		case isDigit(c):
			if len(digits) == cap(digits) {
				return 0, 0, errTime
			}
			digits = append(digits, c)
		case c == '.':
			s = s[:i]
		case strings.IndexByte("-:/ Tt", c) < 0:
			return 0, 0, errTime
		}
		if i >= len(s) {
			break
		}
	}
	layout := "20060102150405"
	if n := len(digits); n < 8 || n%2 != 0 {
		return 0, 0, errTime
	}
	t, err := time.ParseInLocation(layout[:len(digits)], string(digits), time.Local)
	if err != nil {
		return 0, 0, errTime
	}
	if hasZone {
		t = time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.FixedZone("", int(off)))
		return t.Unix(), off, nil
	}
	return t.Unix(), localOffset(t.Unix()), nil
}

// cutZone takes Z, +hh:mm or +hhmm from the end of a time.
func cutZone(s string) (rest string, east int32, ok bool) {
	if t := strings.TrimRight(s, "Zz"); len(t) == len(s)-1 {
		return t, 0, true
	}
	for _, n := range []int{len("+hh:mm"), len("+hhmm")} {
		i := len(s) - n
		if i < 0 || s[i] != '+' && s[i] != '-' || n == 6 && s[i+3] != ':' || !strings.ContainsAny(s[:i], ":Tt ") {
			continue
		}
		h, errH := strconv.Atoi(s[i+1 : i+3])
		m, errM := strconv.Atoi(s[len(s)-2:])
		if errH != nil || errM != nil || h > 24 || m > 59 {
			continue
		}
		east = int32(h*3600 + m*60)
		if s[i] == '-' {
			east = -east
		}
		return s[:i], east, true
	}
	return s, 0, false
}

// formatRelTime prints days+hours:minutes:seconds, leaving out what is zero at the front.
func formatRelTime(f float64) string {
	var b strings.Builder
	if f < 0 {
		b.WriteByte('-')
		f = -f
	}
	whole := truncate(f)
	d, h, m, s := whole/86400, whole/3600%24, whole/60%60, whole%60
	switch {
	case d != 0:
		fmt.Fprintf(&b, "%d+%02d:%02d:", d, h, m)
	case h != 0:
		fmt.Fprintf(&b, "%02d:%02d:", h, m)
	case m != 0:
		fmt.Fprintf(&b, "%02d:", m)
	}
	if frac := f - math.Floor(f); frac > 0 {
		b.WriteString(strconv.FormatFloat(float64(s)+frac, 'g', 6, 64))
	} else {
		fmt.Fprintf(&b, "%02d", s)
	}
	return b.String()
}

// parseRelTime reads [-][[[days+]hours:]minutes:]seconds, with a fraction if need be.
func parseRelTime(s string) (float64, error) {
	bad := errors.New(`expected a time span like "1+02:03:04"`)
	s = strings.TrimSpace(s)
	rest, negative := strings.CutPrefix(s, "-")
	total := 0.0
	if days, after, ok := strings.Cut(rest, "+"); ok {
		d, err := strconv.ParseUint(days, 10, 31)
		if err != nil {
			return 0, bad
		}
		total, rest = float64(d)*86400, after
	}
	parts := strings.Split(rest, ":")
	if len(parts) > 3 {
		return 0, bad
	}
	unit := 1.0
	for i := len(parts) - 1; i >= 0; i-- {
		p := parts[i]
		if p == "" || strings.Trim(p, "0123456789.") != "" || i < len(parts)-1 && strings.Contains(p, ".") {
			return 0, bad
		}
		f, err := strconv.ParseFloat(p, 64)
		if err != nil {
			return 0, bad
		}
		total += f * unit
		unit *= 60
	}
	if negative {
		total = -total
	}
	return total, nil
}
