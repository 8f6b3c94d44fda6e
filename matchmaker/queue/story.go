package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"skua/internal/bus"
	"skua/internal/job"
)

// A story is what the log and its archive tell together: each event is taken from whichever has it whole. It reads
// past damage, which a queue never does, so that what is there can be looked at, and mended.
type story struct {
	log, archive source
}

// source is one of the two places where the events are. A nil read is one that is not there.
type source struct {
	read        func(ctx context.Context, from uint64, f func(seq uint64, data []byte) error) error
	first, last uint64 // what it has if nothing is missing; 0 and 0 for nothing
}

// moment is one number of a story.
type moment struct {
	seq          uint64
	log, archive found
	record       []byte // the good one; nil when neither is
	after        chain  // after it
}

// found is what a source has of a number.
type found struct {
	data []byte
	due  bool   // the source should have it
	bad  string // what is wrong with it, "" for nothing
}

const missing = "it is missing"

func (f *found) good() bool { return f.data != nil && f.bad == "" }

// openStory finds out what there is.
func openStory(ctx context.Context, log Log, archive *Archive) (*story, error) {
	s := &story{}
	first, err := log.First(ctx)
	if err != nil {
		return nil, err
	}
	last, err := log.Last(ctx)
	if err != nil {
		return nil, err
	}
	if first <= last {
		s.log = source{log.Read, first, last}
	}
	if archive != nil {
		if from, end := archive.Span(); end > 0 {
			s.archive = source{archive.Read, from, end}
		}
	}
	return s, nil
}

// span is the lowest number and the highest, 0 and 0 for an empty story.
func (s *story) span() (first, last uint64) {
	for _, src := range []source{s.log, s.archive} {
		if src.read != nil && (first == 0 || src.first < first) {
			first = src.first
		}
		last = max(last, src.last)
	}
	return first, last
}

// tell gives all moments from a number on. An error that is not about damage comes last, with a nil moment.
func (s *story) tell(ctx context.Context, from uint64) iter.Seq2[*moment, error] {
	return func(yield func(*moment, error) bool) {
		var failed error
		nextLog, stopLog := iter.Pull2(s.log.records(ctx, from, &failed))
		defer stopLog()
		nextCopy, stopCopy := iter.Pull2(s.archive.records(ctx, from, &failed))
		defer stopCopy()
		log, archive := cursor{next: nextLog}, cursor{next: nextCopy}
		first, last := s.span()
		from = max(from, first)
		var c chain
		believe := from > 1 // the chain before is not known
		for seq := from; seq <= last && seq > 0; seq++ {
			m := &moment{seq: seq}
			m.log = found{data: log.at(seq), due: s.log.has(seq)}
			m.archive = found{data: archive.at(seq), due: s.archive.has(seq)}
			if failed != nil {
				yield(nil, failed)
				return
			}
			c, believe = m.judge(c, believe)
			m.after = c
			if !yield(m, nil) {
				return
			}
		}
	}
}

// judge chooses the good record. It gives the chain after it, and whether what follows has to be believed, because
// what this one should have been is not known.
func (m *moment) judge(c chain, believe bool) (chain, bool) {
	next := c
	for _, f := range []*found{&m.log, &m.archive} {
		switch {
		case f.data == nil && f.due:
			f.bad = missing
		case f.data == nil:
		default:
			after, err := c.check(f.data)
			if believe {
				after, err = chainAfter(f.data), nil
			}
			if err == nil {
				var ev job.Event
				err = ev.UnmarshalJSON(f.data)
			}
			if err != nil {
				f.bad = err.Error()
			} else if m.record == nil {
				m.record, next = f.data, after
			}
		}
	}
	if m.log.good() && m.archive.good() && !bytes.Equal(m.log.data, m.archive.data) {
		m.archive.bad = "it is another one than the log's"
	}
	return next, m.record == nil
}

func (s *source) has(seq uint64) bool { return s.read != nil && s.first <= seq && seq <= s.last }

// records gives what can be read, in order, past what is missing.
func (s *source) records(ctx context.Context, from uint64, failed *error) iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		if s.read == nil {
			return
		}
		enough := errors.New("enough")
		for from = max(from, s.first); from <= s.last; {
			err := s.read(ctx, from, func(seq uint64, data []byte) error {
				from = seq + 1
				if !yield(seq, data) {
					return enough
				}
				return nil
			})
			var gap *bus.GapError
			switch {
			case errors.As(err, &gap) && gap.Next > from:
				from = gap.Next
			case err == nil, errors.Is(err, enough), errors.As(err, &gap):
				return
			default:
				*failed = fmt.Errorf("event %d: %w", from, err)
				return
			}
		}
	}
}

// cursor holds the record that comes next.
type cursor struct {
	next  func() (uint64, []byte, bool)
	seq   uint64
	data  []byte
	begun bool
}

// at gives the record of a number, nil when there is none. Numbers are asked for in order.
func (c *cursor) at(seq uint64) []byte {
	for !c.begun || c.seq < seq && c.seq > 0 {
		c.begun = true
		c.seq, c.data, _ = c.next() // 0 at the end
	}
	if c.seq != seq {
		return nil
	}
	return c.data
}
