package starter

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/windows"

	"skua/agent/checkpoint"
	"skua/internal/job"
)

// handle is what the agent has of a claim's runner besides the connection to it: nothing.
type handle struct{}

var noHandle handle

func (handle) blame(*Exit) {}

func (handle) begun() {}

func (handle) warm() {}

func (handle) close() {}

// spoilt is nil: the runner says what it cannot remove.
func (handle) spoilt() error { return nil }

// dial connects to the runner.
func (i *Init) dial(ctx context.Context) (err error) {
	i.conn, err = dialRunner(ctx, i.s.dir(i.claim))
	return err
}

// dialRunner connects to the runner of the claim directory dir.
func dialRunner(ctx context.Context, dir string) (net.Conn, error) {
	a, secret, err := readAddress(dir)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", a.TCP)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(Silence))
	if err := greetRunner(c, secret); err != nil {
		c.Close()
		return nil, fmt.Errorf("greet the runner: %w", err)
	}
	_ = c.SetDeadline(time.Time{})
	return c, nil
}

func readAddress(dir string) (a address, secret []byte, err error) {
	if err := readJSON(filepath.Join(dir, stateName, addressFile), &a); err != nil {
		return a, nil, err
	}
	secret, err = hex.DecodeString(a.Secret)
	if err != nil || len(secret) != secretSize {
		return a, nil, errors.New("the runner's address is damaged")
	}
	return a, secret, nil
}

// Leftover is refused: Windows has no images of processes.
func (s *Starter) Leftover(claim job.ClaimID) (*Init, error) {
	return nil, fmt.Errorf("look for the image of claim %s: %w: %w", claim, ErrGone, errNoImages)
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
	i.mu.Lock()
	i.wish = true
	i.mu.Unlock()
	if err := i.ask(freezeLimit+Silence, &message{Op: opFreeze}); err != nil {
		return fmt.Errorf("freeze claim %s: %w", i.claim, err)
	}
	return nil
}

// Cool takes the memory of the job, which is suspended, from its processes. It stays where it is until somebody wants memory,
// and is the first to go to the page file then; what the job uses before that it has back at once.
func (i *Init) Cool(ctx context.Context) error {
	if !i.Frozen() {
		return nil
	}
	if _, err := i.call(ctx, &message{Op: opCool}); err != nil {
		return fmt.Errorf("cool claim %s: %w", i.claim, err)
	}
	return nil
}

// LimitsMemory is false: the job object counts what a job has asked for, not what it uses, so whoever wants it
// kept to its memory has to look.
func (i *Init) LimitsMemory() bool { return false }

// Processes is not counted on this system.
func (i *Init) Processes() Processes { return Processes{} }

// Throttle cannot be had on this system yet.
func (i *Init) Throttle(context.Context, float64) error { return errors.ErrUnsupported }

// ProcessorTime is of use for [Init.Throttle] only.
func (i *Init) ProcessorTime() (time.Duration, error) { return 0, errors.ErrUnsupported }

// Kill ends everything in the claim, its runner included, and returns when nothing of it is left.
func (i *Init) Kill() error {
	if err := killRunner(i.s.dir(i.claim)); err != nil {
		return fmt.Errorf("kill claim %s: %w", i.claim, err)
	}
	return nil
}

// dead reports whether the runner has ended, or does within [Silence].
func (i *Init) dead() bool {
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

// killRunner ends the runner of a claim directory, if there is one, and everything in its job object.
func killRunner(dir string) error {
	a, _, err := readAddress(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil // it never was
	}
	if err != nil {
		return err
	}
	h, alive, err := openRunner(a, windows.PROCESS_TERMINATE|windows.PROCESS_DUP_HANDLE)
	if err != nil || !alive {
		return err
	}
	defer windows.CloseHandle(h)
	// The job object goes with the runner, and the processes with it. Our own handle is for seeing that.
	var object windows.Handle
	derr := windows.DuplicateHandle(h, windows.Handle(a.Job), windows.CurrentProcess(), &object, 0, false, windows.DUPLICATE_SAME_ACCESS)
	if derr == nil {
		defer windows.CloseHandle(object)
	}
	if err := windows.TerminateProcess(h, winEnd); err != nil && !over(h, 0) {
		return os.NewSyscallError("TerminateProcess", err)
	}
	if !over(h, killLimit) {
		return fmt.Errorf("the runner still lives after %v", killLimit)
	}
	if derr != nil {
		return nil // it was about to end, and closed the object itself
	}
	return killJob(object, killLimit)
}

// openRunner opens the process of the runner that wrote an address, unless it is gone.
func openRunner(a address, access uint32) (_ windows.Handle, alive bool, _ error) {
	h, err := windows.OpenProcess(access|windows.PROCESS_QUERY_LIMITED_INFORMATION|windows.SYNCHRONIZE, false, a.Pid)
	if errors.Is(err, windows.ERROR_INVALID_PARAMETER) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, os.NewSyscallError("OpenProcess", err)
	}
	born, err := processBorn(h)
	if err != nil || born != a.Born {
		_ = windows.CloseHandle(h)
		return 0, false, err
	}
	if over, err := windows.WaitForSingleObject(h, 0); err == nil && over == windows.WAIT_OBJECT_0 {
		_ = windows.CloseHandle(h)
		return 0, false, nil
	}
	return h, true, nil
}

// over waits for the end of a process, not longer than limit.
func over(process windows.Handle, limit time.Duration) bool {
	ev, err := windows.WaitForSingleObject(process, uint32(limit.Milliseconds()))
	return err == nil && ev == windows.WAIT_OBJECT_0
}
