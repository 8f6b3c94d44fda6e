package session

import (
	"context"
	"errors"
	"time"

	"github.com/godbus/dbus/v5"

	"skua/agent/sysbus"
)

// GNOME's compositor does not speak ext-idle-notify-v1, and tells of idle times on the session bus.
const (
	mutterName = "org.gnome.Mutter.IdleMonitor"
	mutterPath = "/org/gnome/Mutter/IdleMonitor/Core"
	watchFired = "WatchFired"
)

// mutter is GNOME's monitor of idle times on a session bus.
type mutter struct {
	conn  *dbus.Conn
	fired chan uint32   // numbers of watches
	gone  chan struct{} // has a value when the monitor has left the bus
}

// dialMutter connects to the session bus at address, on which there must be a monitor.
func dialMutter(ctx context.Context, address string) (*mutter, error) {
	m := &mutter{fired: make(chan uint32, 16), gone: make(chan struct{}, 1)}
	conn, err := sysbus.Dial(ctx, address, m)
	if err != nil {
		return nil, err
	}
	m.conn = conn
	fired := []dbus.MatchOption{dbus.WithMatchSender(mutterName), dbus.WithMatchInterface(mutterName), dbus.WithMatchMember(watchFired)}
	err = sysbus.Subscribe(ctx, conn, fired, sysbus.OwnerOf(mutterName))
	if err == nil {
		_, err = sysbus.Owner(ctx, conn, mutterName)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return m, nil
}

// DeliverSignal implements [dbus.SignalHandler]. What nobody has time for is dropped: the loss of one of
// many watches that fire is none.
func (m *mutter) DeliverSignal(iface, name string, signal *dbus.Signal) {
	switch {
	case iface == mutterName && name == watchFired && len(signal.Body) == 1:
		if id, ok := signal.Body[0].(uint32); ok {
			select {
			case m.fired <- id:
			default:
			}
		}
	case iface == sysbus.Driver && name == sysbus.OwnerChange:
		select {
		case m.gone <- struct{}{}:
		default:
		}
	}
}

// follow tells of the input of the session until the monitor or the bus goes.
func (m *mutter) follow(ctx context.Context, quiet time.Duration, tell func(input)) error {
	var whenIdle uint32
	if err := m.call(ctx, "AddIdleWatch", &whenIdle, uint64(quiet.Milliseconds())); err != nil {
		return err
	}
	if err := m.rest(ctx, quiet, tell); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.conn.Context().Done():
			return errors.New("the session bus is gone")
		case <-m.gone:
			return errors.New("the compositor is gone from the session bus")
		case id := <-m.fired:
			if id != whenIdle {
				tell(input{busy: true})
				continue
			}
			if err := m.rest(ctx, quiet, tell); err != nil {
				return err
			}
		}
	}
}

// rest asks to be told of the next input, and tells how long there has been none. Input in between makes that
// less than the quiet time; it then counts as going on, and its end will be told.
func (m *mutter) rest(ctx context.Context, quiet time.Duration, tell func(input)) error {
	var whenBack uint32
	if err := m.call(ctx, "AddUserActiveWatch", &whenBack); err != nil {
		return err
	}
	var ms uint64
	if err := m.call(ctx, "GetIdletime", &ms); err != nil {
		return err
	}
	idle := time.Duration(min(ms, uint64(longestIdle/time.Millisecond))) * time.Millisecond
	if idle < quiet {
		tell(input{busy: true})
	} else {
		tell(input{idle: idle})
	}
	return nil
}

func (m *mutter) call(ctx context.Context, method string, result any, args ...any) error {
	return sysbus.Call(ctx, m.conn, mutterName, mutterPath, mutterName+"."+method, args...).Store(result)
}

func (m *mutter) Close() error { return m.conn.Close() }
