package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/internal/bus"
	"skua/internal/bus/bustest"
	"skua/internal/trust"
	"skua/internal/wire"
)

func TestBus(t *testing.T) {
	bustest.RunConn(t, func(t *testing.T) func() bus.Conn {
		p := startPool(t)
		return func() bus.Conn { return dial(t, bus.Config{InProcess: p.broker.srv, FailFast: true}) }
	})
}

func TestLog(t *testing.T) {
	p := startPool(t)
	n := 0
	bustest.RunLog(t, func(t *testing.T) func() bus.Log {
		n++
		cfg := bus.LogConfig{Stream: fmt.Sprintf("LOG%d", n), Subject: fmt.Sprintf("log.%d", n)}
		return func() bus.Log {
			l, err := bus.OpenLog(t.Context(), p.broker.Conn(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
	})
}

// A member's largest messages pass, and its connection outlives the deadlines of the HTTPS server.
func TestMembersTalkOverBothPorts(t *testing.T) {
	p := startPool(t)
	id, m := p.join(t, trust.Agent, "desk7")
	subscribe(t, p.broker.Conn(), wire.AnyAgent, func(m bus.Msg) {
		if err := m.Reply(m.Data); err != nil {
			t.Error(err)
		}
	})
	for name, url := range map[string]string{"websocket": p.url, "plain": p.plainURL()} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, p.config(t, url, id, m.ID))
			offers := make(chan string, 1)
			subscribe(t, c, "skua.offer."+m.ID, func(m bus.Msg) {
				if err := m.Reply([]byte("accepted " + string(m.Data))); err != nil {
					t.Error(err)
				}
				offers <- string(m.Data)
			})
			large := strings.Repeat("x", wire.MaxMessage)
			for end := time.Now().Add(deadline + deadline/2); time.Now().Before(end); {
				if got := request(t, c, "skua.a."+m.ID+".done", large); got != large {
					t.Fatalf("%d bytes came back as %d", len(large), len(got))
				}
			}
			if got := request(t, p.broker.Conn(), "skua.offer."+m.ID, "job 1.0"); got != "accepted job 1.0" {
				t.Errorf("the offer was answered %q", got)
			}
			if got := receive(t, offers); got != "job 1.0" {
				t.Errorf("offer: %q", got)
			}
		})
	}
}

func TestPermissions(t *testing.T) {
	p := startPool(t)
	agentKey, agent := p.join(t, trust.Agent, "desk7")
	_, otherAgent := p.join(t, trust.Agent, "desk8")
	userKey, user := p.join(t, trust.User, "ada")
	_, otherUser := p.join(t, trust.User, "eve")
	strangerKey := newIdentity(t)

	everywhere := []string{
		"skua.ev", "skua.snap", "$JS.API.INFO", "$JS.API.STREAM.DELETE.SKUA_EV", "$JS.API.STREAM.PURGE.SKUA_EV",
		"$JS.API.DIRECT.GET.SKUA_EV", "$JS.ACK.x", "$KV.x.y", "$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO", "$SYS.ACCOUNT.x",
		"skua.ad." + otherAgent.ID, "skua.hb." + otherAgent.ID, "skua.a." + otherAgent.ID + ".done",
		"skua.u." + otherUser.ID + ".submit", "skua.offer." + otherAgent.ID, "skua.ctl.all", "skua.note." + otherUser.ID + ".event",
		"skua.enrol." + newIdentity(t).PublicKey(), "_INBOX_" + otherUser.ID + ".x", "_INBOX.x", "anything",
	}
	notHeard := []string{
		">", "*", "*.>", "skua.>", "skua.ad.*", "skua.*." + otherAgent.ID, "skua.offer.*", "skua.offer." + otherAgent.ID, "skua.ctl.*",
		"skua.a.>", "skua.u.>", "skua.note.>", "skua.note." + otherUser.ID + ".>", "skua.ev", "skua.enrol.*",
		"_INBOX.>", "_INBOX_" + otherUser.ID + ".>", "_INBOX_" + otherAgent.ID + ".*", "$JS.>", "$JS.API.>", "$SYS.>", "$KV.>",
	}
	for _, tt := range []struct {
		name           string
		key            *trust.Identity
		publish, hear  []string // allowed; the first of each marks the end of what was tried
		denied, unheed []string // of its own kind, besides the above
	}{
		{
			"agent", agentKey,
			[]string{"skua.hb." + agent.ID, "skua.ad." + agent.ID, "skua.a." + agent.ID + ".accept"},
			[]string{"skua.ctl." + agent.ID, "skua.ctl.all", "skua.offer." + agent.ID},
			[]string{"skua.offer." + agent.ID, "skua.ctl." + agent.ID, "skua.u." + agent.ID + ".submit", "skua.u." + user.ID + ".submit"},
			[]string{"skua.ad." + agent.ID, "skua.note." + user.ID + ".event"},
		},
		{
			"user", userKey,
			[]string{"skua.u." + user.ID + ".submit", "skua.u." + user.ID + ".query"},
			[]string{"skua.note." + user.ID + ".event"},
			[]string{"skua.note." + user.ID + ".event", "skua.ad." + user.ID, "skua.a." + agent.ID + ".done", "skua.ad." + agent.ID},
			[]string{"skua.ctl.all", "skua.offer." + agent.ID, "skua.u." + user.ID + ".submit"},
		},
		{
			"stranger", strangerKey,
			[]string{"skua.enrol." + strangerKey.PublicKey()},
			[]string{"_INBOX_" + strangerKey.PublicKey() + ".x"},
			[]string{"skua.enrol." + agentKey.PublicKey(), "skua.ad." + agent.ID, "skua.u." + user.ID + ".submit"},
			[]string{"skua.ctl.all", "skua.offer." + agent.ID, "_INBOX_" + agentKey.PublicKey() + ".>"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			logged := &records{}
			cfg := p.config(t, p.plainURL(), tt.key, tt.key.PublicKey())
			cfg.Log = slog.New(logged)
			c := dial(t, cfg)

			// The matchmaker hears everything that gets through, in order.
			heard := make(chan string, 1000)
			sub := subscribe(t, p.broker.Conn(), ">", func(m bus.Msg) { heard <- m.Subject })
			for _, s := range slices.Concat(everywhere, tt.denied) {
				publish(t, c, s)
			}
			for _, s := range slices.Backward(tt.publish) {
				publish(t, c, s)
			}
			for _, want := range slices.Backward(tt.publish) {
				if got := receive(t, heard); got != want {
					t.Errorf("the matchmaker heard %s, want %s", got, want)
				}
			}
			unsubscribe(t, sub)

			got := make(chan string, 1000)
			for _, s := range slices.Concat(notHeard, tt.unheed) {
				subscribe(t, c, s, func(m bus.Msg) { got <- s + " got " + m.Subject })
			}
			for _, s := range tt.hear {
				subscribe(t, c, s, func(m bus.Msg) { got <- m.Subject })
			}
			for _, s := range slices.Concat(everywhere, tt.denied, tt.unheed) {
				if !strings.ContainsAny(s, "*>$") && !slices.Contains(tt.hear, s) {
					publish(t, p.broker.Conn(), s)
				}
			}
			for _, want := range slices.Backward(tt.hear) {
				publish(t, p.broker.Conn(), want)
				if s := receive(t, got); s != want {
					t.Errorf("it got %q, want %s", s, want)
				}
			}
			// Each refusal was told.
			for _, s := range slices.Concat(everywhere, tt.denied) {
				logged.await(t, fmt.Sprintf("Permissions Violation for Publish to %q", s))
			}
			for _, s := range slices.Concat(notHeard, tt.unheed) {
				logged.await(t, fmt.Sprintf("Permissions Violation for Subscription to %q", s))
			}
		})
	}
}

// An agent answers an offer once; with the second answer it would write into others' inboxes.
func TestOneAnswerForEachOffer(t *testing.T) {
	p := startPool(t)
	id, m := p.join(t, trust.Agent, "desk7")
	logged := &records{}
	cfg := p.config(t, p.plainURL(), id, m.ID)
	cfg.Log = slog.New(logged)
	c := dial(t, cfg)
	subscribe(t, c, "skua.offer."+m.ID, func(m bus.Msg) {
		for range 2 {
			if err := m.Reply([]byte("accepted")); err != nil {
				t.Error(err)
			}
		}
	})
	for range 2 {
		if got := request(t, p.broker.Conn(), "skua.offer."+m.ID, "job"); got != "accepted" {
			t.Errorf("got %q", got)
		}
	}
	logged.await(t, "Permissions Violation for Publish")
}

func TestWrongAuthority(t *testing.T) {
	p, other := startPool(t), startPool(t)
	id, m := p.join(t, trust.Agent, "desk7")
	for _, url := range []string{p.url, p.plainURL()} {
		cfg := p.config(t, url, id, m.ID)
		cfg.TLS = other.config(t, url, id, m.ID).TLS
		if _, err := bus.Dial(cfg); !errors.Is(err, trust.ErrWrongAuthority) {
			t.Errorf("%s: got %v, want %v", url, err, trust.ErrWrongAuthority)
		}
	}
}

func TestEnrolment(t *testing.T) {
	p := startPool(t)
	now := time.Now()
	tok, err := p.roster.NewToken(trust.TokenSpec{Kind: trust.Agent, TTL: time.Hour}, now)
	if err != nil {
		t.Fatal(err)
	}
	mm := p.broker.Conn()
	subscribe(t, mm, wire.AnyEnrol, func(m bus.Msg) {
		key, _ := wire.Sender(m.Subject)
		answer := "refused"
		if joined, err := p.roster.Redeem(m.Data, key, now, "desk7"); err == nil {
			answer = joined.ID
		}
		if err := m.Reply([]byte(answer)); err != nil {
			t.Error(err)
		}
	})
	ads := make(chan string, 10)
	subscribe(t, mm, wire.AnyAd, func(m bus.Msg) { ads <- m.Subject })

	id := newIdentity(t)
	c := dial(t, p.config(t, p.url, id, id.PublicKey()))
	receive(t, c.Reconnected())
	agent := request(t, c, wire.EnrolSubject(id.PublicKey()), string(tok.Secret))
	if agent == "refused" {
		t.Fatal("the token was refused")
	}
	if again := request(t, c, wire.EnrolSubject(id.PublicKey()), string(tok.Secret)); again != agent {
		t.Errorf("asking again gave %q, want %q", again, agent)
	}
	thief := newIdentity(t)
	tc := dial(t, p.config(t, p.url, thief, thief.PublicKey()))
	if got := request(t, tc, wire.EnrolSubject(thief.PublicKey()), string(tok.Secret)); got != "refused" {
		t.Errorf("a used token admitted %q", got)
	}

	// Waiting for approval it may not advertise.
	publish(t, c, "skua.ad."+agent)
	request(t, c, wire.EnrolSubject(id.PublicKey()), string(tok.Secret)) // behind the ad
	if len(ads) > 0 {
		t.Errorf("an ad came before the approval: %s", <-ads)
	}
	if _, err := c.Request(t.Context(), "skua.a."+agent+".accept", nil); !errors.Is(err, bus.ErrForbidden) {
		t.Errorf("asking before the approval: got %v, want %v", err, bus.ErrForbidden)
	}
	if _, err := p.roster.Approve(agent); err != nil {
		t.Fatal(err)
	}
	if err := p.broker.Disconnect(id.PublicKey()); err != nil {
		t.Fatal(err)
	}
	receive(t, c.Reconnected())
	publish(t, c, "skua.ad."+agent)
	if got := receive(t, ads); got != "skua.ad."+agent {
		t.Errorf("got %s", got)
	}
}

func TestRevokedMemberIsCut(t *testing.T) {
	p := startPool(t)
	id, m := p.join(t, trust.Agent, "desk7")
	bystander, bm := p.join(t, trust.Agent, "desk8")
	cfg := p.config(t, p.url, id, m.ID)
	live := []*bus.Client{dial(t, cfg), dial(t, p.config(t, p.plainURL(), id, m.ID))}
	other := dial(t, p.config(t, p.url, bystander, bm.ID))

	if _, err := p.roster.Revoke(m.ID); err != nil {
		t.Fatal(err)
	}
	if err := p.broker.Disconnect(id.PublicKey()); err != nil {
		t.Fatal(err)
	}
	for _, c := range live {
		eventually(t, "the connection is cut", func() bool { return !c.Connected() })
	}
	if _, err := bus.Dial(cfg); !errors.Is(err, bus.ErrRefused) {
		t.Errorf("coming back: got %v, want %v", err, bus.ErrRefused)
	}
	eventually(t, "who was cut off knows why", func() bool { return live[0].Refused() && live[1].Refused() })
	if !other.Connected() || other.Refused() {
		t.Error("a bystander was cut off")
	}
}

func TestReconnectAfterRestart(t *testing.T) {
	p := startPool(t)
	id, m := p.join(t, trust.Agent, "desk7")
	cfg := p.config(t, p.url, id, m.ID)
	cfg.FailFast = false
	c := dial(t, cfg)
	receive(t, c.Reconnected())
	got := make(chan string, 1)
	subscribe(t, c, "skua.ctl.all", func(m bus.Msg) { got <- string(m.Data) })

	if err := p.broker.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss is noticed", func() bool { return !c.Connected() })
	if err := c.Publish("skua.hb."+m.ID, nil); !errors.Is(err, bus.ErrDisconnected) {
		t.Errorf("publish meanwhile: got %v, want %v", err, bus.ErrDisconnected)
	}
	if _, err := c.Request(t.Context(), "skua.a."+m.ID+".renew", nil); !errors.Is(err, bus.ErrDisconnected) {
		t.Errorf("request meanwhile: got %v, want %v", err, bus.ErrDisconnected)
	}
	p.start(t)
	receive(t, c.Reconnected())
	// Its subscription is back; the request is answered behind it.
	subscribe(t, p.broker.Conn(), wire.AnyAgent, func(m bus.Msg) { _ = m.Reply(nil) })
	request(t, c, "skua.a."+m.ID+".renew", "")
	if err := p.broker.Conn().Publish("skua.ctl.all", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if s := receive(t, got); s != "hello" {
		t.Errorf("got %q", s)
	}
}

// An agent that starts before its matchmaker connects when that comes.
func TestTheMatchmakerComesLater(t *testing.T) {
	p := startPool(t)
	id, m := p.join(t, trust.Agent, "desk7")
	if err := p.broker.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := p.config(t, p.url, id, m.ID)
	if _, err := bus.Dial(cfg); err == nil {
		t.Error("a command connected to nobody")
	}
	cfg.FailFast = false
	c := dial(t, cfg)
	if err := c.Publish("skua.hb."+m.ID, nil); !errors.Is(err, bus.ErrDisconnected) {
		t.Errorf("publish: got %v, want %v", err, bus.ErrDisconnected)
	}
	p.start(t)
	receive(t, c.Reconnected())
	if err := c.ForceReconnect(); err != nil {
		t.Error(err)
	}
	receive(t, c.Reconnected())
}

func TestStartRefuses(t *testing.T) {
	p := startPool(t)
	dir := filepath.Join(p.dir, "other")
	for _, tt := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"no directory", Config{Roster: p.roster}, "required"},
		{"no roster", Config{Dir: dir}, "required"},
		{"a port without TLS", Config{Dir: dir, Roster: p.roster, Listen: ":0"}, "needs TLS"},
		{"a malformed address", Config{Dir: dir, Roster: p.roster, Listen: "4222", TLS: p.authority.ServerTLS()}, "4222"},
		{"a port that is no number", Config{Dir: dir, Roster: p.roster, Listen: ":nats", TLS: p.authority.ServerTLS()}, "nats"},
		{"a port in use", Config{Dir: dir, Roster: p.roster, Listen: p.broker.Addr().String(), TLS: p.authority.ServerTLS()}, "in use"},
		{"a directory in use", Config{Dir: filepath.Join(p.dir, "bus"), Roster: p.roster}, "another matchmaker"},
		{"a file for a directory", Config{Dir: filepath.Join(p.dir, "roster.json"), Roster: p.roster}, "roster.json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p.join(t, trust.Agent, "desk7") // so that roster.json is there
			b, err := Start(t.Context(), tt.cfg)
			if err == nil {
				b.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	// What failed to start has let go of everything.
	b, err := Start(t.Context(), Config{Dir: dir, Roster: p.roster})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
