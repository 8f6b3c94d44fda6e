package wayland

import (
	"context"
	"errors"
	"slices"
	"time"
)

// ErrSilent says that a compositor shows its input to nobody.
var ErrSilent = errors.New("the compositor has neither ext-idle-notify-v1 nor org_kde_kwin_idle")

// Input is what a compositor tells about the input on its seats.
type Input struct {
	Busy bool          // input within the last quiet time; its end will be told
	Idle time.Duration // how long there has been none, unless Busy
}

// Interfaces.
const (
	seatKind   = "wl_seat"
	notifyKind = "ext_idle_notifier_v1"
	kwinKind   = "org_kde_kwin_idle"

	seatsMost = 16

	notifyGetIdle      = 1 // id, milliseconds, seat
	notifyGetInputIdle = 2 // the same since version 2, for input alone: in version 1 a film that is shown counts as input
	kwinGetIdle        = 0 // id, seat, milliseconds
	idled, resumed     = 0, 1
)

// Tells reports whether the compositor tells of idle times.
func (c *Conn) Tells() bool {
	return len(c.Offers(seatKind)) > 0 && len(c.Offers(notifyKind))+len(c.Offers(kwinKind)) > 0
}

// Follow tells of every first input after a quiet time, and of every quiet time that begins, until the
// connection fails, a seat comes or goes, or ctx ends. Compositors do not say how long there has been none
// when they are first asked, so at first there counts as having been some just now.
func (c *Conn) Follow(ctx context.Context, quiet time.Duration, tell func(Input)) error {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	busy, err := c.subscribe(quiet)
	if err != nil {
		return err
	}
	used := len(busy)
	tell(Input{Busy: true})
	for {
		object, opcode, body, err := c.Next()
		if err != nil {
			return err
		}
		was, ours := busy[object]
		switch {
		case object == registry:
			if err := c.changed(opcode, body); err != nil {
				return err
			}
		case !ours:
		case opcode == idled && was:
			busy[object] = false
			if used--; used == 0 {
				tell(Input{Idle: quiet})
			}
		case opcode == resumed && !was:
			busy[object] = true
			if used++; used == 1 {
				tell(Input{Busy: true})
			}
		}
	}
}

// subscribe asks to be told about all seats, and gives the objects that will tell.
func (c *Conn) subscribe(quiet time.Duration) (map[uint32]bool, error) {
	if !c.Tells() {
		return nil, ErrSilent
	}
	ms := uint32(quiet.Milliseconds())
	var ask func(id, seat uint32) error
	if offers := c.Offers(notifyKind); len(offers) > 0 {
		version := min(offers[0].Version, 2)
		notifier, err := c.Bind(offers[0], version)
		if err != nil {
			return nil, err
		}
		get := uint16(notifyGetIdle)
		if version >= 2 {
			get = notifyGetInputIdle
		}
		ask = func(id, seat uint32) error { return c.Request(notifier, get, id, ms, seat) }
	} else {
		idle, err := c.Bind(c.Offers(kwinKind)[0], 1)
		if err != nil {
			return nil, err
		}
		ask = func(id, seat uint32) error { return c.Request(idle, kwinGetIdle, id, seat, ms) }
	}
	busy := make(map[uint32]bool)
	seats := c.Offers(seatKind)
	for _, seat := range seats[:min(len(seats), seatsMost)] {
		s, err := c.Bind(seat, 1)
		if err != nil {
			return nil, err
		}
		id := c.NewID()
		if err := ask(id, s); err != nil {
			return nil, err
		}
		busy[id] = true
	}
	return busy, nil
}

// changed gives an error when a seat came, or something that is used went: then all begins anew.
func (c *Conn) changed(opcode uint16, body []byte) error {
	if opcode == registryGlobal {
		g, err := parseGlobal(body)
		if err == nil && g.Interface == seatKind {
			err = errors.New("the compositor has a new seat")
		}
		return err
	}
	if opcode != registryRemoved || len(body) < 4 {
		return errShort
	}
	name := ne.Uint32(body)
	used := slices.Concat(c.Offers(seatKind), c.Offers(notifyKind), c.Offers(kwinKind))
	if slices.ContainsFunc(used, func(g Global) bool { return g.Name == name }) {
		return errors.New("a seat of the compositor is gone")
	}
	return nil
}
