package probe

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseLibc(t *testing.T) {
	for _, tt := range []struct{ text, glibc, musl string }{
		{"x\x00GNU C Library (Debian GLIBC 2.36-9+deb12u14) stable release version 2.36.\nCopyright", "2.36", ""},
		{"GNU C Library (Ubuntu GLIBC 2.39-0ubuntu8.4) stable release version 2.39.\n", "2.39", ""},
		{"GNU C Library stable release version 2.17, by Roland McGrath et al.\n", "2.17", ""},
		{"GNU C Library (GNU libc) development release version 2.41.9000.\n", "2.41.9000", ""},
		{"musl libc (x86_64)\nVersion 1.2.3\nDynamic Program Loader\nUsage: /lib/ld-musl-x86_64.so.1 [options]", "", "1.2.3"},
		{"Version 3.4\n", "", ""},
		{"GNU C Library\x00 release version 2.1", "", ""},
		{"", "", ""},
	} {
		if got := parseGlibc([]byte(tt.text)); got != tt.glibc {
			t.Errorf("as glibc %q gives %q, want %q", tt.text, got, tt.glibc)
		}
		if got := parseMusl([]byte(tt.text)); got != tt.musl {
			t.Errorf("as musl %q gives %q, want %q", tt.text, got, tt.musl)
		}
	}
}

// The library of this machine tells the same as getconf and the linked loader do.
func TestLibcOfThisMachine(t *testing.T) {
	got, err := libcOf("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if got.name == "musl" {
		t.Logf("%+v", got)
		return
	}
	out, err := exec.CommandContext(t.Context(), "getconf", "GNU_LIBC_VERSION").Output()
	if err != nil {
		t.Skip("no getconf to compare with: ", err)
	}
	if want := strings.TrimSpace(string(out)); got.name+" "+got.version != want {
		t.Errorf("found %+v, getconf says %q", got, want)
	}
}

// A real musl tells its version, where one is installed.
func TestMusl(t *testing.T) {
	loaders, _ := filepath.Glob("/lib/ld-musl-*.so.1")
	if len(loaders) == 0 {
		t.Skip("musl is not installed")
	}
	if got := muslVersion(loaders[0]); strings.Count(got, ".") != 2 {
		t.Errorf("%s has version %q", loaders[0], got)
	}
}

func TestLibcOfWhatHasNone(t *testing.T) {
	text := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{text, "/nonexistent"} {
		if got, err := libcOf(program); err == nil {
			t.Errorf("%s has %+v", program, got)
		}
	}
}

func FuzzParseLibc(f *testing.F) {
	f.Add([]byte("GNU C Library (x) stable release version 2.36.\n"))
	f.Add([]byte("musl libc (x86_64)\nVersion 1.2.3\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []string{parseGlibc(b), parseMusl(b)} {
			if strings.Trim(v, "0123456789.") != "" {
				t.Errorf("%q has version %q", b, v)
			}
		}
	})
}
