package starter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"skua/agent/checkpoint"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/peer"
)

// idCount is how many ids a root agent maps.
const idCount = 65536

// More names within a claim's directory.
const (
	claimFile  = "claim.json"
	socketName = "sock"
	logName    = "init.log"
)

// Modes of the directories that a job may use.
const (
	imageMode   = 0o700
	scratchMode = 0o755
	tmpMode     = 0o777 | os.ModeSticky
	shmMode     = 0o777 | os.ModeSticky
)

// startLimit is how long a new init may take to build its sandbox.
const startLimit = 20 * time.Second

// A Starter opens claims on this machine and finds those that an earlier agent left.
type Starter struct {
	cfg     Config
	log     *slog.Logger
	criu    string
	criuErr error
	cgroups string            // base of the claims' cgroups, or ""
	legacy  map[string]string // the same for the controllers of cgroup v1
	uid     int               // of the first slot's inits, on the host: root in their namespaces
	mapped  bool              // many ids are mapped

	probing sync.Mutex // guards probed, and lets only one self test run
	probed  *Capabilities
}

// claimRecord is what Adopt and Remove need to know of a claim.
type claimRecord struct {
	V      int         `json:"v"`
	Claim  job.ClaimID `json:"claim"`
	Cgroup string      `json:"cgroup,omitempty"`
	UID    int         `json:"uid,omitempty"` // of the init; 0 if it is Starter.uid

	Legacy  map[string]string `json:"legacy,omitempty"` // directories in cgroup v1, by controller
	Network Network           `json:"network"`
}

// New makes the directory of claims and looks for CRIU and cgroups. It starts nothing.
func New(cfg Config) (*Starter, error) {
	if cfg.Dir == "" {
		return nil, errors.New("starter: no directory for claims was given")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("starter: %w", err)
	}
	cfg.Dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("starter: make directory of claims: %w", err)
	}
	if cfg.UIDBase == 0 {
		cfg.UIDBase = DefaultUIDBase
	}
	s := &Starter{cfg: cfg, log: cfg.Log, uid: os.Getuid()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.uid == 0 {
		s.uid, s.mapped = int(cfg.UIDBase), true
	}
	s.criu, s.criuErr = checkpoint.Find(cfg.CriuPath)
	if s.cgroups = findCgroupBase(cfg.CgroupBase); s.cgroups != "" {
		s.legacy = findLegacy()
	}
	return s, nil
}

// Claims lists the claims found on disk, whether their inits live or not.
func (s *Starter) Claims() ([]job.ClaimID, error) {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("list claims: %w", err)
	}
	var claims []job.ClaimID
	for _, e := range entries {
		c := job.ClaimID(e.Name())
		if e.IsDir() && checkClaim(c) == nil && !strings.HasPrefix(e.Name(), probeClaim) {
			claims = append(claims, c)
		}
	}
	return claims, nil
}

// Open starts the init of a new claim. On an error nothing is left of it.
func (s *Starter) Open(ctx context.Context, spec ClaimSpec) (_ *Init, err error) {
	if err := checkClaim(spec.Claim); err != nil {
		return nil, fmt.Errorf("open claim: %w", err)
	}
	switch spec.Network {
	case "":
		spec.Network = NetNone
	case NetNone, NetHost, NetOutbound:
	default:
		return nil, fmt.Errorf("open claim %s: network %q is not known", spec.Claim, spec.Network)
	}
	dir := s.dir(spec.Claim)
	if err := mkdir(dir, 0o711); err != nil {
		return nil, fmt.Errorf("open claim %s: %w", spec.Claim, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open claim %s: %w", spec.Claim, err)
			if rerr := s.Remove(spec.Claim); rerr != nil {
				s.log.Warn("remains of a claim that could not be opened", diag.KeyClaim, spec.Claim, diag.KeyError, rerr)
			}
		}
	}()
	uid := s.slotUID(spec.Slot)
	if err := s.layOut(dir, uid); err != nil {
		return nil, err
	}

	cfg := initConfig{
		V: protocol, Claim: spec.Claim, Lease: spec.Lease, Network: spec.Network,
		Criu: s.criu, Mapped: s.mapped, Memory: 2 * spec.Limits.Memory, Shared: spec.Shared, Prompt: spec.Prompt,
	}
	var cg *jobCgroup
	if s.cgroups != "" {
		cfg.Cgroup = filepath.Join(s.cgroups, string(spec.Claim))
		if cg, err = makeCgroup(cfg.Cgroup, s.legacy, uid, spec); err != nil {
			return nil, err
		}
		cfg.Joins = len(cg.legacy)
		if cg.hasMemory() {
			cfg.Memory = 0
		}
	}
	if cg == nil || !cg.hasPids() {
		cfg.Pids = s.processLimit(spec.Limits.Pids)
	}
	// Whoever comes after us must find the cgroup even if we end here.
	rec := claimRecord{V: protocol, Claim: spec.Claim, Cgroup: cfg.Cgroup, Network: spec.Network, UID: uid}
	if cg != nil {
		rec.Legacy = cg.legacy
	}
	if err := writeRecord(dir, rec); err != nil {
		cg.close()
		return nil, err
	}
	b := &birth{s: s, dir: dir, uid: uid, cfg: cfg, cg: cg, runtime: spec.Runtime}
	pidfd, err := b.start()
	if err != nil {
		cg.close()
		return nil, fmt.Errorf("start init: %w", err)
	}
	i := newInit(s, spec.Claim, cg, pidfd)
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := i.connect(ctx); err != nil {
		_ = i.Kill()
		i.Close()
		if last := lastLine(filepath.Join(dir, stateName, logName)); last != "" {
			err = fmt.Errorf("%w (%s)", err, last)
		}
		return nil, err
	}
	if spec.Network == NetOutbound {
		if err := s.dialOut(ctx, cfg.Cgroup+outboundSuffix, i.pidfd); err != nil {
			_ = i.Kill()
			i.Close()
			return nil, fmt.Errorf("open its network: %w", err)
		}
	}
	return i, nil
}

// Adopt connects to the living init of a claim that an earlier agent opened. If the init is gone but
// its job had ended before, the result's Done is closed and Exit says how. Otherwise the error wraps
// ErrGone.
func (s *Starter) Adopt(ctx context.Context, claim job.ClaimID) (*Init, error) {
	if err := checkClaim(claim); err != nil {
		return nil, fmt.Errorf("adopt claim: %w", err)
	}
	rec, err := readRecord(s.dir(claim))
	if err != nil {
		return nil, fmt.Errorf("adopt claim %s: %w: %w", claim, ErrGone, err)
	}
	var cg *jobCgroup
	if rec.Cgroup != "" {
		if cg, err = openCgroup(rec.Cgroup, rec.Legacy); err != nil { // the machine was restarted
			return s.adoptExit(claim, err)
		}
	}
	if cg != nil {
		cg.calm()
	}
	i := newInit(s, claim, cg, -1)
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := i.connect(ctx); err != nil {
		i.Close()
		if i.conn == nil { // nobody listens
			return s.adoptExit(claim, err)
		}
		return nil, fmt.Errorf("adopt claim %s: %w", claim, err)
	}
	return i, nil
}

// adoptExit stands for an init that is gone, for the reason why.
func (s *Starter) adoptExit(claim job.ClaimID, why error) (*Init, error) {
	e, err := readExit(s.dir(claim))
	if err != nil {
		return nil, fmt.Errorf("adopt claim %s: %w: %w", claim, ErrGone, why)
	}
	if rec, err := readRecord(s.dir(claim)); err == nil && rec.Cgroup != "" {
		(&jobCgroup{path: rec.Cgroup, legacy: rec.Legacy}).blame(e)
	}
	i := newInit(s, claim, nil, -1)
	i.job = e.Job
	i.finish(e)
	return i, nil
}

// Remove kills what is left of a claim and removes its directory, scratch and image included.
// Removing a claim that is not there is no error.
func (s *Starter) Remove(claim job.ClaimID) error {
	if err := checkClaim(claim); err != nil {
		return fmt.Errorf("remove claim: %w", err)
	}
	dir := s.dir(claim)
	if conn, pidfd, err := dialInit(dir, s.uidOf(claim)); err == nil {
		conn.Close()
		err = killPidfd(pidfd)
		unix.Close(pidfd)
		if err != nil {
			return fmt.Errorf("remove claim %s: %w", claim, err)
		}
	}
	if rec, err := readRecord(dir); err == nil && rec.Cgroup != "" {
		if rec.Network == NetOutbound {
			if err := removeCgroup(rec.Cgroup+outboundSuffix, killLimit); err != nil {
				return fmt.Errorf("remove claim %s: %w", claim, err)
			}
		}
		if err := errors.Join(removeCgroup(rec.Cgroup, killLimit), removeLegacy(rec.Legacy, killLimit)); err != nil {
			return fmt.Errorf("remove claim %s: %w", claim, err)
		}
	}
	if err := removeTree(dir); err != nil {
		return fmt.Errorf("remove claim %s: %w", claim, err)
	}
	return nil
}

func (s *Starter) dir(claim job.ClaimID) string { return filepath.Join(s.cfg.Dir, string(claim)) }

// slotUID is the id, on the host, of the inits of a slot. Each has a range of ids to itself, so that the jobs of
// two slots are no more to each other than two accounts of the machine. Agents without root have one id only.
func (s *Starter) slotUID(slot int) int {
	if !s.mapped {
		return s.uid
	}
	return s.uid + max(0, slot-1)*idCount
}

// uidOf is the id of a claim's init.
func (s *Starter) uidOf(claim job.ClaimID) int {
	if rec, err := readRecord(s.dir(claim)); err == nil && rec.UID != 0 {
		return rec.UID
	}
	return s.uid
}

// processLimit is the limit that each process of a job gets where no controller counts them: the kernel then
// counts the processes of its user. Since Linux 5.14 it counts them within a user namespace; before, and
// without ids of the slot's own, those of the agent's account would be among them.
func (s *Starter) processLimit(most int) int {
	switch {
	case most == 0:
		return 0
	case s.mapped:
		return most
	case !kernelAtLeast(5, 14):
		return 0
	}
	const inits = 64 // threads that an init and CRIU may have, which have the same id
	return most + inits
}

// kernelAtLeast says whether Linux is of this version or newer.
func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var a, b int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a > major || a == major && b >= minor
}

// mkdir makes a directory that others than the agent pass through, whatever the umask is.
func mkdir(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// layOut makes the directories of a claim.
func (s *Starter) layOut(dir string, initUID int) error {
	jobUID := initUID
	if s.mapped {
		jobUID += jobID
	}
	for _, d := range []struct {
		name string
		mode os.FileMode
		uid  int
	}{
		{rootName, 0o755, initUID},
		{stateName, 0o700, initUID},
		{imageName, imageMode, initUID},
		{scratchName, scratchMode, jobUID},
		{scratchName + "/" + TmpName, tmpMode, jobUID},
		{scratchName + "/" + ShmName, shmMode, jobUID},
	} {
		p := filepath.Join(dir, d.name)
		if err := os.Mkdir(p, 0o700); err != nil {
			return err
		}
		if s.mapped {
			if err := os.Lchown(p, d.uid, d.uid); err != nil {
				return err
			}
		}
		if err := os.Chmod(p, d.mode); err != nil {
			return err
		}
	}
	return nil
}

// takeOver gives the files that the caller put into scratch and the image directory to the ids that
// this machine maps: those of another machine may differ.
func (s *Starter) takeOver(claim job.ClaimID) error {
	if !s.mapped {
		return nil
	}
	initUID := s.uidOf(claim)
	for name, uid := range map[string]int{scratchName: initUID + jobID, imageName: initUID} {
		err := filepath.WalkDir(filepath.Join(s.dir(claim), name), func(p string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(p, uid, uid)
		})
		if err != nil {
			return fmt.Errorf("take over files: %w", err)
		}
	}
	return nil
}

// birth is the start of one init.
type birth struct {
	s   *Starter
	dir string
	uid int // of the init
	cfg initConfig
	cg  *jobCgroup

	runtime string // directory of the job's runtime root, "" for none
}

// root takes hold of the directory of the job's runtime root, and tells the init of it. The way there may be closed to
// the init's ids, so it is given a mount; an agent that is not root cannot make one, and needs none.
func (b *birth) root() (*os.File, error) {
	if b.runtime == "" {
		return nil, nil
	}
	if !b.s.mapped {
		b.cfg.Runtime = b.runtime
		return nil, nil
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, b.runtime, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, &os.PathError{Op: "take hold of", Path: b.runtime, Err: err}
	}
	b.cfg.RuntimeFD = fdProcs
	if b.cg != nil {
		b.cfg.RuntimeFD = fdJoins + len(b.cg.legacy)
	}
	return os.NewFile(uintptr(fd), b.runtime), nil
}

// start executes this program again as the init.
func (b *birth) start() (pidfd int, err error) {
	var files []*os.File
	defer func() { closeAll(files) }()
	open := func(path string, flags int) error {
		f, err := os.OpenFile(path, flags, 0o600)
		if err == nil {
			files = append(files, f)
		}
		return err
	}
	state := filepath.Join(b.dir, stateName)
	if err := errors.Join(
		open(os.DevNull, os.O_RDWR),
		open(filepath.Join(state, logName), os.O_WRONLY|os.O_CREATE|os.O_APPEND),
		open(state, os.O_RDONLY|unix.O_DIRECTORY),
		open(filepath.Join(b.dir, imageName), os.O_RDONLY|unix.O_DIRECTORY),
	); err != nil {
		return -1, err
	}
	null, log, stateDir, imageDir := files[0], files[1], files[2], files[3]

	// Bound here, because the path to it may be closed to the init, but made to listen there: then it
	// is the init's identity that we meet when we connect.
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	files = append(files, os.NewFile(uintptr(sock), socketName))
	if err := unix.Bind(sock, &unix.SockaddrUnix{Name: socketIn(stateDir)}); err != nil {
		return -1, os.NewSyscallError("bind", err)
	}

	root, err := b.root()
	if err != nil {
		return -1, err
	}
	if root != nil {
		files = append(files, root)
	}

	r, w, err := os.Pipe()
	if err != nil {
		return -1, err
	}
	files = append(files, r)
	err = json.NewEncoder(w).Encode(b.cfg) // far below the capacity of a pipe
	if err = errors.Join(err, w.Close()); err != nil {
		return -1, err
	}

	attr := &syscall.ProcAttr{
		Env: []string{"PATH=" + jobPath, "GOTRACEBACK=single"},
		Files: []uintptr{
			null.Fd(), null.Fd(), log.Fd(),
			fdConfig: r.Fd(), fdListen: uintptr(sock), fdState: stateDir.Fd(), fdImage: imageDir.Fd(),
		},
		Sys: b.namespaces(&pidfd),
	}
	if b.cg != nil {
		attr.Files = append(attr.Files, b.cg.procs.Fd(), b.cg.freeze.Fd(), b.cg.events.Fd())
		for _, dir := range b.cg.legacy {
			if err := open(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY); err != nil {
				return -1, err
			}
			attr.Files = append(attr.Files, files[len(files)-1].Fd())
		}
	}
	if root != nil {
		attr.Files = append(attr.Files, root.Fd())
	}
	return pidfd, forkIn(b.dir, attr)
}

func (b *birth) namespaces(pidfd *int) *syscall.SysProcAttr {
	sys := &syscall.SysProcAttr{
		Setsid: true,
		PidFD:  pidfd,
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC |
			unix.CLONE_NEWUTS,
	}
	if b.cfg.Network != NetHost {
		sys.Cloneflags |= unix.CLONE_NEWNET
	}
	if b.s.mapped {
		m := []syscall.SysProcIDMap{{ContainerID: 0, HostID: b.uid, Size: idCount}}
		sys.UidMappings, sys.GidMappings, sys.GidMappingsEnableSetgroups = m, m, true
		sys.Credential = &syscall.Credential{}
	} else {
		sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return sys
}

// forkIn starts the init with dir as its working directory. The way there may be closed to its ids,
// so it cannot go there itself: a thread of ours does, and forks.
func forkIn(dir string, attr *syscall.ProcAttr) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err = unix.Unshare(unix.CLONE_FS); err != nil {
			err = os.NewSyscallError("unshare", err)
			return
		}
		if err = unix.Chdir(dir); err != nil {
			err = &os.PathError{Op: "chdir", Path: dir, Err: err}
			return
		}
		_, err = syscall.ForkExec("/proc/self/exe", []string{initName}, attr)
	}()
	<-done
	return err
}

// socketIn names the socket in an open directory, shorter than the 107 bytes that an address holds.
func socketIn(dir *os.File) string { return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName) }

// dialInit connects to the init that listens in the claim directory dir and has the id uid.
func dialInit(dir string, uid int) (conn *net.UnixConn, pidfd int, err error) {
	state, err := os.Open(filepath.Join(dir, stateName))
	if err != nil {
		return nil, -1, err
	}
	defer state.Close()
	conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: socketIn(state)})
	if err != nil {
		return nil, -1, err
	}
	listens, err := peer.Of(conn)
	switch {
	case err != nil:
	case int(listens.UID) != uid:
		err = fmt.Errorf("the process that listens has uid %d, not %d", listens.UID, uid)
	default:
		pidfd, err = unix.PidfdOpen(listens.PID, 0)
		err = os.NewSyscallError("pidfd_open", err)
	}
	if err != nil {
		conn.Close()
		return nil, -1, err
	}
	return conn, pidfd, nil
}

func writeRecord(dir string, r claimRecord) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, claimFile), b, 0o600)
}

func readRecord(dir string) (claimRecord, error) {
	var r claimRecord
	return r, readJSON(filepath.Join(dir, claimFile), &r)
}

// readExit reads how the claim's last job ended, as far as that can be relied on: a machine that has stopped
// meanwhile may have lost what the job had written.
func readExit(dir string) (*Exit, error) {
	var s savedExit
	if err := readJSON(filepath.Join(dir, stateName, exitFile), &s); err != nil {
		return nil, err
	}
	if s.Boot != "" && s.Boot != bootID() {
		return nil, errors.New("the machine was restarted since the job ended")
	}
	return &s.Exit, nil
}

// readJSON reads a small file.
func readJSON(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// lastLine returns the last line of a log, for an error message.
func lastLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 64<<10))
	lines := slices.Collect(strings.Lines(strings.TrimSpace(string(b))))
	if len(lines) == 0 {
		return ""
	}
	return strings.TrimSpace(lines[len(lines)-1])
}

// removeTree is os.RemoveAll for trees in which a job may have made directories without permissions.
func removeTree(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(p, 0o700) // before its entries are read
		}
		return nil
	})
	return os.RemoveAll(dir)
}
