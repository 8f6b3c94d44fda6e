package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/checkpoint-restore/go-criu/v6/rpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"skua/internal/fit"
)

const (
	dumpLog    = "dump.log"
	restoreLog = "restore.log"

	// ghostLimit is the largest deleted but open file that is taken along.
	ghostLimit = 1 << 30

	// skipNetworkLock is --network-lock skip. The tree has a network namespace of its own or, in the
	// machine's, no connections that could be dumped; locking would need iptables and more rights
	// than a claim's init has. go-criu's enumeration lacks the value, CRIU takes it.
	skipNetworkLock = rpc.CriuNetworkLockMethod(3)
)

// Dump writes an image of the tree o.Pid into o.Dir. Unless o.Keep is set the tree is dead when it
// returns without an error, with its processes still to be waited for; after an error from CRIU it
// goes on. When ctx ends the dump, or [DefaultTimeout] if ctx has no deadline, every process in the caller's pid namespace except
// the caller is killed: a tree that was interrupted in the middle of a dump cannot go on.
//
// Dump starts the criu program from the calling thread and must not run beside a wait for any child.
func Dump(ctx context.Context, o Options) (Stats, error) {
	start := time.Now()
	opts := o.rpc(dumpLog)
	opts.Pid = proto.Int32(int32(o.Pid))
	opts.LeaveRunning = proto.Bool(o.Keep)
	if o.FreezeCgroup != "" {
		opts.FreezeCgroup = proto.String(o.FreezeCgroup)
	}
	err := o.run(ctx, "dump", dumpLog, rpc.CriuReqType_DUMP, opts, nil)
	if err != nil {
		return Stats{}, err
	}
	if o.Filtered {
		if err := forgetFilters(o.Dir); err != nil {
			return Stats{}, fmt.Errorf("leave the filter of system calls out of the image: %w", err)
		}
	}
	n, err := size(o.Dir)
	if err != nil {
		return Stats{}, fmt.Errorf("measure image: %w", err)
	}
	return Stats{Bytes: n, Took: time.Since(start)}, nil
}

// Restore starts the tree whose image is in o.Dir and returns the pid of its root, a child of the
// caller. It has been running since shortly before Restore returned. After an error nothing of it is
// left but processes to be waited for. The conditions of [Dump] hold.
func Restore(ctx context.Context, o Options) (pid int, err error) {
	opts := o.rpc(restoreLog)
	opts.RstSibling = proto.Bool(true)
	err = o.run(ctx, "restore", restoreLog, rpc.CriuReqType_RESTORE, opts, func(n *rpc.CriuNotify) {
		if n.GetScript() == "post-restore" {
			pid = int(n.GetPid())
		}
	})
	if err == nil && pid == 0 {
		err = &Error{Op: "restore", Reason: "criu did not say which process it restored"}
	}
	if err != nil {
		_ = unix.Kill(-1, unix.SIGKILL) // the remains of a half-restored tree
		return 0, err
	}
	return pid, nil
}

// Files gives the plain files of the tree whose image is in the directory dir, the job's own and the system's.
func Files(dir int) ([]OpenFile, error) {
	f, err := openIn(dir, filesName)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFilesImage))
	if err != nil {
		return nil, err
	}
	return parseFiles(b)
}

// Registers says which sets of registers the threads of the tree use whose image is in the directory dir, and which of those
// hold anything but zeros.
func Registers(dir int) (used, filled fit.Registers, err error) {
	names, err := threadImages(dir)
	for _, name := range names {
		f, err := openIn(dir, name)
		if err != nil {
			return 0, 0, err
		}
		b, err := io.ReadAll(io.LimitReader(f, maxCore))
		f.Close()
		if err != nil {
			return 0, 0, err
		}
		u, v, err := parseRegisters(b)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", name, err)
		}
		used, filled = used|u, filled|v
	}
	return used, filled, err
}

// rpc returns the options that dump and restore share.
func (o Options) rpc(log string) *rpc.CriuOpts {
	ignore := rpc.CriuCgMode_IGNORE
	lock := skipNetworkLock
	return &rpc.CriuOpts{
		ImagesDirFd:       proto.Int32(int32(o.Dir)),
		LogFile:           proto.String(log),
		LogLevel:          proto.Int32(4),
		FileLocks:         proto.Bool(true),
		TcpEstablished:    proto.Bool(o.OwnNetwork),
		ManageCgroups:     proto.Bool(true), // makes CRIU read the mode below
		ManageCgroupsMode: &ignore,
		GhostLimit:        proto.Uint32(ghostLimit),
		Timeout:           proto.Uint32(120),
		NetworkLock:       &lock,
		ConfigFile:        proto.String(o.ConfigFile),
	}
}

// run has CRIU carry out a request and turns what it says into an Error.
func (o Options) run(ctx context.Context, op, log string, kind rpc.CriuReqType, opts *rpc.CriuOpts, notify func(*rpc.CriuNotify)) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("criu %s: must be called by a claim's init", op)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := context.Cause(ctx); err != nil {
		return &Error{Op: op, Reason: "not started: " + err.Error(), Err: err}
	}

	// Signal -1 of pid 1 reaches everything in this namespace but ourselves.
	stop := context.AfterFunc(ctx, func() { _ = unix.Kill(-1, unix.SIGKILL) })
	err := request(o.Path, kind, opts, notify)
	if !stop() {
		return &Error{Op: op, Reason: "did not end in time", Err: context.Cause(ctx)}
	}
	if err == nil {
		_ = unix.Unlinkat(o.Dir, log, 0) // large, and of interest only after a failure
		return nil
	}
	why := err.Error()
	if f, ferr := openIn(o.Dir, log); ferr == nil {
		if r := reason(f); r != "" {
			why = r
		}
		f.Close()
	}
	return &Error{Op: op, Reason: why, Err: err}
}

// bounded gives ctx a deadline if it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, DefaultTimeout)
}

func openIn(dir int, name string) (*os.File, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// size adds up the files of an image directory, which is flat.
func size(dir int) (int64, error) {
	d, err := openIn(dir, ".")
	if err != nil {
		return 0, err
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if err != nil {
		return 0, err
	}
	var n int64
	for _, e := range entries {
		var st unix.Stat_t
		switch err := unix.Fstatat(dir, e.Name(), &st, unix.AT_SYMLINK_NOFOLLOW); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return 0, &os.PathError{Op: "stat", Path: strconv.Quote(e.Name()), Err: err}
		default:
			n += st.Size
		}
	}
	return n, nil
}

// forgetFilters does so with every thread's image in the directory.
func forgetFilters(dir int) error {
	names, err := threadImages(dir)
	for _, name := range names {
		if err := forgetIn(dir, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return err
}

// maxCore bounds the image of a thread, which has a kilobyte or a few.
const maxCore = 1 << 20

// threadImages gives the names of the images of threads in a directory.
func threadImages(dir int) ([]string, error) {
	d, err := openIn(dir, ".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(name string) bool {
		ok, _ := path.Match("core-*.img", name)
		return !ok
	}), nil
}

func forgetIn(dir int, name string) error {
	fd, err := unix.Openat(dir, name, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCore))
	if err != nil {
		return err
	}
	if err := forgetFilter(b); err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	return err
}
