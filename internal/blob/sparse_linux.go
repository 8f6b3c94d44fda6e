package blob

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// nextData returns where, at off or after it, f has data that may not be zero; math.MaxInt64 when there
// is a hole up to the end.
func nextData(f *os.File, off int64) (int64, error) {
	at, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return math.MaxInt64, nil
	case errors.Is(err, unix.EINVAL): // a file system that does not know holes
		return off, nil
	}
	return at, err
}
