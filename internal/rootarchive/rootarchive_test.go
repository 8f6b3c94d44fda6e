package rootarchive_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"skua/internal/rootarchive"
)

// archive makes a tar of plain files that each have their own name in them, and of directories, whose names end with /.
func archive(t testing.TB, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(name)), Mode: 0o644}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Size = tar.TypeDir, 0
		}
		err := w.WriteHeader(h)
		if err == nil && h.Size > 0 {
			_, err = io.WriteString(w, name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(text)
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWalk(t *testing.T) {
	system := archive(t, "./usr/", "./usr/bin/tool", "home/ann/x", "/usr/../../etc/y")
	for _, tt := range []struct {
		name string
		text []byte
		want []string // names of what counts
		sum  int64    // 512 bytes for each, and what is in files
		bad  string
	}{
		{"plain", system, []string{"usr", "usr/bin/tool", "etc/y"}, 3*512 + 14 + 16, ""},
		{"gzip", zipped(t, system), []string{"usr", "usr/bin/tool", "etc/y"}, 3*512 + 14 + 16, ""},
		{"nothing", nil, nil, 0, "it has 0 bytes"},
		{"no archive", bytes.Repeat([]byte("no archive "), 100), nil, 0, "tar"},
		{"below a directory of its own", archive(t, "debian12/", "debian12/usr/bin/tool"), nil, 0, "it has none of /usr, /bin,"},
		{"cut", system[:len(system)-2600], []string{"usr", "usr/bin/tool"}, 2*512 + 14, "EOF"},
		{"cut and compressed", zipped(t, system)[:60], nil, 0, "EOF"},
		{"zstd that is none", []byte{0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff, 0xff, 0xff}, nil, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var names []string
			sum, err := rootarchive.Walk(t.Context(), bytes.NewReader(tt.text), func(e rootarchive.Entry) error {
				names = append(names, e.Name)
				return nil
			})
			if !slices.Equal(names, tt.want) || sum != tt.sum {
				t.Errorf("what counts is %q with %d bytes, want %q with %d", names, sum, tt.want, tt.sum)
			}
			good := tt.bad == "" && len(tt.want) > 0
			if good && err != nil || !good && (!errors.Is(err, rootarchive.ErrBad) || !strings.Contains(err.Error(), tt.bad)) {
				t.Errorf("the error is %v, want one about %q", err, tt.bad)
			}
		})
	}
	stop := errors.New("enough")
	if _, err := rootarchive.Walk(t.Context(), bytes.NewReader(system), func(rootarchive.Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("when the caller has had enough: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rootarchive.Walk(ctx, bytes.NewReader(system), func(rootarchive.Entry) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("after its time: %v", err)
	}
}

// Whatever is read, no name leads out of the root, and what is said to be there can be read.
func FuzzWalk(f *testing.F) {
	f.Add(archive(f, "usr/x", "./etc/../../lib/y", "home/z"))
	f.Add(zipped(f, archive(f, "usr/x")))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd})
	f.Fuzz(func(t *testing.T, text []byte) {
		const most = 1 << 20
		enough := errors.New("enough")
		last := int64(0)
		sum, err := rootarchive.Walk(t.Context(), bytes.NewReader(text), func(e rootarchive.Entry) error {
			if e.Name == "" || strings.HasPrefix(e.Name, "/") || slices.Contains(strings.Split(e.Name, "/"), "..") {
				t.Errorf("an entry is called %q", e.Name)
			}
			if e.Sum <= last {
				t.Errorf("after %q there are %d bytes, and before it %d", e.Name, e.Sum, last)
			}
			if last = e.Sum; last > most {
				return enough
			}
			_, err := io.Copy(io.Discard, e.Content)
			return err
		})
		if err == nil && sum != last {
			t.Errorf("there are %d bytes in all, and %d after the last entry", sum, last)
		}
	})
}
