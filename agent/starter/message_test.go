package starter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"skua/internal/job"
)

func TestMessageRoundTrip(t *testing.T) {
	for _, m := range []*message{
		{ID: 1, Op: opHello},
		{Op: opBeat, Frozen: true},
		{ID: 1 << 60, Op: opRun, TimeoutMS: 5, Job: &JobSpec{Job: job.ID{Cluster: 12, Proc: 3}, Argv: []string{"a", "b c"}, Env: []string{"X=\n"}, Stdout: "out"}},
		{ID: 3, Status: &status{Frozen: true}},
		{Op: opExit, Exit: &Exit{Job: job.ID{Cluster: 1}, Signal: 9, Err: "killed"}},
	} {
		var b bytes.Buffer
		if err := writeMessage(&b, m); err != nil {
			t.Fatal(err)
		}
		got, err := readMessage(&b)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v became %+v (%v)", m, got, err)
		}
	}
}

func TestErrorsKeepTheirIdentity(t *testing.T) {
	for _, want := range []error{ErrLeaseOver, ErrBusy, ErrNoJob, ErrUsed} {
		var m message
		m.fail(fmt.Errorf("thaw: %w", want))
		if err := m.failure(); !errors.Is(err, want) || err.Error() != "thaw: "+want.Error() {
			t.Errorf("%v became %v", want, err)
		}
	}
	if err := new(message).failure(); err != nil {
		t.Errorf("a good answer is the error %v", err)
	}
}

func frame(n uint32, text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, n), text...)
}

func TestReadMessageRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		b          []byte
	}{
		{"nothing", "EOF", nil},
		{"half a length", "unexpected EOF", []byte{0, 0}},
		{"cut short", "unexpected EOF", frame(10, "{}")},
		{"too long", "larger than", frame(maxMessage+1, "{}")},
		{"no JSON", "decode message", frame(2, "{x")},
		{"no version", "without a version", frame(2, "{}")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := readMessage(bytes.NewReader(tt.b))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v, %v, want an error with %q", m, err, tt.want)
			}
		})
	}
	if err := writeMessage(io.Discard, &message{Err: strings.Repeat("x", maxMessage)}); err == nil {
		t.Error("a message that nobody would read was written")
	}
}

// Every version that was ever spoken can be read: inits outlive the agents that started them.
func TestOldMessages(t *testing.T) {
	for v := 1; v <= protocol; v++ {
		b, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("v%d", v), "run.json"))
		if err != nil {
			t.Fatal(err)
		}
		m, err := readMessage(bytes.NewReader(frame(uint32(len(b)), string(b))))
		if err != nil || m.V != v || m.Op != opRun || m.Job == nil || m.Job.Job != (job.ID{Cluster: 12, Proc: 3}) {
			t.Errorf("version %d reads as %+v (%v)", v, m, err)
		}
	}
}

func FuzzReadMessage(f *testing.F) {
	f.Add(frame(2, "{}"))
	f.Add(frame(20, `{"v":1,"op":"hello"}`))
	f.Add(frame(45, `{"v":1,"op":"run","job":{"job":"1.0","argv":["a"]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readMessage(bytes.NewReader(b))
		if err != nil {
			return
		}
		if m.Job != nil {
			_ = m.Job.check()
		}
		if err := writeMessage(io.Discard, m); err != nil {
			t.Errorf("%+v was read but cannot be written: %v", m, err)
		}
	})
}

func TestCheckClaim(t *testing.T) {
	for _, ok := range []job.ClaimID{"a", "abc-DEF_0.9", job.ClaimID(strings.Repeat("x", 64))} {
		if err := checkClaim(ok); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []job.ClaimID{"", ".", "..", ".hidden", "a/b", "ä", "a b", "a\x00", job.ClaimID(strings.Repeat("x", 65))} {
		if checkClaim(bad) == nil {
			t.Errorf("%q is a claim", bad)
		}
	}
}
