package pooltest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"skua/agent/startd"
	"skua/internal/blob"
	"skua/internal/job"
	"skua/internal/trust"
)

// How long files take on the simulated network.
const (
	fileTakes  = 100 * time.Millisecond
	imageTakes = 3 * time.Second
	patience   = 10 * time.Second // with a network that is down
)

// store is the file service of a simulated pool.
type store struct {
	link  chan struct{} // holds who is sending an image; nil when machines have links of their own
	takes time.Duration // that this takes

	mu    sync.Mutex
	blobs map[blob.Digest][]byte // guarded by mu
	owned map[job.UserID]map[blob.Digest]bool
}

func newStore(link time.Duration) *store {
	s := &store{takes: imageTakes, blobs: map[blob.Digest][]byte{}, owned: map[job.UserID]map[blob.Digest]bool{}}
	if link > 0 {
		s.link, s.takes = make(chan struct{}, 1), link
	}
	return s
}

// enterLink waits until the shared link is free, if there is one.
func (s *store) enterLink(ctx context.Context) (leave func(), err error) {
	if s.link == nil {
		return func() {}, nil
	}
	select {
	case s.link <- struct{}{}:
		return func() { <-s.link }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (s *store) held(user job.UserID, d blob.Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.owned[user][d] {
		return blob.ErrNotFound
	}
	return nil
}

func (s *store) content(d blob.Digest) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	content, ok := s.blobs[d]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", d.Short(), blob.ErrNotFound)
	}
	return content, nil
}

func (s *store) put(user job.UserID, content []byte) blob.Digest {
	sum := sha256.Sum256(content)
	d := blob.Digest(hex.EncodeToString(sum[:]))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[d] = content
	if s.owned[user] == nil {
		s.owned[user] = map[blob.Digest]bool{}
	}
	s.owned[user][d] = true
	return d
}

// disk is the store as one machine reaches it.
type disk struct {
	m *Machine
	*store
}

// transfer spends the time that a transfer takes and checks the capability.
func (d disk) transfer(ctx context.Context, takes time.Duration, capability func() string, mode trust.Mode) (job.UserID, error) {
	if d.m.isCut() {
		if err := spend(ctx, patience); err != nil {
			return "", err
		}
	}
	if err := spend(ctx, takes); err != nil {
		return "", err
	}
	if d.m.isCut() {
		return "", errors.New("the file service cannot be reached")
	}
	c, err := d.m.p.key.Verify(capability(), time.Now())
	if err == nil && c.Mode != mode {
		err = fmt.Errorf("a capability to %s for a %s", c.Mode, mode)
	}
	return job.UserID(c.User), err
}

// Fetch implements [startd.Files]. Simulated jobs have no inputs.
func (disk) Fetch(context.Context, string, job.File, *os.Root) error { return errors.ErrUnsupported }

// Store implements [startd.Files].
func (d disk) Store(ctx context.Context, capability string, f *os.File) (blob.Digest, int64, error) {
	user, err := d.transfer(ctx, fileTakes, func() string { return capability }, trust.Write)
	if err != nil {
		return "", 0, err
	}
	content, err := io.ReadAll(f)
	if err != nil {
		return "", 0, err
	}
	return d.put(user, content), int64(len(content)), nil
}

// StoreImage implements [startd.Files].
func (d disk) StoreImage(ctx context.Context, capability func() string, _ []byte, dir string, names []string) (blob.Digest, int64, error) {
	leave, err := d.enterLink(ctx)
	if err != nil {
		return "", 0, err
	}
	user, err := d.transfer(ctx, d.takes, capability, trust.Write)
	leave()
	if err != nil {
		return "", 0, err
	}
	image := map[string][]byte{}
	for _, name := range names {
		err := filepath.WalkDir(filepath.Join(dir, name), func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			image[rel], err = os.ReadFile(path)
			return err
		})
		if err != nil {
			return "", 0, err
		}
	}
	content, err := json.Marshal(image)
	if err != nil {
		return "", 0, err
	}
	return d.put(user, content), int64(len(content)), nil
}

// FetchImage implements [startd.Files].
func (d disk) FetchImage(ctx context.Context, capability func() string, _ []byte, digest blob.Digest, dir string, _ int64) error {
	if _, err := d.transfer(ctx, imageTakes, capability, trust.Read); err != nil {
		return err
	}
	content, err := d.content(digest)
	if err != nil {
		return fmt.Errorf("%w: %w", startd.ErrBadImage, err)
	}
	var image map[string][]byte
	if err := json.Unmarshal(content, &image); err != nil {
		return fmt.Errorf("%w: %w", startd.ErrBadImage, err)
	}
	for name, content := range image {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
			return err
		}
	}
	return nil
}

var _ startd.Files = disk{}
