package starter

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/windows"

	"skua/internal/job"
)

// logName is the runner's log, in its state directory.
const logName = "runner.log"

// means is what a Starter has found on this machine: nothing that it would have to know.
type means struct{}

// findMeans keeps the directory of claims to the system and the agent.
func findMeans(cfg *Config) (means, error) { return means{}, CloseDir(cfg.Dir) }

// claimRecord makes a directory a claim's.
type claimRecord struct {
	V       int         `json:"v"`
	Claim   job.ClaimID `json:"claim"`
	Network Network     `json:"network"`
}

func (*claimRecord) handle() (handle, error) { return noHandle, nil }

func (*claimRecord) blame(*Exit) {}

// check refuses every network but the machine's.
func (n Network) check() error {
	if n != NetHost {
		return fmt.Errorf("jobs cannot be kept off the network on Windows; the policy must grant it: limits.network = %q", NetHost)
	}
	return nil
}

// open starts the runner of the claim whose directory dir is.
func (s *Starter) open(ctx context.Context, dir string, spec ClaimSpec) (*Init, error) {
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
	i := newInit(s, spec.Claim, noHandle)
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

// endClaim kills what is left of a claim: its runner, which takes its job along.
func (s *Starter) endClaim(claim job.ClaimID) error { return killRunner(s.dir(claim)) }

// layOut makes the directories of a claim. What its job may use is granted to it; the rest is the agent's, as
// the directory of claims is.
func layOut(dir string, claim job.ClaimID) error {
	for _, name := range []string{stateName, imageName, scratchName} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	return openScratch(dir, claim)
}

// openScratch grants the job its scratch directory, and makes what is in it at the start.
func openScratch(dir string, claim job.ClaimID) error {
	scratch := filepath.Join(dir, scratchName)
	if err := openDir(scratch, claim); err != nil {
		return err
	}
	return os.Mkdir(filepath.Join(scratch, TmpName), 0o700) // which inherits that
}

// emptyOut makes the directories anew that a job may have used.
func (i *Init) emptyOut() error {
	dir := i.s.dir(i.claim)
	for _, name := range []string{scratchName, imageName} {
		path := filepath.Join(dir, name)
		if err := removeTree(path); err != nil {
			return err
		}
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
	}
	return openScratch(dir, i.claim)
}

// takeOver has nothing to do: the files that the caller puts into scratch inherit what the job may do with them.
func (*Init) takeOver() error { return nil }

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
