package control

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

type fakeAgent struct {
	mu   sync.Mutex
	wish Wish
	ran  []Ran
}

func (a *fakeAgent) Status(time.Time) Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Status{Machine: "desk7", Wish: a.wish}
}

func (a *fakeAgent) Heed(w Wish) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wish = w
}

func (a *fakeAgent) Ran() ([]Ran, error)     { return a.ran, nil }
func (a *fakeAgent) MayPause() time.Duration { return time.Hour }

// serve starts a server and gives the path of its socket or pipe.
func serve(t *testing.T, s *Server) string {
	t.Helper()
	path := somewhere(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return path
}

func TestConversation(t *testing.T) {
	agent := &fakeAgent{ran: []Ran{{Job: "7.0", User: "mira"}}}
	path := serve(t, &Server{Agent: agent, Seated: func() []uint32 { return nil }, Log: slog.New(slog.DiscardHandler)})
	c := Client{Path: path}
	s, err := c.Wish(t.Context(), Ask{Kind: Pause, For: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if s.Wish.Kind != Pause || s.Wish.Until.Sub(s.Wish.At) != time.Minute {
		t.Errorf("after a pause: %+v", s.Wish)
	}
	if s, err := c.Status(t.Context()); err != nil || s.Wish.Kind != Pause || s.Machine != "desk7" {
		t.Errorf("status %+v, %v", s, err)
	}
	if list, err := c.Ran(t.Context()); err != nil || len(list) != 1 || list[0].Job != "7.0" {
		t.Errorf("ran %+v, %v", list, err)
	}
	if s, err := c.Wish(t.Context(), Ask{Kind: Resume}); err != nil || s.Wish.Kind != "" {
		t.Errorf("after resume: %+v, %v", s, err)
	}
	if _, err := c.Wish(t.Context(), Ask{Kind: "dance"}); err == nil || !strings.Contains(err.Error(), "cannot") {
		t.Errorf("nonsense: %v", err)
	}
}

// A mad peer is cut off, and the next one is served.
func TestMadPeer(t *testing.T) {
	path := serve(t, &Server{Agent: &fakeAgent{}, Seated: func() []uint32 { return nil }, Log: slog.New(slog.DiscardHandler)})
	for _, text := range []string{
		"\x00\xff\x00", "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /wish HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n" + strings.Repeat("{", 9000),
		"GET /status HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 64<<10) + "\r\n\r\n",
	} {
		conn, err := dial(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, text) // it may be cut off in the middle
		conn.Close()
	}
	if _, err := (Client{Path: path}).Status(t.Context()); err != nil {
		t.Error(err)
	}
}
