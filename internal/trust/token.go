package trust

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"skua/internal/diag"
)

// A Token admits its bearer to a pool: it says where the matchmaker is, how to know that it is the
// right one, and carries the secret that the matchmaker will ask for.
type Token struct {
	Kind        Kind
	URL         string // of the matchmaker, such as https://head:9618
	Fingerprint string // of its authority, see [Authority.Fingerprint]
	Secret      []byte // 16 random bytes
	Name        string // of the user; empty for an agent
	Expires     time.Time
}

const (
	secretBytes  = 16
	maxName      = 64  // bytes of a user's name
	maxURL       = 255 // bytes; one byte counts them
	tokenVersion = 1
	checkBytes   = 4
	fixedBytes   = 1 + sha256.Size + secretBytes + 8 // version, fingerprint, secret, expiry
)

var tokenPrefix = map[Kind]string{Agent: "skua-agent-", User: "skua-user-"}

// ErrTokenExpired means that a token was good once.
var ErrTokenExpired = errors.New("the token has expired")

// NewSecret makes the secret of a token.
func NewSecret() []byte {
	secret := make([]byte, secretBytes)
	rand.Read(secret) // never fails, see its documentation
	return secret
}

// Encode writes the token as one word that survives mail and terminals.
func (t Token) Encode() (string, error) {
	if err := t.check(); err != nil {
		return "", fmt.Errorf("encode token: %w", err)
	}
	pin, _ := hex.DecodeString(t.Fingerprint)
	b := make([]byte, 0, fixedBytes+2+len(t.URL)+len(t.Name)+checkBytes)
	b = append(b, tokenVersion)
	b = append(b, pin...)
	b = append(b, t.Secret...)
	b = binary.BigEndian.AppendUint64(b, uint64(t.Expires.Unix()))
	b = append(b, byte(len(t.URL)))
	b = append(b, t.URL...)
	b = append(b, byte(len(t.Name)))
	b = append(b, t.Name...)
	b = append(b, checksum(t.Kind, b)...)
	return tokenPrefix[t.Kind] + base64.RawURLEncoding.EncodeToString(b), nil
}

// ParseToken reads a token. A token that has expired by this machine's clock is returned together
// with a problem that wraps [ErrTokenExpired]; every other error returns none.
func ParseToken(s string) (Token, error) {
	t, err := parseToken(strings.TrimSpace(s))
	if err != nil {
		return Token{}, err
	}
	if now := time.Now(); now.After(t.Expires) {
		return t, &diag.Problem{
			What: fmt.Sprintf("the token expired on %s, it is now %s", t.Expires.Format(time.DateTime), now.Format(time.DateTime)),
			Hint: "ask for a new one, or check this machine's clock",
			Err:  ErrTokenExpired,
		}
	}
	return t, nil
}

// ReadToken reads the token in a file, which nobody else on this machine may read.
func ReadToken(path string) (Token, error) {
	data, err := readSecret(path)
	if err != nil {
		return Token{}, fmt.Errorf("read the token: %w", err)
	}
	return ParseToken(string(data))
}

func parseToken(s string) (Token, error) {
	var t Token
	var text string
	for kind, prefix := range tokenPrefix {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			t.Kind, text = kind, rest
		}
	}
	if t.Kind == "" {
		return Token{}, &diag.Problem{
			What: "this is not a join token",
			Hint: "a token begins with skua-agent- or skua-user-; the pool's administrator makes one with skua-matchmaker token",
		}
	}
	cutOff := &diag.Problem{What: "the token is cut off", Hint: "copy the whole word, it may have been wrapped over two lines"}
	mistyped := &diag.Problem{What: "the token is damaged", Hint: "copy it again from where it was made; every letter counts"}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		// A word cut at an unlucky place has left-over bits or a single left-over letter; any other
		// error is a letter that no token has.
		var at base64.CorruptInputError
		if errors.As(err, &at) && int(at) < len(text)-4 {
			return Token{}, mistyped
		}
		return Token{}, cutOff
	}
	if len(b) > 0 && b[0] != tokenVersion {
		return Token{}, &diag.Problem{
			What: fmt.Sprintf("the token is of version %d, this program knows version %d", b[0], tokenVersion),
			Hint: "install the version of Skua that the matchmaker runs",
		}
	}
	r := reader{b: b}
	r.bytes(1)
	t.Fingerprint = hex.EncodeToString(r.bytes(sha256.Size))
	t.Secret = r.bytes(secretBytes)
	expires := r.uint64()
	t.URL = string(r.short())
	t.Name = string(r.short())
	body := b[:len(b)-len(r.b)]
	sum := r.bytes(checkBytes)
	switch {
	case r.failed:
		return Token{}, cutOff
	case len(r.b) > 0, subtle.ConstantTimeCompare(sum, checksum(t.Kind, body)) != 1, expires > maxUnix:
		return Token{}, mistyped
	}
	t.Expires = time.Unix(int64(expires), 0)
	if err := t.check(); err != nil {
		return Token{}, &diag.Problem{What: "the token is damaged: " + err.Error(), Hint: mistyped.Hint, Err: err}
	}
	return t, nil
}

// maxUnix is the end of the year 9999: what comes later cannot be printed or kept in JSON.
const maxUnix = 253402300799

// checksum finds typing errors. It protects from nothing else: who can write a token can write its
// checksum.
func checksum(k Kind, body []byte) []byte {
	sum := sha256.Sum256(append([]byte(tokenPrefix[k]), body...))
	return sum[:checkBytes]
}

func (t Token) check() error {
	pin, err := hex.DecodeString(t.Fingerprint)
	unix := t.Expires.Unix()
	switch {
	case !t.Kind.valid():
		return fmt.Errorf("kind %q", t.Kind)
	case err != nil || len(pin) != sha256.Size || t.Fingerprint != strings.ToLower(t.Fingerprint):
		return fmt.Errorf("fingerprint %q is not a SHA-256 in lower-case hex", t.Fingerprint)
	case len(t.Secret) != secretBytes:
		return fmt.Errorf("a secret of %d bytes", len(t.Secret))
	case unix < 0 || unix > maxUnix:
		return fmt.Errorf("expiry %v", t.Expires)
	case t.Kind == Agent && t.Name != "":
		return errors.New("an agent's token with a user's name")
	case t.Kind == User:
		if err := checkName(t.Name); err != nil {
			return err
		}
	}
	return checkURL(t.URL)
}

func checkURL(s string) error {
	if len(s) > maxURL {
		return fmt.Errorf("a URL of %d bytes", len(s))
	}
	u, err := url.Parse(s)
	if err != nil {
		return fmt.Errorf("URL %q: %w", s, err)
	}
	if u.Scheme != "https" && u.Scheme != "tls" || u.Hostname() == "" || u.User != nil {
		return fmt.Errorf("URL %q is not of the form https://host:9618", s)
	}
	return nil
}

// checkName refuses names that could not be shown, or that would look like another one.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a name is missing")
	case len(name) > maxName:
		return fmt.Errorf("a name of %d bytes, at most %d are allowed", len(name), maxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q is not UTF-8", name)
	}
	for _, r := range name {
		if !unicode.IsPrint(r) || unicode.IsSpace(r) {
			return fmt.Errorf("name %q has a blank or an unprintable character", name)
		}
	}
	return nil
}

// reader takes a byte string apart. After the first read beyond its end it has failed and gives
// zeros, so that callers check once.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.failed, r.b = true, nil
		return make([]byte, n)
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) uint64() uint64 { return binary.BigEndian.Uint64(r.bytes(8)) }

// short reads what has its length in one byte before it.
func (r *reader) short() []byte { return r.bytes(int(r.bytes(1)[0])) }
