package startd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"skua/agent/starter"
	"skua/internal/blob"
	"skua/internal/job"
	"skua/internal/transfer"
)

// Storage is [Files] over the matchmaker's file service, with this machine's cache in front of it.
type Storage struct {
	Client   *transfer.Client // required
	Cache    *blob.Cache      // nil means none
	MaxImage int64            // bytes that an image may unpack to; 0 means 1 TiB

	// Free is how many bytes may be written to the disk where jobs are. Nil means any number.
	Free func() int64

	// Gentle says whether the machine is somebody's now, so that few chunks are worked on at a time. Nil means that it never
	// is.
	Gentle func() bool
}

// Fetch implements [Files].
func (s *Storage) Fetch(ctx context.Context, capability string, f job.File, root *os.Root) error {
	mode := os.FileMode(f.Mode).Perm()
	if mode == 0 {
		mode = 0o644
	}
	out, err := root.OpenFile(f.Name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if f.Digest == "" {
		_, err = out.Write(f.Inline)
	} else {
		err = s.fetch(ctx, capability, f, out)
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return root.Chtimes(f.Name, inputTime, inputTime)
}

func (s *Storage) fetch(ctx context.Context, capability string, f job.File, out io.Writer) error {
	if s.Cache != nil {
		_, err := s.Cache.Copy(out, f.Digest)
		if !errors.Is(err, blob.ErrNotFound) {
			return err
		}
	}
	_, err := s.Client.Get(ctx, capability, f.Digest, f.Size, out, nil)
	return err
}

// Store implements [Files].
func (s *Storage) Store(ctx context.Context, capability string, f *os.File) (blob.Digest, int64, error) {
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil {
		return "", 0, err
	}
	d := blob.Digest(hex.EncodeToString(h.Sum(nil)))
	return d, size, s.Client.Put(ctx, capability, d, size, f, nil)
}

// FetchImage implements [Files].
func (s *Storage) FetchImage(ctx context.Context, capability func() string, key []byte, d blob.Digest, dir string, most int64) error {
	k, err := imageKey(key)
	if err != nil {
		return err
	}
	src := &transfer.Source{Client: s.Client, Capability: newest(capability), Cache: s.Cache}
	m, err := blob.LoadManifest(ctx, src, k, d)
	if err != nil {
		return badImage(err)
	}
	if n := m.Sub(scratchName).DataBytes(); n > most {
		return &ScratchError{Bytes: n}
	}
	if s.Cache != nil && !s.Cache.Holds(m.DataBytes()) {
		src.Cache = nil
	}
	limit := s.MaxImage
	if limit == 0 {
		limit = 1 << 40
	}
	if s.Free != nil {
		limit = min(limit, s.Free())
	}
	// What is unpacked halfway must not be taken for an image, and the directories it goes into are
	// mounted in the sandbox, so they cannot be replaced as a whole.
	unpacked := unpackedAt(runtime.GOOS, dir)
	defer os.RemoveAll(unpacked)
	err = blob.Unpack(ctx, blob.UnpackConfig{
		Manifest: m, Source: src, Key: k, Dir: unpacked, MaxBytes: limit, OutsideLinks: true, Workers: s.workers(),
	})
	if err != nil {
		return badImage(err)
	}
	if err := checkUnpacked(unpacked); err != nil {
		return err
	}
	for _, name := range []string{scratchName, imageName} {
		if err := moveInto(filepath.Join(unpacked, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// unpackedAt is where an image is unpacked for the directories in dir, on a system as Go names it: beside them. On
// Windows what is moved keeps the access list that it was made with, so it is made in the scratch directory, whose
// list lets the job have it.
func unpackedAt(system, dir string) string {
	if system == "windows" {
		return filepath.Join(dir, scratchName, ".skua-unpacked")
	}
	return filepath.Join(dir, "unpacked")
}

// checkUnpacked refuses an image that would lead the agent, which may be root, out of the directory in which it has been
// unpacked, or have it wait for ever. The machine that made the image says what is in it. Links and pipes are a job's own
// business among its files, but not in the place of what the agent itself moves or reads.
func checkUnpacked(dir string) error {
	for _, name := range []string{
		scratchName, filepath.Join(scratchName, starter.TmpName), filepath.Join(scratchName, starter.ShmName), imageName,
	} {
		fi, err := os.Lstat(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at the image: %w", err)
		}
		if !fi.IsDir() {
			return fmt.Errorf("%w: %s is no directory", ErrBadImage, name)
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, imageName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at the image: %w", err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			return fmt.Errorf("%w: %s is no plain file", ErrBadImage, filepath.Join(imageName, e.Name()))
		}
	}
	return nil
}

// moveInto moves what is in from, which is no link, into the directory to. Directories that are in both are merged. No
// job runs yet, so nobody plays tricks with links meanwhile.
func moveInto(from, to string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("put the image in place: %w", err)
	}
	for _, e := range entries {
		src, dst := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		if fi, err := os.Lstat(dst); err == nil && fi.IsDir() && e.IsDir() {
			if err := moveInto(src, dst); err != nil {
				return err
			}
			continue
		}
		if err := os.Rename(src, dst); err != nil {
			return fmt.Errorf("put the image in place: %w", err)
		}
	}
	return nil
}

// badImage marks the errors that fetching again will not cure.
func badImage(err error) error {
	for _, final := range []error{blob.ErrMismatch, blob.ErrSealed, blob.ErrManifest, blob.ErrNotFound} {
		if errors.Is(err, final) {
			return fmt.Errorf("%w: %w", ErrBadImage, err)
		}
	}
	return err
}

// StoreImage implements [Files].
func (s *Storage) StoreImage(ctx context.Context, capability func() string, key []byte, dir string, names []string) (blob.Digest, int64, error) {
	k, err := imageKey(key)
	if err != nil {
		return "", 0, err
	}
	sink := &transfer.Sink{Client: s.Client, Capability: newest(capability)}
	if s.Cache != nil {
		if n, _ := treeSize(dir); s.Cache.Holds(n) {
			sink.Cache = s.Cache
		}
	}
	m, err := blob.Pack(ctx, blob.PackConfig{Dir: dir, Include: names, Key: k, Sink: sink, OutsideLinks: true, Workers: s.workers(), DropAfter: dropAfter})
	if err != nil {
		return "", 0, err
	}
	d, err := blob.SaveManifest(ctx, sink, k, m)
	if err != nil {
		return "", 0, err
	}
	var size int64
	for _, c := range m.Chunks {
		size += c.Len
	}
	return d, size, nil
}

// newest is for a run that may outlast a capability.
func newest(capability func() string) transfer.Capability {
	return func(context.Context, blob.Digest) (string, error) { return capability(), nil }
}

// dropAfter is how long an image may be in memory while it is sent. One that is gone by then has never been written to the disk;
// the system would soon begin to write what is left of any other.
const dropAfter = 10 * time.Second

// workers is how many chunks of an image are worked on at a time; 0 leaves it to package blob. It is two at least, so that
// the next waits at the file service when one has come there: whoever is late loses its place.
func (s *Storage) workers() int {
	const few = 2
	if s.Gentle != nil && s.Gentle() {
		return few
	}
	return 0
}

func imageKey(key []byte) (blob.Key, error) {
	var k blob.Key
	if len(key) != len(k) {
		return k, fmt.Errorf("the job's key has %d bytes, want %d", len(key), len(k))
	}
	copy(k[:], key)
	return k, nil
}
