package queue

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"skua/internal/job"
)

// A snapshot is the state after one event, written down, so that a restart reads only the events after it. It is
// JSON, a line for the queue, lines with the lists that grow with its age, one for each cluster with one for each of
// its jobs that something has happened to after it, and one for the end. What follows from these is not in it.

// snapshotVersion is the version of snapshots that this build writes. It reads those before it, too; another one is
// passed over: the log is the truth.
//
//   - 1: first release; the lists are in the line for the queue, however long that is
//   - 2: lists in lines of their own
const snapshotVersion = 2

// maxSnapshotLine bounds a line of a snapshot, in bytes. It holds for writing as for reading, so that a snapshot for which
// the log forgets its events can be read. Lines stay far below it: a cluster's has a bit for each of its procs beside what
// its event had, and the first version's line for the queue some 700 bytes for each of 100,000 requests.
const maxSnapshotLine = 1 << 30

type (
	snapshotHead struct {
		V       int     `json:"v"`
		Seq     uint64  `json:"seq"`
		Sum     []byte  `json:"sum,omitempty"` // the chain after it; none for an unsealed one
		Cluster int     `json:"cluster"`
		Goodput Goodput `json:"goodput,omitzero"` // builds that did not know of it began to count later
		Lists   int     `json:"lists,omitempty"`  // lines with lists that follow; since 2
		snapshotLists
	}
	snapshotCluster struct {
		Event   job.Event       `json:"event"`
		Opened  int             `json:"opened"`
		Entries []snapshotEntry `json:"entries"`
		Closed  bool            `json:"closed,omitempty"`
		Late    *job.Late       `json:"late,omitempty"` // if that has been edited
		Fresh   []uint64        `json:"fresh"`
		States  [8]int          `json:"states"`
		Jobs    int             `json:"jobs"` // lines that follow
	}
	snapshotEntry struct {
		Upto int       `json:"upto"`
		At   time.Time `json:"at"`
	}
	snapshotEnd struct {
		End      bool `json:"end"`
		Clusters int  `json:"clusters"`
	}
)

// capture is what a snapshot is written from: a picture of the state that the committer does not change any more.
type capture struct {
	head     snapshotHead // has all lists
	clusters []captured
	longest  int // bytes of a line that can still be read
}

type captured struct {
	cluster *job.Cluster
	line    snapshotCluster
	jobs    map[int]*job.Job
}

// capture copies what changes; jobs and clusters are shared. The caller holds a lock.
func (s *state) capture() *capture {
	c := &capture{longest: maxSnapshotLine, head: snapshotHead{
		V: snapshotVersion, Seq: s.seq, Cluster: s.cluster, Goodput: s.goodput,
		snapshotLists: snapshotLists{
			Users: maps.Clone(s.users), Past: slices.Clone(s.past), Tables: maps.Clone(s.named), History: slices.Clone(s.history),
			Accounts: maps.Clone(s.accounts.users), Runs: map[job.ID]snapshotRun{},
		},
	}}
	if s.chain.sealed {
		c.head.Sum = bytes.Clone(s.chain.sum[:])
	}
	for _, key := range s.requestOrder {
		r := s.requests[key]
		c.head.Requests = append(c.head.Requests, snapshotRequest{key.user, key.request, r.Cluster, r.Seq})
	}
	for id, r := range s.accounts.runs {
		c.head.Runs[id] = snapshotRun{r.cpus, r.counts}
	}
	for _, k := range s.inOrder {
		line := snapshotCluster{
			Opened: k.opened, Closed: k.closed, Fresh: slices.Clone(k.fresh), States: k.states, Jobs: len(k.jobs),
		}
		if k.late != k.Late {
			late := k.late
			line.Late = &late
		}
		for _, e := range k.entries {
			line.Entries = append(line.Entries, snapshotEntry{e.upto, e.at})
		}
		c.clusters = append(c.clusters, captured{k.Cluster, line, maps.Clone(k.jobs)})
	}
	return c
}

// write writes the snapshot. A line that could not be read again is an error.
func (c *capture) write(w io.Writer) error {
	w = lineWriter{w, c.longest}
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	head, lists := c.head, c.head.split(listsPerLine)
	head.Lists, head.snapshotLists = len(lists), snapshotLists{}
	if err := out.Encode(head); err != nil {
		return err
	}
	for _, l := range lists {
		if err := out.Encode(l); err != nil {
			return err
		}
	}
	for _, k := range c.clusters {
		k.line.Event = k.cluster.Submitted()
		if err := out.Encode(k.line); err != nil {
			return err
		}
		for _, proc := range slices.Sorted(maps.Keys(k.jobs)) {
			data, err := k.jobs[proc].Save()
			if err != nil {
				return err
			}
			if _, err := w.Write(append(data, '\n')); err != nil {
				return err
			}
		}
	}
	return out.Encode(snapshotEnd{true, len(c.clusters)})
}

// lineWriter writes lines, each with one Write, that have at most so many bytes.
type lineWriter struct {
	to      io.Writer
	longest int
}

func (w lineWriter) Write(line []byte) (int, error) {
	if len(line) > w.longest {
		return 0, fmt.Errorf("a line of %d bytes could not be read again, at most %d can be", len(line), w.longest)
	}
	return w.to.Write(line)
}

// readSnapshot makes a state of a snapshot. tables and what else is configured are the caller's to set in the
// empty state that it hands over.
func readSnapshot(r io.Reader, s *state) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxSnapshotLine)
	next := func(v any) error {
		if !lines.Scan() {
			return errors.Join(io.ErrUnexpectedEOF, lines.Err())
		}
		if v == nil {
			return nil
		}
		return json.Unmarshal(lines.Bytes(), v)
	}
	var head snapshotHead
	if err := next(&head); err != nil {
		return err
	}
	if head.V < 1 || head.V > snapshotVersion {
		return fmt.Errorf("it has version %d: this build reads versions up to %d", head.V, snapshotVersion)
	}
	s.restoreHead(&head)
	for range head.Lists {
		var lists snapshotLists
		if err := next(&lists); err != nil {
			return err
		}
		s.restoreLists(&lists)
	}
	clusters := 0
	for {
		if err := next(nil); err != nil {
			return err
		}
		var end snapshotEnd
		if err := json.Unmarshal(lines.Bytes(), &end); err == nil && end.End {
			if end.Clusters != clusters {
				return fmt.Errorf("it has %d clusters, not %d as its end says", clusters, end.Clusters)
			}
			s.restorePast()
			return nil
		}
		var line snapshotCluster
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return err
		}
		k, err := s.restoreCluster(&line)
		if err != nil {
			return err
		}
		for range line.Jobs {
			if err := next(nil); err != nil {
				return err
			}
			j, err := k.Restore(lines.Bytes())
			if err != nil {
				return err
			}
			if err := s.restoreJob(k, j); err != nil {
				return err
			}
		}
		clusters++
	}
}

func (s *state) restoreHead(h *snapshotHead) {
	s.seq, s.cluster = h.Seq, h.Cluster
	if len(h.Sum) == sumSize {
		s.chain = chain{[sumSize]byte(h.Sum), true}
	}
	s.goodput = h.Goodput
	s.restoreLists(&h.snapshotLists) // of the first version
}

// restoreCluster adds a cluster with its fresh jobs.
func (s *state) restoreCluster(line *snapshotCluster) (*cluster, error) {
	b, ok := line.Event.Body.(*job.Submitted)
	if !ok {
		return nil, errors.New("a cluster without its submit")
	}
	var table *job.Table
	if b.Table != nil {
		var err error
		if table, err = s.tables(b.Table); err != nil {
			return nil, fmt.Errorf("cluster %d: %w", b.Cluster, err)
		}
	}
	c, err := job.NewCluster(line.Event, table)
	if err != nil {
		return nil, err
	}
	n := len(s.inOrder)
	if n > 0 && s.inOrder[n-1].Number >= c.Number || c.Number > s.cluster {
		return nil, fmt.Errorf("cluster %d is out of order", c.Number)
	}
	k := newCluster(c)
	k.opened, k.closed, k.fresh, k.states = line.Opened, line.Closed, bitset(line.Fresh), line.States
	if line.Late != nil {
		k.late = *line.Late
	}
	for _, e := range line.Entries {
		k.entries = append(k.entries, entry{e.Upto, e.At})
	}
	last := k.fresh.last()
	if k.opened < 0 || k.opened > c.Len() || last >= k.opened || last >= 0 && (len(k.entries) == 0 || k.entries[len(k.entries)-1].upto <= last) {
		return nil, fmt.Errorf("cluster %d: it is said to have %d jobs of %d, of which %d has not been touched", c.Number, k.opened, c.Len(), last)
	}
	for from := k.fresh.next(0); from >= 0; {
		upto := k.fresh.nextNot(from)
		k.nfresh += upto - from
		from = k.fresh.next(upto)
	}
	s.clusters[c.Number] = k
	s.inOrder = append(s.inOrder, k)
	s.owned[c.User] = append(s.owned[c.User], k)
	if c.Late.Limits() && k.more() {
		s.late[c.Number] = k
	}
	s.hold(c.User, k.nfresh)
	return k, nil
}

func (s *state) restoreJob(k *cluster, j *job.Job) error {
	if _, twice := k.jobs[j.ID.Proc]; twice || k.fresh.has(j.ID.Proc) || j.ID.Proc >= k.opened {
		return fmt.Errorf("job %v is out of place", j.ID)
	}
	k.jobs[j.ID.Proc] = j
	if waitsUntried(j) {
		k.untried.add(j.ID.Proc, j.ID.Proc+1)
	}
	s.index(j)
	if counts(j) {
		s.hold(j.User, 1)
	}
	return nil
}
