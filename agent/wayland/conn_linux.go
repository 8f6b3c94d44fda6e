package wayland

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// Objects with fixed ids, and the requests and events of which there is need.
const (
	display  = 1
	registry = 2
	synced   = 3
	firstID  = 4

	displaySync, displayGetRegistry = 0, 1 // requests
	displayError                    = 0    // events
	registryBind                    = 0
	registryGlobal, registryRemoved = 0, 1
)

const (
	patience    = 5 * time.Second
	headSize    = 8   // bytes: object, size and opcode
	globalsMost = 512 // of a compositor; they have some fifty
)

var errShort = errors.New("message of the compositor is too short")

// Conn is a connection to a compositor. One goroutine uses it; Close may come from any.
type Conn struct {
	net.Conn
	buf     []byte // what was read; what has been taken of it
	taken   int
	globals []Global
	ids     uint32
}

// Global is something that a compositor offers.
type Global struct {
	Name, Version uint32
	Interface     string
}

// Dial connects to a compositor by its socket and learns what it offers.
func Dial(ctx context.Context, path string) (*Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	c := &Conn{Conn: conn, ids: firstID}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := c.register(); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// register learns what the compositor offers.
func (c *Conn) register() error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := c.Request(display, displayGetRegistry, registry); err != nil {
		return err
	}
	if err := c.Request(display, displaySync, synced); err != nil {
		return err
	}
	for {
		object, opcode, body, err := c.Next()
		if err != nil {
			return err
		}
		switch {
		case object == synced:
			return c.SetDeadline(time.Time{})
		case object == registry && opcode == registryGlobal:
			g, err := parseGlobal(body)
			if err != nil {
				return err
			}
			if len(c.globals) == globalsMost {
				return errors.New("the compositor offers things without end")
			}
			c.globals = append(c.globals, g)
		}
	}
}

// parseGlobal reads the announcement of a global: its name, interface and version.
func parseGlobal(body []byte) (Global, error) {
	if len(body) < 8 {
		return Global{}, errShort
	}
	size := uint64(ne.Uint32(body[4:])) // with the zero byte that ends it
	padded := (size + 3) &^ 3
	if size == 0 || uint64(len(body)) < 8+padded+4 {
		return Global{}, errShort
	}
	return Global{Name: ne.Uint32(body), Version: ne.Uint32(body[8+padded:]), Interface: string(body[8 : 8+size-1])}, nil
}

// Offers lists what the compositor offers of an interface.
func (c *Conn) Offers(kind string) []Global {
	return slices.DeleteFunc(slices.Clone(c.globals), func(g Global) bool { return g.Interface != kind })
}

// ne is the machine's own byte order, in which Wayland speaks.
var ne = binary.NativeEndian

// NewID makes an id for an object of ours.
func (c *Conn) NewID() uint32 {
	c.ids++
	return c.ids - 1
}

// Bind makes an object of ours of a global, in a version that it has.
func (c *Conn) Bind(g Global, version uint32) (uint32, error) {
	id := c.NewID()
	body := ne.AppendUint32(nil, g.Name)
	body = ne.AppendUint32(body, uint32(len(g.Interface)+1))
	body = append(body, g.Interface...)
	body = append(body, make([]byte, 4-len(g.Interface)%4)...) // at least the zero byte that ends it
	body = ne.AppendUint32(body, version)
	return id, c.send(registry, registryBind, ne.AppendUint32(body, id))
}

// Request sends a request whose arguments are all of four bytes.
func (c *Conn) Request(object uint32, opcode uint16, args ...uint32) error {
	var body []byte
	for _, a := range args {
		body = ne.AppendUint32(body, a)
	}
	return c.send(object, opcode, body)
}

func (c *Conn) send(object uint32, opcode uint16, body []byte) error {
	b := ne.AppendUint32(make([]byte, 0, headSize+len(body)), object)
	b = ne.AppendUint32(b, uint32(headSize+len(body))<<16|uint32(opcode))
	_, err := c.Write(append(b, body...))
	return err
}

// Next waits for an event. The body is good until the next call. An error that the compositor sends is an
// error.
func (c *Conn) Next() (object uint32, opcode uint16, body []byte, err error) {
	head, err := c.take(headSize)
	if err != nil {
		return 0, 0, nil, err
	}
	object = ne.Uint32(head)
	word := ne.Uint32(head[4:])
	size, opcode := int(word>>16), uint16(word)
	if size < headSize {
		return 0, 0, nil, errShort
	}
	if body, err = c.take(size - headSize); err != nil {
		return 0, 0, nil, err
	}
	if object == display && opcode == displayError {
		if len(body) < 8 {
			return 0, 0, nil, errShort
		}
		return 0, 0, nil, fmt.Errorf("the compositor answers with error %d about object %d", ne.Uint32(body[4:]), ne.Uint32(body))
	}
	return object, opcode, body, nil
}

// take gives the next n bytes, which are good until the next call.
func (c *Conn) take(n int) ([]byte, error) {
	for len(c.buf)-c.taken < n {
		rest := copy(c.buf, c.buf[c.taken:])
		c.buf, c.taken = slices.Grow(c.buf[:rest], max(n-rest, 512)), 0
		got, err := c.Read(c.buf[rest:cap(c.buf)])
		c.buf = c.buf[:rest+got]
		if err != nil {
			return nil, err
		}
	}
	b := c.buf[c.taken : c.taken+n]
	c.taken += n
	return b, nil
}
