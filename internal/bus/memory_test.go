package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/bus"
	"skua/internal/bus/bustest"
)

func TestMemory(t *testing.T) {
	bustest.RunConn(t, func(t *testing.T) func() bus.Conn {
		hub := bus.NewMemory()
		return func() bus.Conn {
			c := hub.Connect("test")
			t.Cleanup(func() { c.Close() })
			return c
		}
	})
}

func TestMemoryLog(t *testing.T) {
	bustest.RunLog(t, func(*testing.T) func() bus.Log {
		l := bus.NewMemoryLog()
		return func() bus.Log { return l }
	})
}

func TestMemoryLogLosesAnAcknowledgement(t *testing.T) {
	l := bus.NewMemoryLog()
	l.LoseNextAck()
	record := [][]byte{[]byte("x")}
	if _, err := l.Append(t.Context(), 0, record); !errors.Is(err, bus.ErrUnknownOutcome) {
		t.Errorf("got %v, want %v", err, bus.ErrUnknownOutcome)
	}
	if _, err := l.Append(t.Context(), 0, record); !errors.Is(err, bus.ErrWrongSequence) {
		t.Errorf("sent again: got %v, want %v", err, bus.ErrWrongSequence)
	}
	if n, err := l.Last(t.Context()); n != 1 || err != nil {
		t.Errorf("last is %d, %v, want 1", n, err)
	}
}

// inbox collects what a connection gets, in a bubble.
type inbox struct {
	mu  sync.Mutex
	got []string
}

func (i *inbox) take() []string {
	synctest.Wait()
	i.mu.Lock()
	defer i.mu.Unlock()
	got := i.got
	i.got = nil
	return got
}

func listen(t *testing.T, c bus.Conn, subject string) *inbox {
	t.Helper()
	in := &inbox{}
	_, err := c.Subscribe(subject, func(m bus.Msg) {
		in.mu.Lock()
		in.got = append(in.got, string(m.Data))
		in.mu.Unlock()
		if m.Reply != nil {
			if err := m.Reply([]byte("yes")); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestCutAndHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := bus.NewMemory()
		a, b := hub.Connect("a"), hub.Connect("b")
		defer a.Close()
		defer b.Close()
		in := listen(t, b, "x")
		<-b.Reconnected()

		b.Cut()
		if err := a.Publish("x", []byte("lost")); err != nil {
			t.Errorf("the other side cannot publish: %v", err)
		}
		if err := b.Publish("x", nil); !errors.Is(err, bus.ErrDisconnected) {
			t.Errorf("publish: got %v, want %v", err, bus.ErrDisconnected)
		}
		if _, err := b.Request(t.Context(), "x", nil); !errors.Is(err, bus.ErrDisconnected) {
			t.Errorf("request: got %v, want %v", err, bus.ErrDisconnected)
		}
		if _, err := a.Request(t.Context(), "x", nil); !errors.Is(err, bus.ErrNoResponder) {
			t.Errorf("request to it: got %v, want %v", err, bus.ErrNoResponder)
		}
		if b.Connected() || len(b.Reconnected()) > 0 {
			t.Error("it is connected")
		}
		b.Heal()
		<-b.Reconnected()
		if err := a.Publish("x", []byte("kept")); err != nil {
			t.Error(err)
		}
		if got := in.take(); !slices.Equal(got, []string{"kept"}) {
			t.Errorf("got %q", got)
		}
	})
}

func TestAnAnswerIsLostWithItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := bus.NewMemory()
		a, b := hub.Connect("a"), hub.Connect("b")
		defer a.Close()
		defer b.Close()
		if _, err := b.Subscribe("x", func(m bus.Msg) {
			a.Cut()
			if err := m.Reply([]byte("late")); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if got, err := a.Request(ctx, "x", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %q, %v, want %v", got, err, context.DeadlineExceeded)
		}
	})
}

func TestIntercept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := bus.NewMemory()
		a, b := hub.Connect("a"), hub.Connect("b")
		defer a.Close()
		defer b.Close()
		in := listen(t, b, "x")
		var seen []string
		hub.Intercept(func(p bus.Packet) bus.Fate {
			seen = append(seen, fmt.Sprintf("%s to %s: %s", p.From, p.To, p.Data))
			switch string(p.Data) {
			case "drop":
				return bus.Fate{Drop: true}
			case "late":
				return bus.Fate{Delay: time.Hour}
			case "twice":
				return bus.Fate{Twice: true}
			}
			return bus.Fate{}
		})
		for _, s := range []string{"drop", "late", "twice", "plain"} {
			if err := a.Publish("x", []byte(s)); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := in.take(), []string{"twice", "twice", "plain"}; !slices.Equal(got, want) {
			t.Errorf("at once: got %q, want %q", got, want)
		}
		time.Sleep(time.Hour) // the bubble's
		if got, want := in.take(), []string{"late"}; !slices.Equal(got, want) {
			t.Errorf("after an hour: got %q, want %q", got, want)
		}
		if want := []string{"a to b: drop", "a to b: late", "a to b: twice", "a to b: plain"}; !slices.Equal(seen, want) {
			t.Errorf("seen %q, want %q", seen, want)
		}
		// Answers are packets too.
		hub.Intercept(func(p bus.Packet) bus.Fate { return bus.Fate{Drop: p.From == "b"} })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Request(ctx, "x", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a lost answer: got %v, want %v", err, context.DeadlineExceeded)
		}
		if got := in.take(); len(got) != 1 {
			t.Errorf("the request came %d times, want once", len(got))
		}
	})
}

// A handler that never returns costs its own messages, not the sender's time or memory without end.
func TestASlowHandlerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := bus.NewMemory()
		a, b := hub.Connect("a"), hub.Connect("b")
		defer a.Close()
		stuck := make(chan struct{})
		n := 0
		if _, err := b.Subscribe("x", func(bus.Msg) {
			<-stuck
			n++
		}); err != nil {
			t.Fatal(err)
		}
		for range 100_000 {
			if err := a.Publish("x", nil); err != nil {
				t.Fatal(err)
			}
		}
		close(stuck)
		synctest.Wait()
		b.Close()
		if n < 60_000 || n > 70_000 {
			t.Errorf("%d messages were kept of 100000, want about 65536", n)
		}
	})
}
