package server

import (
	"cmp"
	"slices"
	"time"

	"skua/internal/job"
	"skua/matchmaker/jobpolicy"
	"skua/matchmaker/negotiate"
	"skua/matchmaker/queue"
	"skua/policy/classad"
)

// perBatch are the attributes that are looked at once for all jobs of a batch.
var perBatch = slices.Concat([]string{"JobPrio", "NiceUser", "AcctGroup", attrDeferralWindow, "DeferralPrepTime"}, timed)

// timed are the attributes that can keep a job from being offered for a time.
var timed = []string{
	attrNoop, attrDeferralTime, "CronMinute", "CronHour", "CronDayOfMonth", "CronMonth", "CronDayOfWeek",
}

// waiting are the jobs that wait for a slot. Those of users who have been put out of the pool wait for none.
func (s *Server) waiting(now time.Time) []negotiate.Batch {
	var all []negotiate.Batch
	var alike alikes
	for _, b := range s.cfg.Queue.Waiting(perBatch) {
		j := b.First
		if s.cfg.Roster.PutOut(string(j.User)) {
			continue
		}
		if alike.add(b) {
			continue
		}
		ad := j.CurrentAd()
		notBefore, ok := s.startable(j.ID, ad, now)
		if !ok {
			continue
		}
		all = append(all, negotiate.Batch{
			Cluster: b.Cluster, Procs: b.Procs, User: j.User, Prio: prioOf(ad), Nice: negotiate.Nice(ad), NotBefore: notBefore, Avoid: j.Avoid,
			Ad: ad, Varies: b.Varies, Table: b.Table, AdOf: func(proc int) *classad.Ad { return b.Job(proc).CurrentAd() },
		})
	}
	return s.unreserved(alike.batches(all))
}

func prioOf(ad *classad.Ad) int {
	prio, _ := ad.Int("JobPrio")
	return int(prio)
}

// alikes gathers jobs that come one by one, since something has happened to them, and may be taken
// together all the same: they have never run, and no time keeps them waiting. A user who edits, holds or
// releases a hundred thousand jobs makes as many of these.
type alikes struct {
	at    map[alike]int // in jobs
	jobs  [][]*job.Job
	kinds []alike
}

type alike struct {
	cluster, prio int
	nice          bool
}

// add takes the job of a batch of one, if it is of that kind.
func (a *alikes) add(b queue.Batch) bool {
	j := b.First
	one := len(b.Procs) == 1 && b.Procs[0].Upto-b.Procs[0].From == 1
	tried := j.Starts+j.Evictions+j.Completions+len(j.Images)+len(j.Avoid) > 0
	if !one || tried || slices.ContainsFunc(timed, func(name string) bool { _, ok := j.Ad.Lookup(name); return ok }) {
		return false
	}
	kind := alike{b.Cluster, prioOf(j.Ad), negotiate.Nice(j.Ad)}
	i, ok := a.at[kind]
	if !ok {
		if a.at == nil {
			a.at = map[alike]int{}
		}
		i = len(a.jobs)
		a.at[kind] = i
		a.jobs, a.kinds = append(a.jobs, nil), append(a.kinds, kind)
	}
	a.jobs[i] = append(a.jobs[i], j)
	return true
}

// batches appends what was gathered.
func (a *alikes) batches(all []negotiate.Batch) []negotiate.Batch {
	for i, jobs := range a.jobs {
		slices.SortFunc(jobs, func(a, b *job.Job) int { return cmp.Compare(a.ID.Proc, b.ID.Proc) })
		first := jobs[0]
		b := negotiate.Batch{
			Cluster: a.kinds[i].cluster, User: first.User, Prio: a.kinds[i].prio, Nice: a.kinds[i].nice, Ad: first.CurrentAd(),
			AdOf: func(proc int) *classad.Ad {
				n, ok := slices.BinarySearchFunc(jobs, proc, func(j *job.Job, proc int) int { return cmp.Compare(j.ID.Proc, proc) })
				if !ok {
					n = 0 // which nobody asks for
				}
				return jobs[n].CurrentAd()
			},
		}
		for _, j := range jobs {
			if last := len(b.Procs) - 1; last >= 0 && b.Procs[last].Upto == j.ID.Proc {
				b.Procs[last].Upto++
			} else {
				b.Procs = append(b.Procs, negotiate.Range{From: j.ID.Proc, Upto: j.ID.Proc + 1})
			}
		}
		if len(jobs) > 1 {
			b.Varies = varying(jobs)
		}
		all = append(all, b)
	}
	return all
}

// varying names the attributes in which the ads of jobs of one cluster may differ: those that each has
// of its own, and those that its life gives it.
func varying(jobs []*job.Job) []string {
	seen := map[string]bool{}
	names := slices.Clone(job.UntriedVaries)
	for _, j := range jobs {
		for _, name := range j.Ad.Names() {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names
}

// startable says when a job may be offered; the zero time is now. ok is false for one that is not to be
// offered at all: its policy is about to see to it.
func (s *Server) startable(id job.ID, ad *classad.Ad, now time.Time) (notBefore time.Time, ok bool) {
	if noop, _ := ad.Bool(attrNoop); noop {
		return time.Time{}, false
	}
	if due, _ := cronDue(ad, now); !due.IsZero() {
		return time.Time{}, false // its next time is about to be set
	}
	may, from, _ := jobpolicy.Startable(ad, now)
	if !may && from.IsZero() {
		return time.Time{}, false
	}
	if until := s.again.until(id); until.After(from) {
		from = until
	}
	return from, true
}
