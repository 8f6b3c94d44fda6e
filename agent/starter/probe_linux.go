package starter

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"skua/agent/checkpoint"
	"skua/internal/diag"
	"skua/internal/job"
)

// probeClaim begins the id of the self test's claim.
const probeClaim = "selftest-"

// Files of the self test's scratch directory, and what its job ends with.
const (
	probeOut  = "out"
	probeGo   = "go"
	probeExit = 42
)

// probeLimit bounds the self test.
const probeLimit = 60 * time.Second

// Capabilities finds out, once unless that takes too long, what this machine can do: it opens a claim, runs a job in it that
// holds a listening TCP socket, dumps and restores that, and looks whether it goes on.
func (s *Starter) Capabilities(ctx context.Context) Capabilities {
	s.probing.Lock()
	defer s.probing.Unlock()
	if s.probed != nil {
		return *s.probed
	}
	s.removeProbes()
	c := Capabilities{Freezer: "signal"}
	if s.cgroups != nil {
		c.Freezer = "cgroup2"
	}
	if s.criuErr == nil {
		c.CriuPath = s.criu
		v, err := checkpoint.Version(ctx, s.criu)
		if err != nil {
			s.criuErr = err
		}
		c.CriuVersion = v
	}
	tctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	sandbox, dump := s.selfTest(tctx)
	if ctx.Err() != nil { // we were interrupted and know nothing
		c.SandboxWhy, c.CheckpointWhy = "not tested", "not tested"
		return c
	}
	c.Sandbox, c.Checkpoint = sandbox == nil, sandbox == nil && dump == nil
	if sandbox != nil {
		c.SandboxWhy, dump = sandbox.Error(), errors.New("jobs cannot be run here")
	}
	if dump != nil {
		c.CheckpointWhy = dump.Error()
	}
	if c.Sandbox {
		c.Outbound = pastaName
		if err := s.testOutbound(tctx); err != nil {
			c.Outbound, c.OutboundWhy = "", err.Error()
		}
	}
	if c.TimedOut = tctx.Err() != nil; !c.TimedOut {
		s.probed = &c
	}
	s.log.Info("tested what this machine can do for jobs", "sandbox", c.Sandbox, "sandbox_why_not", c.SandboxWhy,
		"freezer", c.Freezer, "cgroups", s.baseFor(false), "checkpoint", c.Checkpoint, "checkpoint_why_not", c.CheckpointWhy, "criu", c.CriuVersion,
		"outbound", c.Outbound, "outbound_why_not", c.OutboundWhy)
	return c
}

// selfTest returns why jobs cannot be run, and why they cannot be checkpointed.
func (s *Starter) selfTest(ctx context.Context) (sandbox, dump error) {
	claim := job.ClaimID(probeClaim + rand.Text())
	// It takes a tenth of a second of the processor, and on a busy machine it would never end if it took only what is left.
	i, err := s.Open(ctx, ClaimSpec{Claim: claim, Lease: probeLimit, Prompt: true})
	if err != nil {
		return err, nil
	}
	defer func() {
		i.Close()
		if err := s.Remove(claim); err != nil {
			s.log.Warn("remains of the self test", diag.KeyError, err)
		}
	}()
	if err := copySelf(filepath.Join(i.Scratch(), probeName)); err != nil {
		return fmt.Errorf("copy this program: %w", err), nil
	}
	spec := JobSpec{Job: job.ID{Cluster: 1}, Argv: []string{"./" + probeName}, Stdout: probeOut, Stderr: probeOut}
	if err := i.Run(ctx, spec); err != nil {
		return err, nil
	}
	out := filepath.Join(i.Scratch(), probeOut)
	before, err := awaitLine(ctx, out, 1)
	if err != nil {
		return fmt.Errorf("the test job does not run: %w", err), nil
	}
	dump = s.criuErr
	if dump == nil {
		dump = func() error {
			if _, err := i.Checkpoint(ctx, false); err != nil {
				return err
			}
			if err := i.Thaw(); err != nil { // the claim is frozen since the checkpoint
				return err
			}
			return i.Resume(ctx, spec)
		}()
		if dump != nil {
			return nil, dump
		}
	}
	if err := os.WriteFile(filepath.Join(i.Scratch(), probeGo), nil, 0o644); err != nil {
		return err, nil
	}
	err = func() error {
		after, err := awaitLine(ctx, out, 2)
		if err != nil {
			return err
		}
		if after != before {
			return fmt.Errorf("it says %q, not %q", after, before)
		}
		select {
		case <-i.Done():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if e := i.Exit(); e.Code != probeExit || e.Signal != 0 || e.Err != "" {
			return fmt.Errorf("it ended with %v, not %d", e, probeExit)
		}
		return nil
	}()
	switch {
	case err == nil:
		return nil, dump
	case dump == nil:
		return nil, fmt.Errorf("the restored test job does not go on: %w", err)
	}
	return fmt.Errorf("the test job does not go on: %w", err), dump
}

// testOutbound returns why jobs cannot have a network from which they dial out: it looks whether one has a way
// out, and none to a server on the machine's loopback.
func (s *Starter) testOutbound(ctx context.Context) error {
	if _, err := s.findOutbound(); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	claim := job.ClaimID(probeClaim + rand.Text())
	i, err := s.Open(ctx, ClaimSpec{Claim: claim, Lease: probeLimit, Prompt: true, Network: NetOutbound})
	if err != nil {
		return err
	}
	defer func() {
		i.Close()
		if err := s.Remove(claim); err != nil {
			s.log.Warn("remains of the self test", diag.KeyError, err)
		}
	}()
	if err := copySelf(filepath.Join(i.Scratch(), probeName)); err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	spec := JobSpec{Job: job.ID{Cluster: 1}, Argv: []string{"./" + probeName, l.Addr().String()}, Stdout: probeOut, Stderr: probeOut}
	if err := i.Run(ctx, spec); err != nil {
		return err
	}
	select {
	case <-i.Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if e := i.Exit(); e.Code != probeExit || e.Err != "" {
		out, _ := os.ReadFile(filepath.Join(i.Scratch(), probeOut))
		return fmt.Errorf("the test job has %.200q", bytes.TrimSpace(out))
	}
	return nil
}

// outboundMain is the test job for that.
func outboundMain(loopback string) int {
	routes, err := os.ReadFile("/proc/net/route")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	routes6, _ := os.ReadFile("/proc/net/ipv6_route")
	if !hasDefaultRoute(string(routes), string(routes6)) {
		fmt.Println("no way out")
		return 1
	}
	if c, err := net.DialTimeout("tcp", loopback, 5*time.Second); err == nil {
		c.Close()
		fmt.Println("a way to the machine's loopback")
		return 1
	}
	return probeExit
}

// hasDefaultRoute reads /proc/net/route and ipv6_route.
func hasDefaultRoute(v4, v6 string) bool {
	for line := range strings.Lines(v4) {
		if f := strings.Fields(line); len(f) > 7 && f[1] == "00000000" && f[7] == "00000000" && f[0] != "lo" {
			return true
		}
	}
	for line := range strings.Lines(v6) {
		if f := strings.Fields(line); len(f) > 9 && strings.Trim(f[0], "0") == "" && f[1] == "00" && f[9] != "lo" {
			return true
		}
	}
	return false
}

// copySelf makes a copy of this program.
func copySelf(to string) error {
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

// awaitLine returns line n, counted from 1, of a file that is being written.
func awaitLine(ctx context.Context, path string, n int) (string, error) {
	t := time.NewTicker(2 * time.Millisecond)
	defer t.Stop()
	for {
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if lines := bytes.SplitAfter(b, []byte("\n")); len(lines) > n {
			return string(bytes.TrimSpace(lines[n-1])), nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return "", fmt.Errorf("%w, having written %.200q", context.Cause(ctx), b)
		}
	}
}

// probeMain is the test job. It writes a number that it draws once, waits until it is told to go on,
// uses the socket that it has opened at the start, and writes the number again.
func probeMain() int {
	if len(os.Args) > 1 {
		return outboundMain(os.Args[1])
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer l.Close()
	nonce := rand.Text()
	fmt.Println(nonce)
	for {
		if _, err := os.Stat(probeGo); err == nil {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	c, err := net.DialTimeout("tcp", l.Addr().String(), 5*time.Second)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	c.Close()
	fmt.Println(nonce)
	return probeExit
}
