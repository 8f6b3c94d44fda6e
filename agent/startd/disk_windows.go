package startd

import "io/fs"

// allocated is the disk that a file takes, in bytes, as far as its size tells.
func allocated(fi fs.FileInfo) (n int64, link uint64) { return fi.Size(), 0 }
