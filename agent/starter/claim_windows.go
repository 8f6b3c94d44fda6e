package starter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/windows"

	"skua/agent/checkpoint"
	"skua/internal/diag"
	"skua/internal/job"
)

// An Init is the agent's hold on a claim's runner. Its methods may be called concurrently.
//
// While an Init is connected it tells the runner twice a second that the agent is there.
type Init struct {
	s     *Starter
	claim job.ClaimID
	stop  chan struct{}
	lost  chan struct{} // closed when the connection has ended
	wg    sync.WaitGroup

	writing sync.Mutex // one message at a time

	mu      sync.Mutex // guards what follows
	conn    net.Conn
	closed  bool
	lastID  uint64
	waiting map[uint64]chan *message
	wish    bool // the job is to be frozen
	job     job.ID
	running bool
	done    chan struct{}
	ended   bool // done is closed
	exit    Exit
}

func newInit(s *Starter, claim job.ClaimID) *Init {
	return &Init{
		s: s, claim: claim, stop: make(chan struct{}), lost: make(chan struct{}),
		waiting: make(map[uint64]chan *message), done: make(chan struct{}),
	}
}

// connect dials the runner and says hello.
func (i *Init) connect(ctx context.Context) error {
	conn, err := dialRunner(ctx, i.s.dir(i.claim))
	if err != nil {
		return err
	}
	i.conn = conn
	i.wg.Go(i.read)
	m, err := i.call(ctx, &message{Op: opHello})
	if err != nil {
		return err
	}
	if m.Status == nil {
		return errors.New("the runner did not say how it is")
	}
	i.mu.Lock()
	i.wish, i.job, i.running = m.Status.Frozen, m.Status.Job, m.Status.Running
	i.mu.Unlock()
	if m.Status.Exit != nil {
		i.finish(m.Status.Exit)
	}
	i.wg.Go(i.beat)
	return nil
}

// Claim returns the claim's id.
func (i *Init) Claim() job.ClaimID { return i.claim }

// Scratch returns the path of the job's scratch directory. Its contents may be replaced while no job runs,
// except for the directory [TmpName] itself.
func (i *Init) Scratch() string { return filepath.Join(i.s.dir(i.claim), scratchName) }

// ImageDir returns the path of the directory of checkpoints, in which nothing is put on this system.
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

// Refresh makes a claim whose job has ended as a new one, for another job of the same user. After an error the
// claim must not be used again.
func (i *Init) Refresh(ctx context.Context) error {
	what := func(err error) error { return fmt.Errorf("refresh claim %s: %w", i.claim, err) }
	if _, running := i.Job(); running {
		return what(ErrBusy)
	}
	if _, err := i.call(ctx, &message{Op: opFresh}); err != nil {
		return what(err)
	}
	dir := i.s.dir(i.claim)
	for _, name := range []string{scratchName, imageName} {
		if err := removeTree(filepath.Join(dir, name)); err != nil {
			return what(err)
		}
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return what(err)
		}
	}
	if err := openDir(i.Scratch(), i.claim); err != nil {
		return what(err)
	}
	if err := os.Mkdir(filepath.Join(i.Scratch(), TmpName), 0o700); err != nil {
		return what(err)
	}
	return nil
}

// Run starts a job in the claim, whose last one must have ended. It returns when the job's program has been
// started. A program that is not there or cannot be executed is an error. A claim that is to be frozen is so
// from the job's first instruction.
func (i *Init) Run(ctx context.Context, spec JobSpec) error {
	what := func(err error) error { return fmt.Errorf("run job %v: %w", spec.Job, err) }
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
	frozen := i.wish
	i.mu.Unlock()
	if _, err := i.call(ctx, &message{Op: opRun, Job: &spec, Frozen: frozen, LeaseMS: spec.Lease.Milliseconds()}); err != nil {
		i.mu.Lock()
		i.running = false
		i.mu.Unlock()
		return what(err)
	}
	if frozen && !i.Frozen() { // the word that it may go on may have been the earlier one
		if err := i.Thaw(); err != nil && !errors.Is(err, ErrLeaseOver) && !errors.Is(err, ErrGone) {
			return what(err)
		}
	}
	return nil
}

// Resume is refused: Windows has no images of processes.
func (i *Init) Resume(_ context.Context, spec JobSpec) error {
	return fmt.Errorf("resume job %v: %w", spec.Job, errNoImages)
}

// Checkpoint is refused: Windows has no images of processes. The job is not touched.
func (i *Init) Checkpoint(context.Context, bool) (checkpoint.Stats, error) {
	return checkpoint.Stats{}, fmt.Errorf("checkpoint claim %s: %w", i.claim, errNoImages)
}

// Freeze suspends all processes of the job, and returns when the last has been.
func (i *Init) Freeze() error {
	i.wishFor(true)
	if err := i.ask(freezeLimit+Silence, &message{Op: opFreeze}); err != nil {
		return fmt.Errorf("freeze claim %s: %w", i.claim, err)
	}
	return nil
}

// Thaw lets a frozen job go on. Without a valid lease the job stays frozen and the error wraps ErrLeaseOver;
// it then goes on with the next Grant.
func (i *Init) Thaw() error {
	i.wishFor(false)
	if err := i.ask(freezeLimit, &message{Op: opThaw}); err != nil {
		return fmt.Errorf("thaw claim %s: %w", i.claim, err)
	}
	return nil
}

func (i *Init) wishFor(frozen bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.wish = frozen
}

// Look says what the running job has used and uses. Memory that processes share counts for each of them,
// whatever the limit.
func (i *Init) Look(ctx context.Context, limit int64) (Reading, error) {
	m, err := i.call(ctx, &message{Op: opLook, Limit: limit})
	if err == nil && m.Reading == nil {
		err = errors.New("the runner did not say")
	}
	if err != nil {
		return Reading{}, fmt.Errorf("look at claim %s: %w", i.claim, err)
	}
	return *m.Reading, nil
}

// LimitsMemory is false: the job object counts what a job has asked for, not what it uses, so whoever wants it
// kept to its memory has to look.
func (i *Init) LimitsMemory() bool { return false }

// Signal tells the job what a signal would: most of them with CTRL_C. A frozen job hears it when it is thawed.
func (i *Init) Signal(sig int) error {
	if err := i.ask(freezeLimit, &message{Op: opSignal, Signal: sig}); err != nil {
		return fmt.Errorf("signal claim %s: %w", i.claim, err)
	}
	return nil
}

// Grant tells the runner what is left of the lease. A job that is frozen because the lease was over goes on,
// unless the agent wants it frozen.
func (i *Init) Grant(left time.Duration) error {
	if err := i.ask(freezeLimit, &message{Op: opGrant, LeaseMS: left.Milliseconds()}); err != nil {
		return fmt.Errorf("grant lease to claim %s: %w", i.claim, err)
	}
	return nil
}

// Kill ends everything in the claim, its runner included, and returns when nothing of it is left.
func (i *Init) Kill() error {
	if err := killRunner(i.s.dir(i.claim)); err != nil {
		return fmt.Errorf("kill claim %s: %w", i.claim, err)
	}
	return nil
}

// Done is closed when the job has ended by itself or was killed, or the runner is gone. After a Run that
// follows, call it again.
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

// Close lets go of the runner without ending it. Its job runs on for [Silence] and then waits, frozen, for the
// next agent.
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
}

// finish records how the job ended.
func (i *Init) finish(e *Exit) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended {
		return
	}
	i.exit, i.ended, i.running = *e, true, false
	close(i.done)
}

// ask sends a request that is answered soon.
func (i *Init) ask(limit time.Duration, m *message) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_, err := i.call(ctx, m)
	return err
}

// call sends a request and waits for its answer, at most as long as ctx allows.
func (i *Init) call(ctx context.Context, m *message) (*message, error) {
	answer := make(chan *message, 1)
	i.mu.Lock()
	i.lastID++
	m.ID = i.lastID
	i.waiting[m.ID] = answer
	i.mu.Unlock()
	defer func() {
		i.mu.Lock()
		delete(i.waiting, m.ID)
		i.mu.Unlock()
	}()
	i.send(m)
	select {
	case a := <-answer:
		return a, a.failure()
	case <-i.lost:
		select {
		case a := <-answer: // it came with the last bytes
			return a, a.failure()
		default:
			return nil, ErrGone
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer from the claim's runner: %w", context.Cause(ctx))
	}
}

// send writes one message. A runner that does not read has its connection ended; whoever waits for an answer
// learns that from lost.
func (i *Init) send(m *message) {
	i.mu.Lock()
	c := i.conn
	i.mu.Unlock()
	if c == nil {
		return
	}
	i.writing.Lock()
	defer i.writing.Unlock()
	_ = c.SetWriteDeadline(time.Now().Add(Silence))
	if err := writeMessage(c, m); err != nil {
		c.Close()
	}
}

// beat tells the runner that we are there, until the connection ends.
func (i *Init) beat() {
	t := time.NewTicker(beatEvery)
	defer t.Stop()
	for {
		select {
		case <-i.stop:
			return
		case <-i.lost:
			return
		case <-t.C:
			i.send(&message{Op: opBeat, Frozen: i.Frozen()})
		}
	}
}

// read hands out what the runner says, and finds out why when it stops talking.
func (i *Init) read() {
	defer close(i.lost)
	for {
		m, err := readMessage(i.conn)
		if err != nil {
			i.mourn(err)
			return
		}
		if m.Op == opExit && m.Exit != nil {
			i.finish(m.Exit)
			continue
		}
		i.mu.Lock()
		if c := i.waiting[m.ID]; c != nil {
			delete(i.waiting, m.ID)
			c <- m // has room for the one answer
		}
		i.mu.Unlock()
	}
}

// mourn ends the job's life as far as we are concerned: its runner does not talk to us any more.
func (i *Init) mourn(why error) {
	i.mu.Lock()
	closed := i.closed
	i.mu.Unlock()
	if closed {
		return
	}
	id, _ := i.Job()
	if i.runnerGone() {
		if e, err := readExit(i.s.dir(i.claim)); err == nil && e.Job == id {
			i.finish(e) // the news was on its way when the runner died
			return
		}
		i.finish(&Exit{Job: id, Err: "the claim was killed with its job"})
		return
	}
	i.s.log.Warn("lost the connection to a claim's runner", diag.KeyClaim, i.claim, diag.KeyError, why)
	i.finish(&Exit{Job: id, Err: "the connection to the claim's runner was lost"})
}

// runnerGone reports whether the runner has ended, or does within [Silence].
func (i *Init) runnerGone() bool {
	a, _, err := readAddress(i.s.dir(i.claim))
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	h, alive, err := openRunner(a, 0)
	if err != nil || !alive {
		return err == nil
	}
	defer windows.CloseHandle(h)
	return over(h, Silence)
}

// Processes is not counted on this system.
func (i *Init) Processes() Processes { return Processes{} }

// Throttle cannot be had on this system yet.
func (i *Init) Throttle(context.Context, float64) error { return errors.ErrUnsupported }
