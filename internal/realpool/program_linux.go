package realpool

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Program is a program of the pool that runs in the background.
type Program struct {
	Name string

	p     *Pool
	args  []string
	log   string
	cmd   *exec.Cmd
	ended chan struct{}
}

// Launch starts a program with its output in a log file.
func (p *Pool) Launch(name string, args ...string) *Program {
	p.t.Helper()
	g := &Program{Name: name, p: p, args: args, log: filepath.Join(p.Dir, name+".log"), ended: make(chan struct{})}
	log, err := os.OpenFile(g.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	machine := name
	if !strings.HasPrefix(name, "desk") {
		machine = mainframe
	}
	g.cmd = p.command(context.Background(), machine, "", args...)
	g.cmd.Stdout, g.cmd.Stderr = log, log
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := g.cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		_ = g.cmd.Wait() // ProcessState says it
		close(g.ended)
	}()
	p.t.Cleanup(func() { g.end() })
	return g
}

// Pid is its process id.
func (g *Program) Pid() int { return g.cmd.Process.Pid }

// Signal sends it a signal.
func (g *Program) Signal(sig syscall.Signal) error { return g.cmd.Process.Signal(sig) }

// Log is what it has said so far, in all its runs.
func (g *Program) Log() string {
	data, _ := os.ReadFile(g.log)
	return string(data)
}

// MustRun fails the test when the program has ended.
func (g *Program) MustRun() {
	g.p.t.Helper()
	select {
	case <-g.ended:
		g.p.t.Fatalf("%s has ended: %v", g.Name, g.cmd.ProcessState)
	default:
	}
}

// Kill ends it with SIGKILL.
func (g *Program) Kill() {
	_ = g.cmd.Process.Kill() // it may have ended
	<-g.ended
}

// Stop ends it with SIGTERM and gives its exit code.
func (g *Program) Stop() int {
	g.p.t.Helper()
	return g.End(syscall.SIGTERM)
}

// End ends it with a signal that asks for it, and gives its exit code.
func (g *Program) End(sig syscall.Signal) int {
	g.p.t.Helper()
	_ = g.cmd.Process.Signal(sig)
	select {
	case <-g.ended:
		return g.cmd.ProcessState.ExitCode()
	case <-time.After(Patience):
		g.Kill()
		g.p.t.Errorf("%s does not end after the signal %v", g.Name, sig)
		return -1
	}
}

// end ends it at the end of a test, with its log if that has failed.
func (g *Program) end() {
	select {
	case <-g.ended:
	default:
		g.Kill()
	}
	if g.p.t.Failed() {
		g.p.t.Logf("log of %s:\n%s", g.Name, tail(g.Log(), 60))
	}
}

// tail gives the last n lines.
func tail(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
