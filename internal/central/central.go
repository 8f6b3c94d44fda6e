// Package central is the policy that a pool's administrator hands to a group of machines: how it is
// written down, signed and checked, and how a machine keeps the latest one.
//
// One rule governs it: a machine takes a policy for what the pool's authority has signed, and for nothing
// that the message came with. What is signed has the group, so that the policy of another group is no
// use, and a number that only grows, so that one that was in force once cannot be brought back. The
// package talks to nobody, and does not know what a machine's owner wants: package policy combines the
// two.
package central

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"skua/internal/diag"
	"skua/internal/trust"
	"skua/policy"
	"skua/policy/config"
)

// Policy is the policy of one group, as it was signed.
type Policy struct {
	Group     string
	Number    int64     // grows with each policy of the group; see [Next]
	At        time.Time // when it was signed, for people
	Text      []byte    // TOML, as the administrator wrote it
	Withdrawn bool      // the group has no central policy any more; Text is empty
}

// DefaultGroup is the group of machines that name none.
const DefaultGroup = "default"

// Bounds of what is believed. A policy has a few kilobytes.
const (
	MaxText   = 64 << 10  // of a policy, in bytes
	MaxSigned = 192 << 10 // of what [Policy.Sign] makes
)

const (
	version = 1
	purpose = "policy" // of the signature
)

// ErrBad is the error of a message that is no signed policy.
var ErrBad = errors.New("this is not a signed policy")

// groupName is bounded in CheckGroup: a count in the expression would be a copy of it for each character, in every process
// that links it.
var groupName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

// CheckGroup refuses what cannot name a group. Names are parts of file names and keys.
func CheckGroup(name string) error {
	if len(name) <= 32 && groupName.MatchString(name) {
		return nil
	}
	return &diag.Problem{
		What: fmt.Sprintf("%.64q cannot be the name of a group", name),
		Hint: `use up to 32 lower-case letters, digits and -, such as "lab" or "room-204"`,
	}
}

// Next gives the number of a policy that follows on the one with the number last; 0 for none. It is the
// time in digits, 20261224093000, in UTC, so that it goes on growing when what came before is forgotten.
func Next(last int64, now time.Time) int64 {
	digits, _ := strconv.ParseInt(now.UTC().Format("20060102150405"), 10, 64) // digits they are
	return max(last+1, digits)
}

// Read checks a policy as strictly as a machine does, and gives it. name stands for the file in problems,
// which name line and key.
func Read(name string, text []byte) (policy.File, error) {
	var f policy.File
	if len(text) > MaxText {
		return f, &diag.Problem{What: fmt.Sprintf("%s: longer than %d kB", name, MaxText>>10), Hint: "is it the right file?"}
	}
	if err := config.Decode(name, text, &f); err != nil {
		return f, err
	}
	if _, err := policy.Derive(f); err != nil {
		p := &diag.Problem{What: name + ": " + err.Error(), Err: err}
		if inner, ok := errors.AsType[*diag.Problem](err); ok {
			p.Hint = inner.Hint
		}
		return f, p
	}
	return f, nil
}

// File gives what the policy says, or what is wrong with it. One that was withdrawn says nothing.
func (p Policy) File() (policy.File, error) {
	return Read("central policy "+p.Group, p.Text)
}

// String names the policy as people see it, "lab 20261224093000".
func (p Policy) String() string { return fmt.Sprintf("%s %d", p.Group, p.Number) }

// same says whether two policies are one.
func (p Policy) same(o Policy) bool {
	return p.Group == o.Group && p.Number == o.Number && p.At.Equal(o.At) && p.Withdrawn == o.Withdrawn && bytes.Equal(p.Text, o.Text)
}

func (p Policy) check() error {
	switch {
	case CheckGroup(p.Group) != nil:
		return fmt.Errorf("%w: group %.64q", ErrBad, p.Group)
	case p.Number <= 0:
		return fmt.Errorf("%w: number %d", ErrBad, p.Number)
	case len(p.Text) > MaxText:
		return fmt.Errorf("%w: %d bytes of text", ErrBad, len(p.Text))
	case p.Withdrawn && len(p.Text) > 0:
		return fmt.Errorf("%w: it is withdrawn and has a text", ErrBad)
	}
	return nil
}

// statement is what is signed, in JSON.
type statement struct {
	V         int       `json:"v"`
	Group     string    `json:"group"`
	Number    int64     `json:"number"`
	At        time.Time `json:"at"`
	Text      []byte    `json:"text,omitempty"`
	Withdrawn bool      `json:"withdrawn,omitempty"`
}

// signed is a statement with its signature, as it is sent and kept.
type signed struct {
	V           int    `json:"v"`
	Statement   []byte `json:"statement"` // exactly the bytes that are signed
	Signature   []byte `json:"signature"`
	Certificate []byte `json:"certificate"` // of the pool's authority
}

// Sign makes the message in which the policy travels.
func (p Policy) Sign(a *trust.Authority) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(statement{version, p.Group, p.Number, p.At.UTC(), p.Text, p.Withdrawn})
	if err != nil {
		return nil, fmt.Errorf("sign policy %s: %w", p, err)
	}
	m := signed{V: version, Statement: text}
	if m.Signature, m.Certificate, err = a.SignStatement(purpose, text); err != nil {
		return nil, fmt.Errorf("sign policy %s: %w", p, err)
	}
	data, err := json.Marshal(m)
	if err == nil && len(data) > MaxSigned {
		err = fmt.Errorf("%d bytes are more than a signed policy may have", len(data))
	}
	if err != nil {
		return nil, fmt.Errorf("sign policy %s: %w", p, err)
	}
	return data, nil
}

// Open gives the policy in a message, once it is certain that the authority with that fingerprint has
// signed it. Its errors are [ErrBad] and [trust.ErrBadSignature].
func Open(data []byte, fingerprint string) (Policy, error) {
	if len(data) > MaxSigned {
		return Policy{}, fmt.Errorf("%w: %d bytes, at most %d are possible", ErrBad, len(data), MaxSigned)
	}
	m, err := strictly[signed](data)
	if err != nil {
		return Policy{}, err
	}
	if m.V != version {
		return Policy{}, fmt.Errorf("%w of version %d: it is of version %d", ErrBad, version, m.V)
	}
	if err := trust.VerifyStatement(fingerprint, purpose, m.Statement, m.Signature, m.Certificate); err != nil {
		return Policy{}, err
	}
	s, err := strictly[statement](m.Statement)
	if err != nil {
		return Policy{}, err
	}
	if s.V != version {
		return Policy{}, fmt.Errorf("%w of version %d: the statement is of version %d", ErrBad, version, s.V)
	}
	p := Policy{Group: s.Group, Number: s.Number, At: s.At, Text: s.Text, Withdrawn: s.Withdrawn}
	return p, p.check()
}

// strictly decodes JSON. An unknown field is an error, since it may be a restriction.
func strictly[T any](data []byte) (T, error) {
	var v T
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return v, fmt.Errorf("%w: %w", ErrBad, err)
	}
	if dec.More() {
		return v, fmt.Errorf("%w: something follows it", ErrBad)
	}
	return v, nil
}
