package starter

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"skua/internal/job"
)

// probeClaim begins the names of the claims of self tests.
const probeClaim = "probe-"

const (
	probeLimit = time.Minute
	probeOut   = "report.json"
	probeErr   = "err"
)

// Capabilities finds out, once, what this machine can do for jobs: it runs a job that tries what jobs may not.
func (s *Starter) Capabilities(ctx context.Context) Capabilities {
	s.probing.Lock()
	defer s.probing.Unlock()
	if s.probed != nil {
		return *s.probed
	}
	s.removeProbes()
	can := Capabilities{Freezer: "suspend", CheckpointWhy: errNoImages.Error(), OpenNetwork: true}
	err := s.selfTest(ctx)
	if can.Sandbox = err == nil; err != nil {
		can.SandboxWhy = err.Error()
	}
	if ctx.Err() == nil {
		s.probed = &can
	}
	return can
}

// selfTest runs this program as a job that reports what it could do.
func (s *Starter) selfTest(ctx context.Context) (err error) {
	report, err := s.probe(ctx)
	if err != nil {
		return fmt.Errorf("the self test failed: %w", err)
	}
	return s.excused(report)
}

func (s *Starter) probe(ctx context.Context) (report winReport, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	claim := job.ClaimID(probeClaim + rand.Text())
	i, err := s.Open(ctx, ClaimSpec{Claim: claim, Lease: 2 * probeLimit, Network: NetHost})
	if err != nil {
		return report, err
	}
	defer func() {
		i.Close()
		err = errors.Join(err, s.Remove(claim))
	}()
	// A copy, since the job may be kept from where this program is.
	program := filepath.Join(i.Scratch(), probeName+".exe")
	if err := copySelf(program); err != nil {
		return report, err
	}
	state := filepath.Join(s.dir(claim), stateName)
	argv := []string{program, filepath.Join(state, "intruder"), filepath.Join(state, addressFile)}
	if s.cfg.Secret != "" {
		secret, err := filepath.Abs(s.cfg.Secret) // the job has another working directory
		if err != nil {
			return report, err
		}
		argv = append(argv, secret)
	}
	spec := JobSpec{Job: job.ID{Cluster: 1}, Argv: argv, Stdout: probeOut, Stderr: probeErr}
	if err := i.Run(ctx, spec); err != nil {
		return report, err
	}
	select {
	case <-ctx.Done():
		return report, context.Cause(ctx)
	case <-i.Done():
	}
	if e := i.Exit(); e.Err != "" || e.Code != 0 || e.Signal != 0 {
		return report, fmt.Errorf("%v (%s)", e, lastLine(filepath.Join(i.Scratch(), probeErr)))
	}
	return report, readJSON(filepath.Join(i.Scratch(), probeOut), &report)
}

func copySelf(to string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	src, err := os.Open(exe)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// probeMain is the job of the self test. Its arguments are a file that only the agent may make, and files that
// only the agent may read.
func probeMain() int {
	if len(os.Args) < 3 {
		return 2
	}
	report, err := look(os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if json.NewEncoder(os.Stdout).Encode(report) != nil {
		return 1
	}
	return 0
}

func look(intruder string, secrets []string) (r winReport, err error) {
	token := windows.GetCurrentProcessToken()
	if r.System, err = isSystem(token); err != nil {
		return r, err
	}
	restricted, err := token.IsRestricted()
	r.Restricted = restricted && err == nil // a system that cannot say, as Wine, has not shown it
	if r.Privileges, err = privileges(token); err != nil {
		return r, err
	}
	var in int32
	if ok, _, err := isProcessInJob.Call(uintptr(windows.CurrentProcess()), 0, uintptr(unsafe.Pointer(&in))); ok == 0 {
		return r, os.NewSyscallError("IsProcessInJob", err)
	}
	r.InJob = in != 0
	for _, secret := range secrets {
		if f, err := os.Open(secret); err == nil {
			r.ReadsAgents = true
			f.Close()
		}
	}
	if f, err := os.Create(intruder); err == nil {
		r.WritesAgents = true
		f.Close()
	}
	return r, nil
}

// privileges counts those of a token.
func privileges(t windows.Token) (int, error) {
	buf := make([]byte, 4096)
	var n uint32
	if err := windows.GetTokenInformation(t, windows.TokenPrivileges, &buf[0], uint32(len(buf)), &n); err != nil {
		return 0, fmt.Errorf("read the privileges of a token: %w", err)
	}
	return int((*windows.Tokenprivileges)(unsafe.Pointer(&buf[0])).PrivilegeCount), nil
}
