package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	storeName = "jetstream" // the directory that JetStream makes for itself
	// KeptName is where a broker that opens its store holds on to what it had.
	KeptName = "kept"
)

// A guard holds on to the files of the store's streams while the store is opened. nats-server (2.15.2) deletes a
// stream that it cannot open, and for that it is enough that the disk is full or gives an error for a moment.
//
// The files are linked into a second directory, which takes neither room nor time to speak of.
type guard struct{ dir string } // the broker's

func (g guard) store() string { return filepath.Join(g.dir, storeName) }
func (g guard) kept() string  { return filepath.Join(g.dir, KeptName) }

// raise holds on to what the store has. It comes before every opening of the store.
func (g guard) raise() error {
	// A crash between raise and lower leaves what it held; the opening that it was for may have gone wrong.
	if err := g.restore(); err != nil {
		return err
	}
	fresh := g.kept() + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	// What is held already is held on to from where it is: the server may be deleting what restore has given back.
	if err := errors.Join(link(g.store(), fresh), link(g.kept(), fresh)); err != nil {
		return fmt.Errorf("hold on to the store: %w", err)
	}
	if err := os.RemoveAll(g.kept()); err != nil {
		return err
	}
	err := os.Rename(fresh, g.kept())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // there is no store yet
	}
	return err
}

// lower lets go, once the store is open with all its streams.
func (g guard) lower() error {
	// From here on the store has files of its own. What is left of the copy must never come back.
	old := g.kept() + ".old"
	if err := os.RemoveAll(old); err != nil {
		return err
	}
	if err := os.Rename(g.kept(), old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(old)
}

// restore gives back to the store whatever it had and has lost. The store must be closed.
func (g guard) restore() error {
	if err := link(g.kept(), g.store()); err != nil {
		return fmt.Errorf("give the store back what it had: %w", err)
	}
	return nil
}

// held names the streams that the store had when the guard was raised, each with its account before it.
func (g guard) held() []string {
	metas, err := filepath.Glob(filepath.Join(g.kept(), "*", "streams", "*", "meta.inf"))
	if err != nil {
		return nil
	}
	var names []string
	for _, path := range metas {
		stream := filepath.Dir(path)
		names = append(names, filepath.Base(filepath.Dir(filepath.Dir(stream)))+" "+filepath.Base(stream))
	}
	return names
}

// link makes the files below one directory known below another as well, except those that are there.
func link(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // nothing there, or a file that was only for a moment
			}
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		case !d.Type().IsRegular():
			return nil
		}
		err = os.Link(path, target)
		if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}
