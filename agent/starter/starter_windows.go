package starter

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/windows"

	"skua/internal/diag"
	"skua/internal/job"
)

// Names within a claim's directory.
const (
	claimFile   = "claim.json"
	stateName   = "state" // the runner's files
	imageName   = "image"
	scratchName = "scratch"
	logName     = "runner.log"
)

// startLimit is how long a new runner may take to be there.
const startLimit = 20 * time.Second

// freezeLimit is how long a freeze may take, killLimit how long the end of a claim.
const (
	freezeLimit = 10 * time.Second
	killLimit   = 10 * time.Second
)

// A Starter opens claims on this machine and finds those that an earlier agent left.
type Starter struct {
	cfg Config
	log *slog.Logger

	probing sync.Mutex // guards probed, and lets only one self test run
	probed  *Capabilities
}

// claimRecord makes a directory a claim's.
type claimRecord struct {
	V       int         `json:"v"`
	Claim   job.ClaimID `json:"claim"`
	Network Network     `json:"network"`
}

// New makes the directory of claims, which it keeps to the system and the agent. It starts nothing.
func New(cfg Config) (*Starter, error) {
	if cfg.Dir == "" {
		return nil, errors.New("starter: no directory for claims was given")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("starter: %w", err)
	}
	cfg.Dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("starter: make directory of claims: %w", err)
	}
	if err := closeDir(dir); err != nil {
		return nil, fmt.Errorf("starter: %w", err)
	}
	s := &Starter{cfg: cfg, log: cfg.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// Claims lists the claims found on disk, whether their runners live or not.
func (s *Starter) Claims() ([]job.ClaimID, error) {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("list claims: %w", err)
	}
	var claims []job.ClaimID
	for _, e := range entries {
		c := job.ClaimID(e.Name())
		if e.IsDir() && checkClaim(c) == nil && !strings.HasPrefix(e.Name(), probeClaim) {
			claims = append(claims, c)
		}
	}
	return claims, nil
}

// Open starts the runner of a new claim. On an error nothing is left of it. Windows cannot keep a job off the
// network, so that must be granted.
func (s *Starter) Open(ctx context.Context, spec ClaimSpec) (_ *Init, err error) {
	if err := checkClaim(spec.Claim); err != nil {
		return nil, fmt.Errorf("open claim: %w", err)
	}
	if spec.Network != NetHost {
		return nil, fmt.Errorf("open claim %s: Windows cannot keep jobs off the network; the policy must grant it: limits.network = %q", spec.Claim, NetHost)
	}
	dir := s.dir(spec.Claim)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open claim %s: %w", spec.Claim, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open claim %s: %w", spec.Claim, err)
			if rerr := s.Remove(spec.Claim); rerr != nil {
				s.log.Warn("remains of a claim that could not be opened", diag.KeyClaim, spec.Claim, diag.KeyError, rerr)
			}
		}
	}()
	if err := layOut(dir, spec.Claim); err != nil {
		return nil, err
	}
	if err := writeJSON(filepath.Join(dir, claimFile), claimRecord{V: protocol, Claim: spec.Claim, Network: spec.Network}); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := startRunner(ctx, dir, runnerConfig{
		V: protocol, Claim: spec.Claim, Dir: dir, Lease: spec.Lease, Limits: spec.Limits, Shared: spec.Shared, Prompt: spec.Prompt,
	}); err != nil {
		return nil, fmt.Errorf("start runner: %w", err)
	}
	i := newInit(s, spec.Claim)
	if err := i.connect(ctx); err != nil {
		_ = i.Kill()
		i.Close()
		return nil, err
	}
	return i, nil
}

// startRunner executes this program again, and waits until it can be reached.
func startRunner(ctx context.Context, dir string, cfg runnerConfig) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	logPath := filepath.Join(dir, stateName, logName)
	log, err := os.OpenFile(logPath, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	inR, inW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer inR.Close()
	defer inW.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer outR.Close()
	defer outW.Close()
	p, err := os.StartProcess(exe, []string{runnerName}, &os.ProcAttr{
		Dir: dir, Env: os.Environ(), Files: []*os.File{inR, outW, log},
		Sys: &syscall.SysProcAttr{CreationFlags: windows.CREATE_NO_WINDOW, HideWindow: true},
	})
	if err != nil {
		return err
	}
	outW.Close()
	inR.Close()
	err = json.NewEncoder(inW).Encode(cfg)
	inW.Close()
	said := make(chan string, 1)
	go func() { // ends when the runner has spoken or is gone
		line, _ := bufio.NewReader(io.LimitReader(outR, 64)).ReadString('\n')
		said <- strings.TrimSpace(line)
	}()
	if err == nil {
		select {
		case line := <-said:
			if line == readyWord {
				return p.Release()
			}
			err = errors.New("the runner ended while it started")
			if last := lastLine(logPath); last != "" {
				err = fmt.Errorf("%w (%s)", err, last)
			}
		case <-ctx.Done():
			err = fmt.Errorf("the runner did not start in time: %w", context.Cause(ctx))
		}
	}
	_ = p.Kill()
	_, _ = p.Wait()
	return err
}

// Adopt connects to the living runner of a claim that an earlier agent opened. If the runner is gone but its
// job had ended before, the result's Done is closed and Exit says how. Otherwise the error wraps ErrGone.
func (s *Starter) Adopt(ctx context.Context, claim job.ClaimID) (*Init, error) {
	if err := checkClaim(claim); err != nil {
		return nil, fmt.Errorf("adopt claim: %w", err)
	}
	var rec claimRecord
	if err := readJSON(filepath.Join(s.dir(claim), claimFile), &rec); err != nil {
		return nil, fmt.Errorf("adopt claim %s: %w: %w", claim, ErrGone, err)
	}
	i := newInit(s, claim)
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := i.connect(ctx); err != nil {
		nobody := i.conn == nil
		i.Close()
		if nobody {
			return s.adoptExit(claim, err)
		}
		return nil, fmt.Errorf("adopt claim %s: %w", claim, err)
	}
	return i, nil
}

// adoptExit stands for a runner that is gone, for the reason why.
func (s *Starter) adoptExit(claim job.ClaimID, why error) (*Init, error) {
	e, err := readExit(s.dir(claim))
	if err != nil {
		return nil, fmt.Errorf("adopt claim %s: %w: %w", claim, ErrGone, why)
	}
	i := newInit(s, claim)
	i.job = e.Job
	i.finish(e)
	return i, nil
}

// Remove kills what is left of a claim and removes its directory, scratch included. Removing a claim that is
// not there is no error.
func (s *Starter) Remove(claim job.ClaimID) error {
	if err := checkClaim(claim); err != nil {
		return fmt.Errorf("remove claim: %w", err)
	}
	dir := s.dir(claim)
	if err := killRunner(dir); err != nil {
		return fmt.Errorf("remove claim %s: %w", claim, err)
	}
	if err := removeTree(dir); err != nil {
		return fmt.Errorf("remove claim %s: %w", claim, err)
	}
	return nil
}

func (s *Starter) dir(claim job.ClaimID) string { return filepath.Join(s.cfg.Dir, string(claim)) }

// layOut makes the directories of a claim. What its job may use is granted to it; the rest is the agent's, as
// the directory of claims is.
func layOut(dir string, claim job.ClaimID) error {
	for _, name := range []string{stateName, imageName, scratchName} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	scratch := filepath.Join(dir, scratchName)
	if err := openDir(scratch, claim); err != nil {
		return err
	}
	return os.Mkdir(filepath.Join(scratch, TmpName), 0o700) // which inherits that
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

// over waits for the end of a process, not longer than limit.
func over(process windows.Handle, limit time.Duration) bool {
	ev, err := windows.WaitForSingleObject(process, uint32(limit.Milliseconds()))
	return err == nil && ev == windows.WAIT_OBJECT_0
}

// readExit reads how the claim's last job ended, as far as that can be relied on: a machine that has stopped
// meanwhile may have lost what the job had written.
func readExit(dir string) (*Exit, error) {
	var e savedExit
	if err := readJSON(filepath.Join(dir, stateName, exitFile), &e); err != nil {
		return nil, err
	}
	if d := e.Boot - bootedAt().Unix(); d < -bootSlack || d > bootSlack {
		return nil, errors.New("the machine was restarted since the job ended")
	}
	return &e.Exit, nil
}

// readJSON reads a small file.
func readJSON(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// lastLine returns the last line of a log, for an error message.
func lastLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 64<<10))
	lines := slices.Collect(strings.Lines(strings.TrimSpace(string(b))))
	if len(lines) == 0 {
		return ""
	}
	return strings.TrimSpace(lines[len(lines)-1])
}

// removeTree removes a directory in which processes have just ended: a virus scanner may hold one of its files
// for a moment.
func removeTree(dir string) error {
	deadline := time.Now().Add(Silence)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		err := os.RemoveAll(dir)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause)
	}
}
