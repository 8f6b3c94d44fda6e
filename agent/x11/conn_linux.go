package x11

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"time"
)

// Numbers of the core protocol.
const (
	msgError, msgReply, msgGeneric = 0, 1, 35
	queryExtension                 = 98
	replyHead                      = 32
	replyMost                      = 1 << 18 // no answer we ask for is nearly as long
	patience                       = 5 * time.Second

	// A server that sends more events than eventsMost in eventsTime is cut off: alarms come a
	// few times a second at most, and anybody may run a server.
	eventsMost = 1000
	eventsTime = 10 * time.Second
)

var errShort = errors.New("message of the X server is too short")

// Conn is a connection to an X server. One goroutine uses it; Close may come from any.
type Conn struct {
	net.Conn
	setup   setupReply
	ids     uint32 // ids made so far
	seq     uint16 // number of the last request
	pending [][]byte

	events  int // messages since counted
	counted time.Time
}

// setupReply is what a server says about itself that is of use here.
type setupReply struct {
	idBase, idMask uint32
	root           uint32 // root window of the first screen
}

// Dial connects to display n by its socket in dir, as systems keep it, or by the abstract socket
// of the same name. check may refuse the server before anything is sent to it.
func Dial(ctx context.Context, dir string, n int, cookie []byte, check func(*net.UnixConn) error) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := connect(ctx, dir, n)
	if err != nil {
		return nil, err
	}
	if check != nil {
		err = check(conn)
	}
	x := &Conn{Conn: conn, counted: time.Now()}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err == nil {
		err = x.handshake(cookie)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return x, nil
}

// Listening is nil if something takes connections to display n. Servers that were killed leave a socket behind.
func Listening(ctx context.Context, dir string, n int) error {
	conn, err := connect(ctx, dir, n)
	if err != nil {
		return err
	}
	return conn.Close()
}

func connect(ctx context.Context, dir string, n int) (*net.UnixConn, error) {
	path := filepath.Join(dir, "X"+strconv.Itoa(n))
	var d net.Dialer
	conn, err := d.DialUnix(ctx, "unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		abstract, abstractErr := d.DialUnix(ctx, "unix", nil, &net.UnixAddr{Name: "@" + path, Net: "unix"})
		if abstractErr != nil {
			return nil, err // the file is what people look at
		}
		conn = abstract
	}
	return conn, nil
}

// handshake sets the connection up, showing cookie if there is one.
func (x *Conn) handshake(cookie []byte) error {
	name := ""
	if len(cookie) > 0 {
		name = CookieProtocol
	}
	if err := x.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	b := []byte{'l', 0} // little-endian
	b = le.AppendUint16(b, 11)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint16(b, uint16(len(name)))
	b = le.AppendUint16(b, uint16(len(cookie)))
	b = append(b, 0, 0)
	b = append(b, name...)
	b = append(b, make([]byte, pad4(len(name)))...)
	b = append(b, cookie...)
	b = append(b, make([]byte, pad4(len(cookie)))...)
	if _, err := x.Write(b); err != nil {
		return err
	}
	head := make([]byte, 8)
	if _, err := io.ReadFull(x, head); err != nil {
		return err
	}
	body := make([]byte, 4*int(le.Uint16(head[6:])))
	if _, err := io.ReadFull(x, body); err != nil {
		return err
	}
	setup, err := parseSetup(append(head, body...))
	if err != nil {
		return err
	}
	x.setup = setup
	return nil
}

var le = binary.LittleEndian

// pad4 is how many bytes bring n to a multiple of four.
func pad4(n int) int { return (4 - n%4) % 4 }

// parseSetup reads a server's answer to a handshake.
func parseSetup(b []byte) (setupReply, error) {
	if len(b) < 8 {
		return setupReply{}, errShort
	}
	if b[0] != 1 {
		reason := b[8:]
		if b[0] == 0 {
			reason = reason[:min(len(reason), int(b[1]))]
		}
		return setupReply{}, fmt.Errorf("the X server refuses: %q", reason)
	}
	if len(b) < 40 {
		return setupReply{}, errShort
	}
	vendor := int(le.Uint16(b[24:]))
	screen := 40 + vendor + pad4(vendor) + 8*int(b[29])
	if len(b) < screen+4 {
		return setupReply{}, errShort
	}
	return setupReply{
		idBase: le.Uint32(b[12:]), idMask: le.Uint32(b[16:]),
		root: le.Uint32(b[screen:]),
	}, nil
}

// newID makes an id for something of ours in the server.
func (x *Conn) newID() uint32 {
	x.ids++
	step := x.setup.idMask & -x.setup.idMask
	return x.setup.idBase | (x.ids*step)&x.setup.idMask
}

// Send sends a request: its two opcodes and what follows, in units of four bytes.
func (x *Conn) Send(major, minor byte, body []byte) error {
	b := []byte{major, minor}
	b = le.AppendUint16(b, uint16(1+len(body)/4))
	if _, err := x.Write(append(b, body...)); err != nil {
		return err
	}
	x.seq++
	return nil
}

// call sends a request and returns its reply of at least size bytes. Events that come first are kept
// for next.
func (x *Conn) call(major, minor byte, body []byte, size int) ([]byte, error) {
	if err := x.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	defer x.SetDeadline(time.Time{})
	if err := x.Send(major, minor, body); err != nil {
		return nil, err
	}
	for {
		msg, err := x.receive()
		switch {
		case err != nil:
			return nil, err
		case msg[0] == msgError:
			return nil, fmt.Errorf("the X server answers error %d to request %d.%d", msg[1], msg[10], le.Uint16(msg[8:]))
		case msg[0] != msgReply:
			if len(x.pending) < 64 {
				x.pending = append(x.pending, msg)
			}
		case le.Uint16(msg[2:]) == x.seq:
			if len(msg) < size {
				return nil, errShort
			}
			return msg, nil
		}
	}
}

// next waits for the next event.
func (x *Conn) next() ([]byte, error) {
	if len(x.pending) > 0 {
		msg := x.pending[0]
		x.pending = x.pending[1:]
		return msg, nil
	}
	for {
		msg, err := x.receive()
		if err != nil {
			return nil, err
		}
		switch msg[0] {
		case msgError:
			return nil, fmt.Errorf("the X server sends error %d about request %d.%d", msg[1], msg[10], le.Uint16(msg[8:]))
		case msgReply:
		default:
			return msg, nil
		}
	}
}

// receive reads one message: an error, a reply, or an event.
func (x *Conn) receive() ([]byte, error) {
	if x.events++; x.events > eventsMost {
		now := time.Now()
		if now.Sub(x.counted) < eventsTime {
			return nil, errors.New("the X server sends events without end")
		}
		x.events, x.counted = 0, now
	}
	msg := make([]byte, replyHead)
	if _, err := io.ReadFull(x, msg); err != nil {
		return nil, err
	}
	if msg[0] != msgReply && msg[0]&0x7f != msgGeneric {
		return msg, nil
	}
	more := uint64(le.Uint32(msg[4:])) * 4
	if more > replyMost {
		return nil, fmt.Errorf("the X server sends a message of %d bytes", more)
	}
	msg = append(msg, make([]byte, more)...)
	_, err := io.ReadFull(x, msg[replyHead:])
	return msg, err
}

// Extension asks for an extension's request number and first event; ok is false if there is none.
func (x *Conn) Extension(name string) (major, event byte, ok bool, err error) {
	body := le.AppendUint16(nil, uint16(len(name)))
	body = append(body, 0, 0)
	body = append(body, name...)
	body = append(body, make([]byte, pad4(len(name)))...)
	msg, err := x.call(queryExtension, 0, body, replyHead)
	if err != nil {
		return 0, 0, false, err
	}
	return msg[9], msg[10], msg[8] != 0, nil
}
