// Package submittest gives tests a matchmaker to talk to: the real core, queue and file service in this
// process, on a bus in memory. There are no machines; what would happen on one is said by the test.
//
// It is for tests only, and nothing that ships imports it.
package submittest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/transfer"
	"skua/internal/trust"
	"skua/internal/wire"
	"skua/matchmaker/files"
	"skua/matchmaker/queue"
	"skua/matchmaker/server"
	"skua/submit/client"
)

// User is the id of the pool's user.
const User job.UserID = "u1"

// Pool is a pool without machines.
type Pool struct {
	Hub   *bus.Hub
	Queue *queue.Queue

	runtimes atomic.Pointer[[]wire.RuntimeRow]

	t     testing.TB
	key   *trust.CapabilityKey
	store *blob.Store
	files *transfer.Client
}

// Start starts a pool that ends with the test.
func Start(t testing.TB) *Pool {
	t.Helper()
	p := &Pool{Hub: bus.NewMemory(), t: t}
	p.runtimes.Store(&[]wire.RuntimeRow{})
	var err error
	if p.key, err = trust.OpenCapabilityKey(t.TempDir() + "/key"); err != nil {
		t.Fatal(err)
	}
	if p.store, err = blob.OpenStore(blob.StoreConfig{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	service, err := files.New(files.Config{Store: p.store, Authorise: p.authorise, DiskFloor: -1})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(service)
	t.Cleanup(web.Close)
	if p.files, err = transfer.New(transfer.Config{BaseURL: web.URL, HTTP: web.Client()}); err != nil {
		t.Fatal(err)
	}
	if p.Queue, err = queue.Open(t.Context(), queue.Config{Log: bus.NewMemoryLog(), Tables: p.store}); err != nil {
		t.Fatal(err)
	}
	conn := p.Hub.Connect("matchmaker")
	start := time.Now()
	core, err := server.New(server.Config{
		Bus: conn, Queue: p.Queue, Roster: roster{}, Sign: p.key.Encode, Held: service.Has,
		Clock:    func() job.Instant { return job.Instant(time.Since(start)) },
		ImageKey: func(job.ID) blob.Key { return blob.Key{} },
		Runtimes: func(context.Context) ([]wire.RuntimeRow, error) { return *p.runtimes.Load(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- core.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the matchmaker ended with %v", err)
		}
		conn.Close()
	})
	p.await("the matchmaker listens", func() bool {
		c := p.Client(client.Config{})
		defer c.Close()
		_, _, err := c.Jobs(t.Context(), wire.Selection{})
		return err == nil
	})
	return p
}

// Client gives a client of the pool's user. What cfg leaves out is filled in.
func (p *Pool) Client(cfg client.Config) *client.Client {
	p.t.Helper()
	cfg.User, cfg.Conn = User, p.Hub.Connect("user")
	cfg.Files = func() (client.Files, error) { return p.files, nil }
	c, err := client.New(cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// Commit makes things happen, as they would when agents and users send messages.
func (p *Pool) Commit(bodies ...job.Body) {
	p.t.Helper()
	if err := p.Queue.Commit(p.t.Context(), bodies...); err != nil {
		p.t.Fatal(err)
	}
}

// Begin has a machine accept a job and run it.
func (p *Pool) Begin(id job.ID, machine string) job.Epoch {
	p.t.Helper()
	j, ok := p.Queue.Job(id)
	if !ok {
		p.t.Fatalf("there is no job %v", id)
	}
	e := j.Epoch + 1
	p.Commit(&job.Offered{Job: id, Claim: job.ClaimID("c" + id.String()), Epoch: e, Agent: "a1", Slot: "slot1@" + machine, Machine: machine})
	p.Commit(&job.Started{Job: id, Epoch: e})
	return e
}

// Finish has a job that runs end with these files as its outputs.
func (p *Pool) Finish(id job.ID, exit int, outputs map[string]string) {
	p.t.Helper()
	j, ok := p.Queue.Job(id)
	if !ok {
		p.t.Fatalf("there is no job %v", id)
	}
	write, err := p.key.Encode(trust.Capability{User: string(User), Mode: trust.Write, Expires: time.Now().Add(time.Minute)})
	if err != nil {
		p.t.Fatal(err)
	}
	r := job.Result{ExitCode: exit, Usage: job.Usage{UserCPU: 3 * time.Second, Wall: 4 * time.Second, MaxRSS: 20 << 20}}
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		data := []byte(outputs[name])
		d := blob.Sum(data)
		if err := p.files.Put(p.t.Context(), write, d, int64(len(data)), bytes.NewReader(data), nil); err != nil {
			p.t.Fatal(err)
		}
		r.Outputs = append(r.Outputs, job.File{Name: name, Digest: d, Size: int64(len(data)), Mode: 0o644})
	}
	p.Commit(&job.Ended{Job: id, Epoch: j.Epoch, Result: r})
}

// NameRuntimes makes these all the runtime roots that the pool has, by name with what is in the archive.
func (p *Pool) NameRuntimes(archives map[string]string) {
	p.t.Helper()
	var rows []wire.RuntimeRow
	for _, name := range slices.Sorted(maps.Keys(archives)) {
		d, err := p.store.PutBytes([]byte(archives[name]))
		if err == nil {
			err = p.store.Hold(d, string(files.Pool))
		}
		if err != nil {
			p.t.Fatal(err)
		}
		rows = append(rows, wire.RuntimeRow{Name: name, Digest: d, Size: int64(len(archives[name]))})
	}
	p.runtimes.Store(&rows)
}

// Stored gives the content of a blob that somebody has uploaded.
func (p *Pool) Stored(d blob.Digest) ([]byte, error) { return p.store.Read(d, 1<<30) }

func (p *Pool) await(what string, done func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("it did not come to pass that %s", what)
		}
	}
}

func (p *Pool) authorise(token string, mode files.Mode, _ blob.Digest) (files.Grant, error) {
	c, err := p.key.Verify(token, time.Now())
	if err == nil && (c.Mode == trust.Write) != (mode == files.Write) {
		err = errors.New("the capability is for something else")
	}
	return files.Grant{User: job.UserID(c.User)}, err
}

// roster knows one user.
type roster struct{}

func (roster) Members() []trust.Member {
	return []trust.Member{{ID: string(User), Kind: trust.User, Name: "ann"}}
}

func (roster) PutOut(string) bool { return false }

func (roster) Redeem([]byte, string, time.Time, string) (trust.Member, error) {
	return trust.Member{}, trust.ErrTokenUnknown
}
