package transfer

import "io/fs"

// onlyOurs is true: there a second name can only be given to a file that one may write to.
func onlyOurs(fs.FileInfo) bool { return true }
