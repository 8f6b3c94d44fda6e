//go:build !windows

package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// likeOwner gives what is below dir to the owner of data, for commands of root on the directory of a matchmaker that
// runs as a user of its own.
func likeOwner(data, dir string) error {
	info, err := os.Stat(data)
	if err != nil {
		return fmt.Errorf("owner of the data directory: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, int(st.Uid), int(st.Gid)))
	})
	if err != nil {
		return fmt.Errorf("owner of the keys: %w", err)
	}
	return nil
}
