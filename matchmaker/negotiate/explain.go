package negotiate

import (
	"cmp"
	"math"
	"slices"

	"skua/internal/job"
	"skua/internal/why"
	"skua/policy"
	"skua/policy/classad"
)

// Explain tells all that can be told about why a job does not run, or does. It runs a cycle, so that
// what it says is what the matchmaker does.
func Explain(s Snapshot, j *job.Job) *why.Explanation {
	ad := j.CurrentAd()
	e := &why.Explanation{Job: j.ID.String(), State: j.State.String(), At: s.Now.Unix(), Evictions: j.Evictions}
	if j.LastReason != "" && j.State != job.Suspended && j.State != job.Removed {
		e.Last = &why.Lately{Reason: j.LastReason, Slot: j.LastHost}
	}
	switch {
	case j.State == job.Held:
		e.Hold = &why.Hold{Reason: j.HoldReason, Code: j.HoldCode, SubCode: j.HoldSubCode, Since: j.Entered.Unix()}
		if j.HoldCode == job.HoldOutOfResources {
			e.Hold.Try = moreMemory(ad)
		}
	case j.State.Ended():
		e.Ended = &why.Ended{At: j.Ended.Unix(), Reason: j.RemoveText}
		if j.Result != nil {
			e.Ended.Code, e.Ended.Signal = j.Result.ExitCode, j.Result.Signal
		}
	case j.Claim != nil && !j.Claim.Lapsed:
		e.Run = &why.Run{Slot: j.Claim.Slot, Since: j.LastStart.Unix(), Offered: !j.Claim.Started, NoImage: j.NoImage}
		if j.State == job.Suspended {
			e.Run.Suspended, e.Run.Reason = j.Entered.Unix(), j.LastReason
		}
	case j.Lingering != nil:
		e.Run = &why.Run{Slot: j.Lingering.Slot, Ending: true}
	default:
		explainWaiting(s, j, ad, e)
	}
	return e
}

func explainWaiting(s Snapshot, j *job.Job, ad *classad.Ad, e *why.Explanation) {
	if !s.has(j.ID) {
		prio, _ := ad.Int("JobPrio")
		s.Jobs = append(slices.Clone(s.Jobs), Batch{
			Cluster: j.ID.Cluster, Procs: []Range{{j.ID.Proc, j.ID.Proc + 1}},
			User: j.User, Prio: int(prio), Nice: Nice(ad), Avoid: j.Avoid, Ad: ad,
		})
	}
	plan := Cycle(s)
	for _, m := range plan.Matches {
		if m.Job == j.ID {
			e.Run = &why.Run{Slot: m.Slot.Name, Planned: true}
			return
		}
	}
	c := plan.cycle
	st := c.streamOf(j.ID)
	if st == nil {
		return
	}
	w := *c.why(st)
	w.Ahead, w.Own = c.holders(st)
	e.Waiting = &w
	e.Share = c.share(st)
	for _, l := range parseLimits(LimitsOf(ad, nil)) {
		used := c.limits.used[l.name]
		limit := c.limits.capOf(l.name)
		_, full := c.limits.full([]share{l})
		e.Limits = append(e.Limits, why.Limit{Name: l.name, Cap: limit, Used: used, Full: full})
	}
	a := c.entire().analyse(ad)
	e.Clauses = a.report()
	e.Refusals = a.refusals(c.entireGroup(st.group))
	if w.Machines > 0 && w.Unsuited == w.Machines {
		e.Changes = a.changes()
	}
}

func (s *Snapshot) has(id job.ID) bool {
	for i := range s.Jobs {
		if s.Jobs[i].Cluster == id.Cluster && newStream(&s.Jobs[i], nil, s.Jobs[i].Procs).has(id) {
			return true
		}
	}
	return false
}

// holders looks at who has the slots that suit a job. It names them, most slots first, if each has a
// better priority than the job's user; own is true if it is that user.
func (c *cycle) holders(st *stream) (ahead []string, own bool) {
	type slotKey struct {
		agent job.AgentID
		slot  string
	}
	holders := map[slotKey]job.UserID{}
	for _, cl := range c.snapshot.Claims {
		holders[slotKey{cl.Agent, cl.Slot}] = cl.User
	}
	priority := c.snapshot.Accounts[st.batch.User].Effective()
	slots := map[job.UserID]int{}
	for i := range c.slots {
		switch c.verdict(st.group, i) {
		case claimed:
		case crowded:
			for _, user := range c.sharers(i) {
				slots[user]++
			}
			continue
		default:
			continue
		}
		user, ok := holders[slotKey{c.slots[i].Agent, c.slots[i].Name}]
		if id := c.taken[i]; id != (job.ID{}) {
			user, ok = c.userOf(id), true
		}
		if !ok {
			return nil, false
		}
		slots[user]++
	}
	if len(slots) == 1 && slots[st.batch.User] > 0 {
		return nil, true
	}
	users := make([]job.UserID, 0, len(slots))
	for u := range slots {
		if u == st.batch.User || !st.batch.Nice && c.snapshot.Accounts[u].Effective() >= priority {
			return nil, false
		}
		users = append(users, u)
	}
	slices.SortFunc(users, func(a, b job.UserID) int {
		return cmp.Or(cmp.Compare(slots[b], slots[a]), cmp.Compare(a, b))
	})
	for _, u := range users {
		ahead = append(ahead, c.nameOf(u))
	}
	return ahead, false
}

// sharers are the users whose jobs have parts of a partitionable slot, as often as they have one.
func (c *cycle) sharers(slot int) []job.UserID {
	var all []job.UserID
	for _, cl := range c.snapshot.Claims {
		if cl.Agent == c.slots[slot].Agent && policy.ParentName(cl.Slot) == c.slots[slot].Name {
			all = append(all, cl.User)
		}
	}
	for _, id := range c.parting(slot).given {
		all = append(all, c.userOf(id))
	}
	return all
}

func (c *cycle) userOf(id job.ID) job.UserID {
	for _, st := range c.streams[id.Cluster] {
		return st.batch.User // a cluster is one user's
	}
	return ""
}

func (c *cycle) nameOf(u job.UserID) string {
	if name := c.snapshot.Names[u]; name != "" {
		return name
	}
	return string(u)
}

// share is the place of a job's user among all users who have jobs.
func (c *cycle) share(st *stream) *why.Share {
	slots, waiting := map[job.UserID]int{}, map[job.UserID]int{}
	for _, cl := range c.snapshot.Claims {
		slots[cl.User]++
	}
	for _, streams := range c.streams {
		for _, s := range streams {
			for _, r := range s.procs {
				waiting[s.batch.User] += r.Upto - max(r.From, s.next)
			}
		}
	}
	own := st.batch.User
	c.given(func(id job.ID) { slots[c.userOf(id)]++ })
	account := c.snapshot.Accounts[own]
	out := &why.Share{
		Place: 1, Of: 1, Slots: slots[own], Nice: st.batch.Nice,
		Effective: account.Effective(), Real: account.Real(), Factor: account.Effective() / account.Real(),
	}
	users := map[job.UserID]bool{}
	for u := range slots {
		users[u] = true
	}
	for u := range waiting {
		users[u] = true
	}
	for u := range users {
		if u == own {
			continue
		}
		out.Of++
		if p := c.snapshot.Accounts[u].Effective(); p < out.Effective {
			out.Place++
			out.Ahead = append(out.Ahead, why.User{Name: c.nameOf(u), Effective: p, Slots: slots[u], Waiting: waiting[u]})
		}
	}
	slices.SortFunc(out.Ahead, func(a, b why.User) int {
		return cmp.Or(cmp.Compare(a.Effective, b.Effective), cmp.Compare(a.Name, b.Name))
	})
	const most = 5
	if out.More = len(out.Ahead) - most; out.More > 0 {
		out.Ahead = out.Ahead[:most]
	} else {
		out.More = 0
	}
	return out
}

// moreMemory is the request to try for a job that had too little: a quarter more than what it was seen
// to use, or twice what it asked for.
func moreMemory(ad *classad.Ad) int64 {
	asked, ok := ad.Real("RequestMemory")
	if !ok || asked <= 0 {
		return 0
	}
	try := 2 * asked
	if used, ok := ad.Real("MemoryUsage"); ok && used > asked {
		try = 1.25 * used
	}
	const step = 256 // MiB
	return int64(math.Ceil(try/step) * step)
}
