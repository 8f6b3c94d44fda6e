package bus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"skua/internal/pause"
)

// LogConfig names a log.
type LogConfig struct {
	Stream   string // of JetStream, such as SKUA_EV; required
	Subject  string // that the stream keeps, such as skua.ev; required. Only the matchmaker may use it
	Replicas int    // 0 means 1; more are of a cluster's servers
}

// StreamLog is a [Log] kept in a JetStream stream. That a record is on disk when Append returns holds
// only when the server runs with sync_always, as the broker does.
type StreamLog struct {
	nc      *nats.Conn
	stream  jetstream.Stream
	name    string
	subject string

	replicated bool
	patience   time.Duration // of one exchange with the server, when ctx has no nearer end
}

var _ Log = (*StreamLog)(nil)

const (
	logTimeout     = 10 * time.Second      // of one exchange with the server, when ctx has no nearer end
	ackTimeout     = 3 * time.Second       // of an append: a server that cannot write says nothing; whoever asks again sees what came of it
	replicaTimeout = 3 * time.Second       // another server may answer the next try
	lagEvery       = 20 * time.Millisecond // between looks at a replica that is behind

	pageRecords  = 1000 // records asked for at once, at most
	pageBytes    = 8 << 20
	awaitEvery   = 100 * time.Millisecond
	batchHeadID  = "Nats-Batch-Id"
	batchHeadSeq = "Nats-Batch-Sequence"
	batchHeadEnd = "Nats-Batch-Commit"
)

// OpenLog opens the log, and makes it when it is not there. The server must know atomic batches,
// which came with version 2.12.
func OpenLog(ctx context.Context, c *Client, cfg LogConfig) (*StreamLog, error) {
	patience := logTimeout
	if cfg.Replicas > 1 {
		patience = replicaTimeout // servers that have no leader yet do not answer at all
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	js, err := jetstream.New(c.nc)
	if err != nil {
		return nil, fmt.Errorf("open log %s: %w", cfg.Stream, err)
	}
	stream, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:               cfg.Stream,
		Subjects:           []string{cfg.Subject},
		Storage:            jetstream.FileStorage,
		Replicas:           max(cfg.Replicas, 1),
		Discard:            jetstream.DiscardNew, // a full log refuses; it never forgets
		DenyDelete:         true,
		AllowDirect:        true,
		AllowAtomicPublish: true,
		Duplicates:         time.Second, // nothing is sent twice, and what AppendInOrder names is not worth remembering
	})
	if err != nil {
		return nil, fmt.Errorf("open log %s: %w", cfg.Stream, translate(err))
	}
	// An older server ignores what it does not know.
	if !stream.CachedInfo().Config.AllowAtomicPublish {
		return nil, fmt.Errorf("open log %s: the NATS server (version %s) knows no atomic batches, 2.12 is needed", cfg.Stream, c.nc.ConnectedServerVersion())
	}
	return &StreamLog{
		nc: c.nc, stream: stream, name: cfg.Stream, subject: cfg.Subject,
		replicated: cfg.Replicas > 1, patience: patience,
	}, nil
}

// Append implements [Log]. A single record is published plainly, which costs one fsync; more go as
// one atomic batch, which the server writes down before it adds it.
func (l *StreamLog) Append(ctx context.Context, expectLast uint64, records [][]byte) (uint64, error) {
	if err := checkRecords(records); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("append: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	batch := rand.Text()
	for i, r := range records {
		m := &nats.Msg{Subject: l.subject, Data: r, Header: nats.Header{}}
		if i == 0 {
			m.Header.Set(nats.ExpectedLastSeqHdr, strconv.FormatUint(expectLast, 10))
		}
		if len(records) > 1 {
			m.Header.Set(batchHeadID, batch)
			m.Header.Set(batchHeadSeq, strconv.Itoa(i+1))
		}
		if i < len(records)-1 {
			// An error here leaves a batch without its end, which the server drops.
			if err := l.nc.PublishMsg(m); err != nil {
				return 0, fmt.Errorf("append: %w", translate(err))
			}
			continue
		}
		if len(records) > 1 {
			m.Header.Set(batchHeadEnd, "1")
		}
		last, err := l.commit(ctx, m)
		if err != nil {
			return 0, fmt.Errorf("append after %d: %w", expectLast, err)
		}
		if want := expectLast + uint64(len(records)); last != want {
			return 0, fmt.Errorf("append after %d: the server says %d, not %d: %w", expectLast, last, want, ErrUnknownOutcome)
		}
	}
	return expectLast + uint64(len(records)), nil
}

// maxInOrder is up to how many records one fsync for each costs less than an atomic batch does, which takes files of its
// own: two records 0.4 ms of processor time against 2.5, twelve 1.6 against 2.9.
const maxInOrder = 12

// AppendInOrder implements [Log]. The records have names, and each says after which one it comes: none is taken when the
// one before it was not, even if somebody else has written as many. The acknowledgement of the last one stands for all.
func (l *StreamLog) AppendInOrder(ctx context.Context, expectLast uint64, records [][]byte) (uint64, error) {
	if l.replicated || len(records) <= 1 || len(records) > maxInOrder {
		return l.Append(ctx, expectLast, records)
	}
	if err := checkRecords(records); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("append: %w", err)
	}
	within, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	want := expectLast + uint64(len(records))
	batch, name := rand.Text(), ""
	for i, r := range records {
		m := &nats.Msg{Subject: l.subject, Data: r, Header: nats.Header{}}
		if i == 0 {
			m.Header.Set(nats.ExpectedLastSeqHdr, strconv.FormatUint(expectLast, 10))
		} else {
			m.Header.Set(nats.ExpectedLastMsgIdHdr, name)
		}
		var err error
		last := want
		if i < len(records)-1 {
			name = batch + strconv.Itoa(i)
			m.Header.Set(nats.MsgIdHdr, name)
			err = l.nc.PublishMsg(m)
		} else {
			last, err = l.commit(within, m)
		}
		switch {
		case err == nil && last == want:
		case err == nil:
			return 0, fmt.Errorf("append after %d: the server says %d, not %d: %w", expectLast, last, want, ErrUnknownOutcome)
		case i == 0:
			return 0, fmt.Errorf("append: %w", translate(err))
		case refused(err):
			// One before it was not taken, and does not say why. All have been dealt with: if the log is as it was, an
			// atomic batch says it.
			if last, err := l.Last(ctx); err == nil && last == expectLast {
				return l.Append(ctx, expectLast, records)
			}
			fallthrough
		default:
			return 0, fmt.Errorf("append after %d: %w: %w", expectLast, ErrUnknownOutcome, err)
		}
	}
	return want, nil
}

// refused says whether the server has told that it does not take a message.
func refused(err error) bool {
	var e *jetstream.APIError
	return errors.As(err, &e) && !errors.Is(err, ErrUnknownOutcome)
}

// commit publishes the last message of a batch, or the only one, and reads the acknowledgement.
func (l *StreamLog) commit(ctx context.Context, m *nats.Msg) (last uint64, err error) {
	reply, err := l.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		// Only these two are certain to mean that the message has not left, or that no stream took it.
		if errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrNoResponders) {
			return 0, translate(err)
		}
		return 0, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	var ack struct {
		Seq   uint64              `json:"seq"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return 0, fmt.Errorf("%w: acknowledgement: %w", ErrUnknownOutcome, err)
	}
	switch e := ack.Error; {
	case e == nil:
		return ack.Seq, nil
	case e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence, e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return 0, fmt.Errorf("%s: %w", e.Description, ErrWrongSequence)
	case e.Code >= 500:
		// The server failed in the middle of something.
		return 0, fmt.Errorf("%w: %w", ErrUnknownOutcome, e)
	default:
		return 0, e
	}
}

// Read implements [Log]. It asks the stream for pages of records directly; there is no consumer whose
// state could be lost or left behind.
func (l *StreamLog) Read(ctx context.Context, from uint64, f func(seq uint64, data []byte) error) error {
	last, err := l.Last(ctx)
	if err != nil {
		return err
	}
	inbox := l.nc.NewInbox()
	sub, err := l.nc.SubscribeSync(inbox)
	if err != nil {
		return fmt.Errorf("read log: %w", translate(err))
	}
	defer sub.Unsubscribe() //nolint:errcheck // fails only with the connection, which ends it too
	progress := time.Now()
	for next := max(from, 1); next <= last; {
		before := next
		if next, err = l.page(ctx, sub, inbox, next, last, f); err != nil {
			return err
		}
		switch {
		case next > before:
			progress = time.Now()
		case !l.replicated || time.Since(progress) > l.patience:
			return fmt.Errorf("read log: %w", &GapError{From: next})
		default: // any replica answers, and one may be behind those that have acknowledged the record
			if err := pause.For(ctx, lagEvery); err != nil {
				return fmt.Errorf("read log: %w", err)
			}
		}
	}
	return nil
}

// page reads some records from next on and returns the sequence to go on with.
func (l *StreamLog) page(ctx context.Context, sub *nats.Subscription, inbox string, next, last uint64, f func(uint64, []byte) error) (uint64, error) {
	ask, err := json.Marshal(map[string]uint64{
		"seq": next, "batch": min(pageRecords, last-next+1), "max_bytes": pageBytes,
	})
	if err != nil {
		return 0, fmt.Errorf("read log: %w", err)
	}
	if err := l.nc.PublishRequest("$JS.API.DIRECT.GET."+l.name, inbox, ask); err != nil {
		return 0, fmt.Errorf("read log: %w", translate(err))
	}
	for {
		m, err := l.nextMsg(ctx, sub)
		if err != nil {
			return 0, fmt.Errorf("read log at %d: %w", next, err)
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case "204", "404": // the page ends here; nothing is there
			return next, nil
		case "503":
			return 0, fmt.Errorf("read log: %w", ErrNoResponder)
		default:
			return 0, fmt.Errorf("read log at %d: the server says %s %s", next, status, m.Header.Get("Description"))
		}
		seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read log at %d: %w", next, err)
		}
		if seq != next {
			return 0, fmt.Errorf("read log: %w", &GapError{From: next, Next: seq})
		}
		if err := f(seq, m.Data); err != nil {
			return 0, err
		}
		next++
	}
}

func (l *StreamLog) nextMsg(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}

// Last implements [Log].
func (l *StreamLog) Last(ctx context.Context) (uint64, error) {
	state, err := l.state(ctx)
	return state.LastSeq, err
}

// Await implements [Log]. It looks now and then: what is published on the subject of the stream is not yet what
// the stream has taken, so that a subscription would tell no more than when to look.
func (l *StreamLog) Await(ctx context.Context, after uint64) (uint64, error) {
	tick := time.NewTicker(awaitEvery)
	defer tick.Stop()
	for {
		last, err := l.Last(ctx)
		if err != nil || last > after {
			return last, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("await records after %d: %w", after, ctx.Err())
		}
	}
}

// First implements [Log].
func (l *StreamLog) First(ctx context.Context) (uint64, error) {
	state, err := l.state(ctx)
	if state.Msgs == 0 {
		return state.LastSeq + 1, err
	}
	return state.FirstSeq, err
}

func (l *StreamLog) state(ctx context.Context) (jetstream.StreamState, error) {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	info, err := l.stream.Info(ctx)
	if err != nil {
		return jetstream.StreamState{}, fmt.Errorf("read the log's ends: %w", translate(err))
	}
	return info.State, nil
}

// Purge implements [Log].
func (l *StreamLog) Purge(ctx context.Context, before uint64) error {
	if before <= 1 {
		return nil // JetStream takes 0 for everything
	}
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	if err := l.stream.Purge(ctx, jetstream.WithPurgeSequence(before)); err != nil {
		return fmt.Errorf("purge log before %d: %w", before, translate(err))
	}
	return nil
}
