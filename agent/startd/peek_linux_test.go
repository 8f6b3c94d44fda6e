package startd

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"skua/internal/wire"
)

// What would make a reader wait is not read.
func TestReadPieceOfWhatIsNoFile(t *testing.T) {
	root := scratch(t, "x")
	if err := unix.Mkfifo(filepath.Join(root.Name(), "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	names := []string{"fifo"}
	if err := unix.Mknod(filepath.Join(root.Name(), "device"), unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))); err == nil {
		names = append(names, "device") // it takes root to make one
	}
	for _, name := range names {
		if p, err := readPiece(root, wire.Peek{File: name}); err == nil || !strings.Contains(err.Error(), "not a plain file") {
			t.Errorf("of a %s came %d bytes (%v)", name, len(p.Data), err)
		}
	}
}
