package starter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"skua/agent/checkpoint"
	"skua/internal/job"
)

// idCount is how many ids a root agent maps.
const idCount = 65536

// means is what a Starter has found on this machine.
type means struct {
	criu    string
	criuErr error
	cgroups []string          // bases of the claims' cgroups, see cgroupBases; none if none can be used
	legacy  map[string]string // the same for the controllers of cgroup v1
	uid     int               // of the first slot's inits, on the host: root in their namespaces
	mapped  bool              // many ids are mapped
}

// findMeans looks for CRIU and cgroups.
func findMeans(cfg *Config) (means, error) {
	if cfg.UIDBase == 0 {
		cfg.UIDBase = DefaultUIDBase
	}
	m := means{uid: os.Getuid()}
	if m.uid == 0 {
		m.uid, m.mapped = int(cfg.UIDBase), true
	}
	m.criu, m.criuErr = checkpoint.Find(cfg.CriuPath)
	if m.cgroups = findCgroupBases(cfg.CgroupBase); m.cgroups != nil {
		m.legacy = findLegacy()
	}
	return m, nil
}

// check refuses a network that is not known.
func (n Network) check() error {
	switch n {
	case NetNone, NetHost, NetOutbound:
		return nil
	}
	return fmt.Errorf("network %q is not known", n)
}

// open starts the init of the claim whose directory dir is.
func (s *Starter) open(ctx context.Context, dir string, spec ClaimSpec) (_ *Init, err error) {
	uid := s.slotUID(spec.Slot)
	if err := s.layOut(dir, uid); err != nil {
		return nil, err
	}

	cfg := initConfig{
		V: protocol, Claim: spec.Claim, Lease: spec.Lease, Network: spec.Network,
		Criu: s.criu, Mapped: s.mapped, Memory: 2 * spec.Limits.Memory, Shared: spec.Shared, Prompt: spec.Prompt,
	}
	var cg *jobCgroup
	if s.cgroups != nil {
		cfg.Cgroup = filepath.Join(s.baseFor(spec.Prompt), string(spec.Claim))
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
	rec := claimRecord{V: protocol, Claim: spec.Claim, Cgroup: cfg.Cgroup, Network: spec.Network, UID: uid, Boot: bootID()}
	if cg != nil {
		rec.Legacy = cg.legacy
	}
	if err := writeJSON(filepath.Join(dir, claimFile), rec); err != nil {
		cg.close()
		return nil, err
	}
	b := &birth{s: s, dir: dir, uid: uid, cfg: cfg, cg: cg, runtime: spec.Runtime}
	pidfd, err := b.start()
	if err != nil {
		cg.close()
		return nil, fmt.Errorf("start init: %w", err)
	}
	i := newInit(s, spec.Claim, handle{cg: cg, uid: uid, pidfd: pidfd})
	i.known = true
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

// endClaim kills what is left of a claim: its init, and what is in its cgroups.
func (s *Starter) endClaim(claim job.ClaimID) error {
	dir := s.dir(claim)
	if conn, pidfd, err := dialInit(dir, s.uidOf(claim)); err == nil {
		conn.Close()
		err = killPidfd(pidfd)
		unix.Close(pidfd)
		if err != nil {
			return err
		}
	}
	rec, err := readRecord(dir)
	if err != nil || rec.Cgroup == "" {
		return nil // it has none
	}
	if rec.Network == NetOutbound {
		if err := removeCgroup(rec.Cgroup+outboundSuffix, killLimit); err != nil {
			return err
		}
	}
	if saving := (&jobCgroup{path: rec.Cgroup, legacy: rec.Legacy}).savingDir(); saving != "" {
		if err := removeEmpty(saving, killLimit); err != nil { // of an image for which no agent waited to the end
			return err
		}
	}
	return errors.Join(removeCgroup(rec.Cgroup, killLimit), removeLegacy(rec.Legacy, killLimit))
}

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

// initUID is uidOf of this claim.
func (i *Init) initUID() int { return cmp.Or(i.uid, i.s.uid) }

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
