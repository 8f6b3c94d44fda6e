package classad

import (
	"math"
	"time"
)

func init() {
	now := func() int64 { return time.Now().Unix() }
	define(
		builtin{name: "time", strict: func(*evaluator, []Value) Value { return intValue(now()) }},
		builtin{name: "currentTime", strict: func(*evaluator, []Value) Value { return absValue(now(), localOffset(now())) }},
		builtin{name: "timeZoneOffset", strict: func(*evaluator, []Value) Value { return relValue(float64(localOffset(now()))) }},
		builtin{name: "dayTime", strict: func(*evaluator, []Value) Value {
			t := time.Now()
			return relValue(float64(t.Hour()*3600 + t.Minute()*60 + t.Second()))
		}},
		builtin{name: "absTime", max: 2, strict: absTime, check: checkAbsTime},
		builtin{name: "relTime", min: 1, max: 1, lazy: relTime, check: checkRelTime},
		builtin{name: "interval", min: 1, max: 1, strict: interval},
		builtin{name: "splitTime", min: 1, max: 1, strict: splitTime},
		builtin{name: "formatTime", max: 2, strict: formatTime},
	)
	part := func(name string, abs func(time.Time) int, rel func(secs int64) int64) {
		define(builtin{name: name, min: 1, max: 1, strict: func(_ *evaluator, args []Value) Value {
			switch v := args[0]; {
			case v.kind == AbsTime && abs != nil:
				return intValue(int64(abs(time.Unix(v.int(), 0)))) // in local time, not the value's own
			case v.kind == RelTime && rel != nil:
				return intValue(rel(truncate(v.float())))
			}
			return errorValue
		}})
	}
	part("getYear", time.Time.Year, nil)
	part("getMonth", func(t time.Time) int { return int(t.Month()) }, nil)
	part("getDayOfYear", func(t time.Time) int { return t.YearDay() - 1 }, nil)
	part("getDayOfMonth", time.Time.Day, nil)
	part("getDayOfWeek", func(t time.Time) int { return int(t.Weekday()) }, nil)
	part("getDays", nil, func(s int64) int64 { return s / 86400 })
	part("getHours", time.Time.Hour, func(s int64) int64 { return s / 3600 % 24 })
	part("getMinutes", time.Time.Minute, func(s int64) int64 { return s / 60 % 60 })
	part("getSeconds", time.Time.Second, func(s int64) int64 { return s % 60 })
}

// soleString is the text of the only argument of a call, if that is a string literal.
func soleString(args []node) (string, bool) {
	if len(args) != 1 {
		return "", false
	}
	lit, ok := args[0].(*literal)
	if !ok || lit.v.kind != String {
		return "", false
	}
	return lit.v.text(), true
}

// checkAbsTime makes absTime("...") a constant, so that a malformed one is found when it is parsed.
func checkAbsTime(args []node) (node, error) {
	s, ok := soleString(args)
	if !ok {
		return nil, nil
	}
	secs, east, err := parseAbsTime(s)
	return &literal{at(args[0].position()), absValue(secs, east)}, err
}

// absTime makes a time of seconds since 1970 or of a text, to be shown with an offset from UTC.
func absTime(_ *evaluator, args []Value) Value {
	if len(args) == 0 {
		args = []Value{intValue(time.Now().Unix())}
	}
	if k := worst(args...); k <= Error {
		return nothing(k)
	}
	var secs int64
	var east int32
	switch v := args[0]; v.kind {
	case String:
		var err error
		if secs, east, err = parseAbsTime(v.text()); err != nil {
			return errorValue
		}
	case AbsTime:
		secs, east = v.int(), v.off
	case Integer, Real:
		secs = truncate(v.number())
		east = localOffset(secs)
	default:
		return errorValue
	}
	if len(args) == 2 {
		off := args[1]
		if off.kind != Integer || off.int() != int64(int32(off.int())) {
			return errorValue
		}
		east = int32(off.int())
	}
	return absValue(secs, east)
}

func checkRelTime(args []node) (node, error) {
	if s, ok := soleString(args); ok {
		_, err := parseRelTime(s)
		return nil, err
	}
	return nil, nil
}

// relTime makes a time span of seconds or of a text. A literal text gives, in HTCondor, a real number
// of seconds, and expressions in use depend on that.
func relTime(ev *evaluator, sc *scope, args []node) Value {
	if s, ok := soleString(args); ok {
		f, _ := parseRelTime(s) // checked when it was parsed
		return realValue(f)
	}
	switch v := ev.eval(args[0], sc); v.kind {
	case Undefined, RelTime:
		return v
	case Integer, Real:
		return relValue(v.number())
	case String:
		if f, err := parseRelTime(v.text()); err == nil {
			return relValue(f)
		}
	}
	return errorValue
}

// interval prints seconds as a span, without zeros at the front.
func interval(ev *evaluator, args []Value) Value {
	if args[0].kind == Undefined {
		return errorValue
	}
	v := toInt(ev, args)
	if v.kind != Integer {
		return errorValue
	}
	text := formatRelTime(float64(v.int()))
	sign := ""
	if text[0] == '-' {
		sign, text = "-", text[1:]
	}
	if text[0] == '0' {
		text = text[1:]
	}
	return stringValue(sign + text)
}

// splitTime takes a time apart into an ad.
func splitTime(_ *evaluator, args []Value) Value {
	v := args[0]
	ad := NewAd()
	switch v.kind {
	case Undefined:
		return v
	case Integer, Real:
		secs := truncate(v.number())
		v = absValue(secs, localOffset(secs))
		fallthrough
	case AbsTime:
		t := clock(v.int(), int(v.off))
		ad.SetString("Type", "AbsoluteTime")
		ad.SetInt("Year", int64(t.Year()))
		ad.SetInt("Month", int64(t.Month()))
		ad.SetInt("Day", int64(t.Day()))
		ad.SetInt("Hours", int64(t.Hour()))
		ad.SetInt("Minutes", int64(t.Minute()))
		ad.SetInt("Seconds", int64(t.Second()))
		ad.SetInt("Offset", int64(v.off))
	case RelTime:
		f := math.Abs(v.float())
		whole := truncate(f)
		d, h, m, s := whole/86400, whole/3600%24, whole/60%60, float64(whole%60)+(f-math.Floor(f))
		if v.float() < 0 { // the sign stands with the largest part only
			switch {
			case d != 0:
				d = -d
			case h != 0:
				h = -h
			case m != 0:
				m = -m
			default:
				s = -s
			}
		}
		ad.SetString("Type", "RelativeTime")
		ad.SetInt("Days", d)
		ad.SetInt("Hours", h)
		ad.SetInt("Minutes", m)
		ad.SetReal("Seconds", s)
	default:
		return errorValue
	}
	return adValue(&scope{ad: ad})
}

// formatTime prints a time, by default now, as C's strftime does.
func formatTime(ev *evaluator, args []Value) Value {
	format := "%c"
	if len(args) == 2 {
		if args[1].kind != String {
			return errorValue
		}
		format = args[1].text()
	}
	t := time.Now()
	if len(args) > 0 {
		switch v := args[0]; v.kind {
		case Integer, Real:
			t = time.Unix(truncate(v.number()), 0)
		case AbsTime:
			t = clock(v.int(), int(v.off))
		case AdKind:
			var ok bool
			if t, ok = joinTime(v.body().sc.ad); !ok {
				return errorValue
			}
		default:
			return errorValue
		}
	}
	return ev.text(strftime(t, format))
}

// joinTime is the inverse of splitTime, for constant attributes.
func joinTime(ad *Ad) (time.Time, bool) {
	var parts [7]int
	for i, name := range []string{"Year", "Month", "Day", "Hours", "Minutes", "Seconds", "Offset"} {
		e, ok := ad.Lookup(name)
		if !ok {
			if i < 3 {
				return time.Time{}, false
			}
			continue
		}
		lit, ok := e.root.(*literal)
		if !ok || lit.v.kind != Integer || lit.v.int() != int64(int32(lit.v.int())) {
			return time.Time{}, false
		}
		parts[i] = int(lit.v.int())
	}
	zone := time.FixedZone("", parts[6])
	return time.Date(parts[0], time.Month(parts[1]), parts[2], parts[3], parts[4], parts[5], 0, zone), true
}
