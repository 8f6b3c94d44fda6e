package server

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/history"
	"skua/policy/classad"
)

// Past is where jobs are that have ended and are not in memory any more; [skua/matchmaker/history.Store] is one.
type Past interface {
	Walk(ctx context.Context, q history.Query, f func(*history.Entry) bool) (next uint64, err error)
}

// pastCursor begins the cursor of a page that goes on in the past. The rest is the sequence before which.
const pastCursor = "past/"

// pastRows lists ended jobs that are only on disk, the last first. They come after those that are in memory,
// of which some may have ended earlier: their outputs have not been fetched.
func (s *Server) pastRows(ctx context.Context, p *page, user job.UserID, sel wire.Selection, cols *columns) error {
	q, ok := s.pastQuery(user, sel)
	if !ok || p.result.More {
		return nil
	}
	constraint, err := parseConstraint(sel.Constraint)
	if err != nil {
		return err
	}
	if seq, ok := strings.CutPrefix(p.after, pastCursor); ok {
		if q.Before, err = strconv.ParseUint(seq, 10, 64); err != nil {
			return problem("%.40q is not a place in the history", p.after)
		}
	}
	next, err := s.cfg.Past.Walk(ctx, q, func(e *history.Entry) bool {
		if _, inMemory := s.cfg.Queue.Job(e.ID); inMemory {
			return true // it has been shown
		}
		ad, err := e.Ad()
		if err != nil || constraint != nil && !constraint.Eval(ad, nil).IsTrue() {
			return true // the checksum is good: what cannot be read is of a newer version
		}
		cursor := pastCursor + strconv.FormatUint(e.Seq, 10)
		if cols != nil {
			return p.addRaw(cursor, cols.of(ad))
		}
		return p.add(cursor, pastRow(e, ad))
	})
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if next > 0 { // a part of it has been looked at
		p.result.More, p.result.Next = true, pastCursor+strconv.FormatUint(next, 10)
	}
	return nil
}

func pastRow(e *history.Entry, ad *classad.Ad) wire.JobRow {
	return wire.JobRow{ID: e.ID, Ad: ad, Delivered: e.Delivered}
}

// pastQuery asks for what a selection may mean that is not in memory; false for nothing.
func (s *Server) pastQuery(user job.UserID, sel wire.Selection) (history.Query, bool) {
	q := history.Query{User: user, Clusters: slices.Clone(sel.Clusters), Jobs: slices.Clone(sel.Jobs)}
	if s.cfg.Past == nil {
		return q, false
	}
	if len(q.Clusters)+len(q.Jobs) == 0 {
		return q, true
	}
	q.Clusters = slices.DeleteFunc(q.Clusters, func(c int) bool { return !s.cfg.Queue.Forgot(c) })
	q.Jobs = slices.DeleteFunc(q.Jobs, func(id job.ID) bool {
		_, inMemory := s.cfg.Queue.Job(id)
		return inMemory || !s.cfg.Queue.Forgot(id.Cluster)
	})
	return q, len(q.Clusters)+len(q.Jobs) > 0
}
