package courier

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"skua/internal/eventlog"
	"skua/internal/job"
	"skua/policy/classad"
)

// SubmitMachine is the attribute of a job's ad with the name of the machine from which it was submitted.
const SubmitMachine = "SkuaSubmitMachine"

// origin is what a courier needs of a job's description. A hundred thousand jobs of one cluster mostly
// have the same, and then share one.
type origin struct {
	log     string // path of the event log; empty when there is none
	json    bool   // whether that has lines of JSON
	second  string // path of a log for all jobs of a workflow; empty when there is none
	machine string // from which the job was submitted
	notes   string
	private string // the second note of the submit entry

	cpus, memory, disk string // asked for, as they are to be shown; empty for unknown
	success            int    // the exit code that means well

	command  string // for people
	notify   notification
	notifyTo string // empty for the user of this process
	inMail   string // names of the attributes that a mail has, with commas between them
}

// originAttrs are the attributes that it is made of.
var originAttrs = []string{
	"UserLog", "UserLogUseJSON", "DAGManNodesLog", "Iwd", SubmitMachine, "SubmitEventNotes", "SubmitEventUserNotes",
	"RequestCpus", "RequestMemory", "RequestDisk",
	"Cmd", "Arguments", "Args", "JobNotification", "NotifyUser", "EmailAttributes", eventlog.SuccessExit,
}

func originOf(ad *classad.Ad) origin {
	text := func(name string) string {
		s, _ := ad.Str(name)
		return s
	}
	number := func(name string) string {
		if n, ok := ad.Int(name); ok {
			return strconv.FormatInt(n, 10)
		}
		return ""
	}
	o := origin{
		log: logPath(ad, "UserLog"), machine: text(SubmitMachine), notes: text("SubmitEventNotes"), private: text("SubmitEventUserNotes"),
		cpus: number("RequestCpus"), memory: number("RequestMemory"), disk: number("RequestDisk"),
	}
	o.json, _ = ad.Bool("UserLogUseJSON")
	if code, ok := ad.Int(eventlog.SuccessExit); ok {
		o.success = int(code)
	}
	if o.second = logPath(ad, "DAGManNodesLog"); o.second == o.log {
		o.second = "" // each entry stands there once
	}
	if n, ok := ad.Int("JobNotification"); ok && n != int64(notifyNever) {
		o.notify, o.notifyTo, o.inMail = notification(n), text("NotifyUser"), text("EmailAttributes")
		o.command = strings.TrimSpace(filepath.Base(text("Cmd")) + " " + text("Arguments") + text("Args"))
	}
	return o
}

// logPath is the event log that an attribute names; empty when the job has none.
func logPath(ad *classad.Ad, attr string) string {
	name, ok := ad.Str(attr)
	if !ok || name == "" {
		return ""
	}
	if !filepath.IsAbs(name) {
		iwd, _ := ad.Str("Iwd")
		name = filepath.Join(iwd, name)
	}
	if !filepath.IsAbs(name) {
		return "" // relative to nothing
	}
	return filepath.Clean(name)
}

// ofOrigin says whether an attribute is one that an origin is made of.
func ofOrigin(name string) bool {
	return slices.ContainsFunc(originAttrs, func(a string) bool { return strings.EqualFold(a, name) })
}

// origins gives jobs with the same origin the same one.
type origins map[origin]*origin

func (s *origins) of(ad *classad.Ad) *origin { return s.one(originOf(ad)) }

func (s *origins) one(o origin) *origin {
	if *s == nil || len(*s) > maxOrigins {
		*s = origins{} // what is in use stays in use
	}
	p := (*s)[o]
	if p == nil {
		p = &o
		(*s)[o] = p
	}
	return p
}

const maxOrigins = 10_000

// edited gives the origin of a job after an edit. Where the new value depends on the job's ad it is taken
// to be unknown.
func (s *origins) edited(o *origin, set []job.Assigned) *origin {
	next := *o
	for _, a := range set {
		if !ofOrigin(a.Name) {
			continue
		}
		e, err := classad.ParseExpr(a.Expr)
		if err != nil {
			continue
		}
		ad := classad.NewAd()
		ad.Set(a.Name, e)
		changed := originOf(ad)
		switch strings.ToLower(a.Name) {
		case "requestcpus":
			next.cpus = changed.cpus
		case "requestmemory":
			next.memory = changed.memory
		case "requestdisk":
			next.disk = changed.disk
		case "jobsuccessexitcode":
			next.success = changed.success
		case "jobnotification":
			next.notify = changed.notify
		case "notifyuser":
			next.notifyTo, _ = ad.Str(a.Name)
		}
		// The log stays where it is, and the rest is about the past.
	}
	return s.one(next)
}
