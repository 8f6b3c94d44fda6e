package trust

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"skua/internal/diag"
)

// Member is one key that may connect to the pool. An agent has one key; a user has one on every
// machine from which she works, all with the same ID.
type Member struct {
	ID        string    `json:"id"` // lower-case base32; a job.AgentID or a job.UserID
	Kind      Kind      `json:"kind"`
	Name      string    `json:"name"` // a machine's as it gave it, a user's as the token gave it
	PublicKey string    `json:"key"`
	Approved  bool      `json:"approved"`
	Revoked   bool      `json:"revoked,omitempty"`
	Since     time.Time `json:"since"`
	Token     string    `json:"token,omitempty"` // hash of the secret it joined with
}

// Active says whether the member may do what its kind may do.
func (m Member) Active() bool { return m.Approved && !m.Revoked }

// TokenSpec says what a new token is good for.
type TokenSpec struct {
	Kind    Kind
	Name    string        // of the user, required for one; for an agent it must be empty
	TTL     time.Duration // required
	Uses    int           // how many may join with it; 0 means 1
	Approve bool          // who joins with it need not wait for an administrator
}

// Errors of [Roster.Redeem]; it wraps [ErrTokenExpired] too.
var (
	ErrTokenUnknown = errors.New("the token is not known here")
	ErrTokenUsed    = errors.New("the token has been used")
	ErrRevoked      = errors.New("the key has been revoked")
	ErrNoMember     = errors.New("there is no such member")
)

// Limits of a roster. They are far above any pool and keep a mistake from filling memory.
const (
	maxMembers  = 200_000
	maxTokens   = 10_000
	maxUserKeys = 64
	// A dead token is remembered for so long, to tell its bearer why it is refused.
	deadTokenLife = 7 * 24 * time.Hour
)

// Roster is the matchmaker's table of who may connect, and of the tokens that are out. It is kept in
// one file, or shared with other matchmakers in a journal; a change is on disk when the method that made it returns.
// Methods may be called from any goroutine, and Lookup waits for nothing when it knows the key.
type Roster struct {
	path    string
	journal Journal // nil for a roster that is not shared

	// change is held while the next state is made, written and put in the place of the old one.
	change sync.Mutex
	state  atomic.Pointer[rosterState]
	seq    uint64    // of the change of the journal that is the last in state; guarded by change
	asked  time.Time // when Lookup last asked the journal; guarded by change
}

// rosterState is never changed once it is the roster's.
type rosterState struct {
	members map[string]Member // by public key
	tokens  map[string]outToken

	count  sync.Once       // of putOut
	putOut map[string]bool // see [Roster.PutOut]
}

func emptyRoster() *rosterState {
	return &rosterState{members: map[string]Member{}, tokens: map[string]outToken{}}
}

func (st *rosterState) clone() *rosterState {
	return &rosterState{members: maps.Clone(st.members), tokens: maps.Clone(st.tokens)}
}

// outToken is a token that is out.
type outToken struct {
	Hash    string    `json:"hash"` // of the secret
	Kind    Kind      `json:"kind"`
	Name    string    `json:"name,omitempty"`
	Expires time.Time `json:"expires"`
	Uses    int       `json:"uses"` // left
	Approve bool      `json:"approve,omitempty"`
}

// OpenRoster reads the roster at path. A file that is not there is an empty roster; one that cannot
// be understood is an error, since guessing would admit or lock out the wrong people.
func OpenRoster(path string) (*Roster, error) {
	st, err := readRoster(path)
	if err != nil {
		return nil, err
	}
	r := &Roster{path: path}
	r.state.Store(st)
	return r, nil
}

// NewToken makes a token. The caller adds URL and Fingerprint, which the roster does not know.
func (r *Roster) NewToken(spec TokenSpec, now time.Time) (Token, error) {
	switch {
	case !spec.Kind.valid():
		return Token{}, fmt.Errorf("new token: kind %q is neither agent nor user", spec.Kind)
	case spec.TTL <= 0:
		return Token{}, errors.New("new token: it must expire some time after now")
	case spec.Uses < 0:
		return Token{}, fmt.Errorf("new token: %d uses", spec.Uses)
	case spec.Kind == Agent && spec.Name != "":
		return Token{}, errors.New("new token: an agent's token carries no name, the machine gives its own")
	}
	if spec.Kind == User {
		if err := checkName(spec.Name); err != nil {
			return Token{}, fmt.Errorf("new token: %w", err)
		}
	}
	t := Token{Kind: spec.Kind, Secret: NewSecret(), Name: spec.Name, Expires: now.Add(spec.TTL).Truncate(time.Second)}
	err := r.update(now, func(st *rosterState) error {
		if len(st.tokens) >= maxTokens {
			return fmt.Errorf("%d tokens are out already", len(st.tokens))
		}
		h := hash(t.Secret)
		st.tokens[h] = outToken{
			Hash: h, Kind: spec.Kind, Name: spec.Name, Expires: t.Expires,
			Uses: max(spec.Uses, 1), Approve: spec.Approve,
		}
		return nil
	})
	if err != nil {
		return Token{}, fmt.Errorf("new token: %w", err)
	}
	return t, nil
}

// Redeem makes the holder of publicKey a member by a token's secret; name is what a machine calls
// itself and does not matter for a user. Redeeming the same token again with the same key gives the
// same member and uses nothing up, so an answer that was lost can be asked for again.
func (r *Roster) Redeem(secret []byte, publicKey string, now time.Time, name string) (Member, error) {
	h := hash(secret)
	if r.journal == nil { // nobody else changes it: most of what a stranger can ask costs no change
		if m, done, err := r.state.Load().redeemed(h, publicKey); err != nil {
			return Member{}, fmt.Errorf("redeem token: %w", err)
		} else if done {
			return m, nil
		}
	}
	var m Member
	err := r.update(now, func(st *rosterState) error {
		var done bool
		var err error
		if m, done, err = st.redeemed(h, publicKey); err != nil {
			return err
		}
		if done {
			return errUnchanged
		}
		t := st.tokens[h]
		switch {
		case now.After(t.Expires):
			return &diag.Problem{
				What: "the token expired on " + t.Expires.Format(time.DateTime),
				Hint: "ask the pool's administrator for a new one", Err: ErrTokenExpired,
			}
		case t.Uses < 1:
			return &diag.Problem{
				What: ErrTokenUsed.Error(),
				Hint: "ask the pool's administrator for a new one; if it was not you who used it, say so", Err: ErrTokenUsed,
			}
		}
		if t.Kind == User {
			name = t.Name
		}
		if m, err = st.admit(t.Kind, publicKey, name, now); err != nil {
			return err
		}
		m.Approved = m.Approved || t.Approve
		m.Token = h
		st.members[publicKey] = m
		t.Uses--
		st.tokens[h] = t
		return nil
	})
	if err != nil {
		return Member{}, fmt.Errorf("redeem token: %w", err)
	}
	return m, nil
}

// redeemed gives the member whom publicKey is already by the token with this hash. It fails when the roster, as it is, can
// have nobody join so.
func (st *rosterState) redeemed(hash, publicKey string) (m Member, done bool, err error) {
	m, known := st.members[publicKey]
	if known && m.Revoked {
		return m, false, &diag.Problem{
			What: "this key has been revoked",
			Hint: "remove the key file to join with a new one",
			Err:  ErrRevoked,
		}
	}
	if known && m.Token == hash {
		return m, true, nil
	}
	if _, ok := st.tokens[hash]; !ok {
		return m, false, &diag.Problem{What: ErrTokenUnknown.Error(), Hint: "ask this pool's administrator for a new one", Err: ErrTokenUnknown}
	}
	return m, false, nil
}

// Admit makes the holder of publicKey an approved member without a token. The caller has other proof
// of who it is, such as the credentials of a local socket. Admitting a member again changes nothing. A user whose
// keys have been revoked comes back with a token only, and approved if it wants that: [ErrRevoked].
func (r *Roster) Admit(kind Kind, publicKey, name string, now time.Time) (Member, error) {
	var m Member
	err := r.update(now, func(st *rosterState) error {
		var err error
		if m, err = st.admit(kind, publicKey, name, now); err != nil {
			return err
		}
		if st.members[publicKey].Active() {
			return errUnchanged
		}
		if kind == User && st.banned(name) {
			return ErrRevoked
		}
		m.Approved = true
		st.members[publicKey] = m
		return nil
	})
	if err != nil {
		return Member{}, fmt.Errorf("admit %s: %w", name, err)
	}
	return m, nil
}

// banned reports whether a user has a key that was revoked, and none that is good. One that waits for approval does not
// make up for it.
func (st *rosterState) banned(name string) bool {
	revoked := false
	for _, m := range st.members {
		if m.Kind == User && m.Name == name {
			if m.Active() {
				return false
			}
			revoked = revoked || m.Revoked
		}
	}
	return revoked
}

// admit gives the member that publicKey is, or is to become.
func (st *rosterState) admit(kind Kind, publicKey, name string, now time.Time) (Member, error) {
	if err := checkName(name); err != nil {
		return Member{}, err
	}
	if !ValidPublicKey(publicKey) {
		return Member{}, fmt.Errorf("%q is not a public key", publicKey)
	}
	if old, ok := st.members[publicKey]; ok {
		switch {
		case old.Revoked:
			return Member{}, ErrRevoked
		case old.Kind != kind || kind == User && old.Name != name:
			return Member{}, &diag.Problem{
				What: fmt.Sprintf("the key belongs to %s %s already", old.Kind, old.Name),
				Hint: "one key is one member: keep the other one in a directory of its own; for a user, SKUA_HOME=DIR skua login TOKEN",
			}
		}
		old.Name = name
		return old, nil
	}
	if len(st.members) >= maxMembers {
		return Member{}, fmt.Errorf("the roster is full (%d members)", len(st.members))
	}
	m := Member{Kind: kind, Name: name, PublicKey: publicKey, Since: now.UTC().Truncate(time.Second)}
	keys := 0
	for _, other := range st.members {
		if kind == User && other.Kind == User && other.Name == name {
			m.ID = other.ID // the same user from another machine
			keys++
		}
	}
	if keys >= maxUserKeys {
		return Member{}, fmt.Errorf("user %s has %d keys already", name, keys)
	}
	if m.ID == "" {
		m.ID = newID()
	}
	return m, nil
}

func newID() string {
	b := make([]byte, idBytes)
	rand.Read(b)
	return idText.EncodeToString(b)
}

// Approve lets the member with this id do what its kind may do. It returns the member's keys, whose
// connections should be cut so that they come back with their rights.
func (r *Roster) Approve(id string) ([]Member, error) {
	return r.mark(id, func(_ *rosterState, m *Member) { m.Approved = true })
}

// Revoke ends the membership of all keys of this id, for good, and withdraws tokens that are still out: a user's, and
// the one that a machine joined with, which it may still have. It returns the keys; the caller cuts their connections.
func (r *Roster) Revoke(id string) ([]Member, error) {
	return r.mark(id, func(st *rosterState, m *Member) {
		m.Revoked = true
		if m.Kind == Agent {
			delete(st.tokens, m.Token)
		}
		maps.DeleteFunc(st.tokens, func(_ string, t outToken) bool {
			return m.Kind == User && t.Kind == User && t.Name == m.Name
		})
	})
}

func (r *Roster) mark(id string, change func(*rosterState, *Member)) ([]Member, error) {
	var marked []Member
	err := r.update(time.Now(), func(st *rosterState) error {
		for key, m := range st.members {
			if m.ID == id {
				change(st, &m)
				st.members[key] = m
				marked = append(marked, m)
			}
		}
		if marked == nil {
			return fmt.Errorf("%s: %w", id, ErrNoMember)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("roster: %w", err)
	}
	return marked, nil
}

// Lookup gives the member that has this key.
func (r *Roster) Lookup(publicKey string) (Member, bool) {
	m, ok := r.state.Load().members[publicKey]
	if !ok && r.journal != nil {
		r.lookAgain()
		m, ok = r.state.Load().members[publicKey]
	}
	return m, ok
}

// lookAgain takes in what the journal has: who has joined a moment ago at another matchmaker is no stranger. Strangers
// cannot have it ask more often than now and then.
func (r *Roster) lookAgain() {
	r.change.Lock()
	defer r.change.Unlock()
	if time.Since(r.asked) < lookupEvery {
		return
	}
	r.asked = time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), lookupPatience)
	defer cancel()
	_, _ = r.catchUp(ctx) // what cannot be read now, Follow reads later
}

// PutOut says whether the member with this id has been put out: it has a key that was revoked, and none that is good.
func (r *Roster) PutOut(id string) bool {
	st := r.state.Load()
	st.count.Do(func() {
		active := map[string]bool{}
		st.putOut = map[string]bool{}
		for _, m := range st.members {
			active[m.ID] = active[m.ID] || m.Active()
			st.putOut[m.ID] = st.putOut[m.ID] || m.Revoked
		}
		maps.DeleteFunc(st.putOut, func(id string, revoked bool) bool { return !revoked || active[id] })
	})
	return st.putOut[id]
}

// Members gives everybody, by kind, name and time of joining.
func (r *Roster) Members() []Member {
	return sortedMembers(r.state.Load().members)
}

func sortedMembers(members map[string]Member) []Member {
	return slices.SortedFunc(maps.Values(members), compareMembers)
}

// errUnchanged ends an update that found nothing to do.
var errUnchanged = errors.New("unchanged")

// update makes a new state, has change work on it, writes it, and lets it take effect. When anything
// fails the old state stays.
func (r *Roster) update(now time.Time, change func(*rosterState) error) error {
	r.change.Lock()
	defer r.change.Unlock()
	prune := func(st *rosterState) error {
		maps.DeleteFunc(st.tokens, func(_ string, t outToken) bool { return now.After(t.Expires.Add(deadTokenLife)) })
		return change(st)
	}
	if r.journal != nil {
		err := r.agree(context.Background(), prune)
		if errors.Is(err, errUnchanged) {
			return nil
		}
		if err != nil {
			return err
		}
		return r.state.Load().write(r.path)
	}
	next := r.state.Load().clone()
	if err := prune(next); errors.Is(err, errUnchanged) {
		return nil
	} else if err != nil {
		return err
	}
	if err := next.write(r.path); err != nil {
		return err
	}
	r.state.Store(next)
	return nil
}
