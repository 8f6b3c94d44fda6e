package starter

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"skua/internal/job"
	"skua/internal/peer"
)

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
