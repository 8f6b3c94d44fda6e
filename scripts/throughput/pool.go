//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pool is a matchmaker and agents, as real processes.
type pool struct {
	bin, dir   string
	matchmaker *process
	agents     []*process
}

// process is a program in the background.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// start starts the pool and waits until all slots are there.
func (p *pool) start(ctx context.Context, agents, slots int) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := l.Addr().String()
	l.Close()
	err = p.write("matchmaker.toml", fmt.Sprintf("data = %q\nlisten = %q\nurl = %q\n", filepath.Join(p.dir, "matchmaker"), address, "https://"+address))
	if err != nil {
		return err
	}
	if p.matchmaker, err = p.launch("matchmaker", "skua-matchmaker", "--config", "matchmaker.toml"); err != nil {
		return err
	}
	token, err := p.admin(ctx, "token", "user", "researcher")
	for err != nil && ctx.Err() == nil && p.matchmaker.alive() { // it is starting
		time.Sleep(20 * time.Millisecond)
		token, err = p.admin(ctx, "token", "user", "researcher")
	}
	if err == nil {
		_, err = p.run(ctx, "skua", "login", token)
	}
	if err == nil {
		token, err = p.admin(ctx, "token", "agent", "--uses", strconv.Itoa(agents))
	}
	if err == nil {
		err = p.write("policy.toml", "preset = \"dedicated\"\n")
	}
	for i := 1; err == nil && i <= agents; i++ {
		err = p.startAgent(ctx, fmt.Sprint("node", i), slots, token)
	}
	if err != nil {
		return err
	}
	for {
		out, err := p.run(ctx, "skua", "status", "--json")
		if err == nil && strings.Count(out, `"Unclaimed"`) == agents*slots {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(errors.New("the slots do not come into the pool"), err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (p *pool) startAgent(ctx context.Context, name string, slots int, token string) error {
	config := name + ".toml"
	err := p.write(config, fmt.Sprintf("name = %q\ndir = %q\npolicy = \"policy.toml\"\nslots = %d\nowner = false\n", name, filepath.Join(p.dir, name), slots))
	if err != nil {
		return err
	}
	if _, err := p.run(ctx, "skua-agent", "--config", config, "join", token); err != nil {
		return err
	}
	a, err := p.launch(name, "skua-agent", "--config", config, "run")
	if err == nil {
		p.agents = append(p.agents, a)
	}
	return err
}

func (p *pool) write(name, text string) error {
	return os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644)
}

func (p *pool) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, program), args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "SKUA_HOME="+filepath.Join(p.dir, "home"))
	cmd.WaitDelay = time.Second // a courier may have kept the output open
	return cmd
}

// run runs a command to its end and gives its output.
func (p *pool) run(ctx context.Context, program string, args ...string) (string, error) {
	cmd := p.command(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

func (p *pool) admin(ctx context.Context, args ...string) (string, error) {
	out, err := p.run(ctx, "skua-matchmaker", append([]string{"--config", "matchmaker.toml"}, args...)...)
	return strings.TrimSpace(out), err
}

// launch starts a program with its output in a log file. It is not bound to a context: close ends it.
func (p *pool) launch(name, program string, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join(p.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := p.command(context.Background(), program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ctrl-C is for this program alone
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	g := &process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // whoever wants to know sees that it has ended
		close(g.ended)
	}()
	return g, nil
}

func (g *process) alive() bool {
	select {
	case <-g.ended:
		return false
	default:
		return true
	}
}

func (g *process) stop() error {
	_ = g.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-g.ended:
		return nil
	case <-time.After(20 * time.Second):
		_ = g.cmd.Process.Kill()
		<-g.ended
		return fmt.Errorf("%s did not stop when asked to", g.cmd.Path)
	}
}

// close ends everything.
func (p *pool) close() error {
	var errs []error
	if pid, ok := p.courier(); ok {
		_ = syscall.Kill(pid, syscall.SIGTERM) // it may have ended
		for deadline := time.Now().Add(20 * time.Second); syscall.Kill(pid, 0) == nil && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
	}
	for _, a := range p.agents {
		errs = append(errs, a.stop())
	}
	if p.matchmaker != nil {
		errs = append(errs, p.matchmaker.stop())
	}
	return errors.Join(errs...)
}

// courier is the process that brings outputs and writes logs, if it is there.
func (p *pool) courier() (pid int, ok bool) {
	locks, _ := filepath.Glob(filepath.Join(p.dir, "home", "hosts", "*", "courier.lock")) // the pattern is well formed
	for _, lock := range locks {
		if data, err := os.ReadFile(lock); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && syscall.Kill(pid, 0) == nil {
				return pid, true
			}
		}
	}
	return 0, false
}

var submitted = regexp.MustCompile(`submitted to cluster (\d+)`)

func (p *pool) submit(ctx context.Context, file string) (cluster string, err error) {
	out, err := p.run(ctx, "skua", "submit", file)
	if err != nil {
		return "", err
	}
	m := submitted.FindStringSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("submit did not name a cluster: %q", out)
	}
	return m[1], nil
}

func (p *pool) wait(ctx context.Context, cluster string) error {
	_, err := p.run(ctx, "skua", "wait", cluster)
	return err
}

// runJobs runs /bin/true so many times and gives how many ends the user's log tells of.
func (p *pool) runJobs(ctx context.Context, name string, n int) (ends int, err error) {
	err = p.write(name+".sub", fmt.Sprintf("executable = /bin/true\ntransfer_executable = false\nlog = %s.log\nqueue %d\n", name, n))
	if err != nil {
		return 0, err
	}
	cluster, err := p.submit(ctx, name+".sub")
	if err != nil {
		return 0, err
	}
	if err := p.wait(ctx, cluster); err != nil {
		return 0, err
	}
	// The last entries of the log may be on their way.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		log, err := os.ReadFile(filepath.Join(p.dir, name+".log"))
		ends = bytes.Count(log, []byte("\n005 ("))
		if err != nil || ends >= n || time.Now().After(deadline) {
			return ends, err
		}
	}
}

// usage is processor time since the start of the pool.
type usage struct{ matchmaker, agents, user time.Duration }

func (u usage) sum() time.Duration { return u.matchmaker + u.agents }

// usage adds up what the pool's processes have used, with all their children: those that have ended, and
// those that live, such as the inits of claims.
func (p *pool) usage() usage {
	children := map[int][]int{}
	entries, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well formed
	cpu := map[int]time.Duration{}
	for _, e := range entries {
		pid, _ := strconv.Atoi(filepath.Base(e))
		if ppid, used, ok := stat(pid); ok {
			children[ppid] = append(children[ppid], pid)
			cpu[pid] = used
		}
	}
	var tree func(pid int) time.Duration
	tree = func(pid int) time.Duration {
		sum := cpu[pid]
		for _, c := range slices.Clone(children[pid]) {
			sum += tree(c)
		}
		return sum
	}
	u := usage{matchmaker: tree(p.matchmaker.cmd.Process.Pid)}
	for _, a := range p.agents {
		u.agents += tree(a.cmd.Process.Pid)
	}
	if pid, ok := p.courier(); ok {
		u.user = tree(pid)
	}
	return u
}

// stat reads the parent and the processor time of a process, with that of the children it has waited for.
func stat(pid int) (ppid int, used time.Duration, ok bool) {
	const tick = time.Second / 100 // USER_HZ
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, false
	}
	f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(f) < 15 {
		return 0, 0, false
	}
	num := func(i int) int { n, _ := strconv.Atoi(f[i]); return n }
	return num(1), time.Duration(num(11)+num(12)+num(13)+num(14)) * tick, true
}
