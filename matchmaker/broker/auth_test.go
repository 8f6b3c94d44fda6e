package broker

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/internal/wire"
)

// A connection that cannot prove its key gets nowhere. The protocol is spoken by hand here, since no
// client library offers to lie.
func TestProofOfKey(t *testing.T) {
	p := startPool(t)
	id, _ := p.join(t, trust.Agent, "desk7")
	other := newIdentity(t)
	sign := func(by *trust.Identity, nonce string) string {
		sig, err := by.Sign([]byte(nonce))
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(sig)
	}
	for _, tt := range []struct {
		name    string
		connect func(nonce string) map[string]any
		want    string
	}{
		{"the key itself", func(nonce string) map[string]any {
			return map[string]any{"nkey": id.PublicKey(), "sig": sign(id, nonce)}
		}, "PONG"},
		{"nothing", func(string) map[string]any { return nil }, "-ERR 'Authorization Violation'"},
		{"the matchmaker's name", func(string) map[string]any {
			return map[string]any{"user": "matchmaker", "pass": ""}
		}, "-ERR 'Authorization Violation'"},
		{"a stolen public key", func(string) map[string]any {
			return map[string]any{"nkey": id.PublicKey()}
		}, "-ERR 'Authorization Violation'"},
		{"a stolen public key, signed by another", func(nonce string) map[string]any {
			return map[string]any{"nkey": id.PublicKey(), "sig": sign(other, nonce)}
		}, "-ERR 'Authorization Violation'"},
		{"an older signature", func(nonce string) map[string]any {
			return map[string]any{"nkey": id.PublicKey(), "sig": sign(id, "an older nonce")}
		}, "-ERR 'Authorization Violation'"},
		{"garbage", func(nonce string) map[string]any {
			return map[string]any{"nkey": "U.*.>", "sig": "%%%"}
		}, "-ERR 'Authorization Violation'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, nonce := greet(t, p)
			cmd, err := json.Marshal(tt.connect(nonce))
			if err != nil {
				t.Fatal(err)
			}
			if string(cmd) == "null" {
				cmd = []byte("{}")
			}
			if _, err := c.Write([]byte("CONNECT " + string(cmd) + "\r\nPING\r\n")); err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(c)
			line, err := r.ReadString('\n')
			for err == nil && strings.HasPrefix(line, "+OK") {
				line, err = r.ReadString('\n')
			}
			if got := strings.TrimSpace(line); got != tt.want {
				t.Errorf("the server says %q, %v, want %q", got, err, tt.want)
			}
			if strings.HasPrefix(tt.want, "-ERR") {
				if _, err := io.Copy(io.Discard, r); err != nil {
					t.Errorf("the server did not hang up: %v", err)
				}
			}
		})
	}
}

// Whoever asks the matchmaker gets the answer in an inbox of its own, or none: the matchmaker may write anywhere. The
// protocol is spoken by hand here, since ours asks for answers nowhere else.
func TestAnswersGoToTheirOwnInbox(t *testing.T) {
	p := startPool(t)
	stranger := newIdentity(t)
	agentKey, agent := p.join(t, trust.Agent, "desk7")
	_, user := p.join(t, trust.User, "ada")
	mm := p.broker.Conn()
	for _, pattern := range []string{wire.AnyEnrol, wire.AnyAgent} {
		subscribe(t, mm, pattern, func(m bus.Msg) {
			if m.Reply == nil {
				return
			}
			if err := m.Reply([]byte("answer")); err != nil {
				t.Error(err)
			}
		})
	}
	for _, tt := range []struct {
		name           string
		key            *trust.Identity
		subject, inbox string
		elsewhere      []string
	}{
		{
			"stranger", stranger, wire.EnrolSubject(stranger.PublicKey()), bus.InboxPrefix(stranger.PublicKey()),
			[]string{"skua.ev", "$KV.SKUA_LEADER.leader", bus.InboxPrefix(user.ID) + ".x"},
		},
		{
			"agent", agentKey, wire.AgentSubject(job.AgentID(agent.ID), wire.VerbRenew), bus.InboxPrefix(agent.ID),
			[]string{"skua.ev", wire.UserSubject(job.UserID(user.ID), wire.VerbAct)},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			written := make(chan string, 10)
			defer unsubscribe(t, subscribe(t, mm, ">", func(m bus.Msg) {
				if string(m.Data) == "answer" {
					written <- m.Subject
				}
			}))
			c, nonce := greet(t, p)
			sig, err := tt.key.Sign([]byte(nonce))
			if err != nil {
				t.Fatal(err)
			}
			cmd, err := json.Marshal(map[string]any{"nkey": tt.key.PublicKey(), "sig": base64.RawURLEncoding.EncodeToString(sig)})
			if err != nil {
				t.Fatal(err)
			}
			text := "CONNECT " + string(cmd) + "\r\n"
			// Questions of one connection are answered in turn, so the last answer is behind all others.
			for _, reply := range append(tt.elsewhere, tt.inbox+".end") {
				text += "PUB " + tt.subject + " " + reply + " 1\r\nx\r\n"
			}
			if _, err := c.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
			if got := receive(t, written); got != tt.inbox+".end" {
				t.Errorf("the matchmaker wrote to %s", got)
			}
		})
	}
}

// greet connects to the plain port and returns the nonce that is to be signed.
func greet(t *testing.T, p *pool) (net.Conn, string) {
	t.Helper()
	raw, err := net.Dial("tcp", p.broker.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	if err := raw.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(raw).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Nonce string `json:"nonce"`
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info); err != nil {
		t.Fatal(err)
	}
	cfg, err := trust.ClientTLS(p.authority.Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	return tls.Client(raw, cfg), info.Nonce
}

// The listener behind the websocket proxy is without TLS and on loopback, like an in-process
// connection. It must not be taken for one.
func TestLoopbackIsNotTheMatchmaker(t *testing.T) {
	p := startPool(t)
	id := newIdentity(t)
	logged := &records{}
	c := dial(t, bus.Config{
		URLs: []string{p.broker.srv.WebsocketURL()}, Identity: id, Inbox: bus.InboxPrefix(id.PublicKey()),
		FailFast: true, Log: slog.New(logged),
	})
	publish(t, c, "$JS.API.INFO")
	logged.await(t, `Permissions Violation for Publish to "$JS.API.INFO"`)
}

func TestStrangersAreFew(t *testing.T) {
	gone := map[uint64]bool{}
	a := &authenticator{alive: func(id uint64) bool { return !gone[id] }}
	for id := range uint64(maxStrangers) {
		if !a.admitStranger(id) {
			t.Fatalf("stranger %d was refused", id)
		}
	}
	if a.admitStranger(1000) {
		t.Error("one too many was admitted")
	}
	gone[7] = true
	if !a.admitStranger(1001) {
		t.Error("when one had left, the next was refused")
	}
	if a.admitStranger(1002) {
		t.Error("one left and two were admitted")
	}
}
