package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/internal/wire"
	"skua/matchmaker/files"
)

// runtimes keeps which runtime roots the pool has, by name, in a table of the message bus, so that several matchmakers
// know the same. The archives are blobs that everybody in the pool may read. A submit has the digest that a name had
// then, so that jobs do not depend on names; a blob stays as long as a name or a job needs it.
type runtimes struct {
	bucket   *lateBucket
	changing sync.Mutex // is held while the table is changed
}

const (
	runtimesBucket    = "SKUA_RUNTIMES"
	runtimesKey       = "names"          // of the one value, which is the whole table
	runtimesAnswering = 5 * time.Second  // of a look at it
	runtimesPatience  = 25 * time.Second // of a change; an administrator waits 30 seconds

	maxRuntimes  = 100 // names
	maxRuntimeBy = 64  // letters
)

// runtimeTable is the table as it is kept.
type runtimeTable struct {
	V        int               `json:"v"`
	Runtimes []wire.RuntimeRow `json:"runtimes"` // in the order of names
}

// readRuntimes decodes the table; nothing is an empty one.
func readRuntimes(data []byte) ([]wire.RuntimeRow, error) {
	if len(data) == 0 {
		return nil, nil
	}
	t, err := wire.Decode[runtimeTable](data)
	if err != nil {
		return nil, err
	}
	for _, r := range t.Runtimes {
		if err := checkRuntime(r); err != nil {
			return nil, err
		}
	}
	return t.Runtimes, nil
}

func checkRuntime(r wire.RuntimeRow) error {
	if err := job.CheckRuntimeName(r.Name); err != nil {
		return err
	}
	if !r.Digest.Valid() || r.Size < 0 || r.Unpacked < 0 {
		return fmt.Errorf("runtime root %s: bad digest or size", r.Name)
	}
	return nil
}

// addRuntime adds a runtime root to a table, or puts it into the place of the one that has its name. It gives nil when
// the table has the same already.
func addRuntime(table []wire.RuntimeRow, r wire.RuntimeRow, replace bool) ([]wire.RuntimeRow, error) {
	i, found := findRuntime(table, r.Name)
	switch {
	case found && table[i].Digest == r.Digest:
		return nil, nil
	case found && !replace:
		return nil, &diag.Problem{
			What: fmt.Sprintf("there is another runtime root %s, added %s", r.Name, table[i].Added.Local().Format(time.DateTime)),
			Hint: "--replace puts the new one into its place; jobs that are in the queue keep the one they have",
		}
	case found:
		table = slices.Clone(table)
		table[i] = r
		return table, nil
	case len(table) >= maxRuntimes:
		return nil, &diag.Problem{
			What: fmt.Sprintf("the pool has %d runtime roots, and cannot have more", len(table)),
			Hint: "skua-matchmaker runtime remove NAME makes room; jobs that are in the queue keep the one they have",
		}
	}
	return slices.Insert(slices.Clone(table), i, r), nil
}

// removeRuntime removes a runtime root from a table, and gives what is left of it, not nil.
func removeRuntime(table []wire.RuntimeRow, name string) ([]wire.RuntimeRow, error) {
	i, found := findRuntime(table, name)
	if !found {
		return nil, &diag.Problem{
			What: fmt.Sprintf("there is no runtime root %.80q", name),
			Hint: strings.TrimSpace(diag.DidYouMean(name, runtimeNames(table)) + " skua-matchmaker runtime list shows those that there are"),
		}
	}
	return append(append([]wire.RuntimeRow{}, table[:i]...), table[i+1:]...), nil
}

func findRuntime(table []wire.RuntimeRow, name string) (int, bool) {
	return slices.BinarySearchFunc(table, name, func(r wire.RuntimeRow, name string) int { return cmp.Compare(r.Name, name) })
}

func runtimeNames(table []wire.RuntimeRow) []string {
	names := make([]string, len(table))
	for i, r := range table {
		names[i] = r.Name
	}
	return names
}

// list gives the pool's runtime roots, in the order of names. A nil r has none.
func (r *runtimes) list(ctx context.Context) ([]wire.RuntimeRow, error) {
	if r == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, runtimesAnswering)
	defer cancel()
	data, _, err := r.bucket.get(ctx, runtimesKey)
	if err != nil {
		return nil, fmt.Errorf("read the table of runtime roots: %w", err)
	}
	return readRuntimes(data)
}

// change has edit change the table, and says whether it has; edit may be called several times, and gives nil to leave
// the table as it is.
func (r *runtimes) change(ctx context.Context, edit func([]wire.RuntimeRow) ([]wire.RuntimeRow, error)) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, runtimesPatience)
	defer cancel()
	r.changing.Lock()
	defer r.changing.Unlock()
	bucket, err := r.bucket.open(ctx)
	if err != nil {
		return false, fmt.Errorf("open the table of runtime roots: %w", err)
	}
	var wrote []byte
	for range pushTries {
		var data []byte
		var revision uint64
		if data, revision, err = r.bucket.get(ctx, runtimesKey); err != nil {
			return false, err
		}
		if wrote != nil && bytes.Equal(data, wrote) {
			return true, nil // the answer to the last try was lost
		}
		table, err := readRuntimes(data)
		if err != nil {
			return false, err
		}
		next, err := edit(table)
		if err != nil || next == nil {
			return false, err
		}
		if wrote, err = wire.Encode(runtimeTable{V: wire.Version, Runtimes: next}); err != nil {
			return false, err
		}
		if revision == 0 {
			_, err = bucket.Create(ctx, runtimesKey, wrote)
		} else {
			_, err = bucket.Update(ctx, runtimesKey, wrote, revision)
		}
		switch {
		case err == nil:
			return true, nil
		case ctx.Err() != nil:
			return false, err
		}
		// Another matchmaker has been faster, or it is not known what came of it: the next look tells.
	}
	return false, &diag.Problem{What: "the runtime roots are being changed at other matchmakers, too, or cannot be written now", Hint: "try again"}
}

// Store is where and how an administrator brings the archive of a runtime root to the file service.
type Store struct {
	URL         string `json:"url"`
	Fingerprint string `json:"fingerprint"` // of the pool's authority
	Capability  string `json:"capability"`
}

// runtime does what an administrator wants of the pool's runtime roots.
func (h *Head) runtime(ctx context.Context, uid int, q AdminRequest) (a AdminAnswer, err error) {
	r := q.Runtime
	switch q.Do {
	case AdminRuntimes:
		a.Runtimes, err = h.runtimes.list(ctx)
		return a, err
	case AdminRemoveRuntime:
		if _, err = h.runtimes.change(ctx, func(table []wire.RuntimeRow) ([]wire.RuntimeRow, error) {
			return removeRuntime(table, r.Name)
		}); err == nil {
			h.log.Info("runtime root removed", "name", r.Name)
		}
		return a, err
	}
	if err := checkRuntime(r); err != nil {
		return a, err
	}
	if q.Do == AdminStoreRuntime {
		table, err := h.runtimes.list(ctx)
		if err != nil {
			return a, err
		}
		next, err := addRuntime(table, r, q.Replace)
		if err == nil && (next != nil || !h.files.Held(files.Pool, r.Digest)) {
			a.Store, err = h.storeRuntime(r.Digest)
		}
		return a, err
	}
	if !h.files.Held(files.Pool, r.Digest) {
		return a, &diag.Problem{What: fmt.Sprintf("the archive of runtime root %s is not here", r.Name), Hint: "try again"}
	}
	if r.Size, err = h.store.Size(r.Digest); err == nil {
		err = h.store.Touch(r.Digest) // it stays until the table is written, though no name needs it yet
	}
	if err != nil {
		return a, err
	}
	if r.By == "" {
		r.By, _ = userName(uid)
	}
	r.By = strings.ToValidUTF8(r.By[:min(len(r.By), maxRuntimeBy)], "")
	r.Added = time.Now().UTC().Truncate(time.Second)
	a.Changed, err = h.runtimes.change(ctx, func(table []wire.RuntimeRow) ([]wire.RuntimeRow, error) {
		return addRuntime(table, r, q.Replace)
	})
	if a.Changed {
		h.log.Info("runtime root added", "name", r.Name, "blob", r.Digest.Short(), diag.KeyBytes, r.Size, "by", r.By)
	}
	return a, err
}

// storeRuntime lets an administrator of this machine put one archive.
func (h *Head) storeRuntime(d blob.Digest) (*Store, error) {
	host, _, _ := net.SplitHostPort(h.settings.Listen)
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	c, err := h.signer.Encode(trust.Capability{
		User: string(files.Pool), Digest: string(d), Mode: trust.Write, Expires: time.Now().Add(userCapability),
	})
	if err != nil {
		return nil, fmt.Errorf("capability of a runtime root: %w", err)
	}
	return &Store{URL: "https://" + net.JoinHostPort(host, h.port()), Fingerprint: h.authority.Fingerprint(), Capability: c}, nil
}

// namedRuntimes lists the runtime roots for somebody who may be about to submit a job with one of them. Their archives
// stay for that, even if their names go meanwhile.
func (h *Head) namedRuntimes(ctx context.Context) ([]wire.RuntimeRow, error) {
	table, err := h.runtimes.list(ctx)
	for _, r := range table {
		if err := h.store.Touch(r.Digest); err != nil && !errors.Is(err, blob.ErrNotFound) { // another matchmaker may have it
			return nil, err
		}
	}
	return table, err
}

// runtimeRows lists the pool's runtime roots.
func (s *Server) runtimeRows(ctx context.Context, p *page) error {
	if s.cfg.Runtimes == nil {
		return nil
	}
	table, err := s.cfg.Runtimes(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, bus.ErrNoResponder) {
		return &diag.Problem{What: "the pool's runtime roots cannot be looked up now", Hint: "try again", Err: err}
	}
	if err != nil {
		return err
	}
	for _, r := range table {
		if r.Name > p.after && !p.add(r.Name, r) {
			break
		}
	}
	return nil
}
