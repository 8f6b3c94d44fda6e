package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
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
	for _, e := range b.srv.Healthz(&server.HealthzOptions{Details: true}).Errors {
		// What else it may find wrong, such as a stream that cannot be recovered, is not mended by reading it again.
		if e.Type == server.HealthzErrorStream && strings.Contains(e.Error, "write error") {
			return e.Error
		}
	}
	return ""
}

// reopenStore reads the store anew.
func (b *Broker) reopenStore() error {
	if err := b.srv.ShutdownJetStream(); err != nil {
		return err
	}
	// Whatever an opening leaves in the server, such as those who serve its API, stays there when the store is closed: there
	// is none while it cannot go well.
	if err := tryDisk(b.guard.dir); err != nil {
		return fmt.Errorf("the disk is not well: %w", err)
	}
	if err := b.guard.raise(); err != nil {
		return err
	}
	// The server (2.15.2) replaces the queues of its API without its lock. Those that serve the queues of the last opening
	// have looked for them under it; to take it here makes the two follow each other.
	b.srv.NonceRequired()
	cfg := b.store
	if err := b.srv.EnableJetStream(&cfg); err != nil {
		// What could be opened of it counts as open, and would answer nobody.
		return errors.Join(err, b.srv.ShutdownJetStream())
	}
	return b.checkStreams()
}

// tryDisk writes a little into a directory, and takes it away again.
func tryDisk(dir string) error {
	f, err := os.CreateTemp(dir, "try-")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 64<<10))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

// checkStreams lets go of the store's files if all its streams are there still, and otherwise closes the
// store and gives them back.
func (b *Broker) checkStreams() error {
	// Not what is on the disk counts: the server may still be about to delete it.
	open := b.openStreams()
	lost := slices.DeleteFunc(b.guard.held(), func(name string) bool { return slices.Contains(open, name) })
	if len(lost) == 0 {
		return b.guard.lower()
	}
	return errors.Join(fmt.Errorf("of its streams %q could not be opened", lost), b.srv.ShutdownJetStream(), b.guard.restore())
}

// openStreams names the streams that the store has open, each with its account before it.
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

// openings is how often a store that has just been started is opened until a stream that cannot be opened counts as
// damaged.
const openings = 4

// settleStore sees to it that a store that has just been started has all its streams. A disk that gives errors is
// waited for, for a little while. A stream that cannot be opened even so is left as it is.
func (b *Broker) settleStore(ctx context.Context, log *slog.Logger) error {
	err := b.checkStreams()
	rest := lookEvery
	for n := 1; err != nil && n < openings; n++ {
		log.Warn("the store cannot be opened for now", diag.KeyError, err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rest):
		}
		rest *= 2
		err = b.reopenStore()
	}
	if err != nil {
		return &diag.Problem{
			What: "the bus's store cannot be opened: " + err.Error(),
			Hint: "if its disk is well, it is damaged: skua-matchmaker log verify says how, and log repair makes it anew of its copy",
			Err:  err,
		}
	}
	return nil
}
