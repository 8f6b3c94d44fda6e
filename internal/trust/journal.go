package trust

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Journal keeps the changes of a roster that several matchmakers share, in one order. [skua/internal/bus.Log] says
// what each method promises.
type Journal interface {
	Append(ctx context.Context, expectLast uint64, records [][]byte) (last uint64, err error)
	Read(ctx context.Context, from uint64, f func(seq uint64, data []byte) error) error
	Last(ctx context.Context) (uint64, error)
	Await(ctx context.Context, after uint64) (last uint64, err error)
}

// rosterChange is one record of a journal: the members and tokens that are new or different, and the tokens that are
// gone.
type rosterChange struct {
	V       int        `json:"v"`
	Members []Member   `json:"members,omitempty"`
	Tokens  []outToken `json:"tokens,omitempty"`
	Gone    []string   `json:"gone,omitempty"` // hashes
}

const (
	journalPatience = 10 * time.Second // of one change
	lookupPatience  = 2 * time.Second
	lookupEvery     = 50 * time.Millisecond
	changeEntries   = 100 // of one record, so that it stays far below the size of a message
	maxChange       = 1000
)

// OpenSharedRoster opens a roster that several matchmakers have in common. What counts is the journal; the file at path
// is a copy of it on this machine, and what a new journal begins with.
func OpenSharedRoster(ctx context.Context, path string, journal Journal) (*Roster, error) {
	here, err := readRoster(path)
	if err != nil {
		return nil, err
	}
	r := &Roster{path: path, journal: journal}
	r.state.Store(emptyRoster())
	r.change.Lock()
	defer r.change.Unlock()
	if _, err := r.catchUp(ctx); err != nil {
		return nil, fmt.Errorf("open the shared roster: %w", err)
	}
	if r.seq == 0 && len(here.members)+len(here.tokens) > 0 {
		err := r.agree(ctx, func(st *rosterState) error {
			if len(st.members)+len(st.tokens) > 0 {
				return errUnchanged // another matchmaker has begun it meanwhile
			}
			st.members, st.tokens = maps.Clone(here.members), maps.Clone(here.tokens)
			return nil
		})
		if err != nil && !errors.Is(err, errUnchanged) {
			return nil, fmt.Errorf("begin the shared roster: %w", err)
		}
	}
	if err := r.state.Load().write(path); err != nil {
		return nil, err
	}
	return r, nil
}

// Follow takes in what other matchmakers change, as it comes, until ctx ends, which is its error then, or a change
// cannot be understood. changed is called with the members that are different, after they count.
func (r *Roster) Follow(ctx context.Context, changed func([]Member)) error {
	for {
		r.change.Lock()
		seq := r.seq
		r.change.Unlock()
		_, err := r.journal.Await(ctx, seq)
		if err == nil {
			r.change.Lock()
			var members []Member
			members, err = r.catchUp(ctx)
			if err == nil && len(members) > 0 {
				err = r.state.Load().write(r.path)
			}
			r.change.Unlock()
			if len(members) > 0 {
				changed(members)
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errJournal):
			return fmt.Errorf("follow the shared roster: %w", err)
		case err != nil: // the cluster is not there for now; what is known goes on to count
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// errJournal is the error of a journal with a record that cannot be understood.
var errJournal = errors.New("the shared roster cannot be understood")

// catchUp takes in what the journal has and we do not, and gives the members in it. r.change is held.
func (r *Roster) catchUp(ctx context.Context) ([]Member, error) {
	var members []Member
	next := r.state.Load().clone()
	seq := r.seq
	err := r.journal.Read(ctx, seq+1, func(n uint64, data []byte) error {
		c, err := parseChange(data)
		if err == nil && n != seq+1 {
			err = fmt.Errorf("change %d comes where %d is due", n, seq+1)
		}
		if err != nil {
			return fmt.Errorf("%w: change %d: %w", errJournal, n, err)
		}
		next.take(c)
		members = append(members, c.Members...)
		seq = n
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.seq = seq
	r.state.Store(next)
	return members, nil
}

func (st *rosterState) take(c rosterChange) {
	for _, m := range c.Members {
		st.members[m.PublicKey] = m
	}
	for _, t := range c.Tokens {
		st.tokens[t.Hash] = t
	}
	for _, hash := range c.Gone {
		delete(st.tokens, hash)
	}
}

// agree adds what change does to the journal. When others have been faster, change is called again on what they have
// made. r.change is held.
func (r *Roster) agree(ctx context.Context, change func(*rosterState) error) error {
	ctx, cancel := context.WithTimeout(ctx, journalPatience)
	defer cancel()
	if _, err := r.catchUp(ctx); err != nil {
		return err
	}
	for {
		old := r.state.Load()
		next := old.clone()
		if err := change(next); err != nil {
			return err
		}
		records, err := encodeChanges(old.changesTo(next))
		if err != nil || len(records) == 0 {
			return err
		}
		_, err = r.journal.Append(ctx, r.seq, records)
		if err == nil {
			r.seq += uint64(len(records))
			r.state.Store(next)
			return nil
		}
		// Whatever the error is: if it has been added after all, change finds so; nothing is added twice, since an
		// append names the one that it follows on.
		before := r.seq
		if _, rerr := r.catchUp(ctx); rerr != nil {
			return errors.Join(err, rerr)
		}
		if r.seq == before {
			return err
		}
	}
}

// changesTo gives what is different in next.
func (st *rosterState) changesTo(next *rosterState) rosterChange {
	var c rosterChange
	for key, m := range next.members {
		if old, ok := st.members[key]; !ok || old != m {
			c.Members = append(c.Members, m)
		}
	}
	for hash, t := range next.tokens {
		if old, ok := st.tokens[hash]; !ok || old != t {
			c.Tokens = append(c.Tokens, t)
		}
	}
	for hash := range st.tokens {
		if _, ok := next.tokens[hash]; !ok {
			c.Gone = append(c.Gone, hash)
		}
	}
	slices.SortFunc(c.Members, compareMembers)
	return c
}

// encodeChanges makes records of a change, which are to be added together.
func encodeChanges(c rosterChange) ([][]byte, error) {
	var records [][]byte
	for len(c.Members)+len(c.Tokens)+len(c.Gone) > 0 {
		part := rosterChange{V: rosterVersion}
		part.Members, c.Members = cut(c.Members)
		part.Tokens, c.Tokens = cut(c.Tokens)
		part.Gone, c.Gone = cut(c.Gone)
		data, err := json.Marshal(part)
		if err != nil {
			return nil, err
		}
		records = append(records, data)
	}
	if len(records) > maxChange {
		return nil, fmt.Errorf("%d records are too many for one change of the roster", len(records))
	}
	return records, nil
}

func cut[E any](all []E) (part, rest []E) {
	n := min(len(all), changeEntries)
	return all[:n], all[n:]
}

// parseChange is as strict as [parseRoster], for the same reason.
func parseChange(data []byte) (rosterChange, error) {
	var c rosterChange
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return c, err
	}
	if dec.More() {
		return c, errors.New("something follows the change")
	}
	if c.V != rosterVersion {
		return c, fmt.Errorf("it is of version %d, this program knows version %d", c.V, rosterVersion)
	}
	for _, m := range c.Members {
		if err := m.check(); err != nil {
			return c, err
		}
	}
	for _, t := range c.Tokens {
		if err := t.check(); err != nil {
			return c, err
		}
	}
	return c, nil
}
