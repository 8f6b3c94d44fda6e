package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/internal/wire"
)

// AdminRequest is what skua-matchmaker's commands ask of the matchmaker that runs.
type AdminRequest struct {
	V     int             `json:"v"`
	Do    AdminVerb       `json:"do"`
	Token trust.TokenSpec `json:"token,omitzero"` // of AdminToken
	URL   string          `json:"url,omitempty"`  // of AdminToken; empty means the matchmaker's own
	ID    string          `json:"id,omitempty"`   // of AdminApprove and AdminRevoke; the user's name or id of AdminFactor

	Factor float64 `json:"factor,omitempty"` // of AdminFactor

	Group string `json:"group,omitempty"` // of AdminPush, AdminWithdraw and AdminPolicy
	Text  []byte `json:"text,omitempty"`  // of AdminPush: the policy, in TOML

	Runtime wire.RuntimeRow `json:"runtime,omitzero"`  // of AdminStoreRuntime and AdminAddRuntime; its name of AdminRemoveRuntime
	Replace bool            `json:"replace,omitempty"` // of AdminAddRuntime: in the place of another one of that name
}

// AdminVerb is what an [AdminRequest] asks for.
type AdminVerb string

// The administrator's verbs.
const (
	AdminToken   AdminVerb = "token"   // make a join token
	AdminMembers AdminVerb = "members" // list the members
	AdminApprove AdminVerb = "approve" // let a member work that joined without approval
	AdminRevoke  AdminVerb = "revoke"  // end a membership and its connections
	AdminUsers   AdminVerb = "users"   // list the users' shares
	AdminFactor  AdminVerb = "factor"  // give a user's share another weight
	AdminHeads   AdminVerb = "heads"   // list the matchmakers of the pool

	AdminPush     AdminVerb = "push"     // sign the policy of a group of machines, and hand it out
	AdminWithdraw AdminVerb = "withdraw" // have a group have no central policy any more
	AdminPolicies AdminVerb = "policies" // list the central policies, without their texts
	AdminPolicy   AdminVerb = "policy"   // the central policy of one group

	AdminRuntimes      AdminVerb = "runtimes"       // list the pool's runtime roots
	AdminStoreRuntime  AdminVerb = "store-runtime"  // say how to bring the archive of one to the file service, if it can be added
	AdminAddRuntime    AdminVerb = "add-runtime"    // give an archive that has been brought there a name
	AdminRemoveRuntime AdminVerb = "remove-runtime" // take a name away
)

// AdminAnswer answers an [AdminRequest].
type AdminAnswer struct {
	V        int            `json:"v"`
	Token    string         `json:"token,omitempty"`
	Members  []trust.Member `json:"members,omitempty"` // all of them, or those that were changed
	Left     int            `json:"left,omitempty"`    // of AdminRevoke: jobs of which the machine has not said that they are over
	Users    []wire.UserRow `json:"users,omitempty"`   // all of them, or the one that was changed
	Heads    []HeadRow      `json:"heads,omitempty"`
	Policies []PolicyRow    `json:"policies,omitempty"` // all of them, or the one of the group

	Runtimes []wire.RuntimeRow `json:"runtimes,omitempty"` // in the order of names
	Store    *Store            `json:"store,omitempty"`    // of AdminStoreRuntime, unless there is nothing to bring
	Changed  bool              `json:"changed,omitempty"`  // of AdminAddRuntime: it has not been so before

	Fail *wire.Failure `json:"fail,omitempty"`
}

// Admin asks the matchmaker that runs on a data directory.
func Admin(ctx context.Context, data string, q AdminRequest) (AdminAnswer, error) {
	var answer AdminAnswer
	var d net.Dialer
	path := adminSocket(data)
	c, err := d.DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return answer, &diag.Problem{
			What: "you may not administer this matchmaker",
			Hint: "run the command as root, or as the user the matchmaker runs as", Err: err,
		}
	case err != nil:
		return answer, &diag.Problem{
			What: fmt.Sprintf("no matchmaker runs on %s", data),
			Hint: "start it, or name its directory with --data", Err: err, Code: diag.ExitUnreachable,
		}
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(adminBounds.patience)); err != nil {
		return answer, err
	}
	q.V = wire.Version
	if err := json.NewEncoder(c).Encode(q); err != nil {
		return answer, fmt.Errorf("ask the matchmaker: %w", err)
	}
	if err := json.NewDecoder(c).Decode(&answer); err != nil {
		return answer, fmt.Errorf("read the matchmaker's answer: %w", err)
	}
	return answer, answer.Fail.Err()
}

// admin answers a request of root or of the matchmaker's own user.
func (h *Head) admin(ctx context.Context, uid int, question []byte) any {
	answer, err := h.administer(ctx, uid, question)
	if err != nil {
		answer.Fail = wire.Fail(err)
	}
	answer.V = wire.Version
	return answer
}

func (h *Head) administer(ctx context.Context, uid int, question []byte) (a AdminAnswer, err error) {
	if uid != 0 && uid != os.Geteuid() {
		return a, &diag.Problem{What: "you may not administer this matchmaker", Hint: "root and the account that it runs as may: try sudo"}
	}
	q, err := wire.Decode[AdminRequest](question)
	if err != nil {
		return a, err
	}
	switch q.Do {
	case AdminUsers, AdminFactor:
		core := h.core.Load()
		if core == nil {
			return a, h.standsBy(ctx)
		}
		if q.Do == AdminFactor {
			a.Users, err = h.setFactor(ctx, core, q.ID, q.Factor)
		} else {
			a.Users = core.Users()
		}
		return a, err
	case AdminHeads:
		a.Heads, err = h.headRows(ctx)
		return a, err
	case AdminPush, AdminWithdraw, AdminPolicies, AdminPolicy:
		a.Policies, err = h.policyRows(ctx, q)
		return a, err
	case AdminRuntimes, AdminStoreRuntime, AdminAddRuntime, AdminRemoveRuntime:
		return h.runtime(ctx, uid, q)
	case AdminToken:
		a.Token, err = h.Token(q.Token, q.URL)
		if err == nil {
			h.log.Info("token made", "kind", q.Token.Kind, "name", q.Token.Name, "uses", max(q.Token.Uses, 1), "ttl", q.Token.TTL)
		}
	case AdminMembers:
		a.Members = h.roster.Members()
	case AdminApprove:
		a.Members, err = h.roster.Approve(q.ID)
	case AdminRevoke:
		if core := h.core.Load(); core != nil && !h.roster.PutOut(q.ID) {
			var done func()
			a.Left, done = core.SendAway(ctx, job.AgentID(q.ID))
			defer done()
		}
		a.Members, err = h.roster.Revoke(q.ID)
	default:
		return a, fmt.Errorf("unknown request %.40q", q.Do)
	}
	if err == nil && q.Do == AdminApprove {
		if a.Members = slices.DeleteFunc(a.Members, func(m trust.Member) bool { return m.Revoked }); len(a.Members) == 0 {
			return a, &diag.Problem{
				What: fmt.Sprintf("member %.40q was put out of the pool", q.ID),
				Hint: `it comes back with a new token, which "skua-matchmaker token" makes`, Err: trust.ErrRevoked,
			}
		}
	}
	if errors.Is(err, trust.ErrNoMember) {
		return a, &diag.Problem{What: fmt.Sprintf("there is no member %.40q", q.ID), Hint: "skua-matchmaker members lists them", Err: err}
	}
	if err != nil || q.Do == AdminMembers {
		return a, err
	}
	for _, m := range a.Members {
		h.log.Info("member changed", "do", q.Do, "kind", m.Kind, "name", m.Name, "id", m.ID)
		if err := h.broker.Disconnect(m.PublicKey); err != nil {
			return a, err
		}
	}
	if core := h.core.Load(); core != nil && q.Do == AdminRevoke {
		core.MemberPutOut()
	}
	return a, nil
}

// setFactor gives a user, by name or id, another factor.
func (h *Head) setFactor(ctx context.Context, core *Server, who string, factor float64) ([]wire.UserRow, error) {
	var found []trust.Member
	for _, m := range h.roster.Members() {
		if m.Kind == trust.User && !m.Revoked && (m.Name == who || m.ID == who) &&
			!slices.ContainsFunc(found, func(f trust.Member) bool { return f.ID == m.ID }) { // another key of the same user
			found = append(found, m)
		}
	}
	switch {
	case len(found) == 0:
		return nil, &diag.Problem{What: fmt.Sprintf("there is no user %.40q", who), Hint: "skua-matchmaker members lists them"}
	case len(found) > 1:
		return nil, &diag.Problem{
			What: fmt.Sprintf("%d users are called %.40q", len(found), who),
			Hint: fmt.Sprintf("name one by its id, such as %s", found[0].ID),
		}
	}
	user := job.UserID(found[0].ID)
	if err := core.SetFactor(ctx, user, factor); err != nil {
		return nil, err
	}
	h.log.Info("user's factor set", diag.KeyUser, user, "name", found[0].Name, "factor", factor)
	all := core.Users()
	return slices.DeleteFunc(all, func(r wire.UserRow) bool { return r.User != user }), nil
}
