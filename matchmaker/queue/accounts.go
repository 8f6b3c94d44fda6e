package queue

import (
	"time"

	"skua/internal/job"
	"skua/matchmaker/negotiate"
)

// accounts are what users have used of the pool, for fair share. Like the rest of the state they are
// what the events add up to: the times are those of the events, and a replay gives the same figures.
type accounts struct {
	halfLife time.Duration // 0 means [negotiate.DefaultHalfLife]
	users    map[job.UserID]negotiate.Account
	runs     map[job.ID]run // of jobs that have a claim and have begun to run
}

// run is what a run counts for.
type run struct {
	cpus   float64 // that it got when it began
	counts bool    // now
}

func newAccounts() accounts {
	return accounts{users: map[job.UserID]negotiate.Account{}, runs: map[job.ID]run{}}
}

// moved notes what has become of a job. Only running counts as use: a suspended job leaves its cpu to
// the owner, and a lapsed claim is nobody's until it revives.
func (a *accounts) moved(j *job.Job, at time.Time) {
	was, known := a.runs[j.ID]
	is := was
	is.counts = j.State == job.Running
	switch started := j.Claim != nil && j.Claim.Started; {
	case !started && !known:
		return
	case !started:
		delete(a.runs, j.ID)
	case !known:
		is.cpus = weight(j)
		fallthrough
	default:
		a.runs[j.ID] = is
	}
	switch {
	case is.counts && !was.counts:
		a.users[j.User] = a.users[j.User].Use(is.cpus, at, a.halfLife)
	case was.counts && !is.counts:
		a.users[j.User] = a.users[j.User].Use(-is.cpus, at, a.halfLife)
	}
}

// factor gives a user's share another weight.
func (a *accounts) factor(user job.UserID, factor float64, at time.Time) {
	account := a.users[user].Charge(at, a.halfLife)
	account.Factor = factor
	a.users[user] = account
}

// weight is how many cpus a job counts for.
func weight(j *job.Job) float64 {
	const most = 1 << 12 // no slot has more, whatever the job says
	n := j.Claim.Cpus
	if n == 0 { // of an old event
		n, _ = j.Ad.Int("RequestCpus")
	}
	return float64(min(max(n, 1), most))
}

// Accounts gives the accounts of all users who have used the pool or been given a factor, charged up to
// now.
func (q *Queue) Accounts(now time.Time) map[job.UserID]negotiate.Account {
	q.mu.RLock()
	defer q.mu.RUnlock()
	all := make(map[job.UserID]negotiate.Account, len(q.state.accounts.users))
	for user, a := range q.state.accounts.users {
		all[user] = a.Charge(now, q.state.accounts.halfLife)
	}
	return all
}
