// Package bustest holds the suites that every bus and every log must pass. They are the definition of
// what [bus.Conn] and [bus.Log] promise; an implementation's own tests add only what is peculiar to
// it.
package bustest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"skua/internal/bus"
	"skua/internal/wire"
)

// patience is how long the suites wait for what must happen. Nothing waits for it in a run that
// succeeds.
const patience = 30 * time.Second

// RunConn tests connections. newBus makes a new bus for one test and returns a function that connects
// to it; every connection may use every subject.
func RunConn(t *testing.T, newBus func(t *testing.T) (connect func() bus.Conn)) {
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, connect func() bus.Conn)
	}{
		{"publish reaches those who listen", testPublish},
		{"one subscription is one sequence", testOrder},
		{"data belongs to the handler", testOwnData},
		{"request and answer", testRequest},
		{"request to nobody", testNoResponder},
		{"request without an answer", testNoAnswer},
		{"sizes", testSizes},
		{"malformed subjects", testSubjects},
		{"unsubscribe", testUnsubscribe},
		{"close waits for handlers", testClose},
		{"coming up is told", testComingUp},
		{"a connection made anew", testForceReconnect},
		{"flush waits for the server", testFlush},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newBus(t)) })
	}
}

func testPublish(t *testing.T, connect func() bus.Conn) {
	sender, receiver := connect(), connect()
	for _, tt := range []struct {
		pattern, subject string
		want             bool
	}{
		{"a.b", "a.b", true},
		{"a.b", "a", false},
		{"a.b", "a.b.c", false},
		{"a.b", "a.B", false},
		{"a.*", "a.b", true},
		{"a.*", "a.b.c", false},
		{"*.b", "a.b", true},
		{"a.*.c", "a.b.c", true},
		{"a.>", "a.b.c", true},
		{"a.>", "a.b", true},
		{"a.>", "a", false},
		{">", "a.b", true},
		{"*", "a.b", false},
	} {
		t.Run(tt.pattern+" gets "+tt.subject, func(t *testing.T) {
			got := make(chan string, 10)
			sub := subscribe(t, receiver, tt.pattern, func(m bus.Msg) {
				got <- m.Subject + " " + string(m.Data)
				if m.Reply != nil {
					t.Error("a message that was published wants an answer")
				}
			})
			defer unsubscribe(t, sub)
			publish(t, sender, tt.subject, "hello")
			// Order within the subscription tells when the first would have come.
			end := strings.NewReplacer("*", "end", ">", "end").Replace(tt.pattern)
			publish(t, sender, end, "end")
			if tt.want {
				if s := receive(t, got); s != tt.subject+" hello" {
					t.Errorf("got %q", s)
				}
			}
			if s := receive(t, got); s != end+" end" {
				t.Errorf("got %q, want the end", s)
			}
		})
	}
}

func testOrder(t *testing.T, connect func() bus.Conn) {
	const n = 5000
	sender, receiver := connect(), connect()
	var running atomic.Int32
	next := 0
	done := make(chan struct{})
	subscribe(t, receiver, "count.>", func(m bus.Msg) {
		if running.Add(1) != 1 {
			t.Error("two handlers of one subscription run at once")
		}
		defer running.Add(-1)
		if want := fmt.Sprint(next); string(m.Data) != want && !t.Failed() {
			t.Errorf("got %s, want %s", m.Data, want)
		}
		if next++; next == n {
			close(done)
		}
	})
	for i := range n {
		publish(t, sender, fmt.Sprintf("count.%d", i%3), fmt.Sprint(i))
	}
	wait(t, done, "the last message")
}

func testOwnData(t *testing.T, connect func() bus.Conn) {
	sender, a, b := connect(), connect(), connect()
	got := make(chan string, 3)
	for _, c := range []bus.Conn{a, a, b} {
		subscribe(t, c, "own", func(m bus.Msg) {
			got <- string(m.Data)
			clear(m.Data)
		})
	}
	data := []byte("untouched")
	if err := sender.Publish("own", data); err != nil {
		t.Fatal(err)
	}
	clear(data)
	for range 3 {
		if s := receive(t, got); s != "untouched" {
			t.Errorf("got %q", s)
		}
	}
}

func testRequest(t *testing.T, connect func() bus.Conn) {
	client, server := connect(), connect()
	subscribe(t, server, "echo.*", func(m bus.Msg) {
		if m.Reply == nil {
			t.Error("a request wants no answer")
			return
		}
		reply(t, m, m.Subject+" "+string(m.Data))
	})
	for i := range 100 {
		data := fmt.Sprint(i)
		if got, want := request(t, client, "echo.x", data), "echo.x "+data; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := request(t, server, "echo.self", "me"); got != "echo.self me" {
		t.Errorf("asking itself: got %q", got)
	}
}

func testNoResponder(t *testing.T, connect func() bus.Conn) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got, err := connect().Request(ctx, "nobody.here", nil); !errors.Is(err, bus.ErrNoResponder) {
		t.Errorf("got %q, %v, want %v", got, err, bus.ErrNoResponder)
	}
}

func testNoAnswer(t *testing.T, connect func() bus.Conn) {
	client, server := connect(), connect()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	subscribe(t, server, "silent", func(bus.Msg) { cancel() })
	if got, err := client.Request(ctx, "silent", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %q, %v, want %v", got, err, context.Canceled)
	}
}

func testSizes(t *testing.T, connect func() bus.Conn) {
	client, server := connect(), connect()
	large := make([]byte, wire.MaxMessage+1)
	for i := range large {
		large[i] = byte(i * i)
	}
	replies := make(chan error, 1)
	subscribe(t, server, "size", func(m bus.Msg) {
		replies <- m.Reply(large)
		if err := m.Reply(m.Data); err != nil {
			t.Error(err)
		}
	})
	for _, size := range []int{0, 1, 4096, 70_000, wire.MaxMessage} {
		if got := request(t, client, "size", string(large[:size])); got != string(large[:size]) {
			t.Errorf("%d bytes came back as %d", size, len(got))
		}
		if err := receive(t, replies); !errors.Is(err, bus.ErrTooLarge) {
			t.Errorf("reply: got %v, want %v", err, bus.ErrTooLarge)
		}
	}
	if err := client.Publish("size", large); !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("publish: got %v, want %v", err, bus.ErrTooLarge)
	}
	if _, err := client.Request(t.Context(), "size", large); !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("request: got %v, want %v", err, bus.ErrTooLarge)
	}
	if got := request(t, client, "size", "still there"); got != "still there" {
		t.Errorf("after that: got %q", got)
	}
}

func testSubjects(t *testing.T, connect func() bus.Conn) {
	c := connect()
	for _, s := range []string{"", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\r\nPUB x 0\r\n", "a*", "a.b>", "a.>.b"} {
		if err := c.Publish(s, nil); err == nil {
			t.Errorf("published to %q", s)
		}
		if _, err := c.Request(t.Context(), s, nil); err == nil {
			t.Errorf("requested from %q", s)
		}
		if _, err := c.Subscribe(s, func(bus.Msg) {}); err == nil {
			t.Errorf("subscribed to %q", s)
		}
	}
	for _, s := range []string{"a.*", "a.>", ">"} {
		if err := c.Publish(s, nil); err == nil {
			t.Errorf("published to the pattern %q", s)
		}
	}
}

func testUnsubscribe(t *testing.T, connect func() bus.Conn) {
	sender, receiver := connect(), connect()
	got := make(chan string, 10)
	var sub bus.Subscription
	sub = subscribe(t, receiver, "some", func(m bus.Msg) {
		got <- string(m.Data)
		unsubscribe(t, sub) // a handler may
	})
	other := subscribe(t, receiver, "some", func(bus.Msg) { got <- "other" })
	publish(t, sender, "some", "first")
	first := []string{receive(t, got), receive(t, got)}
	slices.Sort(first)
	if !slices.Equal(first, []string{"first", "other"}) {
		t.Errorf("got %q", first)
	}
	unsubscribe(t, other)
	publish(t, sender, "some", "second")
	end := make(chan struct{})
	subscribe(t, receiver, "end", func(bus.Msg) { close(end) })
	publish(t, sender, "end", "")
	wait(t, end, "the end")
	unsubscribe(t, sub) // again
	if err := receiver.Close(); err != nil {
		t.Error(err)
	}
	if len(got) > 0 {
		t.Errorf("after the end of the subscription: %q", <-got)
	}
}

func testClose(t *testing.T, connect func() bus.Conn) {
	sender, receiver := connect(), connect()
	entered, leave := make(chan struct{}), make(chan struct{})
	var left atomic.Bool
	subscribe(t, receiver, "work", func(bus.Msg) {
		close(entered)
		<-leave
		left.Store(true)
	})
	publish(t, sender, "work", "")
	wait(t, entered, "the handler")
	closed := make(chan error, 1)
	go func() { closed <- receiver.Close() }()
	// That Close waits cannot be seen at any one moment; that the handler has ended before it can.
	close(leave)
	if err := receive(t, closed); err != nil {
		t.Error(err)
	}
	if !left.Load() {
		t.Error("Close returned while a handler ran")
	}
	if err := receiver.Publish("work", nil); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("publish: got %v, want %v", err, bus.ErrClosed)
	}
	if _, err := receiver.Request(t.Context(), "work", nil); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("request: got %v, want %v", err, bus.ErrClosed)
	}
	if _, err := receiver.Subscribe("work", func(bus.Msg) {}); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("subscribe: got %v, want %v", err, bus.ErrClosed)
	}
	if err := receiver.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

func testFlush(t *testing.T, connect func() bus.Conn) {
	first, second, receiver := connect(), connect(), connect()
	got := make(chan string, 2)
	subscribe(t, receiver, "said", func(m bus.Msg) { got <- string(m.Data) })
	publish(t, first, "said", "before")
	if err := first.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, second, "said", "after")
	for _, want := range []string{"before", "after"} {
		if said := receive(t, got); said != want {
			t.Errorf("got %q, want %q", said, want)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := first.Flush(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: got %v, want %v", err, context.Canceled)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := first.Flush(t.Context()); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("when closed: got %v, want %v", err, bus.ErrClosed)
	}
}

func testForceReconnect(t *testing.T, connect func() bus.Conn) {
	c, other := connect(), connect()
	subscribe(t, c, "work", func(m bus.Msg) { _ = m.Reply(nil) })
	wait(t, c.Reconnected(), "the connection")
	if err := c.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	wait(t, c.Reconnected(), "the new connection")
	if err := c.Flush(t.Context()); err != nil { // the subscription is there again
		t.Fatal(err)
	}
	if _, err := other.Request(t.Context(), "work", nil); err != nil {
		t.Errorf("over the new connection: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.ForceReconnect(); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("when closed: got %v, want %v", err, bus.ErrClosed)
	}
}

func testComingUp(t *testing.T, connect func() bus.Conn) {
	wait(t, connect().Reconnected(), "the connection")
}

func subscribe(t *testing.T, c bus.Conn, pattern string, h func(bus.Msg)) bus.Subscription {
	t.Helper()
	s, err := c.Subscribe(pattern, h)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func unsubscribe(t *testing.T, s bus.Subscription) {
	t.Helper()
	if err := s.Unsubscribe(); err != nil {
		t.Error(err)
	}
}

func publish(t *testing.T, c bus.Conn, subject, data string) {
	t.Helper()
	if err := c.Publish(subject, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func request(t *testing.T, c bus.Conn, subject, data string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answer, err := c.Request(ctx, subject, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.Clone(answer))
}

func reply(t *testing.T, m bus.Msg, answer string) {
	t.Helper()
	if err := m.Reply([]byte(answer)); err != nil {
		t.Error(err)
	}
}

func receive[V any](t *testing.T, from <-chan V) V {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func wait(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
	}
}
