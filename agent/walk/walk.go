// Package walk goes through directories that belong to a job. It can leave millions of entries in one, and a path as long as
// it likes. [fs.WalkDir] and [fs.ReadDir] list a directory whole before they give the first entry; what is here reads it
// in pieces, and no further than it is wanted.
package walk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
)

// MaxPath is how long a path can be, in bytes: no program can name what is further down by one path.
const MaxPath = 4096

const readAtOnce = 1000 // entries of a directory

var errPathTooLong = errors.New("its path is too long")

// Entries calls visit for what is in a directory, in no order, until that gives an error.
func Entries(root *os.Root, dir string, visit func(fs.DirEntry) error) error {
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		entries, err := f.ReadDir(readAtOnce)
		for _, e := range entries {
			if err := visit(e); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// Tree calls visit for top and for what is below it, a directory before what is in it and otherwise in no order, until
// visit gives an error. Links below top are not followed. A directory that cannot be read is visited once more, with the
// reason.
func Tree(root *os.Root, top string, visit func(name string, e fs.DirEntry, err error) error) error {
	fi, err := root.Stat(top)
	if err != nil {
		return visit(top, nil, err)
	}
	if err := visit(top, fs.FileInfoToDirEntry(fi), nil); err != nil || !fi.IsDir() {
		return err
	}
	type dir struct{ parent, name string } // in two, so that a parent's name is in memory once
	todo := []dir{{name: top}}
	for len(todo) > 0 {
		last := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		at := path.Join(last.parent, last.name)
		var stop error
		err := errPathTooLong
		if len(at) <= MaxPath {
			err = Entries(root, at, func(e fs.DirEntry) error {
				if e.IsDir() {
					todo = append(todo, dir{at, e.Name()})
				}
				stop = visit(path.Join(at, e.Name()), e, nil)
				return stop
			})
		}
		if stop == nil && err != nil {
			stop = visit(at, nil, err)
		}
		if stop != nil {
			return stop
		}
	}
	return nil
}
