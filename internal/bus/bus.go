// Package bus carries messages between the programs of a pool, and keeps the durable log in which a
// matchmaker's queue lives.
//
// There are two buses with one behaviour, which the suite in bustest pins down: [Client] speaks NATS,
// [Hub] connects the parts of a simulated pool within one process. Messages are opaque bytes on named
// subjects. Delivery is at most once: what is published while a connection is down, or to nobody, is
// gone, and whoever needs an answer uses Request. The package does not retry, does not decode, and
// keeps nothing for later.
//
// It is the only package that imports nats.go.
package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"skua/internal/wire"
)

// Conn is one participant's connection. Its methods may be called from any goroutine.
type Conn interface {
	// Publish sends data to whoever listens to subject right now. It does not wait for anybody.
	Publish(subject string, data []byte) error

	// Subscribe has h called for each message on subject, in which * stands for one token and a last >
	// for one or more. The calls of one subscription come one after another, in the order of arrival,
	// on a goroutine of their own. When Subscribe returns while the connection is up, no message that
	// is published later is missed. A subscription survives a lost connection.
	Subscribe(subject string, h func(Msg)) (Subscription, error)

	// Request publishes data and waits for one answer until ctx ends. It fails at once with
	// [ErrNoResponder] when nobody listens, and with [ErrDisconnected] when the connection is down; a
	// request that is lost on its way ends with ctx.
	Request(ctx context.Context, subject string, data []byte) ([]byte, error)

	// Flush waits until what was published has reached the server, whose answer also shows that it is there. One that
	// does not answer is given up for a new connection.
	Flush(ctx context.Context) error

	// ForceReconnect gives the connection up and makes a new one at once. It is for a machine that wakes
	// from sleep: its connection is most likely dead, and nothing else may find that out soon.
	ForceReconnect() error

	// Reconnected receives a value whenever the connection has come up, the first time included. Values
	// that nobody has fetched are merged into one, so there should be one receiver.
	Reconnected() <-chan struct{}

	// Close ends the subscriptions and waits for handlers that run. A handler must not call it.
	Close() error
}

// Subscription is what [Conn.Subscribe] has set up.
type Subscription interface {
	// Unsubscribe ends the subscription. A handler that has begun may still run when it returns;
	// no further one begins. A handler may call it.
	Unsubscribe() error
}

// Msg is a message as a handler sees it. Data is the handler's to keep.
type Msg struct {
	Subject string
	Data    []byte
	Reply   func([]byte) error // answers a request; nil when no answer is wanted
}

// Errors of connections.
var (
	ErrNoResponder  = errors.New("nobody listens")
	ErrDisconnected = errors.New("not connected")
	ErrClosed       = errors.New("the connection is closed")
	ErrRefused      = errors.New("the matchmaker refuses this key")
	ErrForbidden    = errors.New("the matchmaker does not let this key do that")
	ErrNoAnswer     = errors.New("no server answers")
	ErrTooLarge     = errors.New("the message is too large")
)

// InboxPrefix begins the subjects on which the member with this id gets its answers. The broker lets
// nobody else listen there. An enrolling stranger uses its public key as id.
func InboxPrefix(id string) string { return "_INBOX_" + id }

// checkMessage refuses what no bus carries: it would be lost, or end the connection, without a word.
func checkMessage(subject string, data []byte) error {
	if err := checkSubject(subject); err != nil {
		return err
	}
	if strings.ContainsAny(subject, "*>") {
		return fmt.Errorf("subject %q is a pattern", subject)
	}
	if len(data) > wire.MaxMessage {
		return fmt.Errorf("%d bytes, at most %d are carried: %w", len(data), wire.MaxMessage, ErrTooLarge)
	}
	return nil
}

// checkSubject accepts tokens separated by single dots, and wildcards that are whole tokens.
func checkSubject(subject string) error {
	tokens := strings.Split(subject, ".")
	for i, tok := range tokens {
		wild := strings.ContainsAny(tok, "*>")
		switch {
		case tok == "" || strings.ContainsAny(tok, " \t\r\n\x00"):
			return fmt.Errorf("subject %q has an empty token or a blank", subject)
		case wild && len(tok) > 1, tok == ">" && i < len(tokens)-1:
			return fmt.Errorf("subject %q has a misplaced wildcard", subject)
		}
	}
	return nil
}

// matches says whether a literal subject is covered by a pattern.
func matches(pattern, subject string) bool {
	for {
		p, restP, moreP := strings.Cut(pattern, ".")
		s, restS, moreS := strings.Cut(subject, ".")
		if p == ">" {
			return true
		}
		if p != "*" && p != s || moreP != moreS {
			return false
		}
		if !moreP {
			return true
		}
		pattern, subject = restP, restS
	}
}
