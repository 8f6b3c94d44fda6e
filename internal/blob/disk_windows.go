package blob

import (
	"fmt"

	"golang.org/x/sys/windows"
)

func freeBytes(dir string) (int64, error) {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(p, &free, nil, nil); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(free), nil
}

// syncDir does nothing: Windows has no way to flush a directory, and NTFS journals its names.
func syncDir(string) error { return nil }
