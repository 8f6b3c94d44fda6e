package probe

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"skua/agent/rhythm"
	"skua/internal/pause"
)

// Names on the system's bus.
const (
	logindName, logindPath, logindManager = "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"

	networkName, networkPath = "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"

	busProperties, busDriver = "org.freedesktop.DBus.Properties", "org.freedesktop.DBus"
)

const (
	busWait = 5 * time.Second // for an answer

	// After the bus is lost or not there, and then for longer and longer: twice as long each time, so that it comes to
	// be on the beats of what an idle agent does.
	busAgainFirst = lookIdle / 32
	busAgainLast  = 2 * lookIdle
)

// systemBus is where the system's bus is unless the environment says otherwise.
const systemBus = "unix:path=/run/dbus/system_bus_socket"

// followBus hears of inhibitors and of the network's price until ctx ends. Nothing is asked for while
// nothing changes; a machine without a bus is tried again now and then.
func (c *Conditions) followBus(ctx context.Context) {
	if c.cfg.Bus == "none" {
		return
	}
	for again := busAgainFirst; ; again = min(2*again, busAgainLast) {
		began := time.Now()
		err := c.watchBus(ctx)
		if ctx.Err() != nil {
			return
		}
		c.log.Debug("the system's bus is not heard", "error", err)
		c.note(func(r *reading) { r.inhibited, r.metered = maybe[bool]{}, maybe[bool]{} })
		if time.Since(began) > busAgainLast {
			again = busAgainFirst
		}
		if pause.For(ctx, time.Until(rhythm.Next(time.Now(), again))) != nil {
			return
		}
	}
}

func (c *Conditions) dialBus(ctx context.Context) (*dbus.Conn, error) {
	address := c.cfg.Bus
	setDefault(&address, os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"))
	setDefault(&address, systemBus)
	return dbus.Connect(address, dbus.WithContext(ctx))
}

// readBus asks once.
func (c *Conditions) readBus(ctx context.Context) {
	if c.cfg.Bus == "none" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, busWait)
	defer cancel()
	conn, err := c.dialBus(ctx)
	if err != nil {
		c.log.Debug("the system's bus is not heard", "error", err)
		return
	}
	defer conn.Close()
	c.readInhibitors(ctx, conn)
	c.readMetered(ctx, conn)
}

// watchBus follows the bus until the connection is lost or ctx ends.
func (c *Conditions) watchBus(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	conn, err := c.dialBus(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	const buffer = 16
	signals := make(chan *dbus.Signal, buffer)
	conn.Signal(signals)
	for _, name := range []struct{ name, path string }{{logindName, logindPath}, {networkName, networkPath}} {
		for _, match := range [][]dbus.MatchOption{
			{
				dbus.WithMatchSender(name.name), dbus.WithMatchObjectPath(dbus.ObjectPath(name.path)),
				dbus.WithMatchInterface(busProperties), dbus.WithMatchMember("PropertiesChanged"),
			},
			{
				dbus.WithMatchSender(busDriver), dbus.WithMatchInterface(busDriver),
				dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, name.name),
			},
		} {
			if err := conn.AddMatchSignalContext(ctx, match...); err != nil {
				return err
			}
		}
	}
	c.readInhibitors(ctx, conn)
	c.readMetered(ctx, conn)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case s, ok := <-signals:
			if !ok {
				return errors.New("the bus has closed the connection")
			}
			inhibitors, network := concerns(s)
			if inhibitors {
				c.readInhibitors(ctx, conn)
			}
			if network {
				c.readMetered(ctx, conn)
			}
		}
	}
}

// concerns says what a signal may have changed. Anybody on the bus may send one that looks like these,
// so it is a hint to ask, and no more.
func concerns(s *dbus.Signal) (inhibitors, network bool) {
	if s == nil || len(s.Body) == 0 {
		return false, false
	}
	of, _ := s.Body[0].(string)
	switch s.Name {
	case busDriver + ".NameOwnerChanged":
		return of == logindName, of == networkName
	case busProperties + ".PropertiesChanged":
		return of == logindManager && hasProperty(s.Body, "BlockInhibited"), of == networkName && hasProperty(s.Body, "Metered")
	}
	return false, false
}

// hasProperty reports whether the body of PropertiesChanged names a property, with its value or without.
func hasProperty(body []any, name string) bool {
	if len(body) < 3 {
		return false
	}
	if values, ok := body[1].(map[string]dbus.Variant); ok {
		if _, ok := values[name]; ok {
			return true
		}
	}
	names, ok := body[2].([]string)
	return ok && slices.Contains(names, name)
}

// inhibitor is what logind tells of one.
type inhibitor struct {
	What, Who, Why, Mode string

	UID, PID uint32
}

// readInhibitors asks logind who keeps the machine from sleeping or from counting as idle.
func (c *Conditions) readInhibitors(ctx context.Context, conn *dbus.Conn) {
	var list []inhibitor
	err := callBus(ctx, conn, logindName, logindPath, logindManager+".ListInhibitors").Store(&list)
	inhibited := maybe[bool]{}
	if err == nil {
		inhibited = known(isInhibited(list, uint32(os.Getpid())))
	}
	c.note(func(r *reading) { r.inhibited = inhibited })
}

// isInhibited reports whether somebody else than process own blocks idle or sleep. Those that only delay
// the sleep are on every machine all the time.
func isInhibited(list []inhibitor, own uint32) bool {
	return slices.ContainsFunc(list, func(i inhibitor) bool {
		what := strings.Split(i.What, ":")
		return strings.HasPrefix(i.Mode, "block") && i.PID != own && (slices.Contains(what, "idle") || slices.Contains(what, "sleep"))
	})
}

// readMetered asks NetworkManager whether the network costs.
func (c *Conditions) readMetered(ctx context.Context, conn *dbus.Conn) {
	var v uint32
	err := callBus(ctx, conn, networkName, networkPath, busProperties+".Get", networkName, "Metered").Store(&v)
	metered := maybe[bool]{}
	if err == nil {
		metered = meteredOf(v)
	}
	c.note(func(r *reading) { r.metered = metered })
}

// meteredOf reads NetworkManager's NMMetered. Its guesses count: it makes them for telephones.
func meteredOf(v uint32) maybe[bool] {
	const yes, no, guessYes, guessNo = 1, 2, 3, 4
	switch v {
	case yes, guessYes:
		return known(true)
	case no, guessNo:
		return known(false)
	}
	return maybe[bool]{}
}

// callBus calls a method of a service that runs; it starts none.
func callBus(ctx context.Context, conn *dbus.Conn, name, path, method string, args ...any) *dbus.Call {
	ctx, cancel := context.WithTimeout(ctx, busWait)
	defer cancel()
	return conn.Object(name, dbus.ObjectPath(path)).CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
}
