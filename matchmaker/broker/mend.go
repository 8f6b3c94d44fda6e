package broker

import (
	"context"
	"errors"
	"log/slog"
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
	for _, e := range b.srv.Healthz(&server.HealthzOptions{Details: true}).Errors {
		// What else it may find wrong, such as a stream that cannot be recovered, is not mended by reading it again.
		if e.Type == server.HealthzErrorStream && strings.Contains(e.Error, "write error") {
			return e.Error
		}
	}
	return ""
}

func (b *Broker) reopenStore() error {
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
