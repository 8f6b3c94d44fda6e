// Package membership keeps what a program must know to take part in a pool: where the matchmaker is,
// how to recognise it, and who the program is there.
//
// A membership is a directory with the program's key and one file of facts. It comes from a join
// token, or, for a user on the matchmaker's own machine, from the matchmaker's socket, where the
// kernel vouches for who asks. The key is made here and never leaves.
package membership

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	renameio "github.com/google/renameio/v2/maybe"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/transfer"
	"skua/internal/trust"
	"skua/internal/wire"
)

// Membership is one program's place in one pool.
type Membership struct {
	V           int    `json:"v"`
	URL         string `json:"url"`         // of the matchmaker, "https://head.example.edu:9618"
	Fingerprint string `json:"fingerprint"` // of the pool's authority
	ID          string `json:"id"`          // the agent or user id that the matchmaker issued
	Name        string `json:"name"`        // the machine's or user's name in the pool

	// Others are the URLs of the pool's other matchmakers, if it has more than one.
	Others []string `json:"others,omitempty"`

	// Waits says of a membership that has just begun that it is good for nothing until an administrator approves of it.
	Waits bool `json:"-"`

	dir      string // where it is kept
	identity *trust.Identity
}

const (
	keyFile   = "identity.key"
	nextFile  = keyFile + ".new"     // a key that joins in the place of another one
	oldFile   = keyFile + ".revoked" // the key that was in its place, when it was revoked
	leftFile  = keyFile + ".left"    // the same, when it stays good: it is another user's
	factsFile = "member.json"
	version   = 1
)

// KeyPath is where the key of a membership kept in dir is.
func KeyPath(dir string) string { return filepath.Join(dir, keyFile) }

// Open reads the membership kept in dir. It fails with [fs.ErrNotExist] when there is none.
func Open(dir string) (*Membership, error) {
	path := filepath.Join(dir, factsFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read membership: %w", err)
	}
	var m Membership
	if err := json.Unmarshal(data, &m); err != nil || m.V != version || m.ID == "" {
		return nil, &diag.Problem{
			What: path + " is damaged or was written by a newer version",
			Hint: "remove it and join the pool again",
			Err:  err,
		}
	}
	m.dir = dir
	if m.identity, err = trust.LoadIdentity(KeyPath(dir)); err != nil {
		return nil, fmt.Errorf("read membership: %w", err)
	}
	return &m, nil
}

// Join redeems a token under the given name and keeps the membership in dir. A key that is already in
// dir is used again, so that an interrupted Join can be repeated. One that the pool refuses has been revoked,
// which is for good: then a new one joins, and takes its place.
func Join(ctx context.Context, dir string, token trust.Token, name string) (*Membership, error) {
	m, err := joinWith(ctx, dir, keyFile, token, name)
	if errors.Is(err, bus.ErrRefused) {
		m, err = joinAnew(ctx, dir, oldFile, token, name)
	}
	if err != nil {
		return nil, err
	}
	return m, m.begin(ctx, dir)
}

// JoinAs is Join as another user of the same pool: a new key joins, and the one that was in dir is put aside.
func JoinAs(ctx context.Context, dir string, token trust.Token, name string) (*Membership, error) {
	m, err := joinAnew(ctx, dir, leftFile, token, name)
	if err != nil {
		return nil, err
	}
	return m, m.begin(ctx, dir)
}

// joinAnew redeems a token with a new key, which takes the place of the one in dir; that is put aside as the file before.
func joinAnew(ctx context.Context, dir, before string, token trust.Token, name string) (*Membership, error) {
	m, err := joinWith(ctx, dir, nextFile, token, name)
	if err != nil {
		return nil, err
	}
	return m, replaceKey(dir, before)
}

// begin keeps a membership that has just begun.
func (m *Membership) begin(ctx context.Context, dir string) error {
	if err := m.save(dir); err != nil {
		return err
	}
	_, _ = m.Refresh(ctx) // it is a member whether it learns of others now or later
	return nil
}

// joinWith redeems a token with the key in that file, which is made if it is missing.
func joinWith(ctx context.Context, dir, file string, token trust.Token, name string) (*Membership, error) {
	identity, err := ownKey(dir, file)
	if err != nil {
		return nil, err
	}
	m := &Membership{V: version, URL: token.URL, Fingerprint: token.Fingerprint, Name: name, identity: identity}
	conn, err := m.dial(bus.Config{Inbox: bus.InboxPrefix(identity.PublicKey()), FailFast: true})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	request, err := wire.Encode(wire.Enrol{V: wire.Version, Secret: hex.EncodeToString(token.Secret), Name: name})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	data, err := conn.Request(ctx, wire.EnrolSubject(identity.PublicKey()), request)
	if err != nil {
		return nil, fmt.Errorf("ask to join the pool at %s: %w", token.URL, err)
	}
	answer, err := wire.Decode[wire.Enrolled](data)
	if err != nil {
		return nil, err
	}
	if err := answer.Fail.Err(); err != nil {
		return nil, err
	}
	m.ID, m.Waits = answer.ID, answer.Waits
	return m, nil
}

// JoinLocal becomes a member through the socket of a matchmaker on this machine, which asks the kernel
// who we are.
func JoinLocal(ctx context.Context, dir, socket string) (*Membership, error) {
	return JoinLocalIf(ctx, dir, socket, nil)
}

// JoinLocalIf is JoinLocal, unless fit has something against the pool: then a membership in dir stays as it is, and the
// pool learns of no key. A fit of nil has not.
func JoinLocalIf(ctx context.Context, dir, socket string, fit func(*Membership) error) (*Membership, error) {
	if fit != nil {
		// A matchmaker of before this question refuses it, and is asked once it has answered the next.
		switch answer, err := askLocal(ctx, socket, wire.LocalLogin{V: wire.Version, Ask: true}); {
		case err != nil:
			return nil, err
		case answer.Fail == nil:
			m, err := poolOf(answer)
			if err == nil {
				err = fit(m)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	identity, err := ownKey(dir, keyFile)
	if err != nil {
		return nil, err
	}
	answer, err := askLocal(ctx, socket, wire.LocalLogin{V: wire.Version, Key: identity.PublicKey()})
	if err == nil {
		err = answer.Fail.Err()
	}
	if err != nil {
		return nil, err
	}
	m, err := poolOf(answer)
	if err != nil {
		return nil, err
	}
	m.ID, m.Name, m.identity = answer.ID, answer.Name, identity
	if fit != nil {
		if err := fit(m); err != nil {
			return nil, err
		}
	}
	if err := m.save(dir); err != nil {
		return nil, err
	}
	_, _ = m.Refresh(ctx)
	return m, nil
}

// askLocal asks the matchmaker that listens at a socket of this machine.
func askLocal(ctx context.Context, socket string, question wire.LocalLogin) (answer wire.LocalLogged, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return answer, fmt.Errorf("ask the matchmaker on this machine: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	} else {
		conn.SetDeadline(time.Now().Add(30 * time.Second))
	}
	if err := json.NewEncoder(conn).Encode(question); err != nil {
		return answer, fmt.Errorf("ask the matchmaker on this machine: %w", err)
	}
	if err := json.NewDecoder(conn).Decode(&answer); err != nil {
		return answer, fmt.Errorf("read the answer of the matchmaker on this machine: %w", err)
	}
	return answer, nil
}

// poolOf gives a membership in the pool whose matchmaker answers, of nobody yet.
func poolOf(answer wire.LocalLogged) (*Membership, error) {
	block, _ := pem.Decode([]byte(answer.CA))
	if block == nil {
		return nil, errors.New("the matchmaker on this machine sent no certificate of its authority")
	}
	sum := sha256.Sum256(block.Bytes)
	return &Membership{V: version, URL: answer.URL, Fingerprint: hex.EncodeToString(sum[:])}, nil
}

// Dial connects to the pool, as cfg has it but for what the membership knows.
func (m *Membership) Dial(cfg bus.Config) (*bus.Client, error) {
	cfg.Inbox = bus.InboxPrefix(m.ID)
	return m.dial(cfg)
}

func (m *Membership) dial(cfg bus.Config) (*bus.Client, error) {
	tls, err := trust.ClientTLS(m.Fingerprint)
	if err != nil {
		return nil, err
	}
	cfg.URLs, cfg.Identity, cfg.TLS, cfg.Name = m.URLs(), m.identity, tls, m.Name
	conn, err := bus.Dial(cfg)
	if err != nil {
		return nil, m.unreached(err)
	}
	return conn, nil
}

// unreached says why there is no connection, and what to do.
func (m *Membership) unreached(err error) error {
	if errors.Is(err, bus.ErrRefused) {
		return &diag.Problem{
			What: fmt.Sprintf("the matchmaker at %s does not know this key, or not any more", m.URL),
			Hint: `ask the pool's administrator for a token; then "skua login TOKEN" for a user, "skua-agent join TOKEN" for a machine`,
			Err:  err,
		}
	}
	if errors.Is(err, trust.ErrWrongAuthority) {
		return &diag.Problem{
			What: fmt.Sprintf("another matchmaker answers at %s than that of your pool", m.URL),
			Hint: "was the pool set up anew? then ask for a new token; if it was not, tell the administrator",
			Err:  err, Code: diag.ExitUnreachable,
		}
	}
	host, port := m.URL, bus.DefaultPort
	if u, uerr := url.Parse(m.URL); uerr == nil {
		host = u.Hostname()
		port = cmp.Or(u.Port(), port)
	}
	if dns := new(net.DNSError); errors.As(err, &dns) && dns.IsNotFound {
		return &diag.Problem{
			What: fmt.Sprintf("this machine does not know the name %s, at which the matchmaker is", cmp.Or(dns.Name, host)),
			Hint: `a token can have another name or an address in it: skua-matchmaker token --url https://ADDRESS:` + port,
			Err:  err, Code: diag.ExitUnreachable,
		}
	}
	p := &diag.Problem{
		What: fmt.Sprintf("the matchmaker at %s cannot be reached", m.URL),
		Hint: fmt.Sprintf("is it running, and does a firewall let TCP port %s through?", port),
		Err:  err, Code: diag.ExitUnreachable,
	}
	if !errors.Is(err, bus.ErrNoAnswer) { // which says nothing that has not been said
		p.What += ": " + err.Error()
	}
	return p
}

// Files gives the client of the pool's file service.
func (m *Membership) Files() (*transfer.Client, error) {
	tls, err := trust.ClientTLS(m.Fingerprint)
	if err != nil {
		return nil, err
	}
	return transfer.New(transfer.Config{BaseURL: m.URL, Others: m.others, HTTP: transfer.NewHTTP(tls)})
}

// replaceKey puts the key that has joined in the place of the one that was in dir.
func replaceKey(dir, before string) error {
	if err := trust.ReplaceIdentity(KeyPath(dir), filepath.Join(dir, nextFile), filepath.Join(dir, before)); err != nil {
		return fmt.Errorf("put a new key in the place of the one before: %w", err)
	}
	return nil
}

// ownKey reads a key in dir, or makes one.
func ownKey(dir, file string) (*trust.Identity, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the membership: %w", err)
	}
	path := filepath.Join(dir, file)
	identity, err := trust.LoadIdentity(path)
	if errors.Is(err, fs.ErrNotExist) {
		identity, err = trust.CreateIdentity(path)
	}
	if errors.Is(err, fs.ErrExist) { // two commands of one user at a time: the other was first
		identity, err = trust.LoadIdentity(path)
	}
	if err != nil {
		return nil, fmt.Errorf("key of the membership: %w", err)
	}
	return identity, nil
}

func (m *Membership) save(dir string) error {
	m.dir = dir
	data, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(dir, factsFile), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("keep the membership: %w", err)
	}
	return nil
}
