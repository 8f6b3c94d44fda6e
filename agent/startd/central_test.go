package startd

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/bus"
	"skua/internal/central"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy"
	"skua/policy/classad"
)

// follower is a group's policy of which every word is taken.
type follower struct {
	mu    sync.Mutex
	taken []string
}

func (f *follower) Group() string { return "lab" }

func (f *follower) Take(signed []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken = append(f.taken, string(signed))
}

func (f *follower) Standing() (central.Policy, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return central.Policy{Group: "lab", Number: int64(len(f.taken))}, len(f.taken) > 0
}

func (f *follower) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.taken
}

// An agent asks for its policy when it has connected, when it is told to, and by itself after it has got no
// answer. An empty answer takes nothing back.
func TestCentralPolicyIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := bus.NewMemory()
		desk, head := hub.Connect("desk"), hub.Connect("matchmaker")
		defer desk.Close()
		defer head.Close()
		p, err := policy.Derive(policy.File{})
		if err != nil {
			t.Fatal(err)
		}
		f := &follower{}
		d, err := New(Config{
			Agent: "agent", Machine: "desk", Dir: t.TempDir(), Bus: desk, Starter: noStarter{errors.New("no sandbox here")}, Files: &Storage{},
			Policy: p, Clock: func() job.Instant { return 0 }, Central: f,
			Facts: func(context.Context) (*classad.Ad, error) { return classad.NewAd(), nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		asked, answer := 0, `"first"`
		serve := func() bus.Subscription {
			sub, err := head.Subscribe(wire.AnyAgent, func(m bus.Msg) {
				q, err := wire.Decode[wire.AskPolicy](m.Data)
				if _, verb := wire.Sender(m.Subject); err != nil || verb != wire.VerbPolicy || q.Group != "lab" {
					t.Errorf("asked %+v on %s, %v", q, m.Subject, err)
				}
				mu.Lock()
				defer mu.Unlock()
				asked++
				data, err := wire.Encode(wire.CentralPolicy{V: wire.Version, Signed: json.RawMessage(answer)})
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
			return sub
		}
		state := func(what string, after time.Duration, questions int, taken ...string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			got := f.all()
			if asked != questions || len(got) != len(taken) || len(got) > 0 && got[len(got)-1] != taken[len(taken)-1] {
				t.Errorf("%s: %d questions and %q, want %d and %q", what, asked, got, questions, taken)
			}
		}
		push := func(policy string) {
			t.Helper()
			mu.Lock()
			answer = policy
			mu.Unlock()
			data, err := wire.Encode(wire.Control{V: wire.Version, Do: wire.FetchPolicy})
			if err == nil {
				err = head.Publish(wire.ControlSubject(wire.AllAgents), data)
			}
			if err != nil {
				t.Fatal(err)
			}
		}

		sub := serve()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		state("connected", 10*time.Second, 1, `"first"`)
		push(`"second"`)
		state("told, a moment ago", time.Second/2, 1, `"first"`)
		state("told", 10*time.Second, 2, `"first"`, `"second"`)
		ad := d.keepers[0].ad(time.Now(), d.keepers[0].state())
		if group, _ := ad.Str("CentralPolicy"); group != "lab" {
			t.Errorf("the ad has the group %q", group)
		}
		if n, _ := ad.Int("CentralPolicyNumber"); n != 2 {
			t.Errorf("the ad has the number %d", n)
		}
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
		push(`"third"`)
		state("told, and nobody answers", 10*time.Second, 2, `"first"`, `"second"`)
		sub = serve()
		state("answered again", 2*time.Minute, 3, `"first"`, `"second"`, `"third"`)
		push("")
		state("an empty answer", 10*time.Second, 4, `"first"`, `"second"`, `"third"`)
		push("")
		time.Sleep(policyDelay * 9 / 10)
		push("")
		state("told while about to ask", 10*time.Second, 6, `"first"`, `"second"`, `"third"`)
		mu.Lock()
		asked, answer = 0, `"fourth"`
		mu.Unlock()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if got := f.all(); got[len(got)-1] != `"fourth"` {
			t.Errorf("a push that was missed is not found out: %q", got)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	})
}
