package startd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"skua/agent/checkpoint"
	"skua/agent/starter"
	"skua/internal/blob"
	"skua/internal/job"
)

// stager is a starter with one claim, in which nothing has been started yet.
type stager struct {
	noStarter
	dir string
}

func (s stager) Open(context.Context, starter.ClaimSpec) (Init, error) {
	return stagedInit{dir: s.dir}, nil
}

type stagedInit struct {
	Init
	dir string
}

func (i stagedInit) Scratch() string { return filepath.Join(i.dir, scratchName) }

func (i stagedInit) ImageDir() string { return filepath.Join(i.dir, imageName) }

// What another machine says is in an image does not lead the agent out of the claim's directory, nor have it wait.
func TestImageThatLeadsElsewhere(t *testing.T) {
	dir := func(path string) blob.Entry { return blob.Entry{Path: path, Kind: blob.Dir, Mode: 0o700} }
	file := func(path string) blob.Entry { return blob.Entry{Path: path, Kind: blob.File, Mode: 0o600} }
	pipe := func(path string) blob.Entry { return blob.Entry{Path: path, Kind: blob.Pipe, Mode: 0o600} }
	outside := t.TempDir()
	link := func(path string) blob.Entry { return blob.Entry{Path: path, Kind: blob.Symlink, Target: outside} }
	const meta = "image/" + checkpoint.MetaName
	for _, tt := range []struct {
		name    string
		entries []blob.Entry
		bad     bool
	}{
		{"usual", []blob.Entry{dir("image"), file(meta), dir("scratch"), dir("scratch/.skua-tmp"), file("scratch/data")}, false},
		{"links and pipes of the job", []blob.Entry{dir("scratch"), link("scratch/link"), pipe("scratch/pipe")}, false},
		{"a job's own files only", []blob.Entry{dir("scratch"), file("scratch/data")}, false},
		{"link for scratch", []blob.Entry{dir("image"), file(meta), link("scratch")}, true},
		{"link for image", []blob.Entry{link("image"), dir("scratch")}, true},
		{"file for scratch", []blob.Entry{file("scratch")}, true},
		{"link for /tmp", []blob.Entry{dir("scratch"), link("scratch/.skua-tmp")}, true},
		{"pipe for /dev/shm", []blob.Entry{dir("scratch"), pipe("scratch/.skua-shm")}, true},
		{"pipe in the image", []blob.Entry{dir("image"), pipe(meta), dir("scratch")}, true},
		{"link in the image", []blob.Entry{dir("image"), link("image/pages-1.img"), dir("scratch")}, true},
		{"directory in the image", []blob.Entry{dir("image"), dir("image/fs"), dir("scratch")}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			precious := filepath.Join(outside, "precious")
			write(t, precious, "no business of the job's")
			cache, err := blob.OpenCache(blob.CacheConfig{Dir: filepath.Join(t.TempDir(), "cache"), MaxBytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			key := make([]byte, len(blob.Key{}))
			d, err := blob.SaveManifest(t.Context(), cacheSink{cache}, blob.Key(key), blob.Manifest{V: blob.ManifestVersion, Entries: tt.entries})
			if err != nil {
				t.Fatal(err)
			}
			claim := t.TempDir() // as the starter makes it
			for _, name := range []string{imageName, filepath.Join(scratchName, starter.TmpName), filepath.Join(scratchName, starter.ShmName)} {
				if err := os.MkdirAll(filepath.Join(claim, name), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			daemon := bareDaemon(t)
			daemon.cfg.Starter, daemon.cfg.Files = stager{dir: claim}, &Storage{Cache: cache}
			offer := asks(t, "c1", 1, 1)
			offer.Key = key
			_, _, err = newTenant(daemon.keepers[0], offer, "c1").fromImage(t.Context(), job.Image{Kind: job.CRIUImage, Digest: d})
			if tt.bad != errors.Is(err, ErrBadImage) { // any other has no description that could be read
				t.Errorf("going on from it gives %v", err)
			}
			if last := tt.entries[len(tt.entries)-1].Path; !tt.bad {
				if _, err := os.Lstat(filepath.Join(claim, last)); err != nil {
					t.Errorf("%s is not in its place: %v", last, err)
				}
			}
			if _, err := os.Lstat(precious); err != nil {
				t.Errorf("a file outside is gone: %v", err)
			}
			if _, err := os.Lstat(filepath.Join(claim, "unpacked")); err == nil {
				t.Error("it is still there where it was unpacked")
			}
		})
	}
}
