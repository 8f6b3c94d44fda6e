package bus

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Hub is a bus within one process, for simulated pools. It uses nothing but goroutines, channels and
// time, so that it works inside a testing/synctest bubble, and it can lose, delay and repeat messages
// and cut connections on demand. It knows no permissions; those are the broker's.
type Hub struct {
	mu        sync.Mutex
	conns     []*MemoryConn           // guarded by mu, as all below; in order of connecting
	requests  map[string]*pendingCall // waiting for an answer, by inbox
	inboxes   int
	intercept func(Packet) Fate
}

// Packet is a message on its way to one receiver.
type Packet struct {
	From, To string // names given to [Hub.Connect]
	Subject  string
	Data     []byte
}

// Fate is what becomes of a packet. The zero value delivers it at once.
type Fate struct {
	Drop  bool
	Delay time.Duration // packets with different delays overtake each other
	Twice bool
}

type pendingCall struct {
	conn   *MemoryConn
	answer chan []byte // of capacity 1
}

// maxQueued is how many messages may wait for a handler; more are dropped, as a NATS server drops a
// slow consumer's.
const maxQueued = 64 << 10

// NewMemory makes a hub that nobody is connected to.
func NewMemory() *Hub { return &Hub{requests: map[string]*pendingCall{}} }

// Intercept has f decide the fate of every packet from now on; nil delivers all. f is called for one
// packet at a time and must not use the hub.
func (h *Hub) Intercept(f func(Packet) Fate) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.intercept = f
}

// Connect adds a participant. The name is for [Packet] only.
func (h *Hub) Connect(name string) *MemoryConn {
	c := &MemoryConn{hub: h, name: name, up: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns = append(h.conns, c)
	signal(c.up)
	return c
}

// MemoryConn is a connection to a [Hub].
type MemoryConn struct {
	hub  *Hub
	name string
	up   chan struct{}

	cut    bool // guarded by hub.mu, as all below
	closed bool
	subs   []*memorySub

	handlers sync.WaitGroup
}

var _ Conn = (*MemoryConn)(nil)

// Cut takes the connection down: what others send is lost, what this side sends fails.
func (c *MemoryConn) Cut() {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	c.cut = true
}

// Heal brings the connection back.
func (c *MemoryConn) Heal() {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if c.cut {
		c.cut = false
		signal(c.up)
	}
}

// Connected says whether the connection is up.
func (c *MemoryConn) Connected() bool {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	return c.usable() == nil
}

// Publish implements [Conn].
func (c *MemoryConn) Publish(subject string, data []byte) error {
	if err := checkMessage(subject, data); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if err := c.usable(); err != nil {
		return fmt.Errorf("publish %s: %w", subject, err)
	}
	c.hub.send(c, subject, "", data)
	return nil
}

// Request implements [Conn].
func (c *MemoryConn) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	if err := checkMessage(subject, data); err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	call := &pendingCall{conn: c, answer: make(chan []byte, 1)}
	inbox, err := c.hub.call(call, subject, data)
	if err != nil {
		return nil, fmt.Errorf("request %s: %w", subject, err)
	}
	defer c.hub.forget(inbox)
	select {
	case answer := <-call.answer:
		return answer, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("request %s: %w", subject, ctx.Err())
	}
}

// Subscribe implements [Conn].
func (c *MemoryConn) Subscribe(subject string, h func(Msg)) (Subscription, error) {
	if err := checkSubject(subject); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("subscribe %s: %w", subject, ErrClosed)
	}
	s := &memorySub{conn: c, pattern: subject}
	s.arrived.L = &c.hub.mu
	c.subs = append(c.subs, s)
	c.handlers.Go(func() { s.run(h) })
	return s, nil
}

// Flush implements [Conn].
func (c *MemoryConn) Flush(ctx context.Context) error {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if err := cmp.Or(c.usable(), ctx.Err()); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// ForceReconnect implements [Conn].
func (c *MemoryConn) ForceReconnect() error {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if c.closed {
		return fmt.Errorf("reconnect: %w", ErrClosed)
	}
	if !c.cut {
		signal(c.up)
	}
	return nil
}

// Reconnected implements [Conn].
func (c *MemoryConn) Reconnected() <-chan struct{} { return c.up }

// Close implements [Conn].
func (c *MemoryConn) Close() error {
	c.hub.mu.Lock()
	c.closed = true
	for _, s := range c.subs {
		s.end()
	}
	c.subs = nil
	c.hub.conns = slices.DeleteFunc(c.hub.conns, func(o *MemoryConn) bool { return o == c })
	c.hub.mu.Unlock()
	c.handlers.Wait()
	return nil
}

// usable is called with hub.mu held.
func (c *MemoryConn) usable() error {
	switch {
	case c.closed:
		return ErrClosed
	case c.cut:
		return ErrDisconnected
	}
	return nil
}

// call registers a request and sends it.
func (h *Hub) call(call *pendingCall, subject string, data []byte) (inbox string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := call.conn.usable(); err != nil {
		return "", err
	}
	h.inboxes++
	inbox = InboxPrefix(strconv.Itoa(h.inboxes))
	h.requests[inbox] = call
	if h.send(call.conn, subject, inbox, data) == 0 {
		delete(h.requests, inbox)
		return "", ErrNoResponder
	}
	return inbox, nil
}

func (h *Hub) forget(inbox string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.requests, inbox)
}

// send hands a message to everybody who listens and returns how many that are. It is called with mu
// held.
func (h *Hub) send(from *MemoryConn, subject, reply string, data []byte) (receivers int) {
	if call, ok := h.requests[subject]; ok {
		answer := bytes.Clone(data)
		h.carry(Packet{from.name, call.conn.name, subject, answer}, func() {
			if call.conn.usable() != nil {
				return
			}
			select {
			case call.answer <- answer:
			default: // only the first answer counts
			}
		})
		return 1
	}
	for _, to := range h.conns {
		if to.usable() != nil {
			continue
		}
		for _, s := range to.subs {
			if !matches(s.pattern, subject) {
				continue
			}
			receivers++
			m := Msg{Subject: subject, Data: bytes.Clone(data)}
			if reply != "" {
				m.Reply = func(answer []byte) error { return to.answer(reply, answer) }
			}
			h.carry(Packet{from.name, to.name, subject, m.Data}, func() { s.push(m) })
		}
	}
	return receivers
}

// carry applies a packet's fate. arrive is called with mu held.
func (h *Hub) carry(p Packet, arrive func()) {
	var fate Fate
	if h.intercept != nil {
		fate = h.intercept(p)
	}
	if fate.Drop {
		return
	}
	deliver := func() {
		arrive()
		if fate.Twice {
			arrive()
		}
	}
	if fate.Delay <= 0 {
		deliver()
		return
	}
	time.AfterFunc(fate.Delay, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		deliver()
	})
}

// answer is Msg.Reply of a message that this side received.
func (c *MemoryConn) answer(inbox string, data []byte) error {
	err := checkMessage(inbox, data)
	if err == nil {
		c.hub.mu.Lock()
		defer c.hub.mu.Unlock()
		if err = c.usable(); err == nil {
			c.hub.send(c, inbox, "", data)
		}
	}
	if err != nil {
		return fmt.Errorf("reply: %w", err)
	}
	return nil
}

// memorySub is a subscription. Its fields are guarded by the hub's mu.
type memorySub struct {
	conn    *MemoryConn
	pattern string
	arrived sync.Cond
	queue   []Msg
	ended   bool
}

// run calls the handler until the subscription ends.
func (s *memorySub) run(handle func(Msg)) {
	for {
		m, ok := s.next()
		if !ok {
			return
		}
		handle(m)
	}
}

func (s *memorySub) next() (Msg, bool) {
	s.arrived.L.Lock()
	defer s.arrived.L.Unlock()
	for len(s.queue) == 0 && !s.ended {
		s.arrived.Wait()
	}
	if s.ended {
		return Msg{}, false
	}
	m := s.queue[0]
	s.queue = s.queue[1:]
	return m, true
}

func (s *memorySub) push(m Msg) {
	if s.ended || s.conn.usable() != nil || len(s.queue) >= maxQueued {
		return
	}
	s.queue = append(s.queue, m)
	s.arrived.Signal()
}

func (s *memorySub) end() {
	s.ended = true
	s.queue = nil
	s.arrived.Broadcast()
}

// Unsubscribe implements [Subscription].
func (s *memorySub) Unsubscribe() error {
	s.conn.hub.mu.Lock()
	defer s.conn.hub.mu.Unlock()
	s.end()
	s.conn.subs = slices.DeleteFunc(s.conn.subs, func(o *memorySub) bool { return o == s })
	return nil
}

// signal puts a value into a channel of capacity 1 unless one is there already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
