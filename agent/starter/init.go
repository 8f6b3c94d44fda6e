//go:build linux || windows

package starter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"

	"skua/internal/job"
)

// An Init is the agent's hold on a claim's init. Its methods may be called concurrently; of Run,
// Resume and Checkpoint one at a time is carried out, the others return ErrBusy.
//
// While an Init is connected it tells the init twice a second that the agent is there.
type Init struct {
	s     *Starter
	claim job.ClaimID
	known bool // it is of this very program, and knows all that can be asked of it
	stop  chan struct{}
	lost  chan struct{} // closed when the connection has ended
	asked chan struct{} // has room for one word that the init has been asked for something
	wg    sync.WaitGroup

	writing sync.Mutex   // one message at a time
	using   sync.RWMutex // held for reading while a descriptor of the handle is used

	mu       sync.Mutex // guards what follows
	conn     net.Conn
	handle   // which says what of it is guarded
	closed   bool
	lastID   uint64
	waiting  map[uint64]chan *message
	wish     bool // the job is to be frozen
	restored bool // a job of the claim has come from an image
	used     bool // the init has still to make itself as new, with the next job
	job      job.ID
	running  bool
	done     chan struct{}
	ended    bool // done is closed
	exit     Exit
}

func newInit(s *Starter, claim job.ClaimID, h handle) *Init {
	return &Init{
		s: s, claim: claim, handle: h, stop: make(chan struct{}), lost: make(chan struct{}), asked: make(chan struct{}, 1),
		waiting: make(map[uint64]chan *message), done: make(chan struct{}),
	}
}

// connect dials the init and says hello.
func (i *Init) connect(ctx context.Context) error {
	if err := i.dial(ctx); err != nil {
		return err
	}
	i.wg.Go(i.read)
	is, err := i.hello(ctx)
	if err != nil {
		return err
	}
	i.mu.Lock()
	i.wish, i.job, i.running, i.restored = is.Frozen, is.Job, is.Running, is.Restored
	i.mu.Unlock()
	if is.Exit != nil {
		i.finish(is.Exit)
	}
	i.wg.Go(i.beat)
	return nil
}

// hello asks the init how it is.
func (i *Init) hello(ctx context.Context) (*status, error) {
	m, err := i.call(ctx, &message{Op: opHello})
	if err == nil && m.Status == nil {
		err = errors.New("the init did not say how it is")
	}
	if err != nil {
		return nil, err
	}
	return m.Status, nil
}

// Claim returns the claim's id.
func (i *Init) Claim() job.ClaimID { return i.claim }

// Scratch returns the path of the job's scratch directory on this machine. The directory is mounted
// in the claim: its contents may be replaced while no job runs, except for the directories [TmpName]
// and [ShmName] themselves, but it must not be removed.
func (i *Init) Scratch() string { return filepath.Join(i.s.dir(i.claim), scratchName) }

// ImageDir returns the path of the directory of checkpoints, with the same condition. Nothing is put into it on
// a system without checkpoints.
func (i *Init) ImageDir() string { return filepath.Join(i.s.dir(i.claim), imageName) }

// Job returns the job that the claim runs or ran last, and whether it runs.
func (i *Init) Job() (id job.ID, running bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.job, i.running
}

// Frozen reports whether the agent, this one or the one before, wants the job frozen.
func (i *Init) Frozen() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.wish
}

// Settle waits until the init is done with what an earlier agent has asked it for, which it does whether or not that agent
// waits, and learns whether there still is a job. One that there is stands still then.
func (i *Init) Settle(ctx context.Context) error {
	i.mu.Lock()
	i.wish = true
	i.mu.Unlock()
	// The init answers when it is done. Its cgroup, if there is one, must not be touched before: CRIU may be at work in it.
	// Whether the job has stopped is seen again by whoever dumps it.
	_, _ = i.call(ctx, &message{Op: opFreeze})
	is, err := i.hello(ctx)
	if err != nil {
		return fmt.Errorf("settle claim %s: %w", i.claim, err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.running = i.running && is.Running
	return nil
}

// Refresh makes a claim whose job has ended as a new one, for another job of the same user: with empty
// scratch and image directories, and nothing that the job before could have left where the next would find it.
// After an error the claim must not be used again. That something is left may be seen by the Run that follows only,
// whose error then wraps ErrUsed as well.
func (i *Init) Refresh(ctx context.Context) error {
	what := func(err error) error { return fmt.Errorf("refresh claim %s: %w", i.claim, err) }
	if _, running := i.Job(); running {
		return what(ErrBusy)
	}
	if err := i.spoilt(); err != nil {
		return what(err)
	}
	if !i.known {
		if _, err := i.call(ctx, &message{Op: opFresh}); err != nil {
			return what(err)
		}
	} else if err := i.freshLater(); err != nil {
		return what(err)
	}
	if err := i.emptyOut(); err != nil {
		return what(err)
	}
	return nil
}

// freshLater has the init make itself as new with the next job. Nothing of the last one lives that could
// mind until then, and for a short job each message counts.
func (i *Init) freshLater() error {
	select {
	case <-i.lost:
		return ErrGone
	default:
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.used = true
	return nil
}

// Run starts a job in the claim, whose last one must have ended. It returns when the job's program
// has been executed. A program that is not there or cannot be executed is an error. A claim that is to be
// frozen is so from the job's first instruction.
func (i *Init) Run(ctx context.Context, spec JobSpec) error { return i.begin(ctx, opRun, spec) }

func (i *Init) begin(ctx context.Context, op string, spec JobSpec) error {
	what := func(err error) error { return fmt.Errorf("%s job %v: %w", op, spec.Job, err) }
	if err := spec.check(); err != nil {
		return what(err)
	}
	select {
	case <-i.lost:
		return what(ErrGone)
	default:
	}
	i.mu.Lock()
	if i.running {
		i.mu.Unlock()
		return what(fmt.Errorf("job %v runs already: %w", i.job, ErrBusy))
	}
	if i.ended {
		i.ended, i.done = false, make(chan struct{})
	}
	i.job, i.running, i.exit = spec.Job, true, Exit{}
	i.restored = i.restored || op == opResume
	used := i.used
	i.mu.Unlock()
	err := i.takeOver()
	frozen := i.Frozen()
	if err == nil {
		_, err = i.call(ctx, &message{Op: op, Job: &spec, Fresh: used, Frozen: frozen, LeaseMS: spec.Lease.Milliseconds()})
	}
	if err != nil {
		i.mu.Lock()
		i.running = false
		i.mu.Unlock()
		return what(err)
	}
	if used {
		i.mu.Lock()
		i.used = false
		i.mu.Unlock()
	}
	i.begun()
	if frozen && !i.Frozen() { // the word that it may go on may have been the earlier one
		if err := i.Thaw(); err != nil && !errors.Is(err, ErrLeaseOver) && !errors.Is(err, ErrGone) {
			return what(err)
		}
	}
	return nil
}

// Thaw lets a frozen job go on. Without a valid lease the job stays frozen and the error wraps
// ErrLeaseOver; it then goes on with the next Grant.
func (i *Init) Thaw() error {
	i.mu.Lock()
	i.wish = false
	i.mu.Unlock()
	i.warm()
	if err := i.ask(freezeLimit, &message{Op: opThaw}); err != nil {
		return fmt.Errorf("thaw claim %s: %w", i.claim, err)
	}
	return nil
}

// Look says what the running job has used and uses. Memory that processes share is counted for each of
// them, unless the sum is more than limit: then it is counted exactly, which takes longer. On Windows it is
// counted for each of them whatever the limit.
func (i *Init) Look(ctx context.Context, limit int64) (Reading, error) {
	m, err := i.call(ctx, &message{Op: opLook, Limit: limit})
	if err == nil && m.Reading == nil {
		err = errors.New("the init did not say")
	}
	if err != nil {
		return Reading{}, fmt.Errorf("look at claim %s: %w", i.claim, err)
	}
	return *m.Reading, nil
}

// Signal sends a signal to the job's first process; on Windows it tells the job what a signal would, most of
// them with CTRL_C. A frozen job gets it when it is thawed.
func (i *Init) Signal(sig int) error {
	if err := i.ask(freezeLimit, &message{Op: opSignal, Signal: sig}); err != nil {
		return fmt.Errorf("signal claim %s: %w", i.claim, err)
	}
	return nil
}

// Grant tells the init what is left of the lease. A job that is frozen because the lease was over
// goes on, unless the agent wants it frozen.
func (i *Init) Grant(left time.Duration) error {
	if err := i.ask(freezeLimit, &message{Op: opGrant, LeaseMS: left.Milliseconds()}); err != nil {
		return fmt.Errorf("grant lease to claim %s: %w", i.claim, err)
	}
	return nil
}

// Done is closed when the job has ended by itself or was killed, or the init is gone. After a Run or
// Resume that follows, call it again.
func (i *Init) Done() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.done
}

// Exit says how the job ended, once Done is closed.
func (i *Init) Exit() Exit {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.exit
}

// Close lets go of the init without ending it. Its job runs on for [Silence] and then waits, frozen,
// for the next agent.
func (i *Init) Close() {
	i.mu.Lock()
	if i.closed {
		i.mu.Unlock()
		return
	}
	i.closed = true
	if i.conn != nil {
		i.conn.Close()
	}
	close(i.stop)
	i.mu.Unlock()
	i.wg.Wait()
	i.using.Lock()
	defer i.using.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.handle.close()
}

// finish records how the job ended.
func (i *Init) finish(e *Exit) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended {
		return
	}
	i.blame(e)
	i.exit, i.ended, i.running = *e, true, false
	close(i.done)
}
