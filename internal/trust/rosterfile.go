package trust

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"skua/internal/diag"
)

// rosterFile is the roster as it is on disk.
type rosterFile struct {
	V       int        `json:"v"`
	Members []Member   `json:"members"`
	Tokens  []outToken `json:"tokens"`
}

const (
	rosterVersion = 1
	maxRosterFile = 128 << 20
)

func (st *rosterState) write(path string) error {
	data, err := json.MarshalIndent(rosterFile{
		V:       rosterVersion,
		Members: sortedMembers(st.members),
		Tokens:  slices.SortedFunc(maps.Values(st.tokens), func(a, b outToken) int { return cmp.Compare(a.Hash, b.Hash) }),
	}, "", "\t")
	if err != nil {
		return fmt.Errorf("write roster: %w", err)
	}
	if err := replaceFile(path, append(data, '\n')); err != nil {
		return fmt.Errorf("write roster: %w", err)
	}
	return nil
}

func readRoster(path string) (*rosterState, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return emptyRoster(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read roster: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRosterFile+1))
	if err != nil {
		return nil, fmt.Errorf("read roster: %w", err)
	}
	st, err := parseRoster(data)
	if err != nil {
		return nil, &diag.Problem{
			What: fmt.Sprintf("%s cannot be understood: %v", path, err),
			Hint: "restore it from a backup; without it every machine and user must join again",
			Err:  err,
		}
	}
	return st, nil
}

// parseRoster is strict: a field that this program does not know may be a restriction that it would
// not enforce.
func parseRoster(data []byte) (*rosterState, error) {
	if len(data) > maxRosterFile {
		return nil, fmt.Errorf("it is larger than %d bytes", maxRosterFile)
	}
	var file rosterFile
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, errors.New("something follows the table")
	}
	if file.V != rosterVersion {
		return nil, fmt.Errorf("it is of version %d, this program knows version %d", file.V, rosterVersion)
	}
	if len(file.Members) > maxMembers || len(file.Tokens) > maxTokens {
		return nil, fmt.Errorf("%d members and %d tokens are too many", len(file.Members), len(file.Tokens))
	}
	st := &rosterState{members: make(map[string]Member, len(file.Members)), tokens: map[string]outToken{}}
	owner := map[string]Member{} // by id
	for _, m := range file.Members {
		_, twice := st.members[m.PublicKey]
		other, shared := owner[m.ID]
		if err := m.check(); err != nil {
			return nil, err
		}
		switch {
		case twice:
			return nil, fmt.Errorf("member %s: the key %s is there twice", m.ID, m.PublicKey)
		case shared && (m.Kind == Agent || other.Kind == Agent || other.Name != m.Name):
			return nil, fmt.Errorf("id %s belongs to two members", m.ID)
		}
		st.members[m.PublicKey], owner[m.ID] = m, m
	}
	for _, t := range file.Tokens {
		if err := t.check(); err != nil {
			return nil, err
		}
		st.tokens[t.Hash] = t
	}
	return st, nil
}

func (m Member) check() error {
	switch {
	case !ValidPublicKey(m.PublicKey):
		return fmt.Errorf("member %s: %q is not a public key", m.ID, m.PublicKey)
	case !validID(m.ID):
		return fmt.Errorf("member with key %s: %q is not an id", m.PublicKey, m.ID)
	case !m.Kind.valid():
		return fmt.Errorf("member %s: kind %q is neither agent nor user", m.ID, m.Kind)
	}
	if err := checkName(m.Name); err != nil {
		return fmt.Errorf("member %s: %w", m.ID, err)
	}
	return nil
}

func (t outToken) check() error {
	if sum, err := hex.DecodeString(t.Hash); err != nil || len(sum) != 32 || !t.Kind.valid() || t.Uses < 0 {
		return fmt.Errorf("token %q is malformed", t.Hash)
	}
	return nil
}

func compareMembers(a, b Member) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), a.Since.Compare(b.Since), cmp.Compare(a.PublicKey, b.PublicKey))
}
