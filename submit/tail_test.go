package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/submit/client"
)

// A job that is run again begins its output anew, which may be longer than that of the run before when it is next
// looked at.
func TestTailOfRepeatedRun(t *testing.T) {
	id := job.ID{Cluster: 1}
	hub := bus.NewMemory()
	matchmaker, user := hub.Connect("matchmaker"), hub.Connect("user")
	defer matchmaker.Close()
	defer user.Close()
	written := "1: one\n" // by the run that there is
	_, err := matchmaker.Subscribe(wire.UserSubject("u1", wire.VerbQuery), func(m bus.Msg) {
		q, err := wire.Decode[wire.Query](m.Data)
		if err != nil {
			t.Error(err)
			return
		}
		var row any
		switch q.Kind {
		case wire.QueryPeek:
			size := int64(len(written))
			from := min(q.Peek.Offset, size)
			if from < 0 {
				from = max(size+from, 0)
			}
			row = wire.Peeked{Offset: from, Size: size, Data: []byte(written[from:])}
		case wire.QueryFetch:
			row = wire.JobRow{ID: id, Outputs: []job.File{{Name: job.StdoutFile, Size: int64(len(written)), Inline: []byte(written)}}}
		}
		data, err := json.Marshal(row)
		if err != nil {
			t.Error(err)
		}
		answer, err := wire.Encode(wire.QueryResult{V: wire.Version, Rows: []json.RawMessage{data}})
		if err == nil {
			err = m.Reply(answer)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := client.New(client.Config{User: "u1", Conn: user})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	tail := tailing{app: &app{out: &out, err: t.Output()}, pool: pool, id: id, bytes: 1024}
	tail.names(nil, false, false, false)
	running := true
	if err := tail.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	written += "1: two\n"
	if _, err := tail.event(t.Context(), job.Event{Body: &job.Requeued{Job: id, Reason: "it exited with code 1"}}, &running); err != nil {
		t.Fatal(err)
	}
	written = "2: one\n2: two\n2: three\n"
	if err := tail.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := "1: one\n1: two\n" + written; out.String() != want {
		t.Errorf("shown:\n%swant:\n%s", out.String(), want)
	}
}
