package startd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The owner's programs come before the copy that is made for an image, which still gets on beside them.
func TestCopyComesLast(t *testing.T) {
	dir := t.TempDir()
	to := filepath.Join(dir, "copy")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	cp := filepath.Join(dir, "cp")
	write(t, cp, "#!/bin/sh\nfor to; do :; done\n{ nice; ionice; } > \"$to\"\n")
	if err := os.Chmod(cp, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(t.Context(), dir, to); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(to)
	if fields := strings.Fields(string(got)); err != nil || len(fields) == 0 || fields[0] != "19" ||
		len(fields) > 1 && strings.Join(fields[1:], " ") != "best-effort: prio 7" {
		t.Errorf("its niceness and I/O class are %q (%v), want 19 and the last of best-effort", got, err)
	}
}

// Everything of a directory is in its copy.
func TestCopyTree(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("LC_ALL", "C")
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	write(t, filepath.Join(from, "deep/file"), "text")
	if err := os.Symlink("/etc", filepath.Join(from, "link")); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(to, "deep/file"))
	if link, linkErr := os.Readlink(filepath.Join(to, "link")); string(text) != "text" || link != "/etc" {
		t.Errorf("the copy has %q (%v) and a link to %q (%v)", text, err, link, linkErr)
	}
	if err := copyTree(t.Context(), filepath.Join(dir, "none"), to); err == nil || !strings.Contains(err.Error(), "No such file") {
		t.Errorf("nothing is copied without complaint: %v", err)
	}
}
