package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/trust"
	"skua/matchmaker/broker"
	"skua/matchmaker/queue"
)

// Maintenance is the queue log of a matchmaker that does not run, opened to be looked at and mended. No matchmaker
// starts on it meanwhile. It works on a copy of the log, since opening a damaged store may change it; the archive,
// the snapshots and the blobs it only reads.
type Maintenance struct {
	data   string
	log    *slog.Logger
	queue  queue.Config // for looking
	lock   io.Closer
	broker *broker.Broker // on the copy
	fresh  *broker.Broker // on the log that a repair makes
}

const (
	copyPrefix = "log-copy-" // of a directory in the data directory
	freshName  = "repair"    // the same, in the broker's
	storeName  = "jetstream"
)

// OpenMaintenance opens the queue log in a matchmaker's data directory. log may be nil. The caller closes it.
func OpenMaintenance(ctx context.Context, data string, log *slog.Logger) (_ *Maintenance, err error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m := &Maintenance{data: data, log: log}
	m.lock, err = broker.Lock(m.brokerDir())
	switch {
	case errors.Is(err, broker.ErrInUse):
		return nil, &diag.Problem{
			What: fmt.Sprintf("a matchmaker runs on %s", data),
			Hint: "stop it first; jobs run on meanwhile, for as long as their leases", Err: err,
		}
	case errors.Is(err, fs.ErrNotExist):
		return nil, &diag.Problem{What: fmt.Sprintf("there is no queue log in %s", data), Hint: "name the matchmaker's directory with --data", Err: err}
	case errors.Is(err, fs.ErrPermission):
		return nil, &diag.Problem{What: fmt.Sprintf("you may not read the queue log in %s", data), Hint: "run the command as root, or as the user the matchmaker runs as", Err: err}
	case err != nil:
		return nil, fmt.Errorf("open queue log: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open queue log: %w", err), m.Close())
		}
	}()
	return m, m.open(ctx)
}

func (m *Maintenance) brokerDir() string { return filepath.Join(m.data, "broker") }

func (m *Maintenance) open(ctx context.Context) error {
	if err := m.dropCopies(); err != nil { // of a look that was killed
		return err
	}
	dir, err := os.MkdirTemp(m.data, copyPrefix)
	if err != nil {
		return err
	}
	store := filepath.Join(m.brokerDir(), storeName)
	if err := os.CopyFS(filepath.Join(dir, storeName), os.DirFS(store)); err != nil && !missing(store) {
		return &diag.Problem{
			What: fmt.Sprintf("the queue log cannot be copied, to be looked at: %v", err),
			Hint: "is there room on the disk for it once more?", Err: err,
		}
	}
	var log queue.Log
	if m.broker, log, err = m.openLog(ctx, dir); err != nil {
		return err
	}
	store = filepath.Join(m.data, "queue")
	archive, err := queue.OpenArchive(queue.ArchiveConfig{Dir: filepath.Join(store, "archive"), ReadOnly: true})
	if err != nil {
		return err
	}
	m.queue = queue.Config{Log: log, Archive: archive, Snapshots: filepath.Join(store, "snapshots"), Logger: m.log}
	blobs := filepath.Join(m.data, "blobs")
	if missing(blobs) {
		return nil // nor are there tables then
	}
	tables, err := blob.OpenStore(blob.StoreConfig{Dir: blobs, ReadOnly: true})
	m.queue.Tables = tables
	return err
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// openLog opens the log that a directory's store has, and makes it if it has none.
func (m *Maintenance) openLog(ctx context.Context, dir string) (*broker.Broker, queue.Log, error) {
	b, err := broker.Start(ctx, broker.Config{Dir: dir, Rescue: true, Roster: nobody{}, Log: m.log})
	if err != nil {
		return nil, nil, err
	}
	log, err := bus.OpenLog(ctx, b.Conn(), logConfig)
	if err != nil {
		return nil, nil, errors.Join(err, b.Close())
	}
	return b, log, nil
}

// nobody is a roster without members.
type nobody struct{}

func (nobody) Lookup(string) (trust.Member, bool) { return trust.Member{}, false }

// Inspect says what is whole and what is not.
func (m *Maintenance) Inspect(ctx context.Context) (*queue.Inspection, error) {
	return queue.Inspect(ctx, m.queue)
}

// Records calls f with the events from one to another, whole or not; to 0 means to the end.
func (m *Maintenance) Records(ctx context.Context, from, to uint64, f func(queue.Record) error) error {
	return queue.Records(ctx, m.queue, from, to, f)
}

// Repair mends the log; see [queue.Repair]. It gives the directory to which what was replaced has been moved. After
// it the maintenance can only be closed.
func (m *Maintenance) Repair(ctx context.Context, dropTail bool) (done *queue.Repaired, aside string, err error) {
	aside = filepath.Join(m.data, "damaged-"+time.Now().UTC().Format("20060102T150405.000Z"))
	r := queue.Repair{Config: m.queue, DropTail: dropTail, Aside: aside}
	r.NewLog = func(ctx context.Context) (queue.Log, error) {
		dir := filepath.Join(m.brokerDir(), freshName)
		if err := os.RemoveAll(dir); err != nil { // of a repair that was interrupted
			return nil, err
		}
		var log queue.Log
		var err error
		m.fresh, log, err = m.openLog(ctx, dir)
		return log, err
	}
	r.SwapLog = func() error {
		err := m.fresh.Close()
		m.fresh = nil
		if err != nil {
			return err
		}
		return m.swap(aside)
	}
	if done, err = r.Run(ctx); err != nil {
		return nil, "", err
	}
	if missing(aside) {
		return done, "", nil
	}
	// The matchmaker's user must be able to read what root has written.
	for _, dir := range []string{aside, m.brokerDir(), filepath.Join(m.data, "queue")} {
		if err := ownLike(dir, m.data); err != nil {
			return nil, "", fmt.Errorf("repair queue log: %w", err)
		}
	}
	return done, aside, nil
}

// swap puts the new store into the place of the old one.
func (m *Maintenance) swap(aside string) error {
	store, dir := filepath.Join(m.brokerDir(), storeName), filepath.Join(m.brokerDir(), freshName)
	if !missing(store) {
		if err := os.Rename(store, filepath.Join(aside, storeName)); err != nil {
			return err
		}
	}
	// What an opening that failed held on to must not come back.
	if kept := filepath.Join(m.brokerDir(), broker.KeptName); !missing(kept) {
		if err := os.Rename(kept, filepath.Join(aside, broker.KeptName)); err != nil {
			return err
		}
	}
	if err := os.Rename(filepath.Join(dir, storeName), store); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// dropCopies removes the copies of the log.
func (m *Maintenance) dropCopies() error {
	entries, err := os.ReadDir(m.data)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), copyPrefix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(m.data, e.Name())))
		}
	}
	return err
}

// Close lets matchmakers start again.
func (m *Maintenance) Close() (err error) {
	if m.fresh != nil {
		err = errors.Join(err, m.fresh.Close(), os.RemoveAll(filepath.Join(m.brokerDir(), freshName)))
	}
	if m.broker != nil {
		err = errors.Join(err, m.broker.Close())
	}
	if m.queue.Archive != nil {
		err = errors.Join(err, m.queue.Archive.Close())
	}
	return errors.Join(err, m.dropCopies(), m.lock.Close())
}
