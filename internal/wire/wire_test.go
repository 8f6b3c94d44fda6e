package wire_test

import (
	"errors"
	"strings"
	"testing"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
)

func TestDecodeRefuses(t *testing.T) {
	for _, tt := range []struct{ name, data, want string }{
		{"nothing", "", "wire.Renew"},
		{"no version", `{}`, "version 0"},
		{"a newer version", `{"v":99}`, "version 99"},
		{"a newer version with more", `{"v":99,"job":7}`, "version 99"},
		{"a newer version, written otherwise", ` { "job": "1.0", "v" : 99 }`, "version 99"},
		{"a version that is none", `{"v":-1}`, "version -1"},
		{"a version that is text", `{"v":"1"}`, "wire.Renew"},
		{"cut off", `{"v":1,"job":"1`, "unexpected end"},
		{"a wrong type", `{"v":1,"epoch":"seven"}`, "epoch"},
		{"a bad job id", `{"v":1,"job":"one"}`, "job id"},
		{"too much", `{"v":1}` + strings.Repeat(" ", wire.MaxMessage), "bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := wire.Decode[wire.Renew]([]byte(tt.data))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want one about %q", err, tt.want)
			}
		})
	}
}

func TestDecodeIgnoresNewFields(t *testing.T) {
	m, err := wire.Decode[wire.Renew]([]byte(`{"v":1,"job":"3.1","claim":"c","epoch":2,"colour":"blue"}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := (wire.ClaimRef{Job: job.ID{Cluster: 3, Proc: 1}, Claim: "c", Epoch: 2}); m.ClaimRef != want {
		t.Errorf("the message is about %+v, want %+v", m.ClaimRef, want)
	}
}

func TestFailureKeepsTheHint(t *testing.T) {
	err := wire.Fail(&diag.Problem{What: "no room", Hint: "remove something", Err: errors.New("private")}).Err()
	var p *diag.Problem
	if !errors.As(err, &p) || p.What != "no room" || p.Hint != "remove something" || p.Err != nil {
		t.Errorf("the failure arrived as %#v", err)
	}
}

func TestSender(t *testing.T) {
	for _, tt := range []struct{ subject, id, verb string }{
		{wire.AdSubject("abc"), "abc", ""},
		{wire.AgentSubject("abc", wire.VerbDone), "abc", "done"},
		{wire.UserSubject("u1", wire.VerbSubmit), "u1", "submit"},
		{"skua", "", ""},
	} {
		if id, verb := wire.Sender(tt.subject); id != tt.id || verb != tt.verb {
			t.Errorf("%s is from %q with %q, want %q with %q", tt.subject, id, verb, tt.id, tt.verb)
		}
	}
}

// What one side encodes the other decodes; whatever else arrives is an error, not a panic.
func FuzzDecode(f *testing.F) {
	offer, err := wire.Encode(wire.Offer{V: 1, Slot: "slot1@m", Job: job.ID{Cluster: 1}, Claim: "c", Epoch: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(offer)
	f.Add([]byte(`{"v":1,"machine":"m","slots":[{"Name":"slot1@m","Requirements":"\/Expr(START)\/"}]}`))
	f.Add([]byte(`{"v":1,"outcome":"exited","result":{"exit_code":1}}`))
	f.Add([]byte(`{"v":1,"group":"lab","signed":{"v":1,"statement":"e30="}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		decodes(t, data, wire.Decode[wire.Offer])
		decodes(t, data, wire.Decode[wire.Ad])
		decodes(t, data, wire.Decode[wire.Done])
		decodes(t, data, wire.Decode[wire.Checkpoint])
		decodes(t, data, wire.Decode[wire.Submit])
		decodes(t, data, wire.Decode[wire.Action])
		decodes(t, data, wire.Decode[wire.Query])
		decodes(t, data, wire.Decode[wire.Enrol])
		decodes(t, data, wire.Decode[wire.AskPolicy])
		decodes(t, data, wire.Decode[wire.CentralPolicy])
	})
}

func decodes[M any](t *testing.T, data []byte, decode func([]byte) (M, error)) {
	m, err := decode(data)
	if err != nil {
		return
	}
	again, err := wire.Encode(m)
	if err != nil {
		return // it grew over the limit when it was written out in full
	}
	if _, err := decode(again); err != nil {
		t.Errorf("%T was read, written, and then refused: %v", m, err)
	}
}
