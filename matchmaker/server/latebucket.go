package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"skua/internal/bus"
)

// lateBucket is a table of the message bus that is made when there is first something to put into it: a pool that does
// without has none. Where several matchmakers share a cluster the table is there, for all of them.
type lateBucket struct {
	conn     *bus.Client
	name     string
	replicas int // 0 means 1

	mu     sync.Mutex  // guards what follows
	table  *bus.Bucket // nil until it is found
	looked time.Time   // for the table, in vain
}

// lookAgain: thousands of agents that ask at once do not have a table looked for as often. It is less than agents
// wait that are told of a new policy, which another matchmaker may have made the table for.
const lookAgain = 500 * time.Millisecond

// find gives the table, nil if there is none yet.
func (b *lateBucket) find(ctx context.Context) (*bus.Bucket, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.table != nil || time.Since(b.looked) < lookAgain {
		return b.table, nil
	}
	table, err := bus.FindBucket(ctx, b.conn, b.name)
	if errors.Is(err, bus.ErrNoBucket) {
		b.looked = time.Now()
		return nil, nil
	}
	b.table = table // nil after an error
	return table, err
}

// open gives the table, and makes it if there is none.
func (b *lateBucket) open(ctx context.Context) (*bus.Bucket, error) {
	table, err := b.find(ctx)
	if err != nil || table != nil {
		return table, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	table, err = bus.OpenBucket(ctx, b.conn, bus.BucketConfig{Name: b.name, Replicas: b.replicas})
	b.table = table // nil after an error
	return table, err
}

// get gives the value of a key with its revision in the table, which is 0 for none.
func (b *lateBucket) get(ctx context.Context, key string) ([]byte, uint64, error) {
	table, err := b.find(ctx)
	if err != nil || table == nil {
		return nil, 0, err
	}
	data, revision, err := table.Get(ctx, key)
	if errors.Is(err, bus.ErrNoKey) {
		return nil, 0, nil
	}
	return data, revision, err
}
