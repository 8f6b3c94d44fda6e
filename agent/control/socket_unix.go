//go:build !windows

package control

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"skua/internal/peer"
)

// Listen makes the socket, in the place of one that an agent before has left. Everybody may connect;
// what they may ask for is another question.
func Listen(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the control socket: %w", err)
	}
	// The agent's own directory may be closed to others. To pass through it is all that they need; what is in it looks
	// after itself.
	const pass = 0o011
	if fi, err := os.Stat(dir); err == nil && fi.Mode().Perm()&pass != pass {
		_ = os.Chmod(dir, fi.Mode().Perm()|pass) // another's directory stays as it is
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the control socket of an agent before: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", path)
}

// peerOf is who is at the other end of a socket. Root and the agent's own user may do everything.
func peerOf(c net.Conn) (Peer, error) {
	who, err := peer.Of(c)
	if err != nil {
		return Peer{}, err
	}
	return Peer{Seat: who.UID, Name: userName(who.UID), Admin: who.UID == 0 || who.UID == uint32(os.Geteuid())}, nil
}

// userName is what people call a user.
func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "user " + id
}
