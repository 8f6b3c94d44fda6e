package negotiate

import (
	"cmp"
	"container/heap"
	"slices"

	"skua/internal/job"
)

// lines are the users' queues. The first is the one whose turn it is.
type lines []*line

// line is a user's waiting jobs, of which the nice ones stand in a line of their own.
type line struct {
	user      job.UserID
	nice      bool
	effective float64 // the user's effective priority
	held      int     // slots that the user has, those of this cycle included
	served    uint64  // when the user last got one, before this cycle
	oldest    job.ID  // the user's first job
	streams   streams
}

// stream is jobs of one batch and group in the order of their procs.
type stream struct {
	batch *Batch
	group *group
	procs []Range // those to come
	next  int     // the first of them
}

// newLines puts the streams that may be matched now into lines.
func newLines(s Snapshot, all []*stream) *lines {
	type key struct {
		user job.UserID
		nice bool
	}
	held := map[key]int{}
	for _, c := range s.Claims {
		held[key{c.User, c.Nice}]++
	}
	byUser := map[key]*line{}
	ls := &lines{}
	for _, st := range all {
		if st.batch.NotBefore.After(s.Now) {
			continue
		}
		k := key{st.batch.User, st.batch.Nice}
		l := byUser[k]
		if l == nil {
			l = &line{
				user: k.user, nice: k.nice, effective: s.Accounts[k.user].Effective(),
				held: held[k], served: s.Served[k.user],
			}
			byUser[k] = l
			*ls = append(*ls, l)
		}
		l.streams = append(l.streams, st)
	}
	for _, l := range *ls {
		heap.Init(&l.streams)
		l.oldest = l.streams[0].head()
	}
	heap.Init(ls)
	return ls
}

// next is the line whose turn it is, nil when none is left. Everybody who is not nice comes before
// everybody who is. Then a slot goes to where it costs least: to the user with the lowest product of
// effective priority and number of slots, the new one included, so that those numbers come to be in
// inverse proportion to the priorities. Of equals it is the one served longest ago, then the one whose
// job is the oldest.
func (ls *lines) next() *turn {
	if len(*ls) == 0 {
		return nil
	}
	return &turn{ls, (*ls)[0]}
}

func (l *line) cost() float64 { return float64(l.held+1) * l.effective }

// Len, Less, Swap, Push and Pop are for package heap.
func (ls lines) Len() int { return len(ls) }

func (ls lines) Less(i, k int) bool {
	a, b := ls[i], ls[k]
	if a.nice != b.nice {
		return b.nice
	}
	return cmp.Or(
		cmp.Compare(a.cost(), b.cost()), cmp.Compare(a.served, b.served), a.oldest.Compare(b.oldest), cmp.Compare(a.user, b.user),
	) < 0
}

func (ls lines) Swap(i, k int) { ls[i], ls[k] = ls[k], ls[i] }
func (ls *lines) Push(x any)   { *ls = append(*ls, x.(*line)) }

func (ls *lines) Pop() any {
	last := (*ls)[len(*ls)-1]
	*ls = (*ls)[:len(*ls)-1]
	return last
}

// turn is the line whose turn it is, at the head of the others.
type turn struct {
	lines *lines
	line  *line
}

// first is the stream with the user's next job.
func (t *turn) first() *stream { return t.line.streams[0] }

// served notes that the user's next job, which has been taken from its stream, got a slot.
func (t *turn) served() {
	t.line.held++
	if len(t.first().procs) == 0 {
		t.drop()
		return
	}
	heap.Fix(&t.line.streams, 0)
	heap.Fix(t.lines, 0)
}

// drop leaves out the jobs of the first stream.
func (t *turn) drop() {
	heap.Pop(&t.line.streams)
	if len(t.line.streams) == 0 {
		heap.Pop(t.lines)
		return
	}
	heap.Fix(t.lines, 0)
}

func (s *stream) head() job.ID { return job.ID{Cluster: s.batch.Cluster, Proc: s.next} }

// take takes the first job out.
func (s *stream) take() job.ID {
	id := s.head()
	if s.next++; s.next == s.procs[0].Upto {
		if s.procs = s.procs[1:]; len(s.procs) > 0 {
			s.next = s.procs[0].From
		}
	}
	return id
}

// has reports whether the job is still in the stream.
func (s *stream) has(id job.ID) bool {
	_, ok := slices.BinarySearchFunc(s.procs, id.Proc, func(r Range, proc int) int {
		switch {
		case r.Upto <= proc:
			return -1
		case r.From > proc:
			return 1
		}
		return 0
	})
	return ok && s.batch.Cluster == id.Cluster && id.Proc >= s.next
}

// streams are a user's, the one with the next job first.
type streams []*stream

// Len, Less, Swap, Push and Pop are for package heap.
func (ss streams) Len() int { return len(ss) }

func (ss streams) Less(i, k int) bool {
	a, b := ss[i], ss[k]
	return cmp.Or(cmp.Compare(b.batch.Prio, a.batch.Prio), a.head().Compare(b.head())) < 0
}

func (ss streams) Swap(i, k int) { ss[i], ss[k] = ss[k], ss[i] }
func (ss *streams) Push(x any)   { *ss = append(*ss, x.(*stream)) }

func (ss *streams) Pop() any {
	last := (*ss)[len(*ss)-1]
	*ss = (*ss)[:len(*ss)-1]
	return last
}
