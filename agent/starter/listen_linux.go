package starter

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"skua/internal/peer"
)

// accept takes one agent at a time. A second one is turned away while the first shows signs of life.
func (p *pid1) accept(l *net.UnixListener, failed error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			time.Sleep(100 * time.Millisecond) // out of descriptors, perhaps; there is nobody to tell
			continue
		}
		if err := checkAgent(c); err != nil {
			c.Close()
			continue
		}
		if failed != nil {
			refuse(c, failed, refuseWithin)
			os.Exit(1)
		}
		p.mu.Lock()
		if p.conn != nil && !hungUp(p.conn) && bootClock()-p.keep.lastBeat < Silence {
			p.mu.Unlock()
			refuse(c, errOtherAgent, refuseWithin)
			continue
		}
		if p.conn != nil {
			p.conn.Close()
		}
		p.conn = c
		p.mu.Unlock()
		go p.serve(c)
	}
}

// refuseWithin is how long a refusal may take: nobody else can connect meanwhile.
const refuseWithin = 100 * time.Millisecond

// hungUp reports whether the peer has closed its end, perhaps so recently that serve does not know.
func hungUp(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	gone := true
	_ = raw.Control(func(fd uintptr) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}, 0)
		gone = err == nil && n > 0
	})
	return gone
}

// checkAgent refuses peers from inside: only processes outside this pid namespace have no pid here.
// Who outside may reach the socket is settled by the mode of its directory.
func checkAgent(c *net.UnixConn) error {
	who, err := peer.Of(c)
	if err == nil && who.PID != 0 {
		err = errors.New("the peer is no agent")
	}
	return err
}

// serve answers one agent until it goes.
func (p *pid1) serve(c *net.UnixConn) {
	defer func() {
		c.Close()
		p.mu.Lock()
		if p.conn == c {
			p.conn = nil
		}
		p.mu.Unlock()
	}()
	for {
		m, err := readMessage(c)
		if err != nil {
			return
		}
		p.handle(m)
	}
}

// say sends m to the agent that is there, if one is. An agent that does not read is cut off.
func (p *pid1) say(m *message) {
	p.mu.Lock()
	c := p.conn
	p.mu.Unlock()
	if c == nil {
		return
	}
	_ = c.SetWriteDeadline(time.Now().Add(Silence))
	if writeMessage(c, m) != nil {
		c.Close()
	}
}

// handle carries out one request. What takes long is handed to the first thread.
func (p *pid1) handle(m *message) {
	answer := &message{ID: m.ID}
	var err error
	p.heard()
	switch m.Op {
	case opBeat:
		p.beat(m.Frozen)
		return
	case opHello:
		p.mu.Lock()
		p.notice()
		answer.Status = p.status()
		p.mu.Unlock()
	case opGrant:
		p.grant(time.Duration(m.LeaseMS) * time.Millisecond)
	case opFreeze:
		p.freeze(func(err error) {
			if err != nil {
				answer.fail(err)
			}
			p.say(answer)
		})
		return
	case opThaw:
		err = p.thaw()
	case opLook:
		if !p.looking.CompareAndSwap(false, true) {
			err = ErrBusy
			break
		}
		go func() { // a job of many processes must not hold up its freeze
			var err error
			if answer.Reading, err = p.look(m.Limit); err != nil {
				answer.fail(err)
			}
			p.looking.Store(false) // before the answer, which may be followed at once by the next request
			p.say(answer)
		}()
		return
	case opThrottle:
		err = p.throttle(m.CPUs)
	case opSignal:
		err = p.signal(m.Signal)
	case opRun, opResume, opCheckpoint, opFresh:
		err = p.begin(task{
			do: func() {
				if err := p.long(m, answer); err != nil {
					answer.fail(err)
				}
			},
			done: func() { p.say(answer) },
		})
		if err == nil {
			return
		}
	case opQuit:
		p.mu.Lock()
		idle := p.job == nil && !p.busy
		p.mu.Unlock()
		if idle {
			os.Exit(0)
		}
		err = ErrBusy
	default:
		err = fmt.Errorf("this init does not know %q", m.Op)
	}
	if err != nil {
		answer.fail(err)
	}
	p.say(answer)
}
