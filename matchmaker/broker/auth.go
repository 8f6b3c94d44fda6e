package broker

import (
	"encoding/base64"
	"log/slog"
	"net"
	"reflect"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/internal/wire"
)

const (
	// A stranger is a key that is not in the roster. Anybody on the network can make one up, so they are
	// few at a time and do not stay.
	maxStrangers = 256
	strangerStay = 2 * time.Minute

	replyWithin = time.Minute // how long an agent may take to answer an offer
)

// authenticator admits connections. The server calls Check once for each, from many goroutines.
type authenticator struct {
	roster Roster
	log    *slog.Logger
	alive  func(id uint64) bool // is this connection still there?

	mu        sync.Mutex
	strangers map[uint64]struct{} // guarded by mu; ids of strangers' connections, some ended
}

// inProcessAddr is the type of address that only an in-process connection has. The absence of TLS
// would not do as a mark: the websocket listener on loopback has none either, and any local program
// can connect to it.
var inProcessAddr = func() reflect.Type {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	return reflect.TypeOf(a.RemoteAddr())
}()

// Check implements server.Authentication.
func (a *authenticator) Check(c server.ClientAuthentication) bool {
	if c.Kind() != server.CLIENT {
		return false // no routes, gateways or leaf nodes
	}
	if addr := c.RemoteAddress(); addr != nil && reflect.TypeOf(addr) == inProcessAddr {
		c.RegisterUser(&server.User{Username: "matchmaker"})
		return true
	}
	opts := c.GetOpts()
	sig, err := base64.RawURLEncoding.DecodeString(opts.Sig)
	if err != nil || trust.VerifySignature(opts.Nkey, c.GetNonce(), sig) != nil {
		return false
	}
	m, known := a.roster.Lookup(opts.Nkey)
	user := &server.User{Username: opts.Nkey}
	switch {
	case m.Revoked:
		a.log.Info("refused a revoked key", "key", opts.Nkey, "name", m.Name, "id", m.ID)
		return false
	case !known:
		if !a.admitStranger(c.GetID()) {
			a.log.Warn("refused a stranger, too many are connected", "key", opts.Nkey, diag.KeyMachine, addrText(c))
			return false
		}
		user.ConnectionDeadline = time.Now().Add(strangerStay)
	}
	user.Permissions = permissions(m, opts.Nkey)
	c.RegisterUser(user)
	return true
}

func addrText(c server.ClientAuthentication) string {
	if addr := c.RemoteAddress(); addr != nil {
		return addr.String()
	}
	return ""
}

// admitStranger counts a stranger's connection, unless there are too many.
func (a *authenticator) admitStranger(id uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.strangers) >= maxStrangers {
		for old := range a.strangers {
			if !a.alive(old) {
				delete(a.strangers, old)
			}
		}
	}
	if len(a.strangers) >= maxStrangers {
		return false
	}
	if a.strangers == nil {
		a.strangers = map[uint64]struct{}{}
	}
	a.strangers[id] = struct{}{}
	return true
}

// permissions says what the holder of key may do. m is the zero Member for a stranger.
//
// Everybody may ask to be enrolled, and has an inbox by its key for the answer. A member keeps both, and has another
// inbox, by its id, for the answers to what it asks as a member. That none is wanted elsewhere the bus sees to.
func permissions(m trust.Member, key string) *server.Permissions {
	publish := []string{wire.EnrolSubject(key)}
	subscribe := []string{bus.InboxPrefix(key) + ".>"}
	p := &server.Permissions{}
	if m.Active() {
		subscribe = append(subscribe, bus.InboxPrefix(m.ID)+".>")
		switch m.Kind {
		case trust.Agent:
			id := job.AgentID(m.ID)
			publish = append(publish, wire.AdSubject(id), wire.HeartbeatSubject(id), wire.AgentSubject(id, ">"))
			subscribe = append(subscribe, wire.OfferSubject(id), wire.ControlSubject(id), wire.ControlSubject(wire.AllAgents))
			// One answer to each message that came with an inbox, and no more.
			p.Response = &server.ResponsePermission{MaxMsgs: 1, Expires: replyWithin}
		case trust.User:
			id := job.UserID(m.ID)
			publish = append(publish, wire.UserSubject(id, ">"))
			subscribe = append(subscribe, "skua.note."+m.ID+".>")
		}
	}
	p.Publish = &server.SubjectPermission{Allow: publish}
	p.Subscribe = &server.SubjectPermission{Allow: subscribe}
	return p
}
