package probe

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"skua/agent/rhythm"
	"skua/agent/sysbus"
	"skua/internal/pause"
)

// Names on the system's bus.
const (
	logindName, logindPath, logindManager = "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"

	networkName, networkPath = "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"
)

// After the bus is lost or not there, and then for longer and longer: twice as long each time, so that it comes to be on
// the beats of what an idle agent does.
const (
	busAgainFirst = lookIdle / 32
	busAgainLast  = 2 * lookIdle
)

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

// readBus asks once.
func (c *Conditions) readBus(ctx context.Context) {
	if c.cfg.Bus == "none" {
		return
	}
	conn, err := sysbus.Dial(ctx, sysbus.SystemAddress(c.cfg.Bus), newHints())
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
	h := newHints()
	conn, err := sysbus.Dial(ctx, sysbus.SystemAddress(c.cfg.Bus), h)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, service := range []struct{ name, path string }{{logindName, logindPath}, {networkName, networkPath}} {
		changed := []dbus.MatchOption{
			dbus.WithMatchSender(service.name), dbus.WithMatchObjectPath(dbus.ObjectPath(service.path)),
			dbus.WithMatchInterface(sysbus.Properties), dbus.WithMatchMember("PropertiesChanged"),
		}
		if err := sysbus.Subscribe(ctx, conn, changed, sysbus.OwnerOf(service.name)); err != nil {
			return err
		}
		if owner, err := sysbus.Owner(ctx, conn, service.name); err == nil {
			h.owns(service.name, owner)
		}
	}
	c.readInhibitors(ctx, conn)
	c.readMetered(ctx, conn)
	return h.follow(ctx, conn.Context().Done(), c.busHoldOff, func(inhibitors, network bool) {
		if inhibitors {
			c.readInhibitors(ctx, conn)
		}
		if network {
			c.readMetered(ctx, conn)
		}
	})
}

// hints are what signals say may have changed. Anybody on the bus may send as many as they like that look
// like these, so those of others than logind, NetworkManager and the bus itself are none, and those are a hint to
// ask and no more. However many come, nothing of them is kept but that there were any.
type hints struct {
	wake chan struct{} // has a value when what follows has something

	mu                  sync.Mutex        // guards what follows
	owners              map[string]string // by the service's name, its own on the bus; "" when it has left
	inhibitors, network bool
}

func newHints() *hints { return &hints{wake: make(chan struct{}, 1), owners: make(map[string]string)} }

// owns takes the answer to the question who owns a name, unless a signal has told since.
func (h *hints) owns(name, owner string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, told := h.owners[name]; !told {
		h.owners[name] = owner
	}
}

// DeliverSignal implements [dbus.SignalHandler].
func (h *hints) DeliverSignal(iface, member string, s *dbus.Signal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	of, _ := argument[string](s, 0)
	switch {
	case s.Sender == "":
		return
	case s.Sender == sysbus.Driver && iface == sysbus.Driver && member == sysbus.OwnerChange:
		if of != logindName && of != networkName {
			return
		}
		h.owners[of], _ = argument[string](s, 2)
		h.inhibitors, h.network = h.inhibitors || of == logindName, h.network || of == networkName
	case iface != sysbus.Properties || member != "PropertiesChanged":
		return
	case s.Sender == h.owners[logindName] && of == logindManager && hasProperty(s.Body, "BlockInhibited"):
		h.inhibitors = true
	case s.Sender == h.owners[networkName] && of == networkName && hasProperty(s.Body, "Metered"):
		h.network = true
	default:
		return
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// follow has ask called for what may have changed, and then not within holdOff again, until ctx ends or the
// connection is closed.
func (h *hints) follow(ctx context.Context, closed <-chan struct{}, holdOff time.Duration, ask func(inhibitors, network bool)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-closed:
			return errors.New("the bus has closed the connection")
		case <-h.wake:
		}
		h.mu.Lock()
		inhibitors, network := h.inhibitors, h.network
		h.inhibitors, h.network = false, false
		h.mu.Unlock()
		ask(inhibitors, network)
		if err := pause.For(ctx, holdOff); err != nil {
			return err
		}
	}
}

// argument gives the i-th argument of a signal, if it is of that type.
func argument[T any](s *dbus.Signal, i int) (v T, ok bool) {
	if i >= len(s.Body) {
		return v, false
	}
	v, ok = s.Body[i].(T)
	return v, ok
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
	err := sysbus.Call(ctx, conn, logindName, logindPath, logindManager+".ListInhibitors").Store(&list)
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
	err := sysbus.Call(ctx, conn, networkName, networkPath, sysbus.Properties+".Get", networkName, "Metered").Store(&v)
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
