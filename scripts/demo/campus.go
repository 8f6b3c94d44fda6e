//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"skua/internal/netlab"
	"skua/internal/pause"
)

// campus is the demo's pool: a matchmaker, three desks, and the processes that make them.
type campus struct {
	dir        string
	bin        string
	method     string // how jobs move here: "criu" or "files"
	root       bool
	journalDir string
	lab        *netlab.Lab // nil without root: then all is on this machine's own network
	desks      []*desk
	processes  []*process // in the order they were started
}

// process is a program that runs in the background until close.
type process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
}

const (
	deskCount = 3
	head      = "head" // where the matchmaker and the researcher are
)

// build makes the campus and waits until all desks are in the pool. What was made before an error is
// in the campus for close.
func build(ctx context.Context, dir, bin string) (*campus, error) {
	c := &campus{dir: dir, root: os.Geteuid() == 0, journalDir: filepath.Join(dir, "journal")}
	var err error
	if c.bin, err = filepath.Abs(bin); err != nil {
		return c, err
	}
	if err := os.MkdirAll(c.journalDir, 0o777); err != nil {
		return c, err
	}
	if err := os.Chmod(c.journalDir, 0o777); err != nil { // jobs run under ids of their own
		return c, err
	}
	for _, tool := range []string{"Xvfb", "xdotool", "/usr/bin/python3"} {
		if _, err := exec.LookPath(tool); err != nil {
			return c, fmt.Errorf("%s is missing; scripts/setup installs it as root", tool)
		}
	}
	say("Building a small campus: a matchmaker and %d desks, each with its own X display.", deskCount)
	if c.root {
		if c.lab, err = netlab.New(ctx, fmt.Sprintf("skd%d-", os.Getpid())); err != nil {
			return c, err
		}
	}
	if err := c.startMatchmaker(ctx); err != nil {
		return c, err
	}
	if err := c.startDesks(ctx); err != nil {
		return c, err
	}
	return c, c.awaitPool(ctx)
}

// command makes a command that runs on a machine of the lab; without one, on this machine.
func (c *campus) command(ctx context.Context, machine, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	if c.lab != nil {
		cmd = c.lab.Command(ctx, machine, name, args...)
	}
	cmd.Env = append(os.Environ(), "SKUA_HOME="+filepath.Join(c.dir, "home"))
	return cmd
}

// start runs a program in the background with its output in a log file.
func (c *campus) start(machine, name string, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join(c.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// Not bound to a context: close ends it in order, politely first.
	cmd := c.command(context.Background(), machine, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ctrl-C is for the demo alone
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, ended: make(chan struct{})}
	go func() {
		cmd.Wait()
		close(p.ended)
	}()
	c.processes = append(c.processes, p)
	return p, nil
}

// run executes a command and gives its standard output.
func (c *campus) run(ctx context.Context, machine, dir string, args ...string) (string, error) {
	cmd := c.command(ctx, machine, args[0], args[1:]...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

func (c *campus) tool(name string) string { return filepath.Join(c.bin, name) }

func (c *campus) matchmakerDir() string { return filepath.Join(c.dir, "matchmaker") }

func (c *campus) startMatchmaker(ctx context.Context) error {
	listen := "127.0.0.1:" + strconv.Itoa(20000+os.Getpid()%10000)
	if c.root {
		listen = netlab.Head + ":9618"
	}
	p, err := c.start(head, "matchmaker", c.tool("skua-matchmaker"), "--data", c.matchmakerDir(), "--listen", listen)
	if err != nil {
		return err
	}
	socket := filepath.Join(c.matchmakerDir(), "login.sock")
	for {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if err := p.alive(); err != nil {
			return err
		}
		if err := pause.For(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	token, err := c.admin(ctx, "token", "user", "researcher")
	if err == nil {
		_, err = c.run(ctx, head, "", c.tool("skua"), "login", token)
	}
	return err
}

// admin gives an order to the matchmaker.
func (c *campus) admin(ctx context.Context, args ...string) (string, error) {
	out, err := c.run(ctx, head, "", append([]string{c.tool("skua-matchmaker"), "--data", c.matchmakerDir()}, args...)...)
	return strings.TrimSpace(out), err
}

func (c *campus) startDesks(ctx context.Context) error {
	token, err := c.admin(ctx, "token", "agent", "--uses", fmt.Sprint(deskCount))
	if err != nil {
		return err
	}
	for i := range deskCount {
		d := &desk{c: c, name: fmt.Sprint("desk", i+1)}
		if c.lab != nil {
			if _, err := c.lab.Add(ctx, d.name); err != nil {
				return err
			}
		}
		if err := d.startDisplay(ctx); err != nil {
			return err
		}
		if err := d.startAgent(ctx, token); err != nil {
			return err
		}
		c.desks = append(c.desks, d)
	}
	return nil
}

// awaitPool waits until every desk offers itself.
func (c *campus) awaitPool(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		out, err := c.run(ctx, head, "", c.tool("skua"), "status", "--json")
		if err == nil && strings.Count(out, `"Unclaimed"`) == deskCount {
			break
		}
		for _, p := range c.processes {
			if perr := p.alive(); perr != nil {
				return perr
			}
		}
		if perr := pause.For(ctx, 200*time.Millisecond); perr != nil {
			return errors.Join(fmt.Errorf("the desks do not come into the pool; status says:\n%s", out), err)
		}
	}
	c.method = "criu"
	for _, d := range c.desks {
		log, err := os.ReadFile(d.log)
		if err != nil {
			return err
		}
		if _, why, off := bytes.Cut(log, []byte("jobs cannot be checkpointed here")); off {
			why, _, _ = bytes.Cut(why, []byte("\n"))
			say("CRIU is off on %s%s", d.name, why)
			c.method = "files"
		}
	}
	out, err := c.run(ctx, head, "", c.tool("skua"), "status")
	say("\n$ skua status\n%s", out)
	if c.method == "files" {
		say("So the job of this demo saves its own state when it is asked to leave.")
	}
	return err
}

func (c *campus) submit(ctx context.Context, j *jobFiles) error {
	out, err := c.run(ctx, head, j.dir, c.tool("skua"), "submit", j.name)
	say("\n$ skua submit %s\n%s", j.name, out)
	if err != nil {
		return err
	}
	m := regexp.MustCompile(`cluster (\d+)`).FindStringSubmatch(out)
	if m == nil {
		return fmt.Errorf("submit did not name a cluster: %q", out)
	}
	j.cluster = m[1]
	return nil
}

// jobRuns is what an agent logs when a job begins or goes on.
const jobRuns = `msg="job runs"`

// whereItRuns waits until the job has started on a desk other than the one it left.
func (c *campus) whereItRuns(ctx context.Context, left *desk) (*desk, error) {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	for {
		for _, d := range c.desks {
			if d == left {
				continue
			}
			if line, _ := d.logged(jobRuns); line != "" {
				return d, nil
			}
		}
		if err := pause.For(ctx, 10*time.Millisecond); err != nil {
			out, _ := c.run(context.WithoutCancel(ctx), head, "", c.tool("skua"), "q")
			return nil, fmt.Errorf("the job does not start; the queue says:\n%s", out)
		}
	}
}

func (c *campus) wait(ctx context.Context, j *jobFiles) error {
	_, err := c.run(ctx, head, j.dir, c.tool("skua"), "wait", j.cluster, "--timeout", "6m")
	return err
}

// checkpointFigures are what the agent measured of a checkpoint.
type checkpointFigures struct {
	bytes int64
	took  time.Duration // from the decision until it was stored
}

// migration reads the figures of the move between two desks from their agents' logs.
func (c *campus) migration(from, to *desk) (f checkpointFigures, down time.Duration, err error) {
	left, leftAt := from.logged(`msg="job leaves"`)
	saved, _ := from.logged(`msg="job is checkpointed"`)
	if saved == "" {
		saved, _ = from.logged(`msg="job saved its own state"`)
	}
	_, runsAt := to.logged(jobRuns)
	if left == "" || saved == "" || runsAt.IsZero() {
		return f, 0, fmt.Errorf("%s did not log a checkpoint; its log is %s", from.name, from.log)
	}
	if f.bytes, err = strconv.ParseInt(field(saved, "bytes"), 10, 64); err != nil {
		return f, 0, fmt.Errorf("size of the checkpoint: %w", err)
	}
	if f.took, err = time.ParseDuration(field(saved, "took")); err != nil {
		return f, 0, fmt.Errorf("time of the checkpoint: %w", err)
	}
	return f, runsAt.Sub(leftAt), nil
}

// stopCourier ends the background process that the submit started. It would end by itself some minutes
// after the last job.
func (c *campus) stopCourier(ctx context.Context) error {
	locks, err := filepath.Glob(filepath.Join(c.dir, "home", "hosts", "*", "courier.lock"))
	if err != nil {
		return err
	}
	for _, lock := range locks {
		data, err := os.ReadFile(lock)
		if err != nil {
			return err
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil {
			return fmt.Errorf("%s names no process: %w", lock, err)
		}
		syscall.Kill(pid, syscall.SIGTERM)
		for syscall.Kill(pid, 0) == nil {
			if err := pause.For(ctx, 20*time.Millisecond); err != nil {
				return fmt.Errorf("the courier (process %d) does not end", pid)
			}
		}
	}
	return nil
}

// alive says how a process that should be running has ended.
func (p *process) alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s has ended: %v; its log says why", p.name, p.cmd.ProcessState)
	default:
		return nil
	}
}

// close ends everything in the reverse order of its start, politely first, and takes the network down.
func (c *campus) close() error {
	if c == nil {
		return nil
	}
	var errs []error
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	errs = append(errs, c.stopCourier(ctx))
	for _, p := range slices.Backward(c.processes) {
		p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(20 * time.Second):
			p.cmd.Process.Kill()
			<-p.ended
			errs = append(errs, fmt.Errorf("%s did not stop when asked to", p.name))
		}
	}
	if c.lab != nil {
		errs = append(errs, c.lab.Close(ctx))
	}
	return errors.Join(errs...)
}
