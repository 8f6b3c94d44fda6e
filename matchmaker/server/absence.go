package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"skua/internal/diag"
	"skua/internal/trust"
	"skua/matchmaker/queue"
)

// A matchmaker that was away while the queue log forgot what it has not read gets that from the archive of another
// one. When no archive reaches back so far, as for a matchmaker that is new in an old pool, or tables of large clusters are
// gone that such events need, it begins with another one's snapshot.

const (
	pastPath     = "/past/" // what matchmakers give each other: snapshot, records
	pastJob      = "past"   // in a capability: that is what it is for
	pastSeq      = "Skua-Sequence"
	pastBatch    = 1000             // records
	maxPastBatch = 4 << 20          // bytes
	pastRecord   = 1 << 20          // bytes that a record may have
	pastIdle     = 30 * time.Second // how long another matchmaker may send nothing at the start
	pastWhole    = 30 * time.Minute // in all
)

// servePast gives other matchmakers of the pool the newest snapshot, or the archive's records from one on.
func (h *Head) servePast(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	c, err := h.signer.Verify(token, time.Now())
	if err != nil || c.User != everyone || c.Job != pastJob || c.Mode != trust.Read {
		http.Error(w, "this is for the matchmakers of the pool", http.StatusForbidden)
		return
	}
	switch r.PathValue("what") {
	case "snapshot":
		h.serveSnapshot(w, r)
	case "records":
		h.serveRecords(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (h *Head) serveSnapshot(w http.ResponseWriter, r *http.Request) {
	f, seq, err := queue.NewestSnapshot(h.snapshotsDir())
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	defer f.Close()
	w.Header().Set(pastSeq, strconv.FormatUint(seq, 10))
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, f)
}

func (h *Head) serveRecords(w http.ResponseWriter, r *http.Request) {
	from, err := strconv.ParseUint(r.URL.Query().Get("from"), 10, 64)
	first, last := h.archive.Span()
	if from = max(from, first); err != nil || last < from {
		http.Error(w, "the archive has none of these", http.StatusNotFound)
		return
	}
	w.Header().Set(pastSeq, strconv.FormatUint(from, 10))
	w.Header().Set("Content-Type", "application/octet-stream")
	out := bufio.NewWriterSize(w, 1<<16)
	err = h.archive.Read(r.Context(), from, func(_ uint64, data []byte) error {
		_, werr := out.Write(append(data, '\n'))
		return werr
	})
	if err = errors.Join(err, out.Flush()); err != nil {
		h.log.Debug("records of the archive are not given", diag.KeyError, err)
		panic(http.ErrAbortHandler) // so that what has come is not taken for all of it
	}
}

// makeUp gets from another matchmaker what this one has missed and the log has forgotten since, if there is anything. It
// must come before the queue is read, which has the archive go on with what the log still has.
func (h *Head) makeUp(ctx context.Context) error {
	first, err := h.queueLog.First(ctx)
	if err != nil {
		return err
	}
	_, end := h.archive.Span()
	if end+1 >= first {
		return nil
	}
	own, err := newestSnapshot(h.snapshotsDir())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pastWhole)
	defer cancel()
	failed := errors.New("no other matchmaker is known")
	for _, url := range h.others.urls() {
		if err = h.takeRecords(ctx, url, end+1, own+1 < first); err == nil {
			return nil
		}
		failed = fmt.Errorf("ask %s for it: %w", url, err)
	}
	failed = fmt.Errorf("the queue log has forgotten the events %d to %d, which are not here: %w", end+1, first-1, failed)
	if own+1 >= first {
		h.log.Warn("events are missing from the archive; a snapshot stands for them", diag.KeyError, failed)
		return nil
	}
	return failed
}

// newestSnapshot says of which event the newest snapshot in a directory is; 0 when there is none.
func newestSnapshot(dir string) (uint64, error) {
	f, seq, err := queue.NewestSnapshot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return seq, f.Close()
}

// takeRecords adds to the archive what that of another matchmaker has from a record on. If that begins later, its
// snapshot comes first, unless there is one here that stands for what is missing.
func (h *Head) takeRecords(ctx context.Context, url string, from uint64, snapshot bool) error {
	start := time.Now()
	resp, next, err := h.others.past(ctx, url, fmt.Sprintf("records?from=%d", from))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if next > from && snapshot {
		if err := h.takeSnapshot(ctx, url); err != nil {
			return err
		}
	}
	from = next
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 64<<10), pastRecord)
	var batch [][]byte
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := h.archive.Append(next, batch)
		next += uint64(len(batch))
		batch, size = nil, 0
		return err
	}
	for lines.Scan() {
		batch = append(batch, bytes.Clone(lines.Bytes()))
		if size += len(lines.Bytes()); len(batch) == pastBatch || size > maxPastBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("records from %d on: %w", next, err) // half a record may have come
	}
	if err := errors.Join(flush(), h.archive.Sync()); err != nil {
		return err
	}
	h.log.Info("events that the queue log has forgotten fetched", "from", from, "to", next-1, "at", url, diag.KeyTook, time.Since(start))
	return nil
}

// watchFromSnapshot is watchQueue from another matchmaker's snapshot on, for events of which some need the table of a cluster
// that nobody has any more, which is the error why. Tables are kept as long as the log has the events that need them, and
// archives go further back.
func (h *Head) watchFromSnapshot(ctx context.Context, why error) error {
	first, err := h.queueLog.First(ctx)
	if err != nil {
		return err
	}
	own, err := newestSnapshot(h.snapshotsDir())
	if err != nil {
		return err
	}
	if own+1 >= first {
		return why // the table of an event that the log has
	}
	failed := errors.New("no other matchmaker is known")
	within, cancel := context.WithTimeout(ctx, pastWhole)
	defer cancel()
	for _, url := range h.others.urls() {
		if err = h.takeSnapshot(within, url); err == nil {
			return h.watchQueue(ctx)
		}
		failed = fmt.Errorf("ask %s for it: %w", url, err)
	}
	// Not as a damaged log, which why is: another one may answer in a moment.
	return fmt.Errorf("%v: from such events on only a snapshot of another matchmaker helps: %w", why, failed)
}

// takeSnapshot puts the newest snapshot of another matchmaker beside our own.
func (h *Head) takeSnapshot(ctx context.Context, url string) error {
	start := time.Now()
	resp, seq, err := h.others.past(ctx, url, "snapshot")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := queue.ImportSnapshot(h.snapshotsDir(), seq, resp.Body); err != nil {
		return err
	}
	h.log.Warn("this matchmaker begins with another one's snapshot: of jobs that ended before it knows only the last ones",
		diag.KeySeq, seq, "at", url, diag.KeyTook, time.Since(start))
	return nil
}

// past asks another matchmaker for a piece of its past, which begins at a sequence. The caller closes the body.
func (o *others) past(ctx context.Context, url, what string) (*http.Response, uint64, error) {
	capability, err := o.sign(trust.Capability{User: everyone, Job: pastJob, Mode: trust.Read, Expires: time.Now().Add(ownCapability)})
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	idle := time.AfterFunc(pastIdle, func() { cancel(context.DeadlineExceeded) })
	defer idle.Stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(url, "/")+pastPath+what, nil)
	if err != nil {
		return nil, 0, err
	}
	r.Header.Set("Authorization", "Bearer "+capability)
	resp, err := o.http.Do(r)
	if err != nil {
		return nil, 0, err
	}
	seq, err := strconv.ParseUint(resp.Header.Get(pastSeq), 10, 64)
	if resp.StatusCode != http.StatusOK || err != nil {
		resp.Body.Close()
		return nil, 0, fmt.Errorf("it answers %s", resp.Status)
	}
	return resp, seq, nil
}
