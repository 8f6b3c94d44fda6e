package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"skua/internal/diag"
	"skua/internal/membership"
	"skua/internal/trust"
	"skua/submit/client"
)

func (a *app) loginCommand() *cobra.Command {
	var local, leave bool
	var socket string
	c := &cobra.Command{
		Use:   "login {TOKEN | --local | --socket FILE}",
		Short: "join a pool as a user",
		Long: `Login makes you a user of the pool that a token is for. Its administrator makes one for you with
"skua-matchmaker token user". A key is made for you, which stays on this machine.

On the machine of the matchmaker no token is needed: --local asks it, and the system says who you are.
Other commands do so by themselves when you are in no pool yet. A matchmaker that runs with a --data
directory of its own has its socket there: --socket DIR/login.sock.

You are in one pool at a time. Logs and outputs of jobs in the pool where you have been do not come any more,
so login does not leave it unless --leave says so. The same holds for who is another user of the same pool, as you
are when you have typed any command on the matchmaker's machine and get a token then. To be in both, keep what Skua knows of the second one in a
directory of its own, and name it wherever you mean that pool: SKUA_HOME=DIR skua login TOKEN.`,
		Example: `  skua login skua-user-AZ4k...
  skua login --local
  SKUA_HOME=~/.skua-group skua login skua-user-AZ4k...`,
		Args: func(_ *cobra.Command, args []string) error {
			local = local || socket != ""
			if local == (len(args) == 1) || len(args) > 1 {
				return usage(`the pool's administrator makes a token with "skua-matchmaker token user"`, "login wants one token, --local or --socket")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			home, err := client.UserHome()
			if err != nil {
				return err
			}
			l := login{home: home, leave: leave}
			var m *membership.Membership
			switch {
			case socket != "":
				m, err = l.socket(c.Context(), socket)
			case local:
				m, err = l.local(c.Context())
			default:
				m, err = l.token(c.Context(), args[0])
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "You are %s in the pool at %s.\n", m.Name, m.URL)
			if m.Waits {
				fmt.Fprintf(a.out, "You take part once the pool's administrator has said: skua-matchmaker approve %s\n", m.ID)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&local, "local", false, "ask the matchmaker on this machine")
	c.Flags().StringVar(&socket, "socket", "", "ask the matchmaker that listens at this login.sock")
	c.Flags().BoolVar(&leave, "leave", false, "end your membership in another pool, or as another user of this one")
	return c
}

// login makes the user of a home a member of a pool.
type login struct {
	home  client.Home
	leave bool // another pool
}

// stays fails if the user is in another pool than that of m, or another user there, and is to stay so. In an m without
// a name it is not known yet which user that would be.
func (l login) stays(m *membership.Membership) error {
	now, err := membership.Open(l.home.Member())
	switch {
	case err != nil || l.leave: // one that cannot be read is none
		return nil
	case now.Fingerprint == m.Fingerprint && (m.Name == "" || now.Name == m.Name):
		return nil
	case now.Fingerprint == m.Fingerprint:
		return &diag.Problem{
			What: fmt.Sprintf("you are %s in this pool already; logs and outputs of the jobs of %s would not come any more", now.Name, now.Name),
			Hint: fmt.Sprintf("skua login --leave TOKEN makes you %s; or be both: SKUA_HOME=DIR skua login TOKEN", m.Name),
		}
	}
	return &diag.Problem{
		What: fmt.Sprintf("you are a member of the pool at %s; its jobs' logs and outputs would not come any more", now.URL),
		Hint: "fetch them first, then skua login --leave TOKEN; or keep both: SKUA_HOME=DIR skua login TOKEN",
	}
}

// isAnother says whether it is another user who is in that pool now.
func (l login) isAnother(fingerprint, name string) bool {
	now, err := membership.Open(l.home.Member())
	return err == nil && now.Fingerprint == fingerprint && now.Name != name
}

func (l login) token(ctx context.Context, text string) (*membership.Membership, error) {
	token, err := trust.ParseToken(text)
	if err != nil {
		return nil, err
	}
	if token.Kind != trust.User {
		return nil, &diag.Problem{
			What: "this token is for a machine, not for a user",
			Hint: `on the machine run "skua-agent join TOKEN"; a token for you is made by "skua-matchmaker token user"`,
		}
	}
	name := token.Name
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	if err := l.stays(&membership.Membership{Fingerprint: token.Fingerprint, Name: name}); err != nil {
		return nil, err
	}
	if l.isAnother(token.Fingerprint, name) {
		return membership.JoinAs(ctx, l.home.Member(), token, name)
	}
	return membership.Join(ctx, l.home.Member(), token, name)
}

func (l login) local(ctx context.Context) (*membership.Membership, error) {
	m, err := client.LoginLocal(ctx, l.home, l.stays)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &diag.Problem{
			What: "no matchmaker answers at " + strings.Join(l.home.LocalSockets(), " or "),
			Hint: `one that runs with --data DIR is at "skua login --socket DIR/login.sock"; "skua up" starts a pool of your own`,
			Err:  err, Code: diag.ExitUnreachable,
		}
	}
	return m, err
}

func (l login) socket(ctx context.Context, socket string) (*membership.Membership, error) {
	m, err := membership.JoinLocalIf(ctx, l.home.Member(), socket, l.stays)
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return nil, &diag.Problem{
			What: fmt.Sprintf("no matchmaker answers at %s: %v", socket, op.Err),
			Hint: "the socket is login.sock in the matchmaker's data directory, while it runs",
			Err:  err, Code: diag.ExitUnreachable,
		}
	}
	return m, err
}
