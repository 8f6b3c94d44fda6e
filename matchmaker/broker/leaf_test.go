package broker

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/natslab"
	"skua/internal/trust"
	"skua/internal/wire"
)

// TestLeaf: members at the brokers of two matchmakers talk with the one that leads, over a cluster in which they have
// no account.
func TestLeaf(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	if err := natslab.Build(ctx, dir); err != nil {
		t.Fatal(err)
	}
	cluster, err := natslab.Start(ctx, dir, filepath.Join(dir, "nats"), 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	leader, err := bus.DialCluster(bus.ClusterConfig{URLs: cluster.URLs(), NKeySeed: cluster.NKey, Name: "leader"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { leader.Close() })
	if err := leader.AwaitConnection(ctx); err != nil {
		t.Fatal(err)
	}
	roster, err := trust.OpenRoster(filepath.Join(dir, "roster.json"))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := trust.OpenAuthority(filepath.Join(dir, "trust"))
	if err != nil {
		t.Fatal(err)
	}
	p := &pool{dir: dir, authority: authority, roster: roster}
	for _, name := range []string{"one", "two"} {
		b, err := Start(ctx, Config{
			Dir: filepath.Join(dir, name), Roster: roster, Listen: "127.0.0.1:0", TLS: authority.ServerTLS(),
			Leaf: &Leaf{Name: name, URLs: cluster.LeafURLs(), NKeySeed: cluster.NKey},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
		if b.stopWatch != nil || b.srv.JetStreamEnabled() {
			t.Error("a leaf has a store, or looks after one")
		}
		t.Run(name, func(t *testing.T) {
			p.broker = b
			testLeafMembers(ctx, t, p, leader)
		})
	}
}

func testLeafMembers(ctx context.Context, t *testing.T, p *pool, leader *bus.Client) {
	key, agent := p.join(t, trust.Agent, "desk-"+filepath.Base(t.Name()))
	member := dial(t, p.config(t, p.plainURL(), key, agent.ID))
	subscribe(t, member, wire.OfferSubject(job.AgentID(agent.ID)), func(m bus.Msg) {
		if err := m.Reply([]byte("accepted")); err != nil {
			t.Error(err)
		}
	})
	subject := wire.AgentSubject(job.AgentID(agent.ID), wire.VerbDone)
	// While nobody leads, a member is told that nobody listens, as soon as that has spread.
	for {
		if _, err := member.Request(ctx, subject, nil); errors.Is(err, bus.ErrNoResponder) {
			break
		} else if ctx.Err() != nil {
			t.Fatalf("without a leader a request ends with %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	defer unsubscribe(t, subscribe(t, leader, wire.AnyAgent, func(m bus.Msg) {
		if err := m.Reply(append([]byte("done "), m.Data...)); err != nil {
			t.Error(err)
		}
	}))
	await := func(what string, conn *bus.Client, subject, text, want string) {
		t.Helper()
		for { // interest spreads through a cluster in its own time
			got, err := conn.Request(ctx, subject, []byte(text))
			if err == nil {
				if string(got) != want {
					t.Errorf("%s: answered %q", what, got)
				}
				return
			}
			select {
			case <-ctx.Done():
				t.Fatalf("%s: %v", what, err)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	await("a report", member, subject, "1.0", "done 1.0")
	await("an offer", leader, wire.OfferSubject(job.AgentID(agent.ID)), "2.0", "accepted")
	// What the matchmakers keep in the cluster is out of reach, also for the broker's own connection.
	for _, subject := range []string{"$JS.API.INFO", "skua.ev", "skua.roster"} {
		short, cancel := context.WithTimeout(ctx, time.Second)
		if got, err := p.broker.Conn().Request(short, subject, nil); err == nil {
			t.Errorf("%s crosses the leaf node and is answered %q", subject, got)
		}
		cancel()
	}
}
