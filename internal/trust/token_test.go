package trust

import (
	"encoding/base64"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"skua/internal/diag"
)

func sampleToken(k Kind) Token {
	t := Token{
		Kind:        k,
		URL:         "https://head.example.org:9618",
		Fingerprint: strings.Repeat("0123456789abcdef", 4),
		Secret:      []byte("sixteen bytes it"),
		Expires:     time.Now().Add(time.Hour).Truncate(time.Second),
	}
	if k == User {
		t.Name = "ada"
	}
	return t
}

func encode(t testing.TB, tok Token) string {
	t.Helper()
	s, err := tok.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTokenRoundTrip(t *testing.T) {
	for _, k := range []Kind{Agent, User} {
		want := sampleToken(k)
		s := encode(t, want)
		got, err := ParseToken("  " + s + "\n")
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", s, got, err, want)
		}
		if len(s) > 210 || strings.ContainsAny(s, " .\n") {
			t.Errorf("%q is no handy word", s)
		}
	}
}

func TestTokenErrors(t *testing.T) {
	whole := encode(t, sampleToken(Agent))
	expired := sampleToken(User)
	expired.Expires = time.Date(2024, 2, 3, 4, 5, 6, 0, time.Local)
	for _, tt := range []struct{ name, token, want string }{
		{"nothing", "", "not a join token"},
		{"something else", "ghp_123456", "not a join token"},
		{"a prefix alone", "skua-agent-", "cut off"},
		{"half of it", whole[:len(whole)/2], "cut off"},
		{"all but a letter", whole[:len(whole)-1], "cut off"},
		{"a letter too many", whole + "A", "damaged"},
		{"more than the whole", whole + "AAAA", "damaged"},
		{"a blank in it", whole[:40] + " " + whole[40:], "damaged"},
		{"two letters swapped", whole[:40] + whole[41:42] + whole[40:41] + whole[42:], "damaged"},
		{"an agent's as a user's", "skua-user-" + strings.TrimPrefix(whole, "skua-agent-"), "damaged"},
		{"of the future", "skua-agent-_" + strings.TrimPrefix(whole, "skua-agent-")[1:], "version"},
		{"expired", encode(t, expired), "expired on 2024-02-03 04:05:06"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseToken(tt.token)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want an error with %q", err, tt.want)
			}
			var p *diag.Problem
			if !errors.As(err, &p) || p.Hint == "" {
				t.Errorf("%v has no hint", err)
			}
			if got := errors.Is(err, ErrTokenExpired); got != (tt.name == "expired") {
				t.Errorf("is %v expired: %v", err, got)
			}
			for _, secret := range []string{whole[20:], "sixteen bytes it"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%v tells the secret", err)
				}
			}
		})
	}
}

// A token that was mistyped in any one letter, or cut anywhere, is never taken for another one.
func TestEveryDamageIsNoticed(t *testing.T) {
	whole := encode(t, sampleToken(User))
	for i := range whole {
		if _, err := ParseToken(whole[:i]); err == nil {
			t.Errorf("cut after %d letters it was accepted", i)
		}
		other := byte('A')
		if whole[i] == other {
			other = 'B'
		}
		if _, err := ParseToken(whole[:i] + string(other) + whole[i+1:]); err == nil {
			t.Errorf("with letter %d changed it was accepted", i)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		kind   Kind
		change func(*Token)
	}{
		{"no kind", Agent, func(t *Token) { t.Kind = "" }},
		{"a short secret", Agent, func(t *Token) { t.Secret = t.Secret[1:] }},
		{"a short fingerprint", Agent, func(t *Token) { t.Fingerprint = t.Fingerprint[2:] }},
		{"no expiry", Agent, func(t *Token) { t.Expires = time.Time{} }},
		{"no URL", Agent, func(t *Token) { t.URL = "" }},
		{"a URL without TLS", Agent, func(t *Token) { t.URL = "http://head:9618" }},
		{"a URL with a password", Agent, func(t *Token) { t.URL = "https://a:b@head:9618" }},
		{"a named agent", Agent, func(t *Token) { t.Name = "x" }},
		{"a user without a name", User, func(t *Token) { t.Name = "" }},
		{"a name with a blank", User, func(t *Token) { t.Name = "a b" }},
		{"a name with a control character", User, func(t *Token) { t.Name = "a\x1b[2J" }},
		{"a long name", User, func(t *Token) { t.Name = strings.Repeat("a", 65) }},
	} {
		tok := sampleToken(tt.kind)
		tt.change(&tok)
		if s, err := tok.Encode(); err == nil {
			t.Errorf("%s: got %s", tt.name, s)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	for _, k := range []Kind{Agent, User} {
		s := encode(f, sampleToken(k))
		f.Add(s)
		f.Add(s[:len(s)-3])
	}
	f.Add("skua-agent-AQ")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := ParseToken(s)
		if err != nil && !errors.Is(err, ErrTokenExpired) {
			return
		}
		if got := encode(t, tok); got != strings.TrimSpace(s) {
			t.Errorf("%q parses to %+v, which is %q", s, tok, got)
		}
	})
}

// FuzzTokenBody goes behind the checksum, which random changes do not get past.
func FuzzTokenBody(f *testing.F) {
	s := strings.TrimPrefix(encode(f, sampleToken(Agent)), "skua-agent-")
	whole, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole[:len(whole)-checkBytes], true)
	f.Fuzz(func(t *testing.T, body []byte, agent bool) {
		kind := User
		if agent {
			kind = Agent
		}
		s := tokenPrefix[kind] + base64.RawURLEncoding.EncodeToString(append(body, checksum(kind, body)...))
		tok, err := ParseToken(s)
		if err != nil && !errors.Is(err, ErrTokenExpired) {
			return
		}
		if got := encode(t, tok); got != s {
			t.Errorf("%q parses to %+v, which is %q", s, tok, got)
		}
	})
}
