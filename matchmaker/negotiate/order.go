package negotiate

import (
	"cmp"
	"slices"

	"skua/internal/job"
)

// lines are the users' queues: each user's jobs in order, and whose turn it is.
type lines struct {
	users []*line
}

type line struct {
	user   job.UserID
	held   int    // slots that the user has, those of this cycle included
	served uint64 // when the user last got one, before this cycle
	jobs   []*candidate
}

func newLines(all []*candidate, running map[job.UserID]int, served map[job.UserID]uint64) *lines {
	byUser := map[job.UserID]*line{}
	ls := &lines{}
	for _, w := range all {
		l := byUser[w.job.User]
		if l == nil {
			l = &line{user: w.job.User, held: running[w.job.User], served: served[w.job.User]}
			byUser[w.job.User] = l
			ls.users = append(ls.users, l)
		}
		l.jobs = append(l.jobs, w)
	}
	for _, l := range ls.users {
		slices.SortFunc(l.jobs, func(a, b *candidate) int {
			return cmp.Or(cmp.Compare(b.job.Prio, a.job.Prio), a.job.ID.Compare(b.job.ID))
		})
	}
	slices.SortFunc(ls.users, func(a, b *line) int {
		return cmp.Or(cmp.Compare(a.served, b.served), a.jobs[0].job.ID.Compare(b.jobs[0].job.ID))
	})
	return ls
}

// next takes the job whose turn it is: the first one of the user who holds the fewest slots. Of several
// it is the one served longest ago, then the one whose job is the oldest.
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
