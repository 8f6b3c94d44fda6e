package queue

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
)

// Inspection is what a look at the queue log has found, at its archive and its snapshots. It is what
// "skua-matchmaker log verify" prints.
type Inspection struct {
	Log     Copy `json:"log"`
	Archive Copy `json:"archive"`

	Snapshots []SnapshotFound `json:"snapshots"` // the newest first

	First  uint64 `json:"first"`  // lowest number of an event that is there, 0 for none
	Last   uint64 `json:"last"`   // up to which all are whole that a start needs, and fit
	Sum    string `json:"sum"`    // the running hash after Last
	Events uint64 `json:"events"` // whole ones, in log or archive
	Jobs   int    `json:"jobs"`   // in the queue after Last, those included whose outputs wait to be fetched
	Begins uint64 `json:"begins"` // event of the snapshot that a start begins with, 0 for the first event
	Known  uint64 `json:"known"`  // the highest number that anything speaks of

	// Past are events before Begins that neither copy has whole: a start does not need them.
	Past []Damage `json:"past,omitempty"`
	// Fatal is the first event that a start needs and cannot have. Nil when there is none.
	Fatal *Damage `json:"fatal,omitempty"`

	told  uint64 // the last event that log or archive has
	after chain  // after Last
}

// Copy is one of the two places where events are.
type Copy struct {
	First   uint64   `json:"first"`
	Last    uint64   `json:"last"` // 0 for an empty one
	Events  uint64   `json:"events"`
	Damaged uint64   `json:"damaged"`           // how many are missing or not whole
	Damage  []Damage `json:"damage,omitempty"`  // the first of them
	Lacking uint64   `json:"lacking,omitempty"` // events at its end that the other one has
	Holes   uint64   `json:"holes,omitempty"`   // of an archive: events that it lacks and the log has forgotten
}

// Damage is an event that is not whole, and what is wrong with it.
type Damage struct {
	Seq  uint64 `json:"seq"`
	What string `json:"what"`
}

// SnapshotFound is a snapshot, and what is wrong with it.
type SnapshotFound struct {
	Seq  uint64 `json:"seq"`
	Jobs int    `json:"jobs"`
	Bad  string `json:"bad,omitempty"`
}

// Good says whether nothing is damaged. Events that are in no copy any more and that a start does not need are no
// damage that something could be done about.
func (i *Inspection) Good() bool {
	for _, s := range i.Snapshots {
		if s.Bad != "" {
			return false
		}
	}
	return i.Fatal == nil && i.Whole()
}

// Whole says whether log and archive are undamaged, each for itself. When they are not and Fatal is nil, each has
// what the other lacks.
func (i *Inspection) Whole() bool {
	return i.Log.Damaged == 0 && i.Archive.Damaged == 0 && i.Log.Lacking == 0
}

const maxDamages = 10 // that are told one by one

func (c *Copy) note(seq uint64, f found) {
	switch {
	case f.good():
		c.Events++
	case f.due || f.data != nil:
		c.Damaged++
		if len(c.Damage) < maxDamages {
			c.Damage = append(c.Damage, Damage{seq, f.bad})
		}
	}
}

// Inspect looks at all that is there and changes nothing. Of cfg it wants what [Open] does. The error is one of
// looking, not of what was found.
func Inspect(ctx context.Context, cfg Config) (*Inspection, error) {
	i, _, err := inspect(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("inspect queue log: %w", err)
	}
	return i, nil
}

func inspect(ctx context.Context, cfg Config) (*Inspection, *story, error) {
	s, err := openStory(ctx, cfg.Log, cfg.Archive)
	if err != nil {
		return nil, nil, err
	}
	i := &Inspection{}
	i.Log.First, i.Log.Last = s.log.first, s.log.last
	i.Archive.First, i.Archive.Last = s.archive.first, s.archive.last
	i.First, i.told = s.span()
	i.Known = i.told
	if s.archive.last > s.log.last {
		i.Log.Lacking = s.archive.last - s.log.last
	} else if cfg.Archive != nil {
		i.Archive.Lacking = s.log.last - s.archive.last
	}
	shots := snapshots{cfg.Snapshots}
	var seqs []uint64
	if cfg.Snapshots != "" {
		if seqs, err = shots.list(); err != nil {
			return nil, nil, err
		}
	}
	anchors := map[uint64]*anchor{}
	for _, seq := range seqs {
		anchors[seq] = &anchor{}
	}
	var damages []Damage
	for m, err := range s.tell(ctx, 1) {
		if err != nil {
			return nil, nil, err
		}
		i.Log.note(m.seq, m.log)
		if m.seq < i.Log.First && m.archive.data == nil {
			i.Archive.Holes++
		} else {
			i.Archive.note(m.seq, m.archive)
		}
		if a := anchors[m.seq]; a != nil {
			a.here = m.any()
		}
		if a := anchors[m.seq-1]; a != nil {
			a.next = m.record
		}
		if m.record == nil {
			damages = append(damages, Damage{m.seq, m.wrong()})
			continue
		}
		i.Events++
	}
	q := &Queue{cfg: cfg, log: slog.New(slog.DiscardHandler)}
	q.cfg.History = nil
	setDefault(&q.cfg.MaxHistory, defaultHistory)
	if q.state, err = i.lookAtSnapshots(q, shots, seqs, anchors); err != nil {
		return nil, nil, err
	}
	i.Begins = q.state.seq
	for _, d := range damages {
		if d.Seq > i.Begins {
			break
		}
		i.Past = append(i.Past, d)
	}
	return i, s, i.play(ctx, q, s)
}

// anchor is where a snapshot must fit: the record of its event and the next one, nil for one that is not there.
type anchor struct{ here, next []byte }

// holds says whether a state with a chain can be that of a start, as [Queue.belongs] does.
func (a *anchor) holds(c chain) error {
	switch {
	case a.here != nil:
		if has := chainAfter(a.here); has.sealed && has != c {
			return errors.New("it is of another log")
		}
	case a.next == nil:
		return errors.New("its event is missing")
	default:
		if _, err := c.check(a.next); err != nil {
			return errors.New("its event is missing, and the next one is of another log")
		}
	}
	return nil
}

// any is the record as far as there is one, the good one first.
func (m *moment) any() []byte {
	switch {
	case m.record != nil:
		return m.record
	case m.log.data != nil:
		return m.log.data
	}
	return m.archive.data
}

// wrong says what is wrong with a moment of which no source has a good record.
func (m *moment) wrong() string {
	switch {
	case m.log.data != nil:
		return m.log.bad
	case m.archive.data != nil:
		return m.archive.bad
	}
	return missing
}

// lookAtSnapshots reads them all and gives the state of the newest good one, an empty one for none.
func (i *Inspection) lookAtSnapshots(q *Queue, dir snapshots, seqs []uint64, anchors map[uint64]*anchor) (*state, error) {
	best := q.emptyState()
	for _, seq := range seqs {
		s := q.emptyState()
		err := dir.get(seq, s)
		if err == nil && seq > i.told {
			i.Known = max(i.Known, seq)
		} else if err == nil {
			err = anchors[seq].holds(s.chain)
		}
		f := SnapshotFound{Seq: seq, Jobs: s.total}
		if err != nil {
			f.Bad = err.Error()
		} else if best.seq == 0 {
			best = s
		}
		i.Snapshots = append(i.Snapshots, f)
	}
	return best, nil
}

// play works out the state as a start does, up to the first event that cannot be had or does not fit.
func (i *Inspection) play(ctx context.Context, q *Queue, s *story) error {
	i.Last = i.Begins
	defer func() {
		i.after, i.Sum, i.Jobs = q.state.chain, hex.EncodeToString(q.state.chain.sum[:]), q.state.total
	}()
	switch {
	case i.Begins > i.told:
		i.Fatal = &Damage{i.Begins + 1, "neither log nor archive comes as far as the snapshot before it: what there was after that is not known"}
		return nil
	case i.First > i.Begins+1:
		i.Fatal = &Damage{i.Begins + 1, fmt.Sprintf("it is missing, as are all before event %d", i.First)}
		return nil
	}
	for m, err := range s.tell(ctx, max(i.Begins, 1)) {
		switch {
		case err != nil:
			return err
		case m.seq <= i.Begins:
			continue
		case m.record == nil:
			i.Fatal = &Damage{m.seq, m.wrong()}
			return nil
		}
		if err := q.replayOne(m.seq, m.record); err != nil {
			i.Fatal = &Damage{m.seq, err.Error()}
			return nil
		}
		q.state.done = nil
		i.Last = m.seq
	}
	return nil
}

// Record is one number of the log, for people and scripts to look at.
type Record struct {
	Seq  uint64
	Data []byte // as it was written; nil when it is missing
	Bad  string // what is wrong with it, "" for nothing
}

// Records calls f with the numbers from one to another, whole or not; to 0 means to the end. What both log and
// archive have is given once.
func Records(ctx context.Context, cfg Config, from, to uint64, f func(Record) error) error {
	s, err := openStory(ctx, cfg.Log, cfg.Archive)
	if err != nil {
		return fmt.Errorf("read queue log: %w", err)
	}
	for m, err := range s.tell(ctx, 1) { // from the beginning, since what is good follows from what is before
		switch {
		case err != nil:
			return fmt.Errorf("read queue log: %w", err)
		case m.seq < from:
			continue
		case to > 0 && m.seq > to:
			return nil
		}
		if err := f(m.told()); err != nil {
			return err
		}
	}
	return nil
}

func (m *moment) told() Record {
	r := Record{Seq: m.seq, Data: m.any()}
	if m.record == nil {
		r.Bad = m.wrong()
	}
	return r
}
