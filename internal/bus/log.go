package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"skua/internal/wire"
)

// Log is an ordered, durable list of records, numbered from 1 without gaps. [StreamLog] keeps it in
// JetStream, [MemoryLog] in memory.
type Log interface {
	// Append adds records as one: all or none. It succeeds only when the log's last sequence is
	// expectLast, and when it returns the records are on disk; last is the sequence of the last one.
	//
	// [ErrWrongSequence] means that somebody else has written and nothing was added.
	// [ErrUnknownOutcome] means that the records may or may not have been added, or may be added a
	// little later; because of expectLast they are never added twice. The caller reads the end of the
	// log before it goes on. After any other error nothing was added.
	Append(ctx context.Context, expectLast uint64, records [][]byte) (last uint64, err error)

	// AppendInOrder is Append for records of which the first ones may stand alone: it costs less for a few, but when the
	// process dies in the middle, the log may have those only. It may report [ErrUnknownOutcome] where Append
	// is certain.
	AppendInOrder(ctx context.Context, expectLast uint64, records [][]byte) (last uint64, err error)

	// Read calls f for the records from sequence from on, in order, up to what was the last when Read
	// was called. A record that is missing is a [GapError]; an error of f ends the reading and is returned
	// as it is. data is f's to keep.
	Read(ctx context.Context, from uint64, f func(seq uint64, data []byte) error) error

	// Last gives the last sequence ever written, 0 for a new log. Purging does not change it. While the servers that
	// keep a log choose which one leads, it may be an earlier one: whoever then appends after that learns it, by
	// [ErrWrongSequence].
	Last(ctx context.Context) (uint64, error)

	// Await waits until the log has a record after the sequence after, and gives the last one, which those who
	// read on may find exceeded. It notices within a fraction of a second. When ctx ends first, that is the error.
	Await(ctx context.Context, after uint64) (last uint64, err error)

	// First gives the sequence of the first record that is kept, or, of an empty log, the next one to
	// come.
	First(ctx context.Context) (uint64, error)

	// Purge removes the records with sequences below before, for good. Beyond the log's end it empties
	// the log and has it go on with before.
	Purge(ctx context.Context, before uint64) error
}

// MaxBatch is how many records one Append may add.
const MaxBatch = 1000

// Errors of logs.
var (
	ErrWrongSequence  = errors.New("somebody else has written to the log")
	ErrUnknownOutcome = errors.New("it is not known whether the log has taken the records")
	ErrGap            = errors.New("records are missing from the log")
)

// GapError says which records a log lacks. It is an [ErrGap].
type GapError struct {
	From uint64 // the first one that is missing
	Next uint64 // the first one after it that is there; 0 when none is known
}

func (e *GapError) Error() string {
	if e.Next == 0 {
		return fmt.Sprintf("%v: number %d", ErrGap, e.From)
	}
	return fmt.Sprintf("%v: numbers %d to %d", ErrGap, e.From, e.Next-1)
}

// Is makes it an [ErrGap].
func (e *GapError) Is(target error) bool { return target == ErrGap }

func checkRecords(records [][]byte) error {
	if len(records) == 0 || len(records) > MaxBatch {
		return fmt.Errorf("append: %d records, expected 1 to %d", len(records), MaxBatch)
	}
	for _, r := range records {
		if len(r) > wire.MaxMessage {
			return fmt.Errorf("append: a record of %d bytes, at most %d are kept: %w", len(r), wire.MaxMessage, ErrTooLarge)
		}
	}
	return nil
}

// MemoryLog is a [Log] for tests and simulations. It lasts as long as the process.
type MemoryLog struct {
	mu      sync.Mutex
	first   uint64        // guarded by mu, as all below; sequence of records[0]
	records [][]byte      //
	grown   chan struct{} // closed and replaced when records are added
	loseAck bool
}

var _ Log = (*MemoryLog)(nil)

// NewMemoryLog makes an empty log.
func NewMemoryLog() *MemoryLog { return &MemoryLog{first: 1, grown: make(chan struct{})} }

// LoseNextAck makes the next Append that succeeds report [ErrUnknownOutcome], as when the connection
// breaks before the acknowledgement.
func (l *MemoryLog) LoseNextAck() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loseAck = true
}

// Append implements [Log].
func (l *MemoryLog) Append(ctx context.Context, expectLast uint64, records [][]byte) (uint64, error) {
	if err := checkRecords(records); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("append: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := l.last(); last != expectLast {
		return 0, fmt.Errorf("append: the last sequence is %d, not %d: %w", last, expectLast, ErrWrongSequence)
	}
	for _, r := range records {
		l.records = append(l.records, slices.Clone(r))
	}
	close(l.grown)
	l.grown = make(chan struct{})
	if l.loseAck {
		l.loseAck = false
		return 0, fmt.Errorf("append: %w", ErrUnknownOutcome)
	}
	return l.last(), nil
}

// AppendInOrder implements [Log].
func (l *MemoryLog) AppendInOrder(ctx context.Context, expectLast uint64, records [][]byte) (uint64, error) {
	return l.Append(ctx, expectLast, records)
}

// Read implements [Log].
func (l *MemoryLog) Read(ctx context.Context, from uint64, f func(seq uint64, data []byte) error) error {
	from = max(from, 1)
	l.mu.Lock()
	first, records := l.first, slices.Clone(l.records)
	l.mu.Unlock()
	end := first + uint64(len(records))
	if from < first && from < end {
		return fmt.Errorf("read log: %w", &GapError{From: from, Next: first})
	}
	for seq := from; seq < end; seq++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if err := f(seq, slices.Clone(records[seq-first])); err != nil {
			return err
		}
	}
	return nil
}

// Last implements [Log].
func (l *MemoryLog) Last(context.Context) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last(), nil
}

// Await implements [Log].
func (l *MemoryLog) Await(ctx context.Context, after uint64) (uint64, error) {
	for {
		l.mu.Lock()
		last, grown := l.last(), l.grown
		l.mu.Unlock()
		if last > after {
			return last, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return 0, fmt.Errorf("await records after %d: %w", after, ctx.Err())
		}
	}
}

// First implements [Log].
func (l *MemoryLog) First(context.Context) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first, nil
}

// Purge implements [Log].
func (l *MemoryLog) Purge(_ context.Context, before uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if before > l.first {
		n := min(before-l.first, uint64(len(l.records)))
		l.records = l.records[n:]
		l.first = before
	}
	return nil
}

// last is called with mu held.
func (l *MemoryLog) last() uint64 { return l.first + uint64(len(l.records)) - 1 }
