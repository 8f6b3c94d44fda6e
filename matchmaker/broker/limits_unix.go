//go:build !windows

package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
)

// enoughFiles is what a pool of a few thousand agents needs; each websocket connection takes three.
const enoughFiles = 16 << 10

// warnOpenFiles says so when few files may be open. The runtime has raised the limit to what the
// system allows already; more is for the administrator to grant.
func warnOpenFiles(log *slog.Logger) {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil || uint64(lim.Cur) >= enoughFiles {
		return
	}
	log.Warn("few files may be open, which limits the number of agents; raise LimitNOFILE", "limit", uint64(lim.Cur))
}

// lockFile opens a file that one process at a time can have open this way. The kernel drops the lock
// with the process.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrInUse
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock: %w", err), f.Close())
	}
	return f, nil
}
