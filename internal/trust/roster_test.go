package trust

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

var now = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func openRoster(t testing.TB, path string) *Roster {
	t.Helper()
	r, err := OpenRoster(path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newRoster(t testing.TB) *Roster {
	t.Helper()
	return openRoster(t, filepath.Join(t.TempDir(), "roster.json"))
}

func newToken(t testing.TB, r *Roster, spec TokenSpec) Token {
	t.Helper()
	tok, err := r.NewToken(spec, now)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func redeem(t testing.TB, r *Roster, tok Token, key, name string) Member {
	t.Helper()
	m, err := r.Redeem(tok.Secret, key, now, name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAgentJoins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "roster.json")
	r := openRoster(t, path)
	key := newKey(t)
	m := redeem(t, r, newToken(t, r, TokenSpec{Kind: Agent, TTL: time.Hour}), key, "desk7")
	if !validID(m.ID) || m.Kind != Agent || m.Name != "desk7" || m.Active() {
		t.Errorf("joined as %+v", m)
	}
	if _, err := r.Approve(m.ID); err != nil {
		t.Fatal(err)
	}
	// What a method has returned is on disk.
	for _, r := range []*Roster{r, openRoster(t, path)} {
		got, ok := r.Lookup(key)
		if !ok || !got.Active() || got.ID != m.ID {
			t.Errorf("after approval: %+v, %v", got, ok)
		}
	}
	marked, err := r.Revoke(m.ID)
	if err != nil || len(marked) != 1 || marked[0].PublicKey != key {
		t.Errorf("revoke gave %+v, %v", marked, err)
	}
	if got, _ := openRoster(t, path).Lookup(key); got.Active() {
		t.Errorf("after revocation: %+v", got)
	}
	if _, err := r.Approve("nobody"); !errors.Is(err, ErrNoMember) {
		t.Errorf("approving nobody: %v", err)
	}
}

func TestTokensAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		prep func(t *testing.T, r *Roster) (secret []byte, key string)
		at   time.Time
		want error
	}{
		{"never made here", func(t *testing.T, r *Roster) ([]byte, string) {
			return NewSecret(), newKey(t)
		}, now, ErrTokenUnknown},
		{"expired", func(t *testing.T, r *Roster) ([]byte, string) {
			return newToken(t, r, TokenSpec{Kind: Agent, TTL: time.Hour}).Secret, newKey(t)
		}, now.Add(61 * time.Minute), ErrTokenExpired},
		{"long forgotten", func(t *testing.T, r *Roster) ([]byte, string) {
			return newToken(t, r, TokenSpec{Kind: Agent, TTL: time.Hour}).Secret, newKey(t)
		}, now.AddDate(0, 1, 0), ErrTokenUnknown},
		{"used by another key", func(t *testing.T, r *Roster) ([]byte, string) {
			tok := newToken(t, r, TokenSpec{Kind: Agent, TTL: time.Hour})
			redeem(t, r, tok, newKey(t), "desk7")
			return tok.Secret, newKey(t)
		}, now, ErrTokenUsed},
		{"by a revoked key", func(t *testing.T, r *Roster) ([]byte, string) {
			key := newKey(t)
			m := redeem(t, r, newToken(t, r, TokenSpec{Kind: Agent, TTL: time.Hour}), key, "desk7")
			if _, err := r.Revoke(m.ID); err != nil {
				t.Fatal(err)
			}
			return newToken(t, r, TokenSpec{Kind: Agent, TTL: time.Hour}).Secret, key
		}, now, ErrRevoked},
		{"with which a revoked machine joined", func(t *testing.T, r *Roster) ([]byte, string) {
			tok := newToken(t, r, TokenSpec{Kind: Agent, TTL: 100 * 365 * 24 * time.Hour, Uses: 40}) // Revoke drops what is long over
			m := redeem(t, r, tok, newKey(t), "desk7")
			if _, err := r.Revoke(m.ID); err != nil {
				t.Fatal(err)
			}
			return tok.Secret, newKey(t)
		}, now, ErrTokenUnknown},
		{"of a user who was revoked meanwhile", func(t *testing.T, r *Roster) ([]byte, string) {
			spec := TokenSpec{Kind: User, Name: "ada", TTL: time.Hour}
			second := newToken(t, r, spec)
			m := redeem(t, r, newToken(t, r, spec), newKey(t), "")
			if _, err := r.Revoke(m.ID); err != nil {
				t.Fatal(err)
			}
			return second.Secret, newKey(t)
		}, now, ErrTokenUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRoster(t)
			secret, key := tt.prep(t, r)
			before := r.Members()
			_, err := r.Redeem(secret, key, tt.at, "desk8")
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if !reflect.DeepEqual(r.Members(), before) {
				t.Errorf("the refusal changed the roster: %+v", r.Members())
			}
		})
	}
}

// What a stranger makes up does not wait for the roster to change, nor keep it from that.
func TestUnknownTokensAreRefusedAtOnce(t *testing.T) {
	r, key := newRoster(t), newKey(t)
	r.change.Lock()
	defer r.change.Unlock()
	refused := make(chan error, 1)
	go func() {
		_, err := r.Redeem(NewSecret(), key, now, "desk7")
		refused <- err
	}()
	select {
	case err := <-refused:
		if !errors.Is(err, ErrTokenUnknown) {
			t.Errorf("got %v, want %v", err, ErrTokenUnknown)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits")
	}
}

func TestRedeemingAgainIsTheSame(t *testing.T) {
	r := newRoster(t)
	tok := newToken(t, r, TokenSpec{Kind: Agent, TTL: time.Hour, Uses: 2, Approve: true})
	key := newKey(t)
	first := redeem(t, r, tok, key, "desk7")
	if !first.Active() {
		t.Error("the token approves, but the member waits")
	}
	if again := redeem(t, r, tok, key, "desk7"); again != first {
		t.Errorf("again: %+v, want %+v", again, first)
	}
	redeem(t, r, tok, newKey(t), "desk8") // its second use is still there
	if _, err := r.Redeem(tok.Secret, newKey(t), now, "desk9"); !errors.Is(err, ErrTokenUsed) {
		t.Errorf("a third machine: %v, want %v", err, ErrTokenUsed)
	}
}

func TestAUserIsTheSameOnEveryMachine(t *testing.T) {
	r := newRoster(t)
	join := func(name string) Member {
		return redeem(t, r, newToken(t, r, TokenSpec{Kind: User, Name: name, TTL: time.Hour, Approve: true}), newKey(t), "whatever she claims")
	}
	laptop, desktop, other := join("ada"), join("ada"), join("eve")
	if laptop.ID != desktop.ID || laptop.Name != "ada" {
		t.Errorf("ada is %+v and %+v", laptop, desktop)
	}
	if other.ID == laptop.ID {
		t.Errorf("eve is ada: %+v", other)
	}
	local, err := r.Admit(User, newKey(t), "ada", now)
	if err != nil || local.ID != laptop.ID || !local.Active() {
		t.Errorf("on the matchmaker ada is %+v, %v", local, err)
	}
	if _, err := r.Admit(User, laptop.PublicKey, "eve", now); err == nil {
		t.Error("ada's key became eve's")
	}
	if _, err := r.Admit(Agent, laptop.PublicKey, "desk7", now); err == nil {
		t.Error("a user's key became an agent's")
	}
	revoked, err := r.Revoke(laptop.ID)
	if err != nil || len(revoked) != 3 {
		t.Errorf("revoking ada gave %d keys, %v, want 3", len(revoked), err)
	}
	if _, err := r.Admit(User, laptop.PublicKey, "ada", now); !errors.Is(err, ErrRevoked) {
		t.Errorf("a revoked key came back: %v", err)
	}
	if _, err := r.Admit(User, newKey(t), "ada", now); !errors.Is(err, ErrRevoked) {
		t.Errorf("she came back with a new key: %v", err)
	}
	pending := newKey(t)
	redeem(t, r, newToken(t, r, TokenSpec{Kind: User, Name: "ada", TTL: time.Hour}), pending, "")
	for what, key := range map[string]string{"a new key": newKey(t), "the key that waits": pending} {
		if _, err := r.Admit(User, key, "ada", now); !errors.Is(err, ErrRevoked) {
			t.Errorf("she came back with %s while another waits for approval: %v", what, err)
		}
	}
	if back := join("ada"); back.ID != laptop.ID || !back.Active() {
		t.Errorf("with a new token ada is %+v", back)
	}
	if _, err := r.Admit(User, newKey(t), "ada", now); err != nil {
		t.Errorf("once she is back, on the matchmaker: %v", err)
	}
	if m, _ := r.Lookup(other.PublicKey); !m.Active() {
		t.Error("eve was revoked with ada")
	}
}

func TestPutOut(t *testing.T) {
	r := newRoster(t)
	user := TokenSpec{Kind: User, Name: "ada", TTL: time.Hour, Approve: true}
	ada := redeem(t, r, newToken(t, r, user), newKey(t), "")
	desk := redeem(t, r, newToken(t, r, TokenSpec{Kind: Agent, TTL: time.Hour, Approve: true}), newKey(t), "desk7")
	want := func(when, id string, want bool) {
		t.Helper()
		if got := r.PutOut(id); got != want {
			t.Errorf("%s %s is put out: %v, want %v", when, id, got, want)
		}
	}
	want("at first", ada.ID, false)
	want("at first", "pool", false)
	for _, id := range []string{ada.ID, desk.ID} {
		if _, err := r.Revoke(id); err != nil {
			t.Fatal(err)
		}
		want("revoked", id, true)
	}
	user.Approve = false
	redeem(t, r, newToken(t, r, user), newKey(t), "")
	want("with a key that waits for approval", ada.ID, true)
	if _, err := r.Approve(ada.ID); err != nil {
		t.Fatal(err)
	}
	want("approved", ada.ID, false)
	want("in the meantime", desk.ID, true)
}

func TestRosterIsReadStrictly(t *testing.T) {
	key, key2 := newKey(t), newKey(t)
	const id, id2 = "abcdefghijklmnop", "bbcdefghijklmnop"
	member := func(id, kind, name, key string) string {
		return `{"id":"` + id + `","kind":"` + kind + `","name":"` + name + `","key":"` + key + `","approved":true,"since":"2026-01-02T03:04:05Z"}`
	}
	file := func(members ...string) string {
		return `{"v":1,"members":[` + strings.Join(members, ",") + `],"tokens":[]}`
	}
	for _, tt := range []struct{ name, text, want string }{
		{"good", file(member(id, "agent", "desk7", key), member(id2, "user", "ada", key2)), ""},
		{"two keys of a user", file(member(id, "user", "ada", key), member(id, "user", "ada", key2)), ""},
		{"empty", "", "EOF"},
		{"cut off", file(member(id, "agent", "desk7", key))[:60], "unexpected"},
		{"two tables", file() + file(), "follows"},
		{"unknown field", `{"v":1,"members":[],"tokens":[],"denied":[]}`, "denied"},
		{"of the future", `{"v":2,"members":[],"tokens":[]}`, "version 2"},
		{"a dot in an id", file(member("a.>", "agent", "desk7", key)), "not an id"},
		{"a wildcard as id", file(member("*", "agent", "desk7", key)), "not an id"},
		{"no key", file(member(id, "agent", "desk7", "U123")), "not a public key"},
		{"a key twice", file(member(id, "agent", "desk7", key), member(id2, "agent", "desk8", key)), "twice"},
		{"an id twice", file(member(id, "agent", "desk7", key), member(id, "agent", "desk8", key2)), "two members"},
		{"an unknown kind", file(member(id, "admin", "ada", key)), "kind"},
		{"no name", file(member(id, "agent", "", key)), "name"},
		{"a malformed token", `{"v":1,"members":[],"tokens":[{"hash":"00","kind":"agent","expires":"2026-01-02T03:04:05Z","uses":1}]}`, "malformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			overwrite(t, dir, "roster.json", tt.text)
			_, err := OpenRoster(filepath.Join(dir, "roster.json"))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestRosterThatCannotBeWrittenDoesNotChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "roster.json") // the directory is not there
	r := openRoster(t, path)
	if _, err := r.Admit(Agent, newKey(t), "desk7", now); err == nil {
		t.Fatal("admitted without a file")
	}
	if got := r.Members(); len(got) != 0 {
		t.Errorf("members: %+v, want none", got)
	}
}

func TestSecretsAreNotInTheRoster(t *testing.T) {
	path := filepath.Join(t.TempDir(), "roster.json")
	r := openRoster(t, path)
	tok := newToken(t, r, TokenSpec{Kind: Agent, TTL: time.Hour})
	redeem(t, r, tok, newKey(t), "desk7")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), hex.EncodeToString(tok.Secret)) || !strings.Contains(string(data), hash(tok.Secret)) {
		t.Errorf("the file is\n%s", data)
	}
}

// A token that admits one admits one, however many ask at the same moment.
func TestASingleUseIsSingle(t *testing.T) {
	r := newRoster(t)
	tok := newToken(t, r, TokenSpec{Kind: Agent, TTL: time.Hour})
	keys := make([]string, 8)
	for i := range keys {
		keys[i] = newKey(t)
	}
	var wg sync.WaitGroup
	for _, key := range keys {
		wg.Go(func() {
			if _, err := r.Redeem(tok.Secret, key, now, "desk7"); err != nil && !errors.Is(err, ErrTokenUsed) {
				t.Errorf("got %v, want %v", err, ErrTokenUsed)
			}
		})
	}
	wg.Wait()
	if got := len(r.Members()); got != 1 {
		t.Errorf("%d joined, want 1", got)
	}
}

func FuzzParseRoster(f *testing.F) {
	r := newRoster(f)
	tok := newToken(f, r, TokenSpec{Kind: User, Name: "ada", TTL: time.Hour})
	redeem(f, r, tok, newKey(f), "")
	data, err := os.ReadFile(r.path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		st, err := parseRoster(data)
		if err != nil {
			return
		}
		path := filepath.Join(t.TempDir(), "roster.json")
		if err := st.write(path); err != nil {
			t.Skip(err) // years that JSON cannot hold
		}
		again, err := readRoster(path)
		if err != nil || !reflect.DeepEqual(sortedMembers(again.members), sortedMembers(st.members)) {
			t.Errorf("written and read again: %+v, %v, want %+v", again, err, st)
		}
	})
}

func FuzzParseChange(f *testing.F) {
	f.Add([]byte(`{"v":1,"tokens":[{"hash":"","kind":"agent","expires":"2026-01-01T00:00:00Z","uses":1}],"gone":["a"]}`))
	f.Add([]byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseChange(data)
		if err != nil {
			return
		}
		st := emptyRoster()
		st.take(c) // what is understood can be taken, and what is taken can be written down
		if _, err := encodeChanges(emptyRoster().changesTo(st)); err != nil {
			t.Error(err)
		}
	})
}
