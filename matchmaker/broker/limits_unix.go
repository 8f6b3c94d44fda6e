//go:build !windows

package broker

import (
	"log/slog"
	"syscall"
)

// enoughFiles is what a pool of a few thousand agents needs; each websocket connection takes three.
const enoughFiles = 16 << 10

// warnOpenFiles says so when few files may be open. The runtime has raised the limit to what the
// system allows already; more is for the administrator to grant.
func warnOpenFiles(log *slog.Logger) {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil || uint64(lim.Cur) >= enoughFiles {
		return
	}
	log.Warn("few files may be open, which limits the number of agents; raise LimitNOFILE", "limit", uint64(lim.Cur))
}
