package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"skua/internal/bus"
	"skua/internal/bus/bustest"
	"skua/internal/natslab"
)

const patience = 2 * time.Minute // for what takes a second

// startCluster starts a cluster of three servers.
func startCluster(t *testing.T) *natslab.Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("builds nats-server")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	bin := t.TempDir()
	if err := natslab.Build(ctx, bin); err != nil {
		t.Fatal(err)
	}
	c, err := natslab.Start(ctx, bin, t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func dialCluster(t *testing.T, c *natslab.Cluster) *bus.Client {
	t.Helper()
	conn, err := bus.DialCluster(bus.ClusterConfig{URLs: c.URLs(), NKeySeed: c.NKey, Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// eventually repeats what a cluster refuses while it has no leader.
func eventually(t *testing.T, what string, try func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func openReplicated(t *testing.T, conn *bus.Client, name string) *bus.StreamLog {
	t.Helper()
	var l *bus.StreamLog
	eventually(t, "open "+name, func(ctx context.Context) (err error) {
		l, err = bus.OpenLog(ctx, conn, bus.LogConfig{Stream: name, Subject: "log." + name, Replicas: 3})
		return err
	})
	return l
}

// patientLog appends again what nobody has heard: servers that choose a leader take nothing.
type patientLog struct {
	*bus.StreamLog
	t *testing.T
}

func (l patientLog) Append(ctx context.Context, expectLast uint64, records [][]byte) (last uint64, err error) {
	l.t.Helper()
	eventually(l.t, "append", func(context.Context) error {
		if last, err = l.StreamLog.Append(ctx, expectLast, records); errors.Is(err, bus.ErrNoResponder) {
			return err
		}
		return nil
	})
	return last, err
}

func (l patientLog) AppendInOrder(ctx context.Context, expectLast uint64, records [][]byte) (last uint64, err error) {
	return l.Append(ctx, expectLast, records)
}

func TestCluster(t *testing.T) {
	c := startCluster(t)
	conn := dialCluster(t, c)
	var logs atomic.Int64
	t.Run("replicated log", func(t *testing.T) {
		bustest.RunLog(t, func(t *testing.T) func() bus.Log {
			name := fmt.Sprint("LOG", logs.Add(1))
			return func() bus.Log { return patientLog{openReplicated(t, conn, name), t} }
		})
	})
	t.Run("bucket", func(t *testing.T) { testBucket(t, conn) })
	t.Run("values expire", func(t *testing.T) { testExpiry(t, conn) })
	t.Run("a server is killed", func(t *testing.T) { testKilledServer(t, c, conn) })
}

func openBucket(t *testing.T, conn *bus.Client, name string, ttl time.Duration) *bus.Bucket {
	t.Helper()
	var b *bus.Bucket
	eventually(t, "open "+name, func(ctx context.Context) (err error) {
		b, err = bus.OpenBucket(ctx, conn, bus.BucketConfig{Name: name, TTL: ttl, Replicas: 3})
		return err
	})
	return b
}

func testBucket(t *testing.T, conn *bus.Client) {
	ctx := t.Context()
	b := openBucket(t, conn, "TABLE", 0)
	if all, err := b.All(ctx); err != nil || len(all) != 0 {
		t.Errorf("a new bucket has %v, %v", all, err)
	}
	if _, _, err := b.Get(ctx, "a"); !errors.Is(err, bus.ErrNoKey) {
		t.Errorf("get what is not there: %v", err)
	}
	first, err := b.Create(ctx, "a", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Create(ctx, "a", []byte("2")); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("create what is there: %v", err)
	}
	second, err := b.Update(ctx, "a", []byte("2"), first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Update(ctx, "a", []byte("3"), first); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("update of an old revision: %v", err)
	}
	if err := b.Delete(ctx, "a", first); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("delete of an old revision: %v", err)
	}
	eventually(t, "read the value", func(ctx context.Context) error {
		all, err := b.All(ctx)
		if err == nil && string(all["a"]) != "2" {
			err = fmt.Errorf("the bucket has %q", all)
		}
		return err
	})
	if err := b.Delete(ctx, "a", second); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := b.Create(ctx, "a", []byte("4")); err != nil {
		t.Errorf("create what was deleted: %v", err)
	}
}

func testExpiry(t *testing.T, conn *bus.Client) {
	b := openBucket(t, conn, "SHORT", time.Second)
	first, err := b.Create(t.Context(), "a", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "create after the first value has expired", func(ctx context.Context) error {
		_, err := b.Create(ctx, "a", []byte("2"))
		return err
	})
	if _, err := b.Update(t.Context(), "a", []byte("3"), first); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("update of what has expired: %v", err)
	}
}

// testKilledServer kills each server in turn while records are appended; each record is in the log once.
func testKilledServer(t *testing.T, c *natslab.Cluster, conn *bus.Client) {
	l := openReplicated(t, conn, "KILLED")
	var want []string
	for round, s := range c.Servers {
		s.Kill()
		for n := range 20 {
			record := fmt.Sprintf("%d.%d", round, n)
			eventually(t, "append "+record, func(ctx context.Context) error {
				// The queue's way: read the end, then add what is not there.
				last, err := l.Last(ctx)
				switch {
				case err != nil:
				case last < uint64(len(want)):
					err = fmt.Errorf("the end is said to be %d, and was %d", last, len(want)) // by a server that does not lead any more
				case last == uint64(len(want)):
					_, err = l.Append(ctx, last, [][]byte{[]byte(record)})
				}
				return err
			})
			want = append(want, record)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := s.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	var got []string
	eventually(t, "read", func(ctx context.Context) error {
		got = nil
		return l.Read(ctx, 1, func(_ uint64, data []byte) error {
			got = append(got, string(data))
			return nil
		})
	})
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the log has %q, want %q", got, want)
	}
}
