package jobpolicy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"skua/policy/classad"
)

// cronFields are the attributes of a job that runs at set times of the clock, as lines of crontab have
// them. Libraries for crontab take such lines whole, and not all of them take 7 for Sunday.
var cronFields = [...]struct {
	attr      string
	low, high int
}{
	minute:  {"CronMinute", 0, 59},
	hour:    {"CronHour", 0, 23},
	day:     {"CronDayOfMonth", 1, 31},
	month:   {"CronMonth", 1, 12},
	weekday: {"CronDayOfWeek", 0, 7},
}

const (
	minute = iota
	hour
	day
	month
	weekday
)

// NextRun gives the first time after the given one at which a job with cron_... commands is to start, by
// the clock of after's time zone. It is to become the job's DeferralTime, when the job is submitted and
// whenever it is run again. It is false for a job without these commands, and if there is no such time.
func NextRun(ad *classad.Ad, after time.Time) (time.Time, bool) {
	if !mayBeCron(ad) {
		return time.Time{}, false
	}
	var at [len(cronFields)]uint64 // a bit for each value
	cron := false
	for i, f := range cronFields {
		text, ok := cronText(ad, f.attr)
		cron = cron || ok
		if at[i], ok = cronBits(text, f.low, f.high); !ok {
			return time.Time{}, false
		}
	}
	if !cron {
		return time.Time{}, false
	}
	at[weekday] |= at[weekday] >> 7 & 1 // Sunday is 0 and 7
	// Like crontab: with both a day of the month and one of the week, either will do.
	either := !every(ad, day) && !every(ad, weekday)
	has := func(field, value int) bool { return at[field]>>value&1 != 0 }
	const most = 8*366 + 1 // days from one 29 February to the next, at most
	for n := range most {
		// By noon, which every day has; midnight it may not.
		t := time.Date(after.Year(), after.Month(), after.Day()+n, 12, 0, 0, 0, after.Location())
		d, w := has(day, t.Day()), has(weekday, int(t.Weekday()))
		if !has(month, int(t.Month())) || !(either && (d || w) || d && w) {
			continue
		}
		for h := range 24 {
			for m := range 60 {
				if !has(hour, h) || !has(minute, m) {
					continue
				}
				if run := time.Date(t.Year(), t.Month(), t.Day(), h, m, 0, 0, t.Location()); run.After(after) {
					return run, true
				}
			}
		}
	}
	return time.Time{}, false
}

// never says what is wrong with the cron_... commands of a job that name no time after the given one; "" if they do, or
// it has none.
func never(ad *classad.Ad, after time.Time) string {
	if !mayBeCron(ad) {
		return ""
	}
	var said []string
	for _, f := range cronFields {
		if text, ok := cronText(ad, f.attr); ok {
			said = append(said, fmt.Sprintf("%s = %q", f.attr, text))
		}
	}
	if len(said) == 0 {
		return ""
	}
	if _, ok := NextRun(ad, after); ok {
		return ""
	}
	return "its cron_... commands name no time: " + shorten(strings.Join(said, ", "))
}

// mayBeCron says whether a job has a cron_... command. Most have none, and are asked often.
func mayBeCron(ad *classad.Ad) bool {
	for _, f := range cronFields {
		if _, ok := ad.Lookup(f.attr); ok {
			return true
		}
	}
	return false
}

// cronText is a field, which is a string or may be a plain number.
func cronText(ad *classad.Ad, attr string) (string, bool) {
	if text, ok := ad.Str(attr); ok {
		return text, true
	}
	if n, ok := ad.Int(attr); ok {
		return strconv.FormatInt(n, 10), true
	}
	return "*", false
}

func every(ad *classad.Ad, field int) bool {
	text, _ := cronText(ad, cronFields[field].attr)
	return strings.HasPrefix(strings.TrimSpace(text), "*")
}

// cronBits reads a list of numbers, ranges and *, each with a step or without.
func cronBits(text string, low, high int) (bits uint64, ok bool) {
	for part := range strings.SplitSeq(text, ",") {
		part, stepText, hasStep := strings.Cut(strings.TrimSpace(part), "/")
		step := 1
		if hasStep {
			if step, ok = cronNumber(stepText, 1, high); !ok {
				return 0, false
			}
		}
		from, to := low, high
		if part != "*" {
			first, last, isRange := strings.Cut(part, "-")
			if from, ok = cronNumber(first, low, high); !ok {
				return 0, false
			}
			switch {
			case isRange:
				if to, ok = cronNumber(last, low, high); !ok {
					return 0, false
				}
			case !hasStep: // 5/10 goes on to the end
				to = from
			}
		}
		for n := from; n <= to; n += step {
			bits |= 1 << n
		}
	}
	return bits, bits != 0
}

func cronNumber(text string, low, high int) (int, bool) {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	return n, err == nil && low <= n && n <= high
}
