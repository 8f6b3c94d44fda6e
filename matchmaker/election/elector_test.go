package election

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/bus"
)

// table is a bucket with one key, in a bubble's time.
type table struct {
	mu       sync.Mutex // guards what follows
	value    []byte
	revision uint64
	written  time.Time
	ttl      time.Duration
}

func (b *table) live() bool { return b.value != nil && time.Since(b.written) < b.ttl }

func (b *table) write(value []byte, ok func() bool) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !ok() {
		return 0, bus.ErrConflict
	}
	b.revision++
	b.value, b.written = value, time.Now()
	return b.revision, nil
}

func (b *table) Create(_ context.Context, _ string, value []byte) (uint64, error) {
	return b.write(value, func() bool { return !b.live() })
}

func (b *table) Update(_ context.Context, _ string, value []byte, revision uint64) (uint64, error) {
	return b.write(value, func() bool { return b.live() && b.revision == revision })
}

func (b *table) Delete(_ context.Context, _ string, revision uint64) error {
	_, err := b.write(nil, func() bool { return b.live() && b.revision == revision })
	return err
}

func (b *table) Get(context.Context, string) ([]byte, uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.live() {
		return nil, 0, bus.ErrNoKey
	}
	return b.value, b.revision, nil
}

// far is a table behind a bad network: messages are slow, and are lost on either way.
type far struct {
	*table
	loss    float64
	delay   time.Duration // at most, each way
	severed *atomic.Bool
	random  *rand.Rand
	mu      sync.Mutex // guards random
}

var errLost = errors.New("lost")

func (f *far) trip(ctx context.Context) error {
	f.mu.Lock()
	lost := f.random.Float64() < f.loss
	wait := time.Duration(f.random.Int64N(int64(f.delay) + 1))
	f.mu.Unlock()
	if lost || f.severed.Load() {
		<-ctx.Done()
		return errLost
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return errLost
	}
}

func call[A any](ctx context.Context, f *far, do func() (A, error)) (A, error) {
	var none A
	if err := f.trip(ctx); err != nil {
		return none, err
	}
	a, err := do()
	if lost := f.trip(ctx); lost != nil {
		return none, lost
	}
	return a, err
}

func (f *far) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	return call(ctx, f, func() (uint64, error) { return f.table.Create(ctx, key, value) })
}

func (f *far) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return call(ctx, f, func() (uint64, error) { return f.table.Update(ctx, key, value, revision) })
}

func (f *far) Delete(ctx context.Context, key string, revision uint64) error {
	_, err := call(ctx, f, func() (bool, error) { return true, f.table.Delete(ctx, key, revision) })
	return err
}

// candidates are matchmakers that take part, and a count of those that lead.
type candidates struct {
	t       *testing.T
	leading atomic.Int32
	terms   atomic.Int32
	now     atomic.Value // the name of the one that leads, or led last
}

func (c *candidates) join(ctx context.Context, keys Keys, name string, lead func(context.Context) error) <-chan error {
	e, err := New(Config{
		Keys: keys, Key: "leader", Name: name, TTL: ttl,
		Lead: func(ctx context.Context) error {
			if n := c.leading.Add(1); n != 1 {
				c.t.Errorf("%d lead at once", n)
			}
			c.terms.Add(1)
			c.now.Store(name)
			defer c.leading.Add(-1)
			return lead(ctx)
		},
		Follow: untilEnd,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return done
}

func untilEnd(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestOneLeads(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				keys := &table{ttl: ttl}
				c := &candidates{t: t}
				ctx, cancel := context.WithCancel(t.Context())
				var all []<-chan error
				var cables []*atomic.Bool
				for i := range 3 {
					f := &far{table: keys, loss: 0.1, delay: ttl / 8, severed: &atomic.Bool{}, random: rand.New(rand.NewPCG(seed, uint64(i)+2))}
					cables = append(cables, f.severed)
					all = append(all, c.join(ctx, f, fmt.Sprint("m", i), untilEnd))
				}
				for range 200 { // cables are pulled and put in again
					time.Sleep(time.Duration(random.Int64N(int64(ttl))))
					cable := cables[random.IntN(3)]
					cable.Store(!cable.Load())
				}
				for _, cable := range cables {
					cable.Store(false)
				}
				before := c.terms.Load()
				if before < 5 {
					t.Errorf("only %d terms", before)
				}
				time.Sleep(10 * ttl)
				if c.terms.Load() == before && c.leading.Load() != 1 {
					t.Error("with good cables nobody leads")
				}
				cancel()
				for _, done := range all {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
				if n := c.leading.Load(); n != 0 {
					t.Errorf("%d lead on after the end", n)
				}
			})
		})
	}
}

func TestHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := &table{ttl: ttl}
		c := &candidates{t: t}
		first, stop := context.WithCancel(t.Context())
		done := c.join(first, keys, "first", untilEnd)
		synctest.Wait()
		second, stopSecond := context.WithCancel(t.Context())
		doneSecond := c.join(second, keys, "second", untilEnd)
		time.Sleep(10 * ttl)
		if got := c.now.Load(); got != "first" || c.terms.Load() != 1 {
			t.Fatalf("%v leads after %d terms, want the first all the time", got, c.terms.Load())
		}
		stop()
		<-done
		time.Sleep(ttl / 8) // the key is given back: no need to wait for its end
		synctest.Wait()
		if got := c.now.Load(); got != "second" || c.leading.Load() != 1 {
			t.Errorf("%v leads, want the second", got)
		}
		stopSecond()
		<-doneSecond
	})
}

func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := &table{ttl: ttl}
		c := &candidates{t: t}
		broken := errors.New("broken")
		if err := <-c.join(t.Context(), keys, "breaks", func(context.Context) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("leading failed, and the election ended with %v", err)
		}
		if keys.live() {
			t.Error("the key is still there after the election")
		}
	})
}

// One whose leading ends by itself lets another lead.
func TestResignation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := &table{ttl: ttl}
		c := &candidates{t: t}
		ctx, cancel := context.WithCancel(t.Context())
		first := c.join(ctx, keys, "first", func(context.Context) error { return nil })
		synctest.Wait()
		second := c.join(ctx, keys, "second", untilEnd)
		time.Sleep(2 * ttl)
		if got := c.now.Load(); got != "second" || c.leading.Load() != 1 {
			t.Errorf("%v leads, want the second", got)
		}
		cancel()
		<-first
		<-second
	})
}
