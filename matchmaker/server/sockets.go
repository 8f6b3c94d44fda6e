package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"skua/internal/diag"
	"skua/internal/peer"
	"skua/internal/trust"
	"skua/internal/wire"
)

func loginSocket(data string) string { return filepath.Join(data, "login.sock") }

func adminSocket(data string) string { return filepath.Join(data, "admin.sock") }

// bounds are those of a conversation on a socket: one question, one answer.
type bounds struct {
	most     int64 // bytes of the question
	patience time.Duration
}

var (
	loginBounds = bounds{most: 16 << 10, patience: 10 * time.Second}
	// An administrator's question may have a policy in it. NATS servers of which one has just died may need ten
	// seconds to choose who takes its place.
	adminBounds = bounds{most: 192 << 10, patience: 30 * time.Second}
)

const maxTalkers = 32

// socket answers questions of other processes on this machine. The kernel says whose they are.
type socket struct {
	listener *net.UnixListener
	answer   func(ctx context.Context, uid int, question []byte) any
	bounds   bounds
	log      func(msg string, args ...any)
}

// openSockets makes the sockets for this machine's users.
func (h *Head) openSockets() ([]*socket, error) {
	login, err := h.openSocket(loginSocket(h.settings.Data), 0o666, loginBounds, h.login)
	if err != nil {
		return nil, err
	}
	admin, err := h.openSocket(adminSocket(h.settings.Data), 0o600, adminBounds, h.admin)
	if err != nil {
		return nil, errors.Join(err, login.listener.Close())
	}
	return []*socket{login, admin}, nil
}

func (h *Head) openSocket(path string, mode fs.FileMode, b bounds, answer func(context.Context, int, []byte) any) (*socket, error) {
	// A matchmaker that was killed leaves its sockets; that it is gone the broker's lock has proved.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		p := &diag.Problem{What: fmt.Sprintf("cannot make the socket %s: %v", path, err), Err: err}
		if len(path) > 100 {
			p.Hint = "the path of the data directory is too long for a socket in it; choose a shorter one with --data"
		}
		return nil, p
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(fmt.Errorf("open the socket to its users: %w", err), l.Close())
	}
	return &socket{listener: l, answer: answer, bounds: b, log: h.log.Debug}, nil
}

// serve answers until ctx ends.
func (s *socket) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.listener.Close() })
	defer stop()
	var talks sync.WaitGroup
	defer talks.Wait()
	free := make(chan struct{}, maxTalkers)
	for {
		c, err := s.listener.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil { // such as too many open files
			s.log("accept on a socket", diag.KeyError, err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		free <- struct{}{}
		talks.Go(func() {
			defer func() { <-free }()
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			if err := s.talk(ctx, c); err != nil {
				s.log("talk on a socket", diag.KeyError, err)
			}
		})
	}
}

func (s *socket) talk(ctx context.Context, c *net.UnixConn) error {
	if err := c.SetDeadline(time.Now().Add(s.bounds.patience)); err != nil {
		return err
	}
	who, err := peer.Of(c)
	if err != nil {
		return err
	}
	var question json.RawMessage
	if err := json.NewDecoder(io.LimitReader(c, s.bounds.most)).Decode(&question); err != nil {
		return err
	}
	return json.NewEncoder(c).Encode(s.answer(ctx, int(who.UID), question))
}

// login makes the user whom the kernel vouches for a member of the pool.
func (h *Head) login(_ context.Context, uid int, question []byte) any {
	fail := func(err error) any {
		h.log.Info("local login refused", "uid", uid, diag.KeyError, err)
		return wire.LocalLogged{V: wire.Version, Fail: wire.Fail(err)}
	}
	q, err := wire.Decode[wire.LocalLogin](question)
	if err != nil {
		return fail(err)
	}
	pool := wire.LocalLogged{V: wire.Version, URL: h.localURL(), CA: string(h.authority.PEM())}
	if q.Ask {
		return pool
	}
	name, err := nameOf(uid, os.Geteuid())
	if err != nil {
		return fail(&diag.Problem{
			What: fmt.Sprintf("user id %d has no name on the matchmaker's machine", uid),
			Hint: `ask the pool's administrator for a token, made with "skua-matchmaker token user NAME"`, Err: err,
		})
	}
	m, err := h.roster.Admit(trust.User, q.Key, name, time.Now())
	if errors.Is(err, trust.ErrRevoked) {
		return fail(&diag.Problem{
			What: fmt.Sprintf("user %s has been put out of the pool, or this key has", name),
			Hint: fmt.Sprintf("the pool's administrator lets you in again with a token: skua-matchmaker token user %s", name), Err: err,
		})
	}
	if err != nil {
		return fail(err)
	}
	h.log.Info("local user logged in", "name", name, diag.KeyUser, m.ID)
	pool.ID, pool.Name = m.ID, m.Name
	return pool
}

// nameOf is what a user is called in the pool. own is who runs the matchmaker; that one needs no name on the system, as in
// many containers.
func nameOf(uid, own int) (string, error) {
	name, err := userName(uid)
	if err != nil && uid == own {
		return "uid" + strconv.Itoa(uid), nil
	}
	return name, err
}

// userName looks a user up. A program without cgo reads /etc/passwd only; getent knows directories
// such as LDAP too.
func userName(uid int) (string, error) {
	id := strconv.Itoa(uid)
	u, err := osuser.LookupId(id)
	if err == nil {
		return u.Username, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), loginBounds.patience/2)
	defer cancel()
	line, gerr := exec.CommandContext(ctx, "getent", "passwd", id).Output()
	name, _, ok := bytes.Cut(line, []byte(":"))
	if gerr != nil || !ok || len(name) == 0 {
		return "", err
	}
	return string(name), nil
}
