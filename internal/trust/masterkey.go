package trust

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
)

// MasterKey is a secret from which the matchmaker derives a key for each thing that needs one, so that
// those keys need not be kept. Whoever loses it loses what they seal.
type MasterKey struct{ key []byte }

// OpenMasterKey reads the key kept at path, and makes one when there is none.
func OpenMasterKey(path string) (*MasterKey, error) {
	key, err := openKey(path)
	if err != nil {
		return nil, fmt.Errorf("open master key: %w", err)
	}
	return &MasterKey{key}, nil
}

// Derive gives the key for the thing of that name among those of one purpose. It is always the same.
func (k *MasterKey) Derive(purpose, name string) [32]byte {
	h := hmac.New(sha256.New, k.key)
	fmt.Fprintf(h, "skua %s 1\x00%s", purpose, name)
	return [32]byte(h.Sum(nil))
}

// openKey reads a file with 32 bytes in hex, and makes one with random ones when there is none.
func openKey(path string) ([]byte, error) {
	data, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		key := make([]byte, 32)
		rand.Read(key)
		if err := createSecret(path, []byte(hex.EncodeToString(key)+"\n")); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		data, err = readSecret(path) // a second process may have been faster
	}
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(string(bytes.TrimSpace(data)))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("%s does not hold a key: restore it from a backup", path)
	}
	return key, nil
}
