//go:build linux

package server_test

import (
	"strings"
	"testing"
	"time"

	"skua/internal/bus"
	"skua/internal/central"
	"skua/internal/job"
	"skua/internal/membership"
	"skua/internal/trust"
	"skua/internal/wire"
	"skua/matchmaker/server"
)

// An administrator pushes policies; agents are told, and get what was signed, also after a restart.
func TestCentralPolicies(t *testing.T) {
	s := settings(t)
	h, stop := startHead(t, s)
	admin := func(q server.AdminRequest) ([]server.PolicyRow, error) {
		t.Helper()
		a, err := server.Admin(t.Context(), s.Data, q)
		return a.Policies, err
	}
	push := func(group, text string) (server.PolicyRow, error) {
		t.Helper()
		rows, err := admin(server.AdminRequest{Do: server.AdminPush, Group: group, Text: []byte(text)})
		if err != nil {
			return server.PolicyRow{}, err
		}
		if len(rows) != 1 || rows[0].Group != group {
			t.Fatalf("a push to %s is answered with %+v", group, rows)
		}
		return rows[0], nil
	}
	text, err := h.Token(trust.TokenSpec{Kind: trust.Agent, TTL: time.Hour, Approve: true}, "")
	if err != nil {
		t.Fatal(err)
	}
	token, err := trust.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	m, err := membership.Join(t.Context(), t.TempDir(), token, "desk")
	desk := connect(t, m, err)
	told := make(chan wire.Control, 10)
	if _, err := desk.conn.Subscribe(wire.ControlSubject(wire.AllAgents), func(msg bus.Msg) {
		if c, err := wire.Decode[wire.Control](msg.Data); err == nil {
			told <- c
		}
	}); err != nil {
		t.Fatal(err)
	}
	ask := func(group string) wire.CentralPolicy {
		t.Helper()
		return ask[wire.CentralPolicy](desk, wire.AgentSubject(job.AgentID(desk.ID), wire.VerbPolicy), wire.AskPolicy{V: wire.Version, Group: group})
	}
	has := func(group, text string, number int64) {
		t.Helper()
		a := ask(group)
		p, err := central.Open(a.Signed, desk.Fingerprint)
		if err != nil || a.Fail != nil || p.Group != group || p.Number != number || string(p.Text) != text {
			t.Errorf("the policy of %s is %v with %q, %v; want number %d with %q", group, p, p.Text, err, number, text)
		}
	}

	if a := ask("lab"); len(a.Signed) > 0 || a.Fail != nil {
		t.Errorf("before there is a policy the answer is %s, %+v", a.Signed, a.Fail)
	}
	if a := ask("../lab"); a.Fail == nil {
		t.Error("a group with a path is answered")
	}
	if rows, err := admin(server.AdminRequest{Do: server.AdminPolicies}); len(rows) > 0 || err != nil {
		t.Errorf("before there is a policy the list is %+v, %v", rows, err)
	}
	const night = "preset = \"lab-night\"\n"
	first, err := push("lab", night)
	if err != nil || !first.Changed {
		t.Fatalf("push: %+v, %v", first, err)
	}
	if c := await(t, told, "word of a new policy"); c.Do != wire.FetchPolicy {
		t.Errorf("agents are told %+v", c)
	}
	has("lab", night, first.Number)
	if again, err := push("lab", night); err != nil || again.Changed || again.Number != first.Number {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	for _, tt := range []struct{ group, text, want string }{
		{"lab", "preset = \"lab-night\"\n[owner]\nidle_afer = \"20m\"\n", `lab.toml:3: unknown key "owner.idle_afer"`},
		{"lab", "[drain]\nbefore = \"20m\"\n", "lab.toml: drain.before would do nothing"},
		{"lab", strings.Repeat("#", central.MaxText+1), "longer than"},
		{"Lab 2", night, "cannot be the name of a group"},
	} {
		if _, err := push(tt.group, tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("push of %.50q to %s: %v, want %q", tt.text, tt.group, err, tt.want)
		}
	}
	has("lab", night, first.Number)
	second, err := push("lab", "")
	if err != nil || second.Number <= first.Number {
		t.Errorf("after %d comes %+v, %v", first.Number, second, err)
	}
	await(t, told, "word of the second policy")
	large := "#" + strings.Repeat("<", central.MaxText-2) + "\n"
	other, err := push("office", large)
	if err != nil {
		t.Fatal(err)
	}
	await(t, told, "word of another group's policy")

	stop()
	startHead(t, s)
	awaitConnected(t, desk)
	has("lab", "", second.Number)
	has("office", large, other.Number)
	gone, err := admin(server.AdminRequest{Do: server.AdminWithdraw, Group: "lab"})
	if err != nil || len(gone) != 1 || !gone[0].Withdrawn || gone[0].Number <= second.Number {
		t.Errorf("withdraw: %+v, %v", gone, err)
	}
	if p, err := central.Open(ask("lab").Signed, desk.Fingerprint); err != nil || !p.Withdrawn {
		t.Errorf("after that agents get %v, %v", p, err)
	}
	if _, err := admin(server.AdminRequest{Do: server.AdminWithdraw, Group: "nobody"}); err == nil || !strings.Contains(err.Error(), "has no central policy") {
		t.Errorf("withdraw of a group without: %v", err)
	}
	rows, err := admin(server.AdminRequest{Do: server.AdminPolicies})
	if err != nil || len(rows) != 2 || rows[0].Group != "lab" || !rows[0].Withdrawn || rows[1].Group != "office" || rows[1].Number != other.Number {
		t.Errorf("the list is %+v, %v", rows, err)
	}
	rows, err = admin(server.AdminRequest{Do: server.AdminPolicy, Group: "office"})
	if err != nil || len(rows) != 1 || string(rows[0].Text) != large {
		t.Errorf("the one of office is %.100v, %v", rows, err)
	}
	back, err := push("lab", night)
	if err != nil || back.Number <= gone[0].Number {
		t.Errorf("after it was withdrawn comes %+v, %v", back, err)
	}
}
