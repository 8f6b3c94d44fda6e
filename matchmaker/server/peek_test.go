package server

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
)

func TestPeek(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, bob, desk := p.user("u1"), p.user("u2"), p.agent("desk")
		id := ann.submit(1, "")
		look := func(u *user, what *wire.Peek) wire.QueryResult {
			return u.query(wire.Query{Kind: wire.QueryPeek, Select: wire.Selection{Jobs: []job.ID{id}, AllUsers: true}, Peek: what})
		}
		out := &wire.Peek{File: job.StdoutFile, Offset: -10}
		refused := func(name string, r wire.QueryResult, want string) {
			t.Helper()
			if r.Fail == nil || !strings.Contains(r.Fail.What, want) {
				t.Errorf("%s: %+v, want %q", name, r.Fail, want)
			}
		}
		refused("idle", look(ann, out), "job 1.0 cannot be looked into: it is not running")
		o := desk.start()
		refused("another user's", look(bob, out), "you have no job 1.0")
		refused("no file", look(ann, nil), "which file")
		refused("a file elsewhere", look(ann, &wire.Peek{File: "../../etc/shadow"}), "plain paths")
		refused("a silent machine", look(ann, out), "desk, where job 1.0 runs, does not answer")
		<-desk.controls

		answered := make(chan wire.QueryResult, 1)
		ask := func() wire.Control {
			go func() { answered <- look(ann, out) }()
			synctest.Wait()
			c := desk.control()
			if c.Do != wire.PeekClaim || c.ClaimRef != refOf(o) || c.Peek == nil || c.Peek.File != out.File || c.Peek.Limit != wire.MaxPeek {
				t.Fatalf("the agent was told %+v", c)
			}
			return c
		}
		c := ask()
		stranger := p.agent("stranger")
		stranger.send(wire.AgentSubject("stranger", wire.VerbPeeked), wire.Peeked{V: wire.Version, ID: c.ID, Data: []byte("lies")})
		desk.send(wire.AgentSubject("desk", wire.VerbPeeked), wire.Peeked{V: wire.Version, ID: "another", Data: []byte("late")})
		desk.send(wire.AgentSubject("desk", wire.VerbPeeked), wire.Peeked{V: wire.Version, ID: c.ID, Data: []byte("step 7\n"), Offset: 3, Size: 10})
		r := <-answered
		var got wire.Peeked
		if r.Fail != nil || len(r.Rows) != 1 || json.Unmarshal(r.Rows[0], &got) != nil || string(got.Data) != "step 7\n" || got.Offset != 3 || got.Size != 10 {
			t.Errorf("ann sees %+v", r)
		}

		c = ask()
		desk.send(wire.AgentSubject("desk", wire.VerbPeeked), wire.Peeked{V: wire.Version, ID: c.ID, Fail: &wire.Failure{What: "there is no such file"}})
		refused("no such file", <-answered, "there is no such file")
		time.Sleep(time.Minute)
		desk.done(o, exited(0))
		refused("completed", look(ann, out), "it has completed")
		if n := len(p.server.peeks.waiting); n != 0 {
			t.Errorf("%d questions are left over", n)
		}
	})
}
