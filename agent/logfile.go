package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// logFile is a log that keeps itself small: when it has grown to its limit it becomes NAME.old, and a new one
// begins. It is for systems whose service manager keeps no log.
type logFile struct {
	path  string
	limit int64

	mu   sync.Mutex // guards what follows
	f    *os.File   // nil when it could not be opened anew
	size int64
}

// openLogFile opens the log at path, and makes its directory if that is missing. limit is in bytes.
func openLogFile(path string, limit int64) (*logFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the log: %w", err)
	}
	l := &logFile{path: path, limit: limit}
	return l, l.open()
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open the log: %w", err)
	}
	l.f, l.size = f, st.Size()
	return nil
}

// Write implements [io.Writer]. A line is never divided among two files.
func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil && l.size > 0 && l.size+int64(len(line)) > l.limit {
		if err := l.turn(); err != nil {
			return 0, err
		}
	}
	if l.f == nil {
		if err := l.open(); err != nil {
			return 0, err
		}
	}
	n, err := l.f.Write(line)
	l.size += int64(n)
	return n, err
}

// turn puts the log aside.
func (l *logFile) turn() error {
	err := l.f.Close()
	l.f = nil
	if rerr := os.Rename(l.path, l.path+".old"); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		// Somebody reads it, perhaps. Better that this one begins anew than that it fills the disk.
		err = errors.Join(err, os.Truncate(l.path, 0))
	}
	return err
}

// Close implements [io.Closer].
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	return err
}
