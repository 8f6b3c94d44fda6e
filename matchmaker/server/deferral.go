package server

import (
	"fmt"
	"time"

	"skua/internal/job"
	"skua/matchmaker/jobpolicy"
	"skua/policy/classad"
)

// The attributes of a job that is to start at a set time. The window is how late it may be.
const (
	attrDeferralTime   = "DeferralTime"
	attrDeferralWindow = "DeferralWindow"
	attrWindowFirst    = "DeferralWindowFirst" // the window as wanted, while the job has another
)

// cronDue gives the time for which a job with cron_... commands is to be deferred next. missing says
// that it has not been told so yet.
func cronDue(ad *classad.Ad, now time.Time) (at time.Time, missing bool) {
	if _, ok := ad.Int(attrDeferralTime); ok {
		return time.Time{}, false
	}
	return jobpolicy.NextRun(ad, now)
}

func deferTo(at time.Time) []job.Assigned {
	return []job.Assigned{{Name: attrDeferralTime, Expr: fmt.Sprint(at.Unix())}}
}

// startsLate is what to set of a job whose window is past so that it may start all the same; nil for one that
// has missed it. A job that began at its time and had to leave its machine may go on at any time, though its
// description's Requirements want it to begin within its window. One with cron_... commands that was released
// since waits for its next time.
func startsLate(j *job.Job, ad *classad.Ad, now time.Time) []job.Assigned {
	at, _ := ad.Int(attrDeferralTime)
	if began := j.LastLeft.Unix() >= at; began && wantedWindow(ad) == nil {
		window := "0"
		if e, ok := ad.Lookup(attrDeferralWindow); ok {
			window = e.String()
		}
		return []job.Assigned{{Name: attrWindowFirst, Expr: window}, {Name: attrDeferralWindow, Expr: "2147483647"}}
	}
	ok, from, _ := jobpolicy.Startable(ad, j.Entered)
	if past := !ok && from.IsZero(); past && j.LastState == job.Held {
		return runsNext(ad, now)
	}
	return nil
}

// runsNext is what to set of a job with cron_... commands whose run is over; nil for other jobs.
func runsNext(ad *classad.Ad, now time.Time) []job.Assigned {
	if at, ok := ad.Int(attrDeferralTime); ok && at > now.Unix() {
		now = time.Unix(at, 0) // the run belongs to it
	}
	at, ok := jobpolicy.NextRun(ad, now)
	if !ok {
		return nil
	}
	set := deferTo(at)
	if e := wantedWindow(ad); e != nil {
		set = append(set, job.Assigned{Name: attrDeferralWindow, Expr: e.String()}, job.Assigned{Name: attrWindowFirst, Expr: "undefined"})
	}
	return set
}

// wantedWindow is the window that a job is to have again; nil if it has it.
func wantedWindow(ad *classad.Ad) *classad.Expr {
	e, ok := ad.Lookup(attrWindowFirst)
	if !ok {
		return nil
	}
	if v, constant := e.Literal(); constant && v.Kind() == classad.Undefined {
		return nil
	}
	return e
}
