//go:build linux || windows

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

	"skua/internal/diag"
	"skua/internal/job"
)

// Names within a claim's directory.
const (
	claimFile   = "claim.json" // its claimRecord
	scratchName = "scratch"    // the job's
	imageName   = "image"      // the checkpoint
	stateName   = "state"      // the init's: where it is found, exit status, log
)

// startLimit is how long a new init may take to build its sandbox.
const startLimit = 20 * time.Second

// freezeLimit is how long a freeze may take. Only a thread in an uninterruptible wait takes long.
const freezeLimit = 10 * time.Second

// killLimit is how long everything of a claim may take to die: longer only in an uninterruptible wait.
const killLimit = 10 * time.Second

// A Starter opens claims on this machine and finds those that an earlier agent left.
type Starter struct {
	cfg Config
	log *slog.Logger
	means

	probing sync.Mutex // guards probed, and lets only one self test run
	probed  *Capabilities
}

// New makes the directory of claims and looks for what the system has for them. It starts nothing.
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
	s := &Starter{cfg: cfg, log: cfg.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.means, err = findMeans(&s.cfg); err != nil {
		return nil, fmt.Errorf("starter: %w", err)
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

// removeProbes removes what a self test has left that was interrupted, by the end of its agent or of the machine.
func (s *Starter) removeProbes() {
	entries, err := os.ReadDir(s.cfg.Dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), probeClaim) {
			err = errors.Join(err, s.Remove(job.ClaimID(e.Name())))
		}
	}
	if err != nil {
		s.log.Warn("remains of a self test", diag.KeyError, err)
	}
}

// Open starts the init of a new claim. On an error nothing is left of it. Windows cannot keep a job off the
// network, so there that must be granted.
func (s *Starter) Open(ctx context.Context, spec ClaimSpec) (*Init, error) {
	if err := checkClaim(spec.Claim); err != nil {
		return nil, fmt.Errorf("open claim: %w", err)
	}
	what := func(err error) error { return fmt.Errorf("open claim %s: %w", spec.Claim, err) }
	if spec.Network == "" {
		spec.Network = NetNone
	}
	if err := spec.Network.check(); err != nil {
		return nil, what(err)
	}
	dir := s.dir(spec.Claim)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, what(err)
	}
	i, err := s.open(ctx, dir, spec)
	if err != nil {
		err = what(err)
		if rerr := s.Remove(spec.Claim); rerr != nil {
			s.log.Warn("remains of a claim that could not be opened", diag.KeyClaim, spec.Claim, diag.KeyError, rerr)
		}
		return nil, err
	}
	return i, nil
}

// Remove kills what is left of a claim and removes its directory, scratch and image included.
// Removing a claim that is not there is no error.
func (s *Starter) Remove(claim job.ClaimID) error {
	if err := checkClaim(claim); err != nil {
		return fmt.Errorf("remove claim: %w", err)
	}
	err := s.endClaim(claim)
	if err == nil {
		err = removeTree(s.dir(claim))
	}
	if err != nil {
		return fmt.Errorf("remove claim %s: %w", claim, err)
	}
	return nil
}

func (s *Starter) dir(claim job.ClaimID) string { return filepath.Join(s.cfg.Dir, string(claim)) }
