package client

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/membership"
)

// Connection says how to connect to the user's pool.
type Connection struct {
	Home    Home
	Patient bool        // wait for a matchmaker that is not there, as a background process does
	Trouble func(error) // see Config
}

// systemSocket is where a matchmaker that runs as a service lets the users of its machine in.
const systemSocket = "/var/lib/skua/matchmaker/login.sock"

// LoginSocket is where the personal pool's matchmaker lets its user in.
func (h Home) LoginSocket() string { return filepath.Join(h.Pool(), "matchmaker", "login.sock") }

// LocalSockets are the places where a matchmaker on this machine is looked for.
func (h Home) LocalSockets() []string { return []string{h.LoginSocket(), systemSocket} }

// Connect connects to the pool that the user is a member of. A user of no pool becomes a member of the
// one whose matchmaker runs on this machine, if there is one; else a Problem says what to do.
func Connect(ctx context.Context, cfg Connection) (*Client, error) {
	m, err := Membership(ctx, cfg.Home)
	if err != nil {
		return nil, err
	}
	conn, err := m.Dial(bus.Config{FailFast: !cfg.Patient})
	if errors.Is(err, bus.ErrRefused) {
		return nil, err
	}
	if err != nil {
		return nil, explain(cfg.Home, m, err)
	}
	return New(Config{
		User: job.UserID(m.ID), Conn: conn, Pool: m.URL, Trouble: cfg.Trouble,
		Files: func() (Files, error) { return m.Files() },
	})
}

// Membership gives the user's place in a pool, as [Connect] finds it.
func Membership(ctx context.Context, h Home) (*membership.Membership, error) {
	m, err := membership.Open(h.Member())
	if !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	m, err = LoginLocal(ctx, h, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &diag.Problem{
			What: "you are not in a pool yet",
			Hint: `"skua up" starts a pool of your own on this machine; "skua login TOKEN" joins the one for which you were given a token`,
			Err:  err, Code: diag.ExitUnreachable,
		}
	}
	return m, err
}

// LoginLocal makes the user a member of the pool whose matchmaker runs on this machine: the user's own, or
// the system's. Without one it fails with [fs.ErrNotExist]. A pool that is not fit, see [membership.JoinLocalIf], is
// an error.
func LoginLocal(ctx context.Context, h Home, fit func(*membership.Membership) error) (*membership.Membership, error) {
	var found error = fs.ErrNotExist
	for _, socket := range h.LocalSockets() {
		if _, err := os.Stat(socket); err != nil {
			continue
		}
		m, err := membership.JoinLocalIf(ctx, h.Member(), socket, fit)
		if err == nil {
			return m, nil
		}
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "dial" { // a socket that a stopped matchmaker left is none
			found = err
		}
	}
	return nil, found
}

// explain adds what is known of a pool that cannot be reached.
func explain(h Home, m *membership.Membership, err error) error {
	u, uerr := url.Parse(m.URL)
	if uerr != nil || !net.ParseIP(u.Hostname()).IsLoopback() {
		return err
	}
	if _, serr := os.Stat(h.Pool()); serr != nil {
		return err
	}
	return &diag.Problem{
		What: "your pool on this machine is not running",
		Hint: `start it with "skua up"`,
		Err:  err, Code: diag.ExitUnreachable,
	}
}
