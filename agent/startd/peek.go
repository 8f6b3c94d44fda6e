package startd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
)

// maxPeeks is how many pieces of one job's files may be on their way at a time.
const maxPeeks = 4

var (
	errNotRunning = &diag.Problem{What: "the job is not running", Hint: "its files can be looked at while it runs"}
	errMoving     = &diag.Problem{What: "the job has not begun or has just ended", Hint: "its files are on their way; try again in a moment"}
)

// peek answers a request for a piece of one of the job's files. It runs on the keeper's goroutine, and
// the reading beside it.
func (k *keeper) peek(c wire.Control) {
	t := k.tenant
	select {
	case t.peeks <- struct{}{}:
	default:
		k.d.peeked(wire.Peeked{ID: c.ID, Fail: wire.Fail(&diag.Problem{What: "the machine is reading this job's files already", Hint: "try again in a moment"})})
		return
	}
	k.wg.Go(func() {
		defer func() { <-t.peeks }()
		var want wire.Peek
		if c.Peek != nil {
			want = *c.Peek
		}
		p, err := t.peek(want)
		p.Fail = wire.Fail(err)
		p.ID = c.ID
		k.d.peeked(p)
	})
}

func (d *Daemon) peeked(p wire.Peeked) {
	p.V = wire.Version
	d.send(wire.AgentSubject(d.cfg.Agent, wire.VerbPeeked), p)
}

func (t *tenant) peek(want wire.Peek) (wire.Peeked, error) {
	in := t.running.Load()
	if in == nil {
		return wire.Peeked{}, errMoving
	}
	root, err := os.OpenRoot((*in).Scratch())
	if err != nil {
		return wire.Peeked{}, err
	}
	defer root.Close()
	if want.File == job.StderrFile && t.cmd.Stderr == job.StdoutFile {
		want.File = job.StdoutFile
	}
	return readPiece(root, want)
}

// readPiece reads a piece of a plain file below root. The job may do with the file meanwhile what it
// likes: nothing else is opened in its place, and nothing that could make a reader wait.
func readPiece(root *os.Root, want wire.Peek) (wire.Peeked, error) {
	problem := func(err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return &diag.Problem{What: fmt.Sprintf("the job has no file %s", want.File), Hint: "names are relative to its scratch directory"}
		}
		return fmt.Errorf("%s cannot be read: %w", want.File, err)
	}
	before, err := root.Lstat(want.File)
	if err != nil {
		return wire.Peeked{}, problem(err)
	}
	if !before.Mode().IsRegular() {
		return wire.Peeked{}, problem(errors.New("it is not a plain file"))
	}
	f, err := root.OpenFile(want.File, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return wire.Peeked{}, problem(err)
	}
	defer f.Close()
	now, err := f.Stat()
	if err != nil {
		return wire.Peeked{}, problem(err)
	}
	if !now.Mode().IsRegular() || !os.SameFile(before, now) {
		return wire.Peeked{}, problem(errors.New("it was replaced meanwhile"))
	}
	limit := want.Limit
	if limit <= 0 || limit > wire.MaxPeek {
		limit = wire.MaxPeek
	}
	p := wire.Peeked{Size: now.Size(), Offset: want.Offset}
	if p.Offset < 0 {
		p.Offset = max(0, p.Size+p.Offset)
	}
	data := make([]byte, limit)
	n, err := f.ReadAt(data, p.Offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return wire.Peeked{}, problem(err)
	}
	p.Data = data[:n]
	if n > 0 {
		p.Size = max(p.Size, p.Offset+int64(n)) // it may have grown meanwhile
	}
	return p, nil
}
