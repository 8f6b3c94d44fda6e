package startd

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"skua/agent/control"
	"skua/internal/diag"
	"skua/internal/wire"
)

// ranFile lists what ran on the machine, a line of JSON for each stay of a job. When it is full it
// becomes ranBefore, in the place of that.
const (
	ranFile   = "ran.jsonl"
	ranBefore = "ran.before.jsonl"
	ranFull   = 1 << 20 // bytes: some four thousand stays
)

// ranLog keeps account of what ran here, for the machine's owner. It is not needed for anything else, so
// lines that a crash tears are left out when it is read.
type ranLog struct {
	dir string
	mu  sync.Mutex // held while a line is written
}

func (l *ranLog) add(r control.Ran) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	path := filepath.Join(l.dir, ranFile)
	if fi, err := os.Stat(path); err == nil && fi.Size() >= ranFull {
		if err := os.Rename(path, filepath.Join(l.dir, ranBefore)); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// list gives what ran here, the newest last.
func (l *ranLog) list() ([]control.Ran, error) {
	var list []control.Ran
	for _, name := range []string{ranBefore, ranFile} {
		data, err := os.ReadFile(filepath.Join(l.dir, name))
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return nil, err
		}
		lines := bufio.NewScanner(bytes.NewReader(data))
		lines.Buffer(nil, ranFull)
		for lines.Scan() {
			var r control.Ran
			if json.Unmarshal(lines.Bytes(), &r) == nil {
				list = append(list, r)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Ran lists what ran on this machine, the newest last.
func (d *Daemon) Ran() ([]control.Ran, error) { return d.ran.list() }

// account notes the stay of the tenant's job, which is over.
func (t *tenant) account(done wire.Done) {
	t.mu.Lock()
	r := control.Ran{
		Job: t.offer.Job.String(), User: t.user(), Slot: t.k.name, Began: t.since.UTC().Round(0), Ended: time.Now().UTC().Round(0),
		Outcome: string(done.Outcome), Why: done.Reason,
		CPU: t.used.UserCPU + t.used.SysCPU, Memory: t.used.MaxRSS,
	}
	t.mu.Unlock()
	if r.Outcome == "" {
		r.Outcome = string(wire.Killed)
	}
	if err := t.k.d.ran.add(r); err != nil {
		t.log.Debug("a job is left out of the account of what ran here", diag.KeyError, err)
	}
}

// user is whose job it is.
func (t *tenant) user() string { return userOf(t.offer) }

func userOf(o wire.Offer) string {
	if o.Ad == nil {
		return ""
	}
	if name, ok := o.Ad.Str("Owner"); ok {
		return name
	}
	id, _ := o.Ad.Str("User")
	return id
}
