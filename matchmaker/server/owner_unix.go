//go:build !windows

package server

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ownLike gives a directory, with all that is in it, to the user whose another one is. Only root can, and only root
// needs to.
func ownLike(dir, like string) error {
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	})
}
