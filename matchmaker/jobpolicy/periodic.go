package jobpolicy

import (
	"fmt"
	"strings"
	"time"

	"skua/internal/job"
	"skua/policy/classad"
)

// The attributes that hold a job's policy.
const (
	attrPeriodicHold    = "PeriodicHold"
	attrPeriodicRelease = "PeriodicRelease"
	attrPeriodicRemove  = "PeriodicRemove"
	attrPeriodicVacate  = "PeriodicVacate"
	attrTimerRemove     = "TimerRemove"
	attrAllowedJob      = "AllowedJobDuration"
	attrAllowedExecute  = "AllowedExecuteDuration"
)

// commands are the commands of a job description that set the attributes: the words that users know.
var commands = map[string]string{
	attrPeriodicHold:    "periodic_hold",
	attrPeriodicRelease: "periodic_release",
	attrPeriodicRemove:  "periodic_remove",
	attrPeriodicVacate:  "periodic_vacate",
	attrOnExitHold:      "on_exit_hold",
	attrOnExitRemove:    "on_exit_remove",
}

// Periodic says what a job's policy wants done with it now. The first of these that applies decides, as in
// HTCondor: the allowed durations and PeriodicVacate of a job that runs, TimerRemove, a start that was
// missed or whose time is none (or never comes, of cron_... commands), PeriodicHold unless it is held, PeriodicRelease if it is held and not by its user, and
// PeriodicRemove. A job that has ended is left alone.
func Periodic(ad *classad.Ad, now time.Time, state job.State) Verdict {
	if state.Ended() {
		return Verdict{}
	}
	if runs(state) {
		for _, d := range durations {
			if end, ok := d.end(ad); ok && !now.Before(end) {
				allowed, _ := ad.Int(d.attr)
				return Verdict{
					Action: Hold, Code: d.code,
					Reason: fmt.Sprintf("the job exceeded its %s of %s", d.words, time.Duration(allowed)*time.Second),
				}
			}
		}
		if v, ok := fires(ad, attrPeriodicVacate, Vacate); ok {
			return v
		}
	}
	if e, ok := ad.Lookup(attrTimerRemove); ok {
		at, isNumber := e.Eval(ad, nil).Int()
		switch {
		case !isNumber && state != job.Held:
			return Verdict{Action: Hold, Code: job.HoldPolicyUndefined, Reason: "the job's TimerRemove is not a time: " + shorten(e.OldString())}
		case isNumber && at >= 0 && at < now.Unix():
			return Verdict{Action: Remove, Reason: "the job's TimerRemove has passed: " + shorten(e.OldString())}
		}
	}
	if state == job.Idle {
		if why := never(ad, now); why != "" {
			return Verdict{Action: Hold, Code: job.HoldInvalidCron, Reason: why}
		}
		_, latest, deferred := window(ad)
		if deferred && now.After(latest) {
			return Verdict{Action: Hold, Code: job.HoldMissedDeferral, Reason: missed(ad)}
		}
		if why := noTime(ad); !deferred && why != "" {
			return Verdict{Action: Hold, Code: job.HoldPolicyUndefined, Reason: why}
		}
	}
	if state != job.Held {
		if v, ok := fires(ad, attrPeriodicHold, Hold); ok {
			return v
		}
	} else if code, _ := ad.Int("HoldReasonCode"); code != job.HoldByUser && code != job.HoldBySystem {
		if v, ok := fires(ad, attrPeriodicRelease, Release); ok {
			return v
		}
	}
	if v, ok := fires(ad, attrPeriodicRemove, Remove); ok {
		return v
	}
	return Verdict{}
}

// HasPeriodic reports whether a job has an expression that can come true by itself, so that [Periodic]
// has to be asked from time to time. Of a job without one, asking when it changes and when it is [Due]
// is enough.
func HasPeriodic(ad *classad.Ad) bool {
	for _, attr := range []string{attrPeriodicHold, attrPeriodicRelease, attrPeriodicRemove, attrPeriodicVacate} {
		e, ok := ad.Lookup(attr)
		if !ok {
			continue
		}
		if v, constant := e.Literal(); !constant || v.IsTrue() {
			return true
		}
	}
	return false
}

// Due gives the next moment at which time alone may change what [Periodic] says by anything but an
// expression: when an allowed duration ends, a timer runs out or a start is missed. It is zero if there
// is none.
func Due(ad *classad.Ad, now time.Time, state job.State) time.Time {
	var due time.Time
	add := func(at time.Time) {
		if at.After(now) && (due.IsZero() || at.Before(due)) {
			due = at
		}
	}
	if state.Ended() {
		return due
	}
	if runs(state) {
		for _, d := range durations {
			if end, ok := d.end(ad); ok {
				add(end)
			}
		}
	}
	if at, ok := ad.Int(attrTimerRemove); ok && at >= 0 {
		add(time.Unix(at+1, 0))
	}
	if state == job.Idle {
		if earliest, latest, ok := window(ad); ok {
			add(earliest)
			add(latest.Add(time.Second))
		}
	}
	return due
}

func runs(s job.State) bool {
	return s == job.Running || s == job.Suspended || s == job.TransferringOutput
}

// duration is a bound on how long a run may take.
type duration struct {
	attr  string
	words string
	code  int
	start []string // the attributes of which the latest moment begins it
}

// The execution of a run begins when its inputs are there, and begins again with each checkpoint: what
// is bounded is the time without one.
var durations = []duration{
	{attrAllowedJob, "allowed_job_duration", job.HoldJobDuration, []string{"JobCurrentStartDate"}},
	{attrAllowedExecute, "allowed_execute_duration", job.HoldExecuteDuration, []string{"JobCurrentStartExecutingDate", "LastCkptTime"}},
}

// end is when the duration is over. It is false for a job without that bound, or of which the beginning
// is not known.
func (d duration) end(ad *classad.Ad) (time.Time, bool) {
	allowed, ok := ad.Int(d.attr)
	if !ok || allowed < 0 {
		return time.Time{}, false
	}
	run, _ := ad.Int("JobCurrentStartDate")
	var start int64
	for i, attr := range d.start {
		at, ok := ad.Int(attr)
		if i == 0 && (!ok || at < run) { // not begun, or left over from the run before
			return time.Time{}, false
		}
		start = max(start, at)
	}
	const longest = 100 * 365 * 24 * 3600 // seconds; beyond, times overflow
	return time.Unix(start+min(allowed, longest), 0), true
}

// fires evaluates one of the expressions.
func fires(ad *classad.Ad, attr string, action Action) (Verdict, bool) {
	e, ok := ad.Lookup(attr)
	if !ok || !e.Eval(ad, nil).IsTrue() {
		return Verdict{}, false
	}
	v := Verdict{Action: action}
	if reason, ok := ad.Str(attr + "Reason"); ok && reason != "" {
		v.Reason = shorten(reason)
	} else {
		v.Reason = fmt.Sprintf("the job's %s became true: %s", commands[attr], shorten(e.OldString()))
	}
	if action == Hold {
		v.Code = job.HoldByPolicy
		if n, ok := ad.Int(attr + "SubCode"); ok && int64(int32(n)) == n {
			v.SubCode = int(n)
		}
	}
	return v, true
}

// shorten keeps a reason readable, on one line, and small enough for the log.
func shorten(text string) string {
	const most = 400
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}
