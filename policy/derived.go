package policy

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"skua/internal/quantity"
)

// texts are the expressions of a policy as source text.
type texts struct {
	start, suspend, resume, preempt, kill, wantSuspend, wantVacate, rank string

	throttle, draining, retirement string

	urgently string // a job must go without being suspended and without retirement; "" for never
}

// rule is one thing that keeps jobs from running. Either part may be "".
type rule struct {
	may  string // holds while a job may start or go on
	stop string // holds while a job must stand still; between the two nothing changes
}

// settings are the numbers of a policy, those of the preset with those of the file in their place.
type settings struct {
	defaults
	apps        Apps
	temperature Temperature
	diskFloor   quantity.Bytes
	holidays    []Dates
	onHolidays  []Span
	reboot      *Moment
	before      time.Duration // of the drain for a reboot
	retirement  time.Duration
	users       []string
	groups      []string
}

// What the expressions of HTCondor's example policy call by these names.
const (
	activityTimer = "(CurrentTime - EnteredCurrentActivity)"
	nonOurLoad    = "(LoadAvg - SkuaLoadAvg)"
)

const (
	// The load must stand a little above the background before it suspends a job, or the job
	// would come and go with every breath of the machine. Nor does it count at once: the load
	// averages lag behind a job that has just started.
	loadHysteresis = 0.2
	settling       = 90 * time.Second
	// A program that keeps the screen on, and one that fills it, come and go without a key press. A job
	// that they have stopped beside its owner stays so for a while.
	besidePause = time.Minute
	// The disk must have so much more than its floor before jobs come again.
	floorHysteresis = 1.1
	// The last call before a reboot is so much earlier than the longest leave-taking needs.
	lastCallMargin = time.Minute
)

// beside reports whether jobs run while the owner is there.
func (s *settings) beside() bool { return s.hasOwner && s.inUse != quantity.Share{} }

// texts derives the expressions.
//
// What must be a clear yes or no even where an attribute is missing is written with =?= and =!=:
// without a word about the keyboard the owner counts as present, without one about the load it counts
// as low.
func (s *settings) texts() texts {
	t := texts{
		start: "true", suspend: "false", resume: "true",
		preempt:     fmt.Sprintf(`(Activity == "Suspended" && %s > %s)`, activityTimer, seconds(s.suspendFor)),
		kill:        fmt.Sprintf(`Activity == "Vacating" && %s > %s`, activityTimer, seconds(s.maxVacateTime)),
		wantSuspend: "true", wantVacate: "true", rank: "0",
		throttle: "false", draining: "false", retirement: seconds(s.retirement),
	}
	switch {
	case s.beside():
		t.besideOwner(s)
	case s.hasOwner:
		t.afterOwner(s)
	}
	if s.fullScreen {
		t.apply(rule{may: "FullScreen =!= true", stop: "FullScreen =?= true"})
	}
	t.apply(s.apps.rule())
	t.apply(s.onBattery.rule(s.mobile))
	t.apply(s.temperature.rule())
	if s.onMetered == MeteredNever {
		t.start = and(t.start, "Metered =?= false")
	}
	t.start = and(t.start, allowed(s.users, s.groups))
	t.preempt += " || (SUSPEND =!= false && WANT_SUSPEND =!= true)"
	t.floor(s)
	t.drain(s)
	t.within(s.hours())
	return t
}

// afterOwner lets jobs run while the owner is away: HTCondor's desktop policy in substance.
func (t *texts) afterOwner(s *settings) {
	// Input within the last minute means that the owner is there, unless the admin lets jobs go on
	// sooner than that. A job that was just suspended stays so for a moment.
	present := min(time.Minute, s.continueAfter, s.idleAfter)
	pause := min(10*time.Second, s.continueAfter)
	t.start = fmt.Sprintf(`KeyboardIdle > %s && (%s <= %s || (State != "Unclaimed" && State != "Owner"))`,
		seconds(s.idleAfter), nonOurLoad, number(s.backgroundLoad))
	t.suspend = fmt.Sprintf(`(KeyboardIdle < %s) =!= false || (%s >= %s && %s > %s) =?= true`,
		seconds(present), nonOurLoad, number(s.backgroundLoad+loadHysteresis), activityTimer, seconds(settling))
	t.resume = fmt.Sprintf(`KeyboardIdle > %s && %s <= %s && %s > %s`,
		seconds(s.continueAfter), nonOurLoad, number(s.backgroundLoad), activityTimer, seconds(pause))
	if s.inhibited {
		t.apply(rule{may: "Inhibited =!= true", stop: "Inhibited =?= true"})
	}
}

// besideOwner lets jobs run while the owner is there, with less of the machine.
func (t *texts) besideOwner(s *settings) {
	present := min(time.Minute, s.continueAfter)
	t.resume = fmt.Sprintf("%s > %s", activityTimer, seconds(besidePause))
	t.throttle = fmt.Sprintf(`(KeyboardIdle < ifThenElse(Throttled =?= true, %s, %s)) =!= false || `+
		`(%s >= ifThenElse(Throttled =?= true, %s, %s) && %s > %s) =?= true`,
		seconds(s.continueAfter), seconds(present),
		nonOurLoad, number(s.backgroundLoad), number(s.backgroundLoad+loadHysteresis), activityTimer, seconds(settling))
	if s.inhibited {
		t.throttle += " || Inhibited =?= true"
	}
}

// apply adds a rule.
func (t *texts) apply(r rule) {
	t.start, t.resume, t.suspend = and(t.start, r.may), and(t.resume, r.may), or(t.suspend, r.stop)
}

// floor keeps some of the disk free. To suspend a job would free nothing, so it leaves.
func (t *texts) floor(s *settings) {
	if s.diskFloor == 0 {
		return
	}
	kib := func(b float64) string { return strconv.FormatFloat(math.Ceil(b/1024), 'f', 0, 64) }
	floor := kib(float64(s.diskFloor))
	t.start = and(t.start, "FreeDisk >= "+kib(float64(s.diskFloor)*floorHysteresis))
	t.urgent(fmt.Sprintf("(FreeDisk < %s) =!= false", floor))
}

// drain empties the machine before a reboot: no job comes, and those that run have until the last call.
func (t *texts) drain(s *settings) {
	if s.reboot == nil {
		return
	}
	window := s.reboot.before(minutesOf(s.before))
	t.draining = hoursText([]Span{window})
	t.start = and(t.start, t.draining+" =!= true")
	last := min(minutesOf(s.before), minutesOf(s.maxVacateTime+lastCallMargin))
	t.urgent(hoursText([]Span{s.reboot.before(last)}) + " =?= true")
}

// urgent has jobs leave while it holds, without being suspended and without retirement.
func (t *texts) urgent(condition string) {
	t.preempt = or(t.preempt, condition)
	t.wantSuspend = and(t.wantSuspend, "("+condition+") =!= true")
	t.urgently = or(t.urgently, condition)
	if t.retirement != "0" {
		t.retirement = unlessUrgent(condition, t.retirement)
	}
}

// unlessUrgent is a retirement that there is none of while a condition holds.
func unlessUrgent(condition, retirement string) string {
	if condition == "" {
		return retirement
	}
	return fmt.Sprintf("ifThenElse(%s, 0, %s)", condition, retirement)
}

// hours is the expression for the hours in which jobs may run, "" for always.
func (s *settings) hours() string {
	run := hoursText(s.run)
	if run == "" || len(s.holidays) == 0 {
		return run
	}
	var days []string
	for _, d := range s.holidays {
		days = append(days, d.expression())
	}
	holiday := "(" + strings.Join(days, " || ") + ")"
	onHoliday := and(holiday, hoursText(s.onHolidays))
	return fmt.Sprintf("((%s) || (%s =!= true && %s))", onHoliday, holiday, run)
}

// within lets jobs run in the hours only. Where they end a job does not wait suspended, since they
// will not come back in a few minutes: it leaves. The conditions on the owner stay as they are.
func (t *texts) within(hours string) {
	if hours == "" {
		return
	}
	t.start = fmt.Sprintf("%s && (%s)", hours, t.start)
	t.suspend = fmt.Sprintf("(%s) || %s =!= true", t.suspend, hours)
	t.resume = fmt.Sprintf("%s && (%s)", hours, t.resume)
	t.wantSuspend = and(hours, t.wantSuspend)
}

// allowed is true for the jobs of the users and of the groups; "" if all may run.
func allowed(users, groups []string) string {
	list := func(attr string, names []string) string {
		if len(names) == 0 {
			return ""
		}
		return fmt.Sprintf(`stringListMember(%s, "%s", ",")`, attr, strings.Join(names, ","))
	}
	both := or(list("TARGET.Owner", users), list("TARGET.AcctGroup", groups))
	if strings.Contains(both, " || ") {
		return "(" + both + ")"
	}
	return both
}

// and joins two conditions, either of which may be "" or "true".
func and(a, b string) string {
	switch {
	case a == "" || a == "true":
		return cmp.Or(b, a)
	case b == "" || b == "true":
		return a
	}
	return a + " && " + b
}

// or joins two conditions, either of which may be "" or "false".
func or(a, b string) string {
	switch {
	case a == "" || a == "false":
		return cmp.Or(b, a)
	case b == "" || b == "false":
		return a
	}
	return a + " || " + b
}

// seconds writes d as a number of seconds.
func seconds(d time.Duration) string { return number(d.Seconds()) }

// number writes f the short way, "0.3" or "900".
func number(f float64) string { return strconv.FormatFloat(math.Round(f*1000)/1000, 'f', -1, 64) }
