package pooltest

import (
	"context"
	"sync/atomic"

	"skua/internal/bus"
	"skua/submit/client"
)

// An Append adds what a matchmaker wants to log, and gives the log's answer.
type Append func() (last uint64, err error)

// queueLog is the pool's queue log, into whose appends a test can step.
type queueLog struct {
	*bus.MemoryLog
	step atomic.Pointer[func(Append) (uint64, error)]
}

// Append implements [bus.Log].
func (l *queueLog) Append(ctx context.Context, expectLast uint64, records [][]byte) (uint64, error) {
	do := func() (uint64, error) { return l.MemoryLog.Append(ctx, expectLast, records) }
	if step := l.step.Load(); step != nil {
		return (*step)(do)
	}
	return do()
}

// AppendInOrder implements [bus.Log].
func (l *queueLog) AppendInOrder(ctx context.Context, expectLast uint64, records [][]byte) (uint64, error) {
	return l.Append(ctx, expectLast, records)
}

// OnAppend has f called in the place of every append to the queue log from now on; nil ends that.
func (p *Pool) OnAppend(f func(Append) (last uint64, err error)) {
	if f == nil {
		p.queueLog.step.Store(nil)
		return
	}
	p.queueLog.step.Store(&f)
}

// CutMatchmaker ends the matchmaker's connection, as a crash does, at a moment when the matchmaker cannot be waited for.
// [Pool.RestartMatchmaker] starts another one.
func (p *Pool) CutMatchmaker() { p.head.conn.Cut() }

// Client gives what skua's commands talk to the pool with. It moves no files, and what it submits is not checked as
// what [Pool.Submit] does.
func (p *Pool) Client() *client.Client {
	p.t.Helper()
	c, err := client.New(client.Config{User: userID, Conn: p.hub.Connect("laptop"), Pool: "the simulated pool"})
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}
