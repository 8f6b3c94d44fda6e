//go:build !windows

package durable

import (
	"errors"
	"os"
)

// Names makes the names in a directory durable, after files were made in it, renamed or removed.
func Names(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
