package pooltest

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/matchmaker/queue"
	"skua/matchmaker/server"
)

// head is one run of the matchmaker.
type head struct {
	conn  *bus.MemoryConn
	queue *queue.Queue
	stop  context.CancelFunc
	ended chan struct{}
	down  bool
}

// StartMatchmaker starts a matchmaker from what the queue log says.
func (p *Pool) StartMatchmaker() {
	p.t.Helper()
	ctx, stop := context.WithCancel(p.ctx)
	q, err := queue.Open(ctx, queue.Config{Log: p.queueLog, Logger: p.cfg.Log})
	if err != nil {
		p.t.Fatal(err)
	}
	h := &head{conn: p.hub.Connect("matchmaker"), queue: q, stop: stop, ended: make(chan struct{})}
	s, err := server.New(server.Config{
		Bus: h.conn, Queue: q, Roster: roster{}, Clock: p.clock(), Terms: p.terms,
		Sign: p.key.Encode, Held: p.store.held, ImageKey: imageKey, RestartAfter: p.cfg.RestartAfter, Baseline: p.cfg.Baseline, Log: p.cfg.Log,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	go func() {
		defer close(h.ended)
		if err := s.Run(ctx); err != nil {
			p.t.Errorf("matchmaker: %v", err)
		}
	}()
	p.head = h
}

// StopMatchmaker ends the matchmaker as a crash does: from one moment to the next nobody hears of it.
func (p *Pool) StopMatchmaker() {
	if p.head.down {
		return
	}
	p.head.down = true
	p.head.conn.Cut()
	p.head.stop()
	<-p.head.ended
	p.head.conn.Close()
}

// RestartMatchmaker crashes the matchmaker and starts another one after a while.
func (p *Pool) RestartMatchmaker(after time.Duration) {
	p.t.Helper()
	p.StopMatchmaker()
	time.Sleep(after)
	p.StartMatchmaker()
}

// clock is a lease clock that starts somewhere and does not go quite right.
func (p *Pool) clock() job.LeaseClock {
	start, base := time.Now(), time.Duration(p.rng.Int64N(int64(1000*time.Hour)))
	rate := 1 + p.cfg.Skew*(p.rng.Float64()-0.5) // two clocks differ by Skew at most
	return func() job.Instant { return job.Instant(base + time.Duration(float64(time.Since(start))*rate)) }
}

// imageKey derives a job's key.
func imageKey(id job.ID) blob.Key { return blob.Key(sha256.Sum256([]byte(id.String()))) }

// roster knows the one user; agents are not asked for.
type roster struct{}

func (roster) Redeem([]byte, string, time.Time, string) (trust.Member, error) {
	return trust.Member{}, &diag.Problem{What: "nobody joins a simulated pool", Err: errors.ErrUnsupported}
}

func (roster) PutOut(string) bool { return false }

func (roster) Members() []trust.Member {
	return []trust.Member{{ID: string(userID), Kind: trust.User, Name: "user", Approved: true}}
}
