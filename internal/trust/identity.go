package trust

import (
	"bytes"
	"fmt"
	"os"

	"github.com/nats-io/nkeys"

	"skua/internal/diag"
)

// Identity is the key by which an agent or a user is known to the matchmaker. Its seed never leaves
// the machine.
type Identity struct {
	key    nkeys.KeyPair
	public string
}

// CreateIdentity makes a new key and keeps its seed in the file at path. It fails with fs.ErrExist
// when there is one already.
func CreateIdentity(path string) (*Identity, error) {
	key, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("create identity: %w", err)
	}
	seed, err := key.Seed()
	if err != nil {
		return nil, fmt.Errorf("create identity: %w", err)
	}
	if err := createSecret(path, append(seed, '\n')); err != nil {
		return nil, fmt.Errorf("create identity: %w", err)
	}
	return newIdentity(key)
}

// LoadIdentity reads the key kept at path. It fails with fs.ErrNotExist when there is none, and for a
// file that others may read.
func LoadIdentity(path string) (*Identity, error) {
	data, err := readSecret(path)
	if err != nil {
		return nil, fmt.Errorf("load identity: %w", err)
	}
	key, err := nkeys.FromSeed(bytes.TrimSpace(data))
	if err == nil {
		var id *Identity
		if id, err = newIdentity(key); err == nil {
			return id, nil
		}
	}
	return nil, &diag.Problem{
		What: fmt.Sprintf("%s does not hold a key", path),
		Hint: "restore it from a backup, or remove it and join the pool again",
		Err:  err,
	}
}

// ReplaceIdentity has path be the key that next is, and aside the one that path was. There is a key at path all the time.
func ReplaceIdentity(path, next, aside string) error {
	before, err := os.ReadFile(path)
	if err == nil {
		err = replaceFile(aside, before)
	}
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return fmt.Errorf("replace identity: %w", err)
	}
	return nil
}

func newIdentity(key nkeys.KeyPair) (*Identity, error) {
	public, err := key.PublicKey()
	if err != nil {
		return nil, err
	}
	if !nkeys.IsValidPublicUserKey(public) {
		return nil, fmt.Errorf("%s is not the key of an agent or a user", public)
	}
	return &Identity{key: key, public: public}, nil
}

// PublicKey is the name of the identity: 56 letters and digits, the first a U.
func (i *Identity) PublicKey() string { return i.public }

// Sign proves possession of the key by signing what the other side has chosen.
func (i *Identity) Sign(nonce []byte) ([]byte, error) { return i.key.Sign(nonce) }

// ValidPublicKey says whether s has the form of an [Identity.PublicKey], checksum included.
func ValidPublicKey(s string) bool { return nkeys.IsValidPublicUserKey(s) }

// VerifySignature checks that sig was made over nonce by the holder of publicKey.
func VerifySignature(publicKey string, nonce, sig []byte) error {
	if !ValidPublicKey(publicKey) {
		return fmt.Errorf("%q is not a public key", publicKey)
	}
	key, err := nkeys.FromPublicKey(publicKey)
	if err != nil {
		return err
	}
	return key.Verify(nonce, sig)
}
