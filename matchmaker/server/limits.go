package server

import (
	"slices"
	"sync"

	"skua/internal/job"
	"skua/matchmaker/negotiate"
	"skua/policy/classad"
)

// limits sees to it that concurrency limits hold at the moment at which a claim begins to count: when
// it is offered, and when a lapsed one revives. A plan is made from a picture of the pool, and between
// the picture and the offer a claim may have come back.
type limits struct {
	mu sync.Mutex // held from the look at the claims until the new one is in the log
}

// limitsOf gives the concurrency limits of a job on a slot, whose ad may be nil. The view makes the ads of jobs that
// follow on each other.
func limitsOf(j *job.Job, slot *classad.Ad, view *job.View) string {
	ad := j.Ad
	if negotiate.LimitsVary(ad) {
		ad = view.Of(j)
	}
	return negotiate.LimitsOf(ad, slot)
}

// room is a look at what is in use, which others wait for.
type room struct {
	s      *Server
	looked bool
	claims []negotiate.Claim
}

// enter begins to count; leave ends it.
func (l *limits) enter(s *Server) *room {
	l.mu.Lock()
	return &room{s: s}
}

func (r *room) leave() { r.s.limits.mu.Unlock() }

// take counts a job in, unless one of its limits has no room. slot is the ad of the slot that it is to
// have; it may be nil.
func (r *room) take(j *job.Job, slot *classad.Ad) bool {
	if len(r.s.cfg.Limits) == 0 {
		return true
	}
	text := limitsOf(j, slot, new(job.View))
	if text == "" {
		return true
	}
	if !r.looked {
		r.claims, r.looked = r.s.claims(r.s.slotAds()), true
	}
	with := append(r.claims[:len(r.claims):len(r.claims)], negotiate.Claim{Job: j.ID, User: j.User, Limits: text})
	if exceeded(r.s.cfg.Limits, r.claims, with) {
		return false
	}
	r.claims = with
	return true
}

// replace counts a job in, in the place of one that is about to end.
func (r *room) replace(ended job.ID, j *job.Job, slot *classad.Ad) bool {
	r.claims, r.looked = r.s.claims(r.s.slotAds()), true
	r.claims = slices.DeleteFunc(r.claims, func(c negotiate.Claim) bool { return c.Job == ended })
	return r.take(j, slot)
}

// exceeded says whether more claims use more of a limit than there is. What was too much before is not
// held against them, as when a limit has been lowered.
func exceeded(caps map[string]float64, before, after []negotiate.Claim) bool {
	const rounding = 1e-9
	used := map[string]float64{}
	for _, u := range negotiate.LimitsInUse(negotiate.Snapshot{Limits: caps, Claims: before}) {
		used[u.Name] = u.Used
	}
	for _, u := range negotiate.LimitsInUse(negotiate.Snapshot{Limits: caps, Claims: after}) {
		if u.Cap >= 0 && u.Used > u.Cap+rounding && u.Used > used[u.Name] {
			return true
		}
	}
	return false
}
