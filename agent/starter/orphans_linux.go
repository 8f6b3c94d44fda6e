package starter

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// adoptOrphans makes the stopped, traced process pid the parent of all its descendants whose parents
// end. Otherwise they would become children of the init, out of the tree that CRIU dumps. Only the
// process itself can ask for that, so we have it make the system call before its first instruction;
// the setting survives exec and checkpoints.
func adoptOrphans(pid int) error {
	ret, err := injectPrctl(pid, unix.PR_SET_CHILD_SUBREAPER, 1)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return nil // jobs that leave orphans cannot be checkpointed here
	case err != nil:
		return fmt.Errorf("have the job adopt its orphans: %w", err)
	case ret != 0:
		return fmt.Errorf("have the job adopt its orphans: %w", unix.Errno(-ret))
	}
	return nil
}

// injectPrctl has the stopped, traced process pid call prctl(2) with two arguments and
// leaves it as it was.
func injectPrctl(pid int, arg1, arg2 uintptr) (ret int64, err error) {
	var saved registers
	if err := getRegisters(pid, &saved); err != nil {
		return 0, fmt.Errorf("read registers: %w", err)
	}
	regs := saved
	pc, code, err := setPrctl(&regs, arg1, arg2)
	if err != nil {
		return 0, err
	}
	old := make([]byte, len(code))
	if _, err := unix.PtracePeekText(pid, pc, old); err != nil {
		return 0, fmt.Errorf("read code: %w", err)
	}
	if _, err := unix.PtracePokeText(pid, pc, code); err != nil {
		return 0, fmt.Errorf("write code: %w", err)
	}
	if err := setRegisters(pid, &regs); err != nil {
		return 0, fmt.Errorf("write registers: %w", err)
	}
	early, err := step(pid)
	if err != nil {
		return 0, fmt.Errorf("step: %w", err)
	}
	if err := getRegisters(pid, &regs); err != nil {
		return 0, fmt.Errorf("read result: %w", err)
	}
	if _, err := unix.PtracePokeText(pid, pc, old); err != nil {
		return 0, fmt.Errorf("restore code: %w", err)
	}
	if err := setRegisters(pid, &saved); err != nil {
		return 0, fmt.Errorf("restore registers: %w", err)
	}
	for _, sig := range early {
		if err := unix.Kill(pid, sig); err != nil {
			return 0, fmt.Errorf("send signal %d again: %w", sig, err)
		}
	}
	return syscallResult(&regs), nil
}

// step has the stopped, traced process pid execute one instruction, and gives the signals that came before it, such as
// the SIGSTOP of a freeze. The process has not got them.
func step(pid int) (early []unix.Signal, err error) {
	for {
		if err := unix.PtraceSingleStep(pid); err != nil {
			return nil, err
		}
		got, ws, _, err := wait(pid, 0)
		if err != nil {
			return nil, err
		}
		if got != pid || !ws.Stopped() {
			return nil, errors.New("the process is gone")
		}
		if ws.StopSignal() == unix.SIGTRAP {
			return early, nil
		}
		early = append(early, ws.StopSignal())
	}
}
