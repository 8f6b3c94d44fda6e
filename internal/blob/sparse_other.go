//go:build !linux

package blob

import "os"

// nextData says that there may be data everywhere: zeros are then found by reading them.
func nextData(_ *os.File, off int64) (int64, error) { return off, nil }
