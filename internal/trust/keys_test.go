package trust

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeysTravel(t *testing.T) {
	first, second := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	if _, err := ExportKeys(first); err == nil || !strings.Contains(err.Error(), "no keys") {
		t.Errorf("export from an empty directory: %v", err)
	}
	a, c, m, err := OpenKeys(first)
	if err != nil {
		t.Fatal(err)
	}
	text, err := ExportKeys(first)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time changes nothing
		if err := ImportKeys(second, text); err != nil {
			t.Fatal(err)
		}
	}
	a2, c2, m2, err := OpenKeys(second)
	if err != nil {
		t.Fatal(err)
	}
	word, err := c.Encode(Capability{User: "u", Mode: Read, Expires: now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c2.Verify(word, now); err != nil || a2.Fingerprint() != a.Fingerprint() || m2.Derive("x", "y") != m.Derive("x", "y") {
		t.Errorf("the second matchmaker has other keys: %v", err)
	}
	third := filepath.Join(t.TempDir(), "c")
	if _, _, _, err := OpenKeys(third); err != nil {
		t.Fatal(err)
	}
	if err := ImportKeys(third, text); err == nil || !strings.Contains(err.Error(), "another") {
		t.Errorf("import over other keys: %v", err)
	}
}

func TestBadKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	if _, _, _, err := OpenKeys(dir); err != nil {
		t.Fatal(err)
	}
	text, err := ExportKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"nothing":     nil,
		"cut off":     text[:len(text)/2],
		"twice":       append(bytes.Clone(text), text...),
		"other names": bytes.ReplaceAll(text, []byte("File: ca.key"), []byte("File: ../x")),
	} {
		if err := ImportKeys(filepath.Join(t.TempDir(), "b"), bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte("-----BEGIN SKUA POOL KEY-----\nFile: ca.key\n\nYQ==\n-----END SKUA POOL KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if keys, err := parseKeys(text); err == nil && len(keys) != len(poolKeys) {
			t.Errorf("%d keys", len(keys))
		}
	})
}
