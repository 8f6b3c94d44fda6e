package startd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skua/internal/job"
	"skua/internal/wire"
)

func TestReadPiece(t *testing.T) {
	root := scratch(t, "deep/empty")
	content := strings.Repeat("0123456789", 10_000)
	if err := root.WriteFile(job.StdoutFile, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"link": job.StdoutFile, "out": "../secret/key", "up": "../secret"} {
		if err := root.Symlink(to, name); err != nil {
			t.Skip("no symbolic links here:", err)
		}
	}
	for _, tt := range []struct {
		name   string
		want   wire.Peek
		data   string
		offset int64
		fail   string
	}{
		{"the beginning", wire.Peek{File: job.StdoutFile, Limit: 5}, "01234", 0, ""},
		{"further on", wire.Peek{File: job.StdoutFile, Offset: 99_998, Limit: 5}, "89", 99_998, ""},
		{"the end", wire.Peek{File: job.StdoutFile, Offset: -3}, "789", 99_997, ""},
		{"more than there is before the end", wire.Peek{File: job.StdoutFile, Offset: -1e6, Limit: 2}, "01", 0, ""},
		{"beyond the end", wire.Peek{File: job.StdoutFile, Offset: 1e6}, "", 1e6, ""},
		{"as much as one may", wire.Peek{File: job.StdoutFile, Limit: 1e9}, content[:wire.MaxPeek], 0, ""},
		{"an empty file", wire.Peek{File: "deep/empty"}, "", 0, ""},
		{"no file", wire.Peek{File: "none"}, "", 0, "the job has no file none"},
		{"no name", wire.Peek{}, "", 0, "cannot be read"},
		{"a directory", wire.Peek{File: "deep"}, "", 0, "not a plain file"},
		{"a link", wire.Peek{File: "link"}, "", 0, "not a plain file"},
		{"a link out of the directory", wire.Peek{File: "out"}, "", 0, "not a plain file"},
		{"through a link out of it", wire.Peek{File: "up/key"}, "", 0, "cannot be read"},
		{"out of it", wire.Peek{File: "../secret/key"}, "", 0, "cannot be read"},
		{"an absolute path", wire.Peek{File: filepath.Join(root.Name(), job.StdoutFile)}, "", 0, "cannot be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := readPiece(root, tt.want)
			if tt.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fail) {
					t.Errorf("got %q (%v), want an error with %q", p.Data, err, tt.fail)
				}
				return
			}
			if err != nil || string(p.Data) != tt.data || p.Offset != tt.offset {
				t.Errorf("got %d bytes at %d (%v), want %d at %d", len(p.Data), p.Offset, err, len(tt.data), tt.offset)
			}
		})
	}
}

// Shared directories that are not there are not promised.
func TestMissingMount(t *testing.T) {
	dir := t.TempDir()
	d := bareDaemon(t)
	k := d.keepers[0]
	missing := filepath.Join(dir, "data")
	d.cfg.Policy.Shared = []string{dir, missing}
	d.cfg.Policy.Machine.SetString("FileSystemDomain", "lab.example.org")
	for _, there := range []bool{false, true, false} {
		if there {
			if err := os.Mkdir(missing, 0o755); err != nil {
				t.Fatal(err)
			}
		} else if err := os.RemoveAll(missing); err != nil {
			t.Fatal(err)
		}
		d.checkMounts()
		if _, ok := k.ad(noon, k.state()).Str("FileSystemDomain"); ok != there {
			t.Errorf("with the mount there: %v, the domain is advertised: %v", there, ok)
		}
		if got, want := len(d.mounts()), map[bool]int{true: 2, false: 1}[there]; got != want {
			t.Errorf("with the mount there: %v, jobs get %v", there, d.mounts())
		}
	}
}
