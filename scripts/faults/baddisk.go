//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// The ways in which a faulty disk fails. What a mode fails, fails with EIO.
const (
	modeGood   = "good"
	modeSync   = "sync"   // what is written is there, and fsync fails
	modeWrite  = "write"  // nothing can be written
	modeSeldom = "seldom" // a third of all writes, syncs, creations and renames fail
)

var modes = []string{modeSync, modeWrite, modeSeldom}

// keeperCommand is the first argument of this program when it is the keeper of a faulty disk.
const keeperCommand = "keep-faulty-disk"

// faultyDisksPossible says why there are no faulty disks here; nil when there are.
func faultyDisksPossible() error {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("no disk can be made to fail here: %w", err)
	}
	return f.Close()
}

// maybeKeepDisk makes this program the keeper of a faulty disk, if it was started as that, and ends it then.
func maybeKeepDisk() {
	if len(os.Args) != 4 || os.Args[1] != keeperCommand {
		return
	}
	if err := keepDisk(os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// keepDisk shows the directory backing at dir, and fails as it is told on standard input, until that ends.
func keepDisk(backing, dir string) error {
	var st syscall.Stat_t
	if err := syscall.Stat(backing, &st); err != nil {
		return err
	}
	var mode atomic.Value
	mode.Store(modeGood)
	root := &faultyNode{LoopbackNode: &fs.LoopbackNode{RootData: &fs.LoopbackRoot{Path: backing, Dev: st.Dev}}, mode: &mode}
	root.RootData.RootNode = root
	lasting := time.Minute // nobody changes a file but through us
	server, err := fs.Mount(dir, root, &fs.Options{
		NullPermissions: true,
		AttrTimeout:     &lasting,
		EntryTimeout:    &lasting,
		MountOptions: fuse.MountOptions{
			AllowOther: true, Options: []string{"default_permissions"}, FsName: "faulty", Name: "faulty",
			DirectMountStrict: true, DirectMountFlags: syscall.MS_NOATIME,
		},
	})
	if err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	fmt.Println("ready")
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		mode.Store(strings.TrimSpace(orders.Text()))
		fmt.Println("done")
	}
	return errors.Join(orders.Err(), server.Unmount())
}

// faultyNode is a file or directory of a faulty disk.
type faultyNode struct {
	*fs.LoopbackNode
	mode *atomic.Value
}

// WrapChild implements [fs.NodeWrapChilder].
func (n *faultyNode) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &faultyNode{LoopbackNode: ops.(*fs.LoopbackNode), mode: n.mode}
}

// fails says whether an operation fails now: a sync, or something that changes what is there.
func (n *faultyNode) fails(sync bool) bool {
	switch n.mode.Load() {
	case modeSync:
		return sync
	case modeWrite:
		return true
	case modeSeldom:
		return rand.IntN(3) == 0
	}
	return false
}

// Fsync implements [fs.NodeFsyncer].
func (n *faultyNode) Fsync(ctx context.Context, f fs.FileHandle, flags uint32) syscall.Errno {
	if n.fails(true) {
		return syscall.EIO
	}
	if file, ok := f.(fs.FileFsyncer); ok {
		return file.Fsync(ctx, flags)
	}
	return 0 // of a directory, in memory
}

// Write implements [fs.NodeWriter].
func (n *faultyNode) Write(ctx context.Context, f fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if n.fails(false) {
		return 0, syscall.EIO
	}
	return f.(fs.FileWriter).Write(ctx, data, off)
}

// Create implements [fs.NodeCreater].
func (n *faultyNode) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if n.fails(false) {
		return nil, nil, 0, syscall.EIO
	}
	child, f, fuseFlags, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return child, open(f), fuseFlags, errno
}

// Open implements [fs.NodeOpener].
func (n *faultyNode) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, fuseFlags, errno := n.LoopbackNode.Open(ctx, flags)
	return open(f), fuseFlags, errno
}

// faultyFile is an open file of a faulty disk.
type faultyFile struct{ *fs.LoopbackFile }

// PassthroughFd implements [fs.FilePassthroughFder]: the kernel is not to write past us.
func (faultyFile) PassthroughFd() (int, bool) { return 0, false }

func open(f fs.FileHandle) fs.FileHandle {
	if file, ok := f.(*fs.LoopbackFile); ok {
		return faultyFile{file}
	}
	return f
}

// Rename implements [fs.NodeRenamer].
func (n *faultyNode) Rename(ctx context.Context, name string, newParent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if n.fails(false) {
		return syscall.EIO
	}
	return n.LoopbackNode.Rename(ctx, name, newParent, newName, flags)
}
