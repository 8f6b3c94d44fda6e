//go:build linux || windows

package starter

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"skua/internal/job"
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
	h, err := rec.handle()
	if err != nil { // the machine was restarted
		return s.adoptExit(claim, rec, err)
	}
	i := newInit(s, claim, h)
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := i.connect(ctx); err != nil {
		i.Close()
		if i.conn == nil { // nobody listens
			return s.adoptExit(claim, rec, err)
		}
		return nil, fmt.Errorf("adopt claim %s: %w", claim, err)
	}
	return i, nil
}

// adoptExit stands for an init that is gone, for the reason why.
func (s *Starter) adoptExit(claim job.ClaimID, rec claimRecord, why error) (*Init, error) {
	e, err := readExit(s.dir(claim))
	if err != nil {
		return nil, fmt.Errorf("adopt claim %s: %w: %w", claim, ErrGone, why)
	}
	rec.blame(e)
	return s.gone(claim, e), nil
}

// gone stands for an init that is gone, of which nothing can be asked any more.
func (s *Starter) gone(claim job.ClaimID, e *Exit) *Init {
	i := newInit(s, claim, noHandle)
	i.job = e.Job
	i.finish(e)
	close(i.lost)
	return i
}

func readRecord(dir string) (claimRecord, error) {
	var r claimRecord
	err := readJSON(filepath.Join(dir, claimFile), &r)
	return r, err
}

// exitFile is the Exit of a claim's last job, in the state directory: a savedExit. It is for an agent that is
// started after the init has gone, not for a machine that is: what a job has written is no safer on the disk
// than this is, and so it is not flushed, and says in which run of the machine it was written.
const exitFile = "exit.json"

// readExit reads how the claim's last job ended, as far as that can be relied on: a machine that has stopped
// meanwhile may have lost what the job had written.
func readExit(dir string) (*Exit, error) {
	var e savedExit
	if err := readJSON(filepath.Join(dir, stateName, exitFile), &e); err != nil {
		return nil, err
	}
	if !e.sameBoot() {
		return nil, errors.New("the machine was restarted since the job ended")
	}
	return &e.Exit, nil
}
