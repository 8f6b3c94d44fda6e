// Package trust decides who is who in a pool: the matchmaker's certificate authority, the tokens by
// which machines and users join, their keys, the roster of those who did, and the capabilities that
// open single files.
//
// Two rules govern it. A secret is written once, into a file that only its owner may read, and is
// kept elsewhere only as a hash. And nobody is known by a name on the network: the matchmaker is
// known by its authority's fingerprint, everybody else by a key. The package talks to nobody; broker,
// bus and server carry what it makes.
package trust

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"skua/internal/durable"
)

// Kind is what a token admits and what a member is.
type Kind string

// The two kinds of members.
const (
	Agent Kind = "agent"
	User  Kind = "user"
)

func (k Kind) valid() bool { return k == Agent || k == User }

// hash is the form in which a token's secret is kept. The secret is 16 random bytes, too many to
// guess, so a plain hash needs neither salt nor cost.
func hash(secret []byte) string { return fmt.Sprintf("%x", sha256.Sum256(secret)) }

// idText is how ids are written: lower-case base32 stands in subjects and file names everywhere.
var idText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// idBytes random bytes make an id of 16 letters: too many to meet by chance.
const idBytes = 10

func validID(id string) bool {
	return len(id) == idText.EncodedLen(idBytes) && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// readSecret reads a file that holds a secret. It refuses a file that other people of this machine
// could read, since the secret in it would be theirs too.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := st.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read by others (mode %04o): run chmod 600 %s", path, mode, path)
	}
	const most = 64 << 10
	if st.Size() > most {
		return nil, fmt.Errorf("%s: %d bytes are too many for a key", path, st.Size())
	}
	data, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return data, nil
}

// createSecret writes data to a new file that only its owner may read. It fails with fs.ErrExist
// rather than overwrite one. The file appears whole or not at all.
func createSecret(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// A link, unlike a rename, does not replace what is there.
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return durable.Names(filepath.Dir(path))
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
