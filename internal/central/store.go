package central

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	renameio "github.com/google/renameio/v2/maybe"

	"skua/internal/diag"
	"skua/policy"
)

// Errors of [Store.Take], beside those of [Open].
var (
	ErrOlder      = errors.New("it is older than the one that is here")
	ErrOtherGroup = errors.New("it is for another group")
)

// Store keeps the latest policy of a machine's group on disk, so that it holds while no matchmaker can be
// reached. Its methods may be called from any goroutine.
type Store struct {
	path        string
	group       string
	fingerprint string

	taking  sync.Mutex             // held while a policy is taken in
	current atomic.Pointer[Policy] // nil for none
}

// OpenStore opens what is kept in dir of a group's policy. When that is damaged or was not signed by the
// authority with the given fingerprint, as after a machine has changed to another pool, the store is there
// all the same, with nothing in it, beside the error.
func OpenStore(dir, group, fingerprint string) (*Store, error) {
	s := &Store{path: filepath.Join(dir, "policy-"+group+".json"), group: group, fingerprint: fingerprint}
	if err := CheckGroup(group); err != nil {
		return s, err
	}
	info, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil && info.Size() > MaxSigned {
		err = ErrBad
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(s.path)
	}
	var p Policy
	if err == nil {
		p, err = Open(data, fingerprint)
	}
	if err == nil && p.Group != group {
		err = ErrOtherGroup
	}
	if err != nil {
		return s, fmt.Errorf("read the central policy that is kept in %s: %w", s.path, err)
	}
	s.current.Store(&p)
	return s, nil
}

// Group is the group whose policy is kept.
func (s *Store) Group() string { return s.group }

// Current gives the latest policy; false for none, or one that was withdrawn.
func (s *Store) Current() (Policy, bool) {
	p := s.current.Load()
	if p == nil || p.Withdrawn {
		return Policy{}, false
	}
	return *p, true
}

// Take takes in a message of the pool's, and says whether the policy in it is a new one. accept is called
// with what a new one says, nothing if the policy was withdrawn, before it is kept; its error refuses it.
// After an error all is as it was.
func (s *Store) Take(data []byte, accept func(policy.File) error) (changed bool, err error) {
	p, err := Open(data, s.fingerprint)
	if err != nil {
		return false, fmt.Errorf("central policy for %s refused: %w", s.group, err)
	}
	s.taking.Lock()
	defer s.taking.Unlock()
	now := s.current.Load()
	switch {
	case p.Group != s.group:
		return false, fmt.Errorf("central policy %s refused: %w, and this machine is of %s", p, ErrOtherGroup, s.group)
	case now == nil:
	case p.same(*now):
		return false, nil
	case p.Number < now.Number:
		return false, fmt.Errorf("central policy %s refused: %w, %d", p, ErrOlder, now.Number)
	case p.Number == now.Number:
		return false, fmt.Errorf("central policy %s refused: there is another one with that number here", p)
	}
	f, err := p.File()
	if err == nil {
		err = accept(f)
	}
	if err != nil {
		return false, &diag.Problem{What: fmt.Sprintf("central policy %s refused: %v", p, err), Err: err}
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil {
		return false, fmt.Errorf("keep the central policy: %w", err)
	}
	if err := renameio.WriteFile(s.path, data, 0o644); err != nil {
		return false, fmt.Errorf("keep the central policy: %w", err)
	}
	s.current.Store(&p)
	return true, nil
}
