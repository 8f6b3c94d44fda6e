package starter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A job can have a runtime root: programs and libraries that its user has sent, the same ones on every machine. Its
// processes have their root at runtimePath then, with the trees of the runtime, and with what every job has of ours. The
// init, and CRIU with it, stays in the machine's, where what the processes have open is found under that path.
const (
	runtimePath   = "/runtime"          // the root of the job's processes
	runtimeSource = ownDir + "/runtime" // where the runtime's directory is mounted
	mostEtc       = 1000                // files in its /etc
)

// runtimeTrees are the directories of a runtime that a job sees in place of the machine's, beside /etc.
var runtimeTrees = []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt"}

// hasRuntime reports whether the job has a runtime root.
func (c *initConfig) hasRuntime() bool { return c.RuntimeFD > 0 || c.Runtime != "" }

// runtime makes the root of a job with a runtime. That comes from a stranger: links in it are never followed here,
// where they would lead into the machine's.
func (r sandboxRoot) runtime(cfg *initConfig) error {
	if !cfg.hasRuntime() {
		return nil
	}
	source := r.path(runtimeSource)
	if err := os.MkdirAll(source, 0o755); err != nil {
		return err
	}
	if cfg.RuntimeFD > 0 {
		if err := unix.MoveMount(cfg.RuntimeFD, "", unix.AT_FDCWD, source, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return os.NewSyscallError("move_mount", err)
		}
		unix.Close(cfg.RuntimeFD)
	} else if err := bind(cfg.Runtime, source); err != nil {
		return err
	}
	if err := restrict(source, unix.AT_RECURSIVE, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV); err != nil {
		return err
	}
	job := sandboxRoot(r.path(runtimePath))
	for _, tree := range runtimeTrees {
		if err := job.showAs(filepath.Join(source, tree), "/"+tree); err != nil {
			return err
		}
	}
	for _, dir := range cfg.Shared {
		if err := job.noLinks(dir); err != nil {
			return err
		}
	}
	return errors.Join(
		job.show(systemDevices), job.runtimeEtc(source, cfg.Network), job.dev(), job.proc(), job.scratch(), job.shared(cfg.Shared),
	)
}

// noLinks refuses a path on which there is a link: whoever made a directory there would make it elsewhere.
func (r sandboxRoot) noLinks(path string) error {
	for at := filepath.Clean(path); at != "/"; at = filepath.Dir(at) {
		if fi, err := os.Lstat(r.path(at)); err == nil && fi.Mode()&os.ModeSymlink != 0 {
			return fmt.Errorf("the shared directory %s cannot be shown: in the job's runtime root %s is a link", path, at)
		}
	}
	return nil
}

// runtimeEtc makes the /etc of a job with a runtime: what is in the runtime's, but for the files that are ours.
func (r sandboxRoot) runtimeEtc(source string, network Network) error {
	if err := errors.Join(r.ownEtc(), r.resolver(network)); err != nil {
		return err
	}
	if network == NetHost {
		if err := r.showEtc(hostEtcNet); err != nil {
			return err
		}
	}
	etc := filepath.Join(source, "etc")
	if fi, err := os.Lstat(etc); err != nil || !fi.IsDir() {
		return nil
	}
	entries, err := os.ReadDir(etc)
	if err != nil {
		return err
	}
	if len(entries) > mostEtc {
		return fmt.Errorf("its /etc has %d files, at most %d are possible", len(entries), mostEtc)
	}
	for _, e := range entries {
		if _, err := os.Lstat(r.path("etc/" + e.Name())); err == nil {
			continue // ours
		}
		if err := r.showAs(filepath.Join(etc, e.Name()), "/etc/"+e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// stat gives the mode of a file as the job's processes find it.
func (p *pid1) stat(path string) (mode uint32, err error) {
	root := "/"
	if p.cfg.hasRuntime() {
		root = runtimePath
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	return st.Mode, nil
}
