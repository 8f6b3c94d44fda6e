package server

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/negotiate"
)

// Users gives everybody's share of the pool, the best priority first: of all who have used it, have been
// given a factor, or have jobs in the queue.
func (s *Server) Users() []wire.UserRow {
	snapshot := s.snapshot()
	slots := map[job.UserID]int{}
	for _, c := range snapshot.Claims {
		slots[c.User]++
	}
	var rows []wire.UserRow
	for user, a := range snapshot.Accounts {
		rows = append(rows, wire.UserRow{
			User: user, Name: s.names.of(user), Priority: a.Real(), Factor: a.Factor, Effective: a.Effective(),
			InUse: slots[user], Hours: a.Hours, First: a.First, Last: a.Last,
		})
	}
	slices.SortFunc(rows, func(a, b wire.UserRow) int {
		return cmp.Or(cmp.Compare(a.Effective, b.Effective), cmp.Compare(a.Name, b.Name), cmp.Compare(a.User, b.User))
	})
	return rows
}

// Factors below 1 would make nobody's share grow beyond what HTCondor's tools can show, and beyond the
// largest a user is as good as shut out.
const (
	minFactor = 1
	maxFactor = 1e9
)

// SetFactor gives a user's share another weight.
func (s *Server) SetFactor(ctx context.Context, user job.UserID, factor float64) error {
	if math.IsNaN(factor) || factor < minFactor || factor > maxFactor {
		return &diag.Problem{
			What: fmt.Sprintf("%v is not a factor", factor),
			Hint: fmt.Sprintf("factors go from %v to %v, and %v is the usual one; a smaller factor is a larger share",
				minFactor, float64(maxFactor), s.cfg.DefaultFactor),
		}
	}
	return s.cfg.Queue.Commit(ctx, &job.Factored{User: user, Factor: factor})
}

func (s *Server) userRows(p *page) {
	after := p.after != ""
	for _, row := range s.Users() {
		if after {
			after = string(row.User) != p.after
			continue
		}
		if !p.add(string(row.User), row) {
			return
		}
	}
}

// limitRows lists the concurrency limits that there are or that jobs count against.
func (s *Server) limitRows(p *page) {
	snapshot := negotiate.Snapshot{Now: time.Now(), Limits: s.cfg.Limits, Claims: s.claims(s.slotAds())}
	for _, u := range negotiate.LimitsInUse(snapshot) {
		if u.Name > p.after && !p.add(u.Name, wire.LimitRow{Name: u.Name, Cap: u.Cap, Used: u.Used}) {
			return
		}
	}
}
