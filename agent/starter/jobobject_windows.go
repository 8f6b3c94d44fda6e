package starter

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// A jobObject holds every process of a claim's jobs. It is the runner's: when the runner ends, however it
// does, the system ends them all.
type jobObject struct {
	h         windows.Handle
	suspended map[uint32]windows.Handle // processes that we have suspended once
	seen      map[processID]Usage       // by the processes that were looked at, the ended ones included
}

// processID is a process for ever; a number alone comes back.
type processID struct {
	pid  uint32
	born int64
}

var (
	ntdll            = windows.NewLazySystemDLL("ntdll.dll")
	ntSuspendProcess = ntdll.NewProc("NtSuspendProcess")
	ntResumeProcess  = ntdll.NewProc("NtResumeProcess")

	kernel32             = windows.NewLazySystemDLL("kernel32.dll")
	isProcessInJob       = kernel32.NewProc("IsProcessInJob")
	getProcessMemoryInfo = kernel32.NewProc("K32GetProcessMemoryInfo")
	emptyWorkingSet      = kernel32.NewProc("K32EmptyWorkingSet")
)

// newJobObject makes the object with its limits. On a Windows that refuses one of them it is an error.
func newJobObject(limits Limits, prompt bool) (*jobObject, error) {
	h, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("create job object: %w", err)
	}
	j := &jobObject{h: h, suspended: make(map[uint32]windows.Handle), seen: make(map[processID]Usage)}
	info := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{}
	b := &info.BasicLimitInformation
	b.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | windows.JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION
	if !prompt {
		b.LimitFlags |= windows.JOB_OBJECT_LIMIT_PRIORITY_CLASS
		b.PriorityClass = windows.IDLE_PRIORITY_CLASS
	}
	if limits.Pids > 0 {
		b.LimitFlags |= windows.JOB_OBJECT_LIMIT_ACTIVE_PROCESS
		b.ActiveProcessLimit = uint32(limits.Pids)
	}
	if limits.Memory > 0 {
		// What the system counts is what was asked for, used or not, so it only stops the worst. Whoever
		// wants the job kept to its memory looks at it; see [Init.LimitsMemory].
		b.LimitFlags |= windows.JOB_OBJECT_LIMIT_JOB_MEMORY
		info.JobMemoryLimit = uintptr(2 * limits.Memory)
	}
	if _, err := windows.SetInformationJobObject(h, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info))); err != nil {
		j.close()
		return nil, fmt.Errorf("limit job object: %w", err)
	}
	ui := windows.JOBOBJECT_BASIC_UI_RESTRICTIONS{
		UIRestrictionsClass: windows.JOB_OBJECT_UILIMIT_DESKTOP | windows.JOB_OBJECT_UILIMIT_DISPLAYSETTINGS |
			windows.JOB_OBJECT_UILIMIT_EXITWINDOWS | windows.JOB_OBJECT_UILIMIT_GLOBALATOMS |
			windows.JOB_OBJECT_UILIMIT_HANDLES | windows.JOB_OBJECT_UILIMIT_READCLIPBOARD |
			windows.JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS | windows.JOB_OBJECT_UILIMIT_WRITECLIPBOARD,
	}
	if _, err := windows.SetInformationJobObject(h, windows.JobObjectBasicUIRestrictions,
		uintptr(unsafe.Pointer(&ui)), uint32(unsafe.Sizeof(ui))); err != nil {
		j.close()
		return nil, fmt.Errorf("keep jobs away from the desktop: %w", err)
	}
	return j, nil
}

func (j *jobObject) close() {
	j.forget()
	_ = windows.CloseHandle(j.h)
}

// forget lets go of the processes that were suspended.
func (j *jobObject) forget() {
	for pid, h := range j.suspended {
		_ = windows.CloseHandle(h)
		delete(j.suspended, pid)
	}
}

// jobPids lists the processes of a job object.
func jobPids(h windows.Handle) ([]uint32, error) {
	for n := 64; ; n *= 2 {
		// The list is preceded by two counts of 32 bits, which are one element here: Windows jobs are 64 bit.
		buf := make([]uintptr, 1+n)
		err := windows.QueryInformationJobObject(h, windows.JobObjectBasicProcessIdList,
			uintptr(unsafe.Pointer(&buf[0])), uint32(len(buf)*int(unsafe.Sizeof(buf[0]))), nil)
		if errors.Is(err, windows.ERROR_MORE_DATA) && n < 1<<20 {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list the processes of a job object: %w", err)
		}
		counts := (*[2]uint32)(unsafe.Pointer(&buf[0]))
		if int(counts[1]) > n || counts[0] > counts[1] && n < 1<<20 {
			continue
		}
		pids := make([]uint32, counts[1])
		for i := range pids {
			pids[i] = uint32(buf[1+i])
		}
		return pids, nil
	}
}

// add puts a new process into the object.
func (j *jobObject) add(process windows.Handle) error {
	if err := windows.AssignProcessToJobObject(j.h, process); err != nil {
		return fmt.Errorf("assign process to job object: %w", err)
	}
	return nil
}

// open opens a process that was listed, unless it is gone.
func (j *jobObject) open(pid uint32, access uint32) (windows.Handle, bool, error) {
	h, err := windows.OpenProcess(access|windows.PROCESS_QUERY_INFORMATION, false, pid)
	if errors.Is(err, windows.ERROR_INVALID_PARAMETER) {
		return 0, false, nil // gone
	}
	if err != nil {
		return 0, false, fmt.Errorf("open process %d of the job: %w", pid, err)
	}
	var in int32
	if ok, _, err := isProcessInJob.Call(uintptr(h), uintptr(j.h), uintptr(unsafe.Pointer(&in))); ok == 0 || in == 0 {
		_ = windows.CloseHandle(h)
		if ok == 0 {
			return 0, false, fmt.Errorf("ask for the job of process %d: %w", pid, err)
		}
		return 0, false, nil // the number is another process's by now
	}
	return h, true, nil
}

// freeze suspends every process. A process that is not yet suspended may start others while we go through
// the list, so that is read until nothing in it is new. One that cannot be suspended does not spare the others.
func (j *jobObject) freeze() error {
	deadline := time.Now().Add(freezeLimit)
	for {
		pids, err := jobPids(j.h)
		if err != nil {
			return err
		}
		var errs []error
		fresh := 0
		for _, pid := range pids {
			if _, done := j.suspended[pid]; done {
				continue
			}
			h, err := j.stop(pid)
			switch {
			case err != nil:
				errs = append(errs, err)
			case h != 0:
				j.suspended[pid] = h // held, so that the number stays the process's
				fresh++
			}
		}
		if fresh == 0 {
			return errors.Join(errs...)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the job starts processes faster than they can be suspended, for %v", freezeLimit)
		}
	}
}

// stop suspends one process, and gives its handle: 0 for one that is gone or about to be.
func (j *jobObject) stop(pid uint32) (windows.Handle, error) {
	h, there, err := j.open(pid, windows.PROCESS_SUSPEND_RESUME|windows.SYNCHRONIZE)
	if err != nil || !there {
		return 0, err
	}
	if err := suspend(h); err != nil {
		_ = windows.CloseHandle(h)
		if errors.Is(err, windows.STATUS_PROCESS_IS_TERMINATING) {
			return 0, nil
		}
		return 0, fmt.Errorf("suspend process %d: %w", pid, err)
	}
	return h, nil
}

// thaw lets what was suspended go on.
func (j *jobObject) thaw() error {
	var errs []error
	for pid, h := range j.suspended {
		if err := resume(h); err != nil && !errors.Is(err, windows.STATUS_PROCESS_IS_TERMINATING) {
			errs = append(errs, fmt.Errorf("resume process %d: %w", pid, err))
		}
	}
	j.forget()
	return errors.Join(errs...)
}

// trim takes the memory of every process out of its working set. The system keeps what is in it until somebody wants memory.
func (j *jobObject) trim() error {
	pids, err := jobPids(j.h)
	if err != nil {
		return err
	}
	var errs []error
	for _, pid := range pids {
		h, there, err := j.open(pid, windows.PROCESS_SET_QUOTA)
		if err == nil && there {
			if ok, _, cerr := emptyWorkingSet.Call(uintptr(h)); ok == 0 {
				err = fmt.Errorf("empty the working set of process %d: %w", pid, cerr)
			}
			_ = windows.CloseHandle(h)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func suspend(process windows.Handle) error { return ntStatus(ntSuspendProcess.Call(uintptr(process))) }

func resume(process windows.Handle) error { return ntStatus(ntResumeProcess.Call(uintptr(process))) }

// ntStatus is the result of a call of ntdll as an error.
func ntStatus(r, _ uintptr, _ error) error {
	if r == 0 {
		return nil
	}
	return windows.NTStatus(uint32(r))
}

// kill ends every process and waits until none is left.
func (j *jobObject) kill(limit time.Duration) error {
	defer j.forget()
	return killJob(j.h, limit)
}

func killJob(h windows.Handle, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		if err := windows.TerminateJobObject(h, winEnd); err != nil {
			return fmt.Errorf("terminate job object: %w", err)
		}
		pids, err := jobPids(h)
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes still live after %v", len(pids), limit)
		}
		time.Sleep(pause)
	}
}

// look reads what the processes have used, together, and the memory that they have now.
func (j *jobObject) look() (memory int64, err error) {
	pids, err := jobPids(j.h)
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		h, there, err := j.open(pid, 0)
		if err != nil || !there {
			continue // it ends, or belongs to no job any more
		}
		memory += j.note(pid, h)
		_ = windows.CloseHandle(h)
	}
	return memory, nil
}

// note reads what one process has used so far, and returns the memory that it has now.
func (j *jobObject) note(pid uint32, h windows.Handle) (memory int64) {
	var born, ended, system, user windows.Filetime
	if windows.GetProcessTimes(h, &born, &ended, &system, &user) != nil {
		return 0
	}
	u := Usage{User: filetime(user), System: filetime(system)}
	m := processMemory{size: uint32(unsafe.Sizeof(processMemory{}))}
	if ok, _, _ := getProcessMemoryInfo.Call(uintptr(h), uintptr(unsafe.Pointer(&m)), uintptr(m.size)); ok != 0 {
		u.MaxRSS = int64(m.peakWorkingSet)
		memory = int64(m.workingSet)
	}
	id := processID{pid, born.Nanoseconds()}
	j.seen[id] = moreUsed(j.seen[id], u) // one that has ended has no memory, and had
	return memory
}

// used is what all processes of the object have used.
func (j *jobObject) used() (counted, seen Usage) {
	for _, u := range j.seen {
		seen = seen.Plus(u)
	}
	var a struct {
		user, system, periodUser, periodSystem int64 // in units of 100 ns
		faults, processes, active, ended       uint32
	}
	if windows.QueryInformationJobObject(j.h, windows.JobObjectBasicAccountingInformation,
		uintptr(unsafe.Pointer(&a)), uint32(unsafe.Sizeof(a)), nil) == nil {
		counted = Usage{User: time.Duration(a.user) * 100, System: time.Duration(a.system) * 100}
	}
	return counted, seen
}

// processMemory is PROCESS_MEMORY_COUNTERS.
type processMemory struct {
	size, faults               uint32
	peakWorkingSet, workingSet uintptr
	_                          [4]uintptr
	pagefile, peakPagefile     uintptr
}

// filetime reads a Filetime that is a length of time.
func filetime(f windows.Filetime) time.Duration {
	return time.Duration(int64(f.HighDateTime)<<32|int64(f.LowDateTime)) * 100
}

// processHandle gives a handle of a process that has not been waited for.
func processHandle(p *os.Process, access uint32) (windows.Handle, error) {
	h, err := windows.OpenProcess(access|windows.PROCESS_QUERY_INFORMATION, false, uint32(p.Pid))
	if err != nil {
		return 0, os.NewSyscallError("OpenProcess", err)
	}
	return h, nil
}
