package trust

import (
	"encoding/base64"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func openCapabilityKey(t testing.TB, path string) *CapabilityKey {
	t.Helper()
	k, err := OpenCapabilityKey(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var digest = strings.Repeat("ab", 32)

func TestCapabilityRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "capability.key")
	k := openCapabilityKey(t, path)
	for _, want := range []Capability{
		{User: "abc", Job: "12.0", Epoch: 3, Digest: digest, Mode: Read, Expires: now.Add(time.Hour).Local()},
		{User: "abc", Mode: Write, Expires: now.Local()},
	} {
		s, err := k.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := openCapabilityKey(t, path).Verify(s, now)
		if err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		if _, err := k.Verify(s, want.Expires.Add(time.Second)); !errors.Is(err, ErrCapabilityExpired) {
			t.Errorf("a second later: %v, want %v", err, ErrCapabilityExpired)
		}
		other := openCapabilityKey(t, filepath.Join(t.TempDir(), "key"))
		if _, err := other.Verify(s, now); !errors.Is(err, ErrBadCapability) {
			t.Errorf("with another pool's key: %v, want %v", err, ErrBadCapability)
		}
		for i := range s {
			c := byte('A')
			if s[i] == c {
				c = 'B'
			}
			if _, err := k.Verify(s[:i]+string(c)+s[i+1:], now); !errors.Is(err, ErrBadCapability) {
				t.Errorf("with letter %d changed: %v, want %v", i, err, ErrBadCapability)
			}
		}
	}
}

func TestCapabilityPermits(t *testing.T) {
	other := strings.Repeat("cd", 32)
	for _, tt := range []struct {
		name   string
		c      Capability
		mode   Mode
		digest string
		want   bool
	}{
		{"read what it names", Capability{Mode: Read, Digest: digest}, Read, digest, true},
		{"read something else", Capability{Mode: Read, Digest: digest}, Read, other, false},
		{"write what it may read", Capability{Mode: Read, Digest: digest}, Write, digest, false},
		{"read any of the user's", Capability{Mode: Read}, Read, digest, true},
		{"read nothing without a name", Capability{Mode: Read}, Read, "", false},
		{"write anything", Capability{Mode: Write}, Write, other, true},
		{"write what it names", Capability{Mode: Write, Digest: digest}, Write, digest, true},
		{"write something else", Capability{Mode: Write, Digest: digest}, Write, other, false},
		{"read what it may write", Capability{Mode: Write}, Read, digest, false},
		{"none", Capability{}, Read, digest, false},
	} {
		if got := tt.c.Permits(tt.mode, tt.digest); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestEncodeCapabilityRefuses(t *testing.T) {
	k := openCapabilityKey(t, filepath.Join(t.TempDir(), "key"))
	for name, c := range map[string]Capability{
		"no user":        {Mode: Read, Expires: now},
		"no mode":        {User: "abc", Expires: now},
		"no expiry":      {User: "abc", Mode: Read},
		"a short digest": {User: "abc", Mode: Read, Digest: "abcd", Expires: now},
		"a long job":     {User: "abc", Mode: Read, Job: strings.Repeat("1", 200), Expires: now},
	} {
		if s, err := k.Encode(c); err == nil {
			t.Errorf("%s: got %s", name, s)
		}
	}
}

func TestDamagedCapabilityKey(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"", "zz", strings.Repeat("00", 31)} {
		overwrite(t, dir, "key", text)
		if _, err := OpenCapabilityKey(filepath.Join(dir, "key")); err == nil {
			t.Errorf("%q was accepted as a key", text)
		}
	}
}

// FuzzVerify gives Verify bodies that are signed, since others do not get past the signature.
func FuzzVerify(f *testing.F) {
	k := &CapabilityKey{key: make([]byte, 32)}
	f.Add([]byte{}, true)
	f.Add([]byte{1, 'r', 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x7f, 0, 0, 0, 1, 'u', 1, 'j', 0}, true)
	f.Fuzz(func(t *testing.T, body []byte, sign bool) {
		if sign {
			body = append(body, k.mac(body)...)
		}
		s := base64.RawURLEncoding.EncodeToString(body)
		c, err := k.Verify(s, now)
		if err != nil {
			return
		}
		if !sign {
			t.Fatalf("%q was accepted unsigned", s)
		}
		if again, err := k.Encode(c); err == nil && again != s {
			t.Errorf("%q says %+v, which is %q", s, c, again)
		}
	})
}
