package trust

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestIdentityIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity")
	if _, err := LoadIdentity(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("loading none: got %v, want %v", err, fs.ErrNotExist)
	}
	made := createIdentity(t, path)
	loaded, err := LoadIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	if loaded.PublicKey() != made.PublicKey() || !ValidPublicKey(loaded.PublicKey()) {
		t.Errorf("loaded %s, want %s", loaded.PublicKey(), made.PublicKey())
	}
	sig, err := loaded.Sign([]byte("nonce"))
	if err != nil {
		t.Fatal(err)
	}
	if err := VerifySignature(made.PublicKey(), []byte("nonce"), sig); err != nil {
		t.Errorf("its own signature: %v", err)
	}
	if err := VerifySignature(made.PublicKey(), []byte("another"), sig); err == nil {
		t.Error("a signature over something else was accepted")
	}
	other := createIdentity(t, filepath.Join(t.TempDir(), "identity"))
	if err := VerifySignature(other.PublicKey(), []byte("nonce"), sig); err == nil {
		t.Error("another key's signature was accepted")
	}
	if _, err := CreateIdentity(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating a second one: got %v, want %v", err, fs.ErrExist)
	}
	if again, err := LoadIdentity(path); err != nil || again.PublicKey() != made.PublicKey() {
		t.Errorf("after that: got %v, %v, want the first", again, err)
	}
}

func TestReplaceIdentity(t *testing.T) {
	dir := t.TempDir()
	path, next, aside := filepath.Join(dir, "identity"), filepath.Join(dir, "next"), filepath.Join(dir, "aside")
	is := func(path string, want *Identity) {
		t.Helper()
		if got, err := LoadIdentity(path); err != nil || got.PublicKey() != want.PublicKey() {
			t.Errorf("%s is %v (%v), want %s", filepath.Base(path), got, err, want.PublicKey())
		}
	}
	first := createIdentity(t, path)
	if err := ReplaceIdentity(path, next, aside); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("replacing it by none: got %v, want %v", err, fs.ErrNotExist)
	}
	is(path, first)
	for before := first; ; {
		second := createIdentity(t, next)
		if err := ReplaceIdentity(path, next, aside); err != nil {
			t.Fatal(err)
		}
		is(path, second)
		is(aside, before)
		if before != first {
			break
		}
		before = second
	}
	if _, err := os.Stat(next); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the new key is still there by its other name, too: %v", err)
	}
}

func TestDamagedIdentity(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"empty":            "",
		"garbage":          "hello",
		"an account's key": "SAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	} {
		overwrite(t, dir, "identity", text)
		if _, err := LoadIdentity(filepath.Join(dir, "identity")); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if runtime.GOOS == "windows" {
		return
	}
	path := filepath.Join(dir, "open")
	createIdentity(t, path)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(path); err == nil {
		t.Error("a key that others may read was accepted")
	}
}

func createIdentity(t testing.TB, path string) *Identity {
	t.Helper()
	id, err := CreateIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func newKey(t testing.TB) string {
	t.Helper()
	return createIdentity(t, filepath.Join(t.TempDir(), "identity")).PublicKey()
}
