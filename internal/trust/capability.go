package trust

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Mode is what a capability lets its bearer do.
type Mode string

// The modes of a [Capability].
const (
	Read  Mode = "read"
	Write Mode = "write"
)

// A Capability is the permission, for a short time, to read or write content at the file service. It
// names the run of a job for which it was given, so that what a stale run uploads is told from what
// the current one does.
type Capability struct {
	User    string // id of the job's user
	Job     string // id of the job, such as "12.0"; may be empty for what belongs to no job yet
	Epoch   uint64
	Digest  string // SHA-256 in hex of the one content meant; empty for any of the user's
	Mode    Mode
	Expires time.Time // in whole seconds
}

// Permits says whether the capability lets its bearer do mode to the content with this digest. One
// without a digest covers all content of its user and no other's; whose content is whose, the file
// service knows.
func (c Capability) Permits(mode Mode, digest string) bool {
	return c.Mode == mode && digest != "" && (c.Digest == "" || c.Digest == digest)
}

// Errors of [CapabilityKey.Verify].
var (
	ErrBadCapability     = errors.New("the capability is not genuine")
	ErrCapabilityExpired = errors.New("the capability has expired")
)

// CapabilityKey signs capabilities. Only the matchmaker has it.
type CapabilityKey struct{ key []byte }

const (
	capabilityVersion = 1
	capabilityDomain  = "skua capability 1\x00" // keeps the key's other uses, if there ever are, apart
	maxCapability     = 1024                    // letters
	maxCapabilityName = 128                     // bytes of a user or job id
)

// OpenCapabilityKey reads the key kept at path, and makes one when there is none.
func OpenCapabilityKey(path string) (*CapabilityKey, error) {
	key, err := openKey(path)
	if err != nil {
		return nil, fmt.Errorf("open capability key: %w", err)
	}
	return &CapabilityKey{key: key}, nil
}

// Encode writes and signs a capability as one word of letters, digits, - and _.
func (k *CapabilityKey) Encode(c Capability) (string, error) {
	digest, err := hex.DecodeString(c.Digest)
	unix := c.Expires.Unix()
	switch {
	case err != nil || len(digest) != 0 && len(digest) != sha256.Size:
		return "", fmt.Errorf("encode capability: %q is not a SHA-256", c.Digest)
	case c.Mode != Read && c.Mode != Write:
		return "", fmt.Errorf("encode capability: mode %q", c.Mode)
	case c.User == "" || len(c.User) > maxCapabilityName || len(c.Job) > maxCapabilityName:
		return "", fmt.Errorf("encode capability: user %q, job %q", c.User, c.Job)
	case unix < 0 || unix > maxUnix:
		return "", fmt.Errorf("encode capability: expiry %v", c.Expires)
	}
	b := []byte{capabilityVersion, c.Mode[0]}
	b = binary.BigEndian.AppendUint64(b, c.Epoch)
	b = binary.BigEndian.AppendUint64(b, uint64(unix))
	for _, part := range [][]byte{[]byte(c.User), []byte(c.Job), digest} {
		b = append(b, byte(len(part)))
		b = append(b, part...)
	}
	return base64.RawURLEncoding.EncodeToString(append(b, k.mac(b)...)), nil
}

// Verify reads a capability and checks who signed it and that it has not expired. It says nothing
// about whether the epoch is still current; the caller asks the queue.
func (k *CapabilityKey) Verify(s string, now time.Time) (Capability, error) {
	if len(s) > maxCapability {
		return Capability{}, ErrBadCapability
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) < sha256.Size {
		return Capability{}, ErrBadCapability
	}
	body, mac := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	// The signature comes first, so that nothing is parsed that we did not write.
	if !hmac.Equal(mac, k.mac(body)) {
		return Capability{}, ErrBadCapability
	}
	c, err := parseCapability(body)
	if err != nil {
		return Capability{}, err
	}
	if now.After(c.Expires) {
		return Capability{}, ErrCapabilityExpired
	}
	return c, nil
}

func (k *CapabilityKey) mac(body []byte) []byte {
	h := hmac.New(sha256.New, k.key)
	h.Write([]byte(capabilityDomain))
	h.Write(body)
	return h.Sum(nil)
}

func parseCapability(body []byte) (Capability, error) {
	r := reader{b: body}
	version, mode := r.bytes(1)[0], r.bytes(1)[0]
	c := Capability{Epoch: r.uint64(), Expires: time.Unix(int64(r.uint64()), 0)}
	c.User, c.Job, c.Digest = string(r.short()), string(r.short()), hex.EncodeToString(r.short())
	switch mode {
	case Read[0]:
		c.Mode = Read
	case Write[0]:
		c.Mode = Write
	}
	if r.failed || len(r.b) > 0 || version != capabilityVersion || c.Mode == "" {
		return Capability{}, ErrBadCapability
	}
	return c, nil
}
