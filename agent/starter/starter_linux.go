package starter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"skua/agent/checkpoint"
	"skua/internal/diag"
	"skua/internal/job"
)

// idCount is how many ids a root agent maps.
const idCount = 65536

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
