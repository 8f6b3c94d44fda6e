package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// BucketConfig names a bucket.
type BucketConfig struct {
	Name     string        // of JetStream, such as SKUA_LEADER; required
	TTL      time.Duration // after which a value that is not written again is gone; 0 means never
	Replicas int           // 0 means 1
}

// Bucket is a small table of values that the members of a cluster share. It is for what must be agreed on or known,
// not for what there is much of.
type Bucket struct {
	kv jetstream.KeyValue
}

// Errors of buckets.
var (
	ErrNoKey    = errors.New("the key has no value")
	ErrNoBucket = errors.New("there is no such bucket")
	// ErrConflict means that somebody else has written, and that nothing was changed.
	ErrConflict = errors.New("the value has been written by somebody else")
)

// OpenBucket opens a bucket, and makes it when it is not there.
func OpenBucket(ctx context.Context, c *Client, cfg BucketConfig) (*Bucket, error) {
	ctx, cancel := context.WithTimeout(ctx, replicaTimeout)
	defer cancel()
	js, err := jetstream.New(c.nc)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", cfg.Name, err)
	}
	kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: cfg.Name, TTL: cfg.TTL, Replicas: max(cfg.Replicas, 1), Storage: jetstream.FileStorage, History: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", cfg.Name, translate(err))
	}
	return &Bucket{kv}, nil
}

// FindBucket opens a bucket that is there. When it is not, that is [ErrNoBucket].
func FindBucket(ctx context.Context, c *Client, name string) (*Bucket, error) {
	js, err := jetstream.New(c.nc)
	if err != nil {
		return nil, fmt.Errorf("find bucket %s: %w", name, err)
	}
	var kv jetstream.KeyValue
	err = askAgain(ctx, func(ctx context.Context) (err error) {
		kv, err = js.KeyValue(ctx, name)
		return err
	})
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		err = ErrNoBucket
	}
	if err != nil {
		return nil, fmt.Errorf("find bucket %s: %w", name, translate(err))
	}
	return &Bucket{kv}, nil
}

// Create gives a key that has none a value, and returns its revision. When it has one, that is [ErrConflict]. After
// any other error it may have happened.
func (b *Bucket) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, replicaTimeout)
	defer cancel()
	rev, err := b.kv.Create(ctx, key, value)
	return rev, bucketError("create", key, err)
}

// Update replaces the value that has the given revision, and returns the new revision. When there is another one, or
// none, that is [ErrConflict]. After any other error it may have happened.
func (b *Bucket) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, replicaTimeout)
	defer cancel()
	rev, err := b.kv.Update(ctx, key, value, revision)
	return rev, bucketError("update", key, err)
}

// Put gives a key a value, whatever it has.
func (b *Bucket) Put(ctx context.Context, key string, value []byte) error {
	_, err := b.kv.Put(ctx, key, value)
	return bucketError("put", key, err)
}

// Get gives a key's value and its revision. The value may be one that has been replaced a moment ago.
func (b *Bucket) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	var e jetstream.KeyValueEntry
	err = askAgain(ctx, func(ctx context.Context) (err error) {
		e, err = b.kv.Get(ctx, key)
		return err
	})
	if err != nil {
		return nil, 0, bucketError("get", key, err)
	}
	return e.Value(), e.Revision(), nil
}

// Delete removes the value that has the given revision, else it is [ErrConflict].
func (b *Bucket) Delete(ctx context.Context, key string, revision uint64) error {
	return bucketError("delete", key, b.kv.Delete(ctx, key, jetstream.LastRevision(revision)))
}

// All gives the values of all keys, as [Bucket.Get] does.
func (b *Bucket) All(ctx context.Context) (map[string][]byte, error) {
	var keys []string
	err := askAgain(ctx, func(ctx context.Context) (err error) {
		keys, err = b.kv.Keys(ctx)
		return err
	})
	if errors.Is(err, jetstream.ErrNoKeysFound) {
		return nil, nil
	}
	if err != nil {
		return nil, bucketError("list", "keys", err)
	}
	all := map[string][]byte{}
	for _, key := range keys {
		value, _, err := b.Get(ctx, key)
		if errors.Is(err, ErrNoKey) {
			continue // gone since
		}
		if err != nil {
			return nil, err
		}
		all[key] = value
	}
	return all, nil
}

// askAgain asks a question until it is answered or ctx ends: servers that have no leader yet do not answer at all, and
// a question that has been lost so is not answered later either.
func askAgain(ctx context.Context, ask func(context.Context) error) error {
	for {
		one, cancel := context.WithTimeout(ctx, replicaTimeout)
		err := ask(one)
		unanswered := one.Err() != nil
		cancel()
		if err == nil || !unanswered || ctx.Err() != nil {
			return err
		}
	}
}

func bucketError(op, key string, err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrKeyExists):
		err = ErrConflict
	case errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant):
		err = ErrConflict
	case errors.Is(err, jetstream.ErrKeyNotFound):
		err = ErrNoKey
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		err = ErrNoResponder
	default:
		err = translate(err)
	}
	return fmt.Errorf("%s %s: %w", op, key, err)
}
