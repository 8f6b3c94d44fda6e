package starter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"skua/agent/checkpoint"
)

// The init's own corner of the sandbox. Nothing secret is in it.
const (
	ownDir      = "/.skua"
	criuConf    = ownDir + "/criu.conf"
	cgroupMount = ownDir + "/cgroup" // the job's cgroup is attached here while CRIU needs it
)

// hostTrees are shown to the job read-only, where the machine has them. What is a symbolic link here
// (/bin on a merged /usr) becomes the same link.
var hostTrees = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", systemDevices}

// systemDevices is what programs ask about processors. It is no file system on a disk.
const systemDevices = "/sys/devices/system"

// hostEtc are the parts of /etc that programs need to start and to know the place. None is private;
// in particular no account, key, host name or credential of the machine is among them. Patterns are
// those of filepath.Glob.
var hostEtc = []string{
	"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "timezone", "os-release",
	"debian_version", "mime.types", "protocols", "services", "rpc", "locale.alias", "magic",
	"ssl/certs", "ssl/openssl.cnf", "pki/tls/certs", "ca-certificates", "terminfo", "fonts",
	"python3*", "perl", "R", "java-*-openjdk",
}

// hostEtcNet are added when the job has a network that leaves the machine.
var hostEtcNet = []string{"resolv.conf", "gai.conf"}

// devices are the device files a job gets.
var devices = []string{"null", "zero", "full", "random", "urandom"}

// etcFiles are the same on every machine.
var etcFiles = map[string]string{
	"passwd":        "root:x:0:0:root:/scratch:/bin/sh\nskua:x:1000:1000:job:/scratch:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
	"group":         "root:x:0:\nskua:x:1000:\nnogroup:x:65534:\n",
	"hosts":         "127.0.0.1 localhost " + Hostname + "\n::1 localhost\n",
	"hostname":      Hostname + "\n",
	"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
	"host.conf":     "multi on\n",
}

// enterSandbox gives the calling process, which is alone in new namespaces and whose working
// directory is the claim's, the root that its jobs see. It returns a detached mount of the job's
// cgroup, or -1.
func enterSandbox(cfg *initConfig) (cgroup int, err error) {
	cgroup = -1
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return cgroup, fmt.Errorf("make mounts private: %w", err)
	}
	// Relative paths only until the pivot: the way to the claim's directory may be closed to us.
	if err := unix.Mount("skua", rootName, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=4m,nr_inodes=4k"); err != nil {
		return cgroup, fmt.Errorf("mount root: %w", err)
	}
	r := sandboxRoot(rootName)
	steps := []struct {
		name string
		do   func() error
	}{
		{"show programs", func() error { return r.trees(append(hostTrees[:len(hostTrees):len(hostTrees)], criuTree(cfg.Criu)...)) }},
		{"make /etc", func() error { return r.etc(cfg.Network) }},
		{"make /dev", r.dev},
		{"mount /proc", r.proc},
		{"mount scratch", r.scratch},
		{"mount shared file systems", func() error { return r.shared(cfg.Shared) }},
		{"make init's corner", r.own},
		{"show the job's runtime", func() error { return r.runtime(cfg) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return cgroup, fmt.Errorf("sandbox: %s: %w", s.name, err)
		}
	}
	if cfg.Cgroup != "" {
		cgroup, err = unix.OpenTree(unix.AT_FDCWD, cfg.Cgroup, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return -1, fmt.Errorf("sandbox: take hold of the job's cgroup: %w", err)
		}
	}
	if err := r.pivot(); err != nil {
		return cgroup, fmt.Errorf("sandbox: %w", err)
	}
	if err := unix.Sethostname([]byte(Hostname)); err != nil {
		return cgroup, fmt.Errorf("sandbox: set host name: %w", err)
	}
	if cfg.Network != NetHost {
		if err := loopbackUp(); err != nil {
			return cgroup, fmt.Errorf("sandbox: bring loopback up: %w", err)
		}
		// Go programs listen with multipath TCP where they can, and CRIU cannot dump that. Without it
		// they take TCP. Kernels that have none have no such file.
		_ = os.WriteFile("/proc/sys/net/mptcp/enabled", []byte("0"), 0)
	}
	return cgroup, nil
}

// OfSystem reports whether a path in the sandbox is that of a file of the machine, which jobs do not bring
// with them. All such files are there for any job to see.
func OfSystem(path string) bool {
	if name, ok := strings.CutPrefix(path, "/etc/"); ok {
		return slices.ContainsFunc(hostEtc, func(pattern string) bool {
			parts, n := strings.Split(name, "/"), strings.Count(pattern, "/")+1
			matches, _ := filepath.Match(pattern, strings.Join(parts[:min(n, len(parts))], "/")) // the patterns are well formed
			return matches
		})
	}
	return !within(path, systemDevices) && slices.ContainsFunc(hostTrees, func(tree string) bool { return within(path, tree) })
}

// within reports whether a path is below a directory.
func within(path, dir string) bool { return strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/") }

// criuTree returns the prefix of a criu program that the other trees do not show.
func criuTree(path string) []string {
	if path == "" {
		return nil
	}
	prefix := filepath.Dir(filepath.Dir(path))
	for _, t := range []string{"/usr", "/opt"} {
		if prefix == t || strings.HasPrefix(prefix, t+"/") {
			return nil
		}
	}
	if prefix == "/" { // /sbin/criu
		return nil
	}
	return []string{prefix}
}

// sandboxRoot is the path at which the new root is mounted.
type sandboxRoot string

func (r sandboxRoot) path(p string) string { return filepath.Join(string(r), p) }

func (r sandboxRoot) trees(paths []string) error {
	for _, p := range paths {
		if err := r.show(p); err != nil {
			return err
		}
	}
	return nil
}

// show puts the machine's p at the same path, read-only. What the machine lacks or keeps to itself
// is left out.
func (r sandboxRoot) show(p string) error { return r.showAs(p, p) }

// showAs puts what is at from at the path p, in the same way.
func (r sandboxRoot) showAs(from, p string) error {
	st, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	to := r.path(p)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	switch {
	case st.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case st.IsDir():
		err = os.MkdirAll(to, 0o755)
	case st.Mode().IsRegular():
		err = os.WriteFile(to, nil, 0o644)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	if err := bind(from, to); err != nil {
		return err
	}
	return restrict(to, unix.AT_RECURSIVE, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
}

func (r sandboxRoot) etc(network Network) error {
	if err := r.ownEtc(); err != nil {
		return err
	}
	names := hostEtc
	switch network {
	case NetHost:
		names = append(names[:len(names):len(names)], hostEtcNet...)
	case NetOutbound:
		names = append(names[:len(names):len(names)], "gai.conf")
	}
	return errors.Join(r.resolver(network), r.showEtc(names))
}

// resolver names the name server of a network to dial out.
func (r sandboxRoot) resolver(network Network) error {
	if network != NetOutbound {
		return nil
	}
	return os.WriteFile(r.path("etc/resolv.conf"), []byte("nameserver "+nameServer+"\n"), 0o644)
}

// showEtc shows parts of the machine's /etc.
func (r sandboxRoot) showEtc(names []string) error {
	var paths []string
	for _, name := range names {
		found, _ := filepath.Glob("/etc/" + name) // the patterns above are well formed
		paths = append(paths, found...)
	}
	for _, p := range paths {
		// A link out of what is shown (resolv.conf into /run) is replaced by the file it leads to.
		if target, err := filepath.EvalSymlinks(p); err == nil && strings.HasPrefix(target, "/run/") {
			b, err := os.ReadFile(target)
			if err != nil {
				continue // private: the job does without
			}
			if err := os.WriteFile(r.path(p), b, 0o644); err != nil {
				return err
			}
			continue
		}
		if err := r.show(p); err != nil {
			return err
		}
	}
	return nil
}

// ownEtc makes /etc with what is the same everywhere.
func (r sandboxRoot) ownEtc() error {
	if err := os.Mkdir(r.path("etc"), 0o755); err != nil {
		return err
	}
	for name, text := range etcFiles {
		if err := os.WriteFile(r.path("etc/"+name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (r sandboxRoot) dev() error {
	if err := os.MkdirAll(r.path("dev/shm"), 0o755); err != nil {
		return err
	}
	for _, d := range devices {
		to := r.path("dev/" + d)
		if err := os.WriteFile(to, nil, 0o644); err != nil {
			return err
		}
		if err := bind("/dev/"+d, to); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, r.path("dev/"+name)); err != nil {
			return err
		}
	}
	return nil
}

func (r sandboxRoot) proc() error {
	if err := os.Mkdir(r.path("proc"), 0o555); err != nil {
		return err
	}
	return unix.Mount("proc", r.path("proc"), "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

// scratch mounts the claim's scratch directory and, from within it, /tmp and /dev/shm.
func (r sandboxRoot) scratch() error {
	for _, d := range []string{ScratchPath, "/tmp", "/var"} {
		if err := os.Mkdir(r.path(d), 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink("../tmp", r.path("/var/tmp")); err != nil {
		return err
	}
	for _, b := range [][2]string{
		{scratchName, ScratchPath},
		{filepath.Join(scratchName, TmpName), "/tmp"},
		{filepath.Join(scratchName, ShmName), "/dev/shm"},
	} {
		if err := bind(b[0], r.path(b[1])); err != nil {
			return err
		}
		if err := restrict(r.path(b[1]), 0, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV); err != nil {
			return err
		}
	}
	return nil
}

// shared mounts the directories that the machine's policy lets jobs use in place.
func (r sandboxRoot) shared(dirs []string) error {
	for _, d := range dirs {
		if err := os.MkdirAll(r.path(d), 0o755); err != nil {
			return err
		}
		if err := bind(d, r.path(d)); err != nil {
			return err
		}
		if err := restrict(r.path(d), 0, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV); err != nil {
			return err
		}
	}
	return nil
}

func (r sandboxRoot) own() error {
	if err := os.MkdirAll(r.path(cgroupMount), 0o755); err != nil {
		return err
	}
	return os.WriteFile(r.path(criuConf), []byte(checkpoint.ConfigText), 0o644)
}

// pivot makes r the root and lets go of the machine's.
func (r sandboxRoot) pivot() error {
	if err := os.Chdir(string(r)); err != nil {
		return err
	}
	// pivot_root(".", "."): the old root ends up on top of the new one; pivot_root(2), NOTES.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the machine's root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return restrict("/", 0, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
}

func bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return &os.LinkError{Op: "bind", Old: from, New: to, Err: err}
	}
	return nil
}

func restrict(path string, flags uint, attr uint64) error {
	if err := unix.MountSetattr(unix.AT_FDCWD, path, flags, &unix.MountAttr{Attr_set: attr}); err != nil {
		return &os.PathError{Op: "restrict mount", Path: path, Err: err}
	}
	return nil
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
}
