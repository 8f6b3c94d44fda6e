//go:build !linux

package probe

import "io/fs"

func stampOf(fi fs.FileInfo) fileStamp {
	return fileStamp{size: fi.Size(), modified: fi.ModTime()}
}
