package starter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/windows"
)

// start runs a job. Called with mu held.
func (r *runner) start(spec *JobSpec, frozen bool) (err error) {
	switch {
	case r.job != nil:
		return ErrBusy
	case spec == nil:
		return errors.New("no job was described")
	}
	if err := spec.check(); err != nil {
		return err
	}
	scratch := filepath.Join(r.cfg.Dir, scratchName)
	work := scratch
	if spec.Dir != "" {
		if work = spec.Dir; !r.shared(work) {
			return fmt.Errorf("working directory %s is not shared with jobs", work)
		}
	}
	env := winEnv(spec.Env, scratch, os.Getenv)
	program, err := findProgram(spec.Argv[0], work, env)
	if err != nil {
		return err
	}
	files, err := r.openStdio(*spec, scratch)
	defer closeAll(files)
	if err != nil {
		return err
	}
	// Whoever finds this claim without a runner must not take the end of an earlier job for this one's.
	if err := os.Remove(filepath.Join(r.cfg.Dir, stateName, exitFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errMachine, err)
	}
	// Its first instruction waits until it is in the job object.
	p, err := os.StartProcess(program, spec.Argv, &os.ProcAttr{
		Dir: work, Env: env, Files: files,
		Sys: &syscall.SysProcAttr{
			CreationFlags: windows.CREATE_SUSPENDED | r.priority(),
			HideWindow:    true,
			Token:         syscall.Token(r.token),
		},
	})
	if err != nil {
		return startFailed(spec.Argv[0], err)
	}
	h, err := processHandle(p, windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE|windows.PROCESS_SUSPEND_RESUME|windows.SYNCHRONIZE)
	if err == nil {
		err = r.object.add(h)
	}
	if err == nil {
		counted, _ := r.object.used()
		clear(r.object.seen)
		r.job = &winJob{spec: *spec, process: p, handle: h, started: bootClock(), counted: counted}
		r.exit, r.owed, r.still = nil, nil, false
		r.keep.start(bootClock(), frozen)
		if err = r.apply(); err == nil { // suspended once more, if it is to stand still
			err = resume(h)
		}
	}
	if err != nil {
		r.job, r.keep.working, r.still = nil, false, false
		r.object.forget()
		err = errors.Join(err, p.Kill())
		_, _ = p.Wait()
		if h != 0 {
			_ = windows.CloseHandle(h)
		}
		return fmt.Errorf("%w: %w", errMachine, err)
	}
	go r.wait(r.job)
	return nil
}

func (r *runner) priority() uint32 {
	if r.cfg.Prompt {
		return windows.NORMAL_PRIORITY_CLASS
	}
	return windows.IDLE_PRIORITY_CLASS
}

// wait buries the job. When its first process has ended, nothing else of it may live on.
func (r *runner) wait(j *winJob) {
	_, err := windows.WaitForSingleObject(j.handle, windows.INFINITE)
	var code uint32
	if err == nil {
		err = windows.GetExitCodeProcess(j.handle, &code)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, lerr := r.object.look(); lerr != nil {
		fmt.Fprintln(os.Stderr, "look at what the job has used:", lerr)
	}
	r.object.note(uint32(j.process.Pid), j.handle)
	if kerr := r.object.kill(killLimit); kerr != nil {
		fmt.Fprintln(os.Stderr, "end the job:", kerr)
	}
	e := &Exit{Job: j.spec.Job, Usage: r.used()}
	if err != nil {
		e.Err = "how the job ended cannot be read: " + err.Error()
	} else {
		e.Code, e.Signal = winExit(code)
	}
	_ = windows.CloseHandle(j.handle)
	_ = j.process.Release()
	// In its file before anybody hears of it, and before the job counts as ended.
	if err := writeJSON(filepath.Join(r.cfg.Dir, stateName, exitFile), savedExit{*e, bootedAt().Unix()}); err != nil {
		fmt.Fprintln(os.Stderr, "save exit status:", err)
	}
	r.job, r.exit, r.still, r.owed = nil, e, false, nil
	r.keep.working = false
	if r.conn != nil {
		r.say(r.conn, &message{Op: opExit, Exit: e})
	}
	r.wake()
}

// savedExit is the content of [exitFile].
type savedExit struct {
	Exit
	Boot int64 `json:"boot"` // Unix time of the machine's start
}

func (s savedExit) sameBoot() bool {
	d := s.Boot - bootedAt().Unix()
	return -bootSlack <= d && d <= bootSlack
}

// bootSlack is how much the clock may have been set for it to be the same run of the machine.
const bootSlack = 60

func bootedAt() time.Time { return time.Now().Add(-bootClock()) }

// shared says whether a path lies in a directory that is shared with jobs.
func (r *runner) shared(path string) bool {
	for _, dir := range r.cfg.Shared {
		rel, err := filepath.Rel(dir, path)
		if err == nil && filepath.IsLocal(rel) {
			return true
		}
	}
	return false
}

// openStdio opens the three files of a job, in scratch or the null device.
func (r *runner) openStdio(spec JobSpec, scratch string) (files []*os.File, err error) {
	root, err := os.OpenRoot(scratch)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for i, name := range []string{spec.Stdin, spec.Stdout, spec.Stderr} {
		var f *os.File
		switch {
		case name == "":
			f, err = os.OpenFile(os.DevNull, os.O_RDWR, 0)
		case i == 0 && spec.Dir != "":
			if !r.shared(name) {
				return files, &os.PathError{Op: "open", Path: name, Err: errors.New("it is not shared with jobs")}
			}
			f, err = os.Open(name)
		case i == 0:
			f, err = root.Open(name)
		default:
			f, err = root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		}
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

// findProgram gives the path of the program name.
func findProgram(name, work string, env []string) (string, error) {
	for _, path := range winCandidates(name, work, env) {
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			return path, nil
		}
	}
	if strings.ContainsAny(name, `/\`) {
		return "", fmt.Errorf("execute %s: %w", name, errNoProgram)
	}
	return "", fmt.Errorf("execute %s: %w in the PATH of the job", name, errNoProgram)
}

// startFailed tells a program that no Windows could run from one that this machine keeps from running: a virus
// scanner may take it away between the moment it is found and the moment it is started, or forbid it.
func startFailed(name string, err error) error {
	err = fmt.Errorf("execute %s: %w", name, err)
	for _, theirs := range []error{windows.ERROR_VIRUS_INFECTED, windows.ERROR_VIRUS_DELETED, windows.ERROR_ACCESS_DISABLED_BY_POLICY, fs.ErrNotExist} {
		if errors.Is(err, theirs) {
			return fmt.Errorf("%w: %w", errMachine, err)
		}
	}
	return err
}
