package startd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/wire"
)

// remover is a starter that ends claims, or cannot.
type remover struct {
	noStarter
	err   error
	ended []job.ClaimID
}

func (r *remover) Remove(claim job.ClaimID) error {
	r.ended = append(r.ended, claim)
	return r.err
}

// stray leaves a claim of a slot that is not there, in a directory that another claim has had before, with a report
// if there is one.
func stray(t *testing.T, d *Daemon, report *wire.Done) {
	t.Helper()
	offer := asks(t, "c2", 1, 1)
	offer.Slot = "slot3@desk"
	if err := writeJSON(d.claimDir("c1"), claimFile, claimRecord{V: wire.Version, Offer: offer}, true); err != nil {
		t.Fatal(err)
	}
	if report == nil {
		return
	}
	if err := writeJSON(d.claimDir("c1"), reportFile, report, true); err != nil {
		t.Fatal(err)
	}
}

// exited is the report of a job that has ended.
func exited(claim job.ClaimID) *wire.Done {
	return &wire.Done{
		V: wire.Version, ClaimRef: wire.ClaimRef{Job: job.ID{Cluster: 7}, Claim: claim, Epoch: 1},
		Outcome: wire.Exited, Result: &job.Result{ExitCode: 3},
	}
}

// A claim whose slot is gone has its job ended, and keeps its report: what the job came to, if it had come to its end.
func TestClaimWithoutASlot(t *testing.T) {
	evicted := &wire.Done{
		V: wire.Version, ClaimRef: wire.ClaimRef{Job: job.ID{Cluster: 7}, Claim: "c2", Epoch: 1},
		Outcome: wire.Evicted, Reason: "the agent on desk was restarted without slot3@desk, and the job was ended",
	}
	stuck := errors.New("a process does not die")
	for _, tt := range []struct {
		name   string
		report *wire.Done
		stuck  error
		want   *wire.Done
	}{
		{"its job ran", nil, nil, evicted},
		{"its job had ended", exited("c2"), nil, exited("c2")},
		{"the job before had ended", exited("c1"), nil, evicted},
		{"its job may still run", nil, stuck, nil},
		{"its job had ended, and its init does not", exited("c2"), stuck, exited("c2")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := bareDaemon(t)
			r := &remover{err: tt.stuck}
			d.cfg.Starter = r
			stray(t, d, tt.report)
			words, err := d.readopt(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(r.ended) != 1 || r.ended[0] != "c1" {
				t.Errorf("the inits of %v were ended, want that of c1", r.ended)
			}
			switch {
			case tt.want == nil && len(words) > 0:
				t.Errorf("it is said %+v", words)
			case tt.want != nil && (len(words) != 1 || !reflect.DeepEqual(words[0].done, *tt.want)):
				t.Errorf("it is said %+v, want %+v", words, *tt.want)
			}
			if _, err := os.Stat(filepath.Join(d.claimDir("c1"), claimFile)); err != nil {
				t.Errorf("before anybody has been told, the claim file is gone: %v", err)
			}
		})
	}
}

// The report is sent until it is acknowledged, by the next agent if need be, and then nothing is left of the claim.
func TestLastWordsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := bus.NewMemory()
		desk, head := hub.Connect("desk"), hub.Connect("matchmaker")
		defer desk.Close()
		defer head.Close()
		d := bareDaemon(t)
		d.cfg.Bus, d.cfg.Starter = desk, &remover{}
		stray(t, d, exited("c2"))
		told := func(ctx context.Context) {
			t.Helper()
			words, err := d.readopt(ctx)
			if err != nil || len(words) != 1 {
				t.Fatalf("it is to be said %+v (%v)", words, err)
			}
			if err := d.tellLastWords(ctx, words); err != nil {
				t.Error(err)
			}
		}
		left := func() bool {
			_, err := os.Stat(d.claimDir("c1"))
			return !errors.Is(err, fs.ErrNotExist)
		}

		var mu sync.Mutex
		heard, ack := 0, wire.Ack{V: wire.Version, Fail: wire.Fail(errors.New("the log is full"))}
		sub, err := head.Subscribe(wire.AnyAgent, func(m bus.Msg) {
			done, err := wire.Decode[wire.Done](m.Data)
			if _, verb := wire.Sender(m.Subject); err != nil || verb != wire.VerbDone || !reflect.DeepEqual(done, *exited("c2")) {
				t.Errorf("it is said %+v on %s, %v", done, m.Subject, err)
			}
			mu.Lock()
			defer mu.Unlock()
			heard++
			if heard == 2 {
				return // the answer is lost
			}
			data, err := wire.Encode(ack)
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
		defer sub.Unsubscribe()

		ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
		defer stop()
		told(ctx)
		mu.Lock()
		if heard < 3 || heard > 12 || !left() {
			t.Errorf("after five minutes without an acknowledgement it was said %d times, and the claim is on disk: %v", heard, left())
		}
		ack = wire.Ack{V: wire.Version, Stale: true}
		mu.Unlock()

		told(t.Context())
		if left() {
			t.Error("the claim is still on disk when it has been acknowledged")
		}
	})
}
