package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"skua/internal/diag"
)

// Of the watch over the store.
const (
	lookEvery   = 500 * time.Millisecond
	longestRest = 10 * time.Second // between two attempts to mend it
)

// watchStore looks after JetStream until ctx ends. A stream of which one write has failed, because the disk was full or
// gave an error, takes nothing any more, and says nothing to those who wait: it works again only when it has been
// read anew from the disk. That is done here, as often as needed, so that a disk that has room again is all that
// it takes. Connections stay.
func (b *Broker) watchStore(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	rest := lookEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		trouble := b.storeTrouble()
		if trouble == "" {
			rest = lookEvery
			continue
		}
		log.Warn("the store is read anew, since it cannot be written", diag.KeyError, trouble)
		if err := b.reopenStore(); err != nil {
			log.Warn("the store cannot be opened for now", diag.KeyError, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(rest):
		}
		rest = min(2*rest, longestRest)
	}
}

// storeTrouble says why JetStream takes nothing; "" when it does.
func (b *Broker) storeTrouble() string {
	if !b.srv.JetStreamEnabled() {
		return "it is not open"
	}
	if gone := b.goneStreams(); len(gone) > 0 {
		return fmt.Sprintf("of its streams %q could not be read again", gone)
	}
	for _, e := range b.srv.Healthz(&server.HealthzOptions{Details: true}).Errors {
		// What else it may find wrong, such as a stream that cannot be recovered, is not mended by reading it again.
		if e.Type == server.HealthzErrorStream && strings.Contains(e.Error, "write error") {
			return e.Error
		}
	}
	return ""
}

// goneStreams names the streams that were there before the store was last closed, and are not now: a disk that
// gives errors for a little longer lets the store be opened without them, and nobody would ever answer for
// them.
func (b *Broker) goneStreams() []string {
	if len(b.streams) == 0 {
		return nil
	}
	there := b.openStreams()
	gone := slices.DeleteFunc(slices.Clone(b.streams), func(name string) bool { return slices.Contains(there, name) })
	if len(gone) == 0 {
		b.streams = nil
	}
	return gone
}

// openStreams names the streams that the store has open.
func (b *Broker) openStreams() []string {
	state, err := b.srv.Jsz(&server.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		return nil
	}
	var names []string
	for _, account := range state.AccountDetails {
		for _, stream := range account.Streams {
			names = append(names, account.Name+" "+stream.Name)
		}
	}
	return names
}

func (b *Broker) reopenStore() error {
	for _, name := range b.openStreams() {
		if !slices.Contains(b.streams, name) {
			b.streams = append(b.streams, name)
		}
	}
	if err := b.srv.ShutdownJetStream(); err != nil {
		return err
	}
	cfg := b.store
	err := b.srv.EnableJetStream(&cfg)
	if err != nil {
		// What could be opened of it counts as open, and would answer nobody.
		err = errors.Join(err, b.srv.ShutdownJetStream())
	}
	return err
}
