//go:build !unix || darwin

package blob

import (
	"errors"
	"os"
)

func makePipe(_ *os.Root, name string) error {
	return &os.PathError{Op: "mkfifo", Path: name, Err: errors.ErrUnsupported}
}
