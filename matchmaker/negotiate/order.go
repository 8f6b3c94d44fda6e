package negotiate

import (
	"cmp"
	"slices"

	"skua/internal/job"
)

// lines are the users' queues: each user's jobs in order, and whose turn it is.
type lines struct {
	users []*line // by user id
}

type line struct {
	user job.UserID
	held int // slots that the user has, those of this cycle included
	jobs []*candidate
}

func newLines(all []*candidate, running map[job.UserID]int) *lines {
	byUser := map[job.UserID]*line{}
	ls := &lines{}
	for _, w := range all {
		l := byUser[w.job.User]
		if l == nil {
			l = &line{user: w.job.User, held: running[w.job.User]}
			byUser[w.job.User] = l
			ls.users = append(ls.users, l)
		}
		l.jobs = append(l.jobs, w)
	}
	slices.SortFunc(ls.users, func(a, b *line) int { return cmp.Compare(a.user, b.user) })
	for _, l := range ls.users {
		slices.SortFunc(l.jobs, func(a, b *candidate) int {
			return cmp.Or(cmp.Compare(b.job.Prio, a.job.Prio), a.job.ID.Compare(b.job.ID))
		})
	}
	return ls
}

// next takes the job whose turn it is: the first one of the user who holds the fewest slots.
func (ls *lines) next() *candidate {
	var turn *line
	for _, l := range ls.users {
		if len(l.jobs) > 0 && (turn == nil || l.held < turn.held) {
			turn = l
		}
	}
	if turn == nil {
		return nil
	}
	first := turn.jobs[0]
	turn.jobs = turn.jobs[1:]
	return first
}

// served notes that the job got a slot.
func (ls *lines) served(w *candidate) {
	for _, l := range ls.users {
		if l.user == w.job.User {
			l.held++
		}
	}
}
