package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rootArchive writes an archive with one file of so many bytes.
func rootArchive(t *testing.T, path, name string, size int) {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	content := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size)}).Read(content)
	err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(size), Mode: 0o644})
	if err == nil {
		_, err = w.Write(content)
	}
	if err = errors.Join(err, w.Close(), z.Close(), os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// tryRuntimes gives the commands about runtime roots to a matchmaker that runs.
func tryRuntimes(t *testing.T, dir, data string) {
	t.Helper()
	t.Setenv("SUDO_USER", "ann")
	good, other, bad := filepath.Join(dir, "good.tar.gz"), filepath.Join(dir, "other.tar.gz"), filepath.Join(dir, "bad.tar.gz")
	rootArchive(t, good, "usr/lib/libx.so", 700_000) // more than goes without a question before it
	rootArchive(t, other, "usr/lib/libx.so", 100)
	rootArchive(t, bad, "debian12/usr/lib/libx.so", 100)
	cut := filepath.Join(dir, "cut.tar.gz")
	whole, err := os.ReadFile(good)
	if err == nil {
		err = os.WriteFile(cut, whole[:len(whole)/2], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string
		code int
		want string // of what is said
	}{
		{"list", 0, "NAME  SIZE  UNPACKED  DIGEST  ADDED  BY\n"},
		{"add debian12 " + bad, 1, "bad.tar.gz cannot be a runtime root: the archive is no good: it has none of /usr, /bin,"},
		{"add debian12 " + bad, 1, "hint: an archive is made of the directory tree of a system, without a directory around it: tar --zstd"},
		{"add debian12 " + cut, 1, "cut.tar.gz cannot be a runtime root: the archive is no good"},
		{"add debian12 " + dir, 1, "it is no plain file"},
		{"add debian12 " + filepath.Join(dir, "nothing"), 1, "no such file"},
		{"add debian12 " + good, 0, "debian12: 0.7 MB, 0.7 MB when unpacked, "},
		{"add debian12 " + good, 0, "debian12: has not changed"},
		{"add debian12 " + other, 1, "there is another runtime root debian12"},
		{"list", 0, "debian12  0.7 MB  0.7 MB"},
		{"list", 0, "  ann\n"},
		{"add debian12 " + other + " --replace", 0, "debian12: 0.0 MB, 0.0 MB when unpacked, "},
		{"remove debain12", 1, `hint: did you mean "debian12"?`},
		{"remove debian12", 0, "debian12: removed"},
		{"remove debian12", 1, `there is no runtime root "debian12"`},
	} {
		var said bytes.Buffer
		code := run(t.Context(), append([]string{"--data", data, "runtime"}, strings.Fields(tt.args)...), &said, &said)
		if code != tt.code || !strings.Contains(said.String(), tt.want) {
			t.Errorf("runtime %s: exit %d: %s, want %d and %q", tt.args, code, said.String(), tt.code, tt.want)
		}
	}
}
