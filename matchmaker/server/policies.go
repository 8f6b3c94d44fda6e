package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"skua/internal/bus"
	"skua/internal/central"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/internal/wire"
)

// policies keeps the signed central policies in a table of the message bus. Where several matchmakers share
// a cluster a policy can be pushed at any of them, and the one that leads hands it out.
type policies struct {
	bucket    *lateBucket
	conn      *bus.Client
	authority *trust.Authority
	log       *slog.Logger

	changing sync.Mutex // is held while a policy is changed
}

const (
	policiesBucket  = "SKUA_POLICIES"
	policyPatience  = 25 * time.Second // of a change; an administrator waits 30 seconds
	policyAnswering = 5 * time.Second  // of an agent's question
	pushTries       = 5
)

// signed gives the signed policy of a group; nothing if it has never had one.
func (p *policies) signed(ctx context.Context, group string) ([]byte, error) {
	data, _, err := p.bucket.get(ctx, group)
	return data, err
}

// put signs another policy of a group, keeps it and tells the agents. One that is in force already is left
// as it is, and changed is false.
func (p *policies) put(ctx context.Context, group string, text []byte, withdrawn bool) (now central.Policy, changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, policyPatience)
	defer cancel()
	p.changing.Lock()
	defer p.changing.Unlock()
	table, err := p.bucket.open(ctx)
	if err != nil {
		return now, false, fmt.Errorf("open the table of policies: %w", err)
	}
	var unchanged error // why the last try changed nothing
	for range pushTries {
		old, revision, err := table.Get(ctx, group)
		if err != nil && !errors.Is(err, bus.ErrNoKey) {
			return now, false, err
		}
		var before central.Policy
		if revision > 0 {
			if before, err = central.Open(old, p.authority.Fingerprint()); err != nil {
				p.log.Warn("the central policy that was kept is no good, and is replaced", "group", group, diag.KeyError, err)
			}
		}
		switch {
		case now.Number > 0 && before.Number == now.Number && bytes.Equal(before.Text, text):
			p.announce() // the answer to the last try was lost
			return now, true, nil
		case before.Number > 0 && before.Withdrawn == withdrawn && bytes.Equal(before.Text, text):
			return before, false, nil
		case withdrawn && revision == 0:
			return now, false, noSuchPolicy(group)
		}
		at := time.Now()
		now = central.Policy{Group: group, Number: central.Next(before.Number, at), At: at.UTC().Truncate(time.Second), Text: text, Withdrawn: withdrawn}
		data, err := now.Sign(p.authority)
		if err != nil {
			return now, false, err
		}
		if revision == 0 {
			_, err = table.Create(ctx, group, data)
		} else {
			_, err = table.Update(ctx, group, data, revision)
		}
		switch {
		case err == nil:
			p.announce()
			return now, true, nil
		case ctx.Err() != nil:
			return now, false, err
		}
		// Another matchmaker has been faster, or it is not known what came of it: the next look tells.
		unchanged = err
	}
	if !errors.Is(unchanged, bus.ErrConflict) {
		return now, false, unchanged
	}
	return now, false, &diag.Problem{What: fmt.Sprintf("the policy of %s is being changed at other matchmakers, too", group), Hint: "try again"}
}

// announce has all agents ask for their policy. Who misses it asks when it connects again, or in a while.
func (p *policies) announce() {
	data, err := wire.Encode(wire.Control{V: wire.Version, Do: wire.FetchPolicy})
	if err == nil {
		err = p.conn.Publish(wire.ControlSubject(wire.AllAgents), data)
	}
	if err != nil {
		p.log.Warn("the agents are not told of a new policy, they will ask", diag.KeyError, err)
	}
}

// list gives all policies, by group.
func (p *policies) list(ctx context.Context) ([]central.Policy, error) {
	table, err := p.bucket.find(ctx)
	if err != nil || table == nil {
		return nil, err
	}
	kept, err := table.All(ctx)
	if err != nil {
		return nil, err
	}
	var all []central.Policy
	for group, data := range kept {
		one, err := central.Open(data, p.authority.Fingerprint())
		if err != nil {
			return nil, fmt.Errorf("the central policy of %s: %w", group, err)
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b central.Policy) int { return cmp.Compare(a.Group, b.Group) })
	return all, nil
}

func noSuchPolicy(group string) error {
	return &diag.Problem{
		What: fmt.Sprintf("the group %.40q has no central policy", group),
		Hint: "skua-matchmaker policy list shows those that are in force",
	}
}

// PolicyRow is a central policy as administrators see it.
type PolicyRow struct {
	Group     string    `json:"group"`
	Number    int64     `json:"number"`
	At        time.Time `json:"at"`
	Withdrawn bool      `json:"withdrawn,omitempty"`
	Text      []byte    `json:"text,omitempty"`    // of AdminPolicy
	Changed   bool      `json:"changed,omitempty"` // by this request
}

func rowOf(p central.Policy) PolicyRow {
	return PolicyRow{Group: p.Group, Number: p.Number, At: p.At, Withdrawn: p.Withdrawn}
}

// policyRows does what an administrator wants of the central policies.
func (h *Head) policyRows(ctx context.Context, q AdminRequest) ([]PolicyRow, error) {
	if q.Do != AdminPolicies {
		if err := central.CheckGroup(q.Group); err != nil {
			return nil, err
		}
	}
	switch q.Do {
	case AdminPolicies:
		all, err := h.policies.list(ctx)
		var rows []PolicyRow
		for _, p := range all {
			rows = append(rows, rowOf(p))
		}
		return rows, err
	case AdminPolicy:
		data, _, err := h.policies.bucket.get(ctx, q.Group)
		if err == nil && data == nil {
			err = noSuchPolicy(q.Group)
		}
		if err != nil {
			return nil, err
		}
		p, err := central.Open(data, h.authority.Fingerprint())
		row := rowOf(p)
		row.Text = p.Text
		return []PolicyRow{row}, err
	case AdminPush:
		if _, err := central.Read(q.Group+".toml", q.Text); err != nil {
			return nil, err
		}
	}
	p, changed, err := h.policies.put(ctx, q.Group, q.Text, q.Do == AdminWithdraw)
	if err != nil {
		return nil, err
	}
	if changed {
		h.log.Info("central policy signed", "group", p.Group, "number", p.Number, "withdrawn", p.Withdrawn)
	}
	row := rowOf(p)
	row.Changed = changed
	return []PolicyRow{row}, nil
}

// noPolicy answers an agent that has asked for its policy and gets none now.
func noPolicy(f *wire.Failure) any { return wire.CentralPolicy{V: wire.Version, Fail: f} }

// centralPolicy answers an agent that asks for the policy of its group. Policies are no secret among the
// machines of a pool.
func (s *Server) centralPolicy(ctx context.Context, agent job.AgentID, data []byte) any {
	answer := wire.CentralPolicy{V: wire.Version}
	q, err := wire.Decode[wire.AskPolicy](data)
	if err == nil {
		err = central.CheckGroup(q.Group)
	}
	if err == nil && s.cfg.Policy != nil {
		ctx, cancel := context.WithTimeout(ctx, policyAnswering)
		defer cancel()
		answer.Signed, err = s.cfg.Policy(ctx, q.Group)
	}
	if err != nil {
		s.log.Warn("agent's question for its policy is not answered", diag.KeyAgent, agent, diag.KeyError, err)
		return noPolicy(wire.Fail(err))
	}
	return answer
}
