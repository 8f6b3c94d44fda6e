package client

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/wire"
)

// TestAskedAgain: what has not been done is asked for again under the same name, and what may have been done only where
// that makes no difference.
func TestAskedAgain(t *testing.T) {
	busy := &wire.Failure{What: "the matchmaker is busy", Again: true, Undone: true}
	stale := &wire.Failure{What: "another matchmaker has taken over the queue", Again: true}
	refused := &wire.Failure{What: "it is not yours"}
	const unknown = "it is not known whether"
	for _, tt := range []struct {
		name         string
		verb         string
		says         []*wire.Failure // what it is told, one after another; then it is done
		asked        int
		want, unlike string // the error
	}{
		{"an action", wire.VerbAct, nil, 1, "", ""},
		{"an action that is not done at first", wire.VerbAct, []*wire.Failure{busy, busy, busy}, 4, "", ""},
		{"an action that is never done", wire.VerbAct, many(busy), 61, "is busy", unknown},
		{"an action that may have been done", wire.VerbAct, []*wire.Failure{stale}, 1, unknown, ""},
		{"an action that may have been done after all", wire.VerbAct, []*wire.Failure{busy, stale}, 2, unknown, ""},
		{"an action that is refused", wire.VerbAct, []*wire.Failure{refused}, 1, "not yours", unknown},
		{"a submit that may have been done", wire.VerbSubmit, []*wire.Failure{stale, busy, stale}, 4, "", ""},
		{"a submit that may have been done to the end", wire.VerbSubmit, append([]*wire.Failure{stale}, many(busy)...), 61, unknown, ""},
		{"a submit that is never done", wire.VerbSubmit, many(busy), 61, "is busy", unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := bus.NewMemory()
				matchmaker := hub.Connect("matchmaker")
				defer matchmaker.Close()
				asked, names := 0, map[string]bool{}
				_, err := matchmaker.Subscribe(wire.UserSubject("u1", tt.verb), func(m bus.Msg) {
					var says *wire.Failure
					if asked < len(tt.says) {
						says = tt.says[asked]
					}
					asked++
					var answer any = wire.Submitted{V: wire.Version, Fail: says}
					if tt.verb == wire.VerbAct {
						a, err := wire.Decode[wire.Action](m.Data)
						if err != nil {
							t.Error(err)
						}
						names[a.Request] = true
						answer = wire.ActionResult{V: wire.Version, Fail: says}
					}
					data, err := wire.Encode(answer)
					if err == nil {
						err = m.Reply(data)
					}
					if err != nil {
						t.Error(err)
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				c, err := New(Config{User: "u1", Conn: hub.Connect("user")})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				start := time.Now()
				if tt.verb == wire.VerbAct {
					_, err = c.Act(t.Context(), wire.HoldJob, wire.Selection{Jobs: []job.ID{{Cluster: 1}}}, "")
				} else {
					_, err = c.Queue(t.Context(), wire.Submit{V: wire.Version, Request: "r"})
				}
				said := ""
				if err != nil {
					said = err.Error()
				}
				if (err != nil) != (tt.want != "") || !strings.Contains(said, tt.want) || tt.unlike != "" && strings.Contains(said, tt.unlike) {
					t.Errorf("it ended with %v, want %q", err, tt.want)
				}
				if asked != tt.asked || len(names) > 1 {
					t.Errorf("it was asked for %d times under %d names within %v, want %d times", asked, len(names), time.Since(start), tt.asked)
				}
			})
		})
	}
}

func many(f *wire.Failure) []*wire.Failure {
	all := make([]*wire.Failure, 1000)
	for i := range all {
		all[i] = f
	}
	return all
}
