package server

import (
	"context"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
)

func TestEnrol(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		conn := p.hub.Connect("stranger")
		defer conn.Close()
		enrol := func(secret string) wire.Enrolled {
			return ask[wire.Enrolled](p, conn, wire.EnrolSubject("UKEY"), wire.Enrol{V: wire.Version, Secret: secret, Name: "desk"})
		}
		if r := enrol(hex.EncodeToString([]byte("sesame"))); r.ID != "a9" || r.Domain != "pool.example" || r.Fail != nil {
			t.Errorf("a good secret got %+v", r)
		}
		for _, bad := range []string{hex.EncodeToString([]byte("guess")), "not hex", ""} {
			if r := enrol(bad); r.Fail == nil || r.ID != "" {
				t.Errorf("secret %q got %+v", bad, r)
			}
		}
	})
}

// Strangers who ask to join take no place of a user's, nor users one of theirs.
func TestStrangersAndUsersHavePlacesOfTheirOwn(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		conn := p.hub.Connect("stranger")
		defer conn.Close()
		join := func() *wire.Failure {
			e := wire.Enrol{V: wire.Version, Secret: hex.EncodeToString([]byte("sesame")), Name: "desk"}
			return ask[wire.Enrolled](p, conn, wire.EnrolSubject("UKEY"), e).Fail
		}
		query := func() *wire.Failure { return ann.query(wire.Query{Kind: wire.QueryJobs}).Fail }
		for _, tt := range []struct {
			name       string
			taken      chan struct{}
			busy, free func() *wire.Failure
		}{
			{"strangers'", p.server.enrolments, join, query},
			{"users'", p.server.requests, query, join},
		} {
			for range cap(tt.taken) {
				tt.taken <- struct{}{}
			}
			if f := tt.busy(); f == nil || !f.Again || !f.Undone {
				t.Errorf("with the %s places taken, one more of them was told %+v", tt.name, f)
			}
			if f := tt.free(); f != nil {
				t.Errorf("with the %s places taken, another was told %+v", tt.name, f)
			}
			for range cap(tt.taken) {
				<-tt.taken
			}
		}
	})
}

// TestNonsense sends what no program of ours would, and finds the matchmaker in good health.
func TestNonsense(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		conn := p.hub.Connect("vandal")
		defer conn.Close()
		messages := []string{
			"", "{", "null", "[]", "17", `{"v":0}`, `{"v":99}`, `{"v":1}`, "\x00\xff",
			`{"v":1,"job":"0.0"}`, `{"v":1,"job":"1.0","claim":"x","epoch":18446744073709551615}`,
			`{"v":1,"slots":[null]}`, `{"v":1,"machine":"m","slots":[{"Name":"\/Expr(Name)\/"}]}`,
			`{"v":1,"request":"r","ad":{},"procs":[null,{}],"inputs":[null]}`,
			`{"v":1,"do":"remove","select":{"jobs":["1.0","9.9"],"clusters":[-1]}}`,
			`{"v":1,"do":"edit","set":[{"name":"","expr":""}]}`, `{"v":1,"do":"prio","set":[{"expr":"((("}]}`, `{"v":1,"do":"prio"}`,
			`{"v":1,"do":"suspend","after":"7.7"}`, `{"v":1,"kind":"why"}`, `{"v":1,"kind":"why","select":{"jobs":["1.0"]}}`,
			`{"v":1,"kind":"peek","select":{"jobs":["1.0"]}}`, `{"v":1,"kind":"users","after":"x"}`, `{"v":1,"kind":"limits","after":"x"}`,
			`{"v":1,"id":"x","data":"!!","offset":-1}`,
			`{"v":1,"kind":"events","since":18446744073709551615}`, `{"v":1,"kind":"jobs","after":"x/y"}`,
			`{"v":1,"kind":"history","after":"1/2"}`, `{"v":1,"kind":"events","after":"-1"}`,
			strings.Repeat("[", 100_000), `{"v":1,"kind":"jobs","select":{"constraint":"` + strings.Repeat("(", 10_000) + `"}}`,
		}
		for _, subject := range []string{
			"skua.ad.x", "skua.hb.x", "skua.a.x.accept", "skua.a.x.renew", "skua.a.x.done", "skua.a.x.ckpt", "skua.a.x.peeked", "skua.a.x.dance",
			"skua.u.u1.submit", "skua.u.u1.act", "skua.u.u1.query", "skua.u.u1.dance", "skua.enrol.x",
		} {
			for _, m := range messages {
				if err := conn.Publish(subject, []byte(m)); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_, err := conn.Request(ctx, subject, []byte(m))
				cancel()
				if strings.HasPrefix(subject, "skua.u.") && err != nil {
					t.Errorf("%s %.40q was not answered: %v", subject, m, err)
				}
			}
		}
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)
		p.wantState(id, job.Running)
	})
}
