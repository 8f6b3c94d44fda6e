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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"skua/internal/faultctl"
	"skua/internal/netlab"
	"skua/internal/pause"
)

const (
	machines = 5
	slots    = 2 // of each machine
	lease    = 4 * time.Second
	guard    = time.Second
	laptop   = "laptop"
	head     = "head"
)

// pool is a running pool: a matchmaker, machines, and the laptop of a user, each in a network namespace of its
// own.
type pool struct {
	seed    uint64
	dir     string
	bin     string
	lab     *netlab.Lab
	token   string // with which machines join
	journal string

	commandKills atomic.Int64 // commands of the user that are to be killed on their way

	matchmaker *program
	disk       *disk // of the matchmaker's data
	desks      []*desk

	mu       sync.Mutex
	joined   int // machines that have, which gives each a name of its own; guarded by mu, as what follows
	wakes    []time.Time
	controls map[string]faultctl.Control // by machine
}

// control changes what the programs on a machine do wrong.
func (p *pool) control(machine string, change func(*faultctl.Control)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.controls[machine]
	change(&c)
	p.controls[machine] = c
	return c.Write(p.controlFile(machine))
}

func (p *pool) controlFile(machine string) string { return filepath.Join(p.dir, "control-"+machine) }

// woke notes that a machine goes on that has stood still.
func (p *pool) woke(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wakes = append(p.wakes, at)
}

// desk is a machine that jobs run on.
type desk struct {
	name   string // "desk3", the same for all that stand in its place
	dir    string
	disk   *disk // of the agent's own files
	faulty bool  // the disk can be made to fail
	agent  *program
}

// program is a process in the background. It belongs to the goroutine of the schedule.
type program struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// startPool makes the pool and waits until every slot is offered. What was made before an error is in the
// pool for close.
func startPool(ctx context.Context, cfg seedConfig) (*pool, error) {
	p := &pool{seed: cfg.seed, controls: map[string]faultctl.Control{}}
	var err error
	if p.bin, err = filepath.Abs(cfg.bin); err != nil {
		return p, err
	}
	// Not below /tmp, of which every job has its own.
	if p.dir, err = os.MkdirTemp("/srv", fmt.Sprintf("skua-faults-%d-", cfg.seed)); err != nil {
		return p, err
	}
	p.journal = filepath.Join(p.dir, "journal")
	err = errors.Join(os.Chmod(p.dir, 0o755), os.Mkdir(p.journal, 0o755), os.Chmod(p.journal, 0o777))
	if err != nil {
		return p, err
	}
	if p.lab, err = netlab.New(ctx, fmt.Sprintf("skf%d-%d-", os.Getpid()%10000, cfg.seed%1000)); err != nil {
		return p, err
	}
	if _, err := p.lab.Add(ctx, laptop); err != nil {
		return p, err
	}
	for i := range machines {
		if _, err := p.lab.Add(ctx, fmt.Sprint("desk", i+1)); err != nil {
			return p, err
		}
	}
	for machine := range p.lab.Machines() {
		if err := p.control(machine, func(*faultctl.Control) {}); err != nil {
			return p, err
		}
	}
	if p.disk, err = newDisk(filepath.Join(p.dir, "matchmaker"), 256<<20, fails(cfg.schedule, badHead, -1)); err != nil {
		return p, err
	}
	if err := p.write("matchmaker.toml", fmt.Sprintf(`data = %q
listen = "%s:9618"
url = "https://%s:9618"
log = "debug"
[leases]
lease = "%v"
renew = "1s"
offer = "2s"
guard = "%v"
[limits]
disk_free = "16MB"
`, filepath.Join(p.dir, "matchmaker"), netlab.Head, netlab.Head, lease, guard)); err != nil {
		return p, err
	}
	if err := p.startMatchmaker(ctx); err != nil {
		return p, err
	}
	if p.token, err = p.admin(ctx, "token", "agent", "--uses", "100"); err != nil {
		return p, err
	}
	userToken, err := p.admin(ctx, "token", "user", "researcher")
	if err == nil {
		_, err = p.skua(ctx, "login", userToken)
	}
	if err != nil {
		return p, err
	}
	for i := range machines {
		p.desks = append(p.desks, &desk{name: fmt.Sprint("desk", i+1), faulty: fails(cfg.schedule, badAgent, i)})
	}
	var joining group
	for _, d := range p.desks {
		joining.run(func() error { return p.join(ctx, d) })
	}
	if err := joining.wait(); err != nil {
		return p, err
	}
	return p, await(ctx, lookEvery, "every slot is offered", func() (bool, error) {
		out, err := p.skua(ctx, "status", "--json")
		return strings.Count(out, `"Unclaimed"`) == machines*slots, err
	})
}

// fails says whether a schedule has a fault of a kind for a machine.
func fails(schedule []fault, k kind, machine int) bool {
	return slices.ContainsFunc(schedule, func(f fault) bool { return f.kind == k && f.machine == machine })
}

// join makes a new machine in the desk's place a member of the pool and starts its agent.
func (p *pool) join(ctx context.Context, d *desk) error {
	p.mu.Lock()
	p.joined++
	name := fmt.Sprintf("m%03d", p.joined) // none begins as another does, see processesOf
	p.mu.Unlock()
	d.dir = filepath.Join(p.dir, name)
	if d.disk != nil {
		d.disk.close()
	}
	disk, err := newDisk(filepath.Join(d.dir, "state"), 128<<20, d.faulty)
	if err != nil {
		return err
	}
	p.mu.Lock()
	d.disk = disk
	p.mu.Unlock()
	err = errors.Join(
		p.write(name+"/policy.toml", fmt.Sprintf("preset = \"dedicated\"\n[machine]\nMemory = 512\n[shared_fs]\nmounts = [%q]\n", p.journal)),
		p.write(name+"/agent.toml", fmt.Sprintf("name = %q\ndir = %q\npolicy = \"policy.toml\"\nslots = %d\nowner = false\nlog = \"debug\"\n",
			name, filepath.Join(d.dir, "state"), slots)),
	)
	if err != nil {
		return err
	}
	if _, err := p.run(ctx, d.name, "skua-agent", "--config", filepath.Join(d.dir, "agent.toml"), "join", p.token); err != nil {
		return err
	}
	return p.startAgent(d)
}

func (p *pool) startAgent(d *desk) (err error) {
	d.agent, err = p.start(d.name, filepath.Join(d.dir, "agent.log"), "skua-agent", "--config", filepath.Join(d.dir, "agent.toml"), "run")
	return err
}

// startMatchmaker starts the matchmaker and waits until it serves.
func (p *pool) startMatchmaker(ctx context.Context) (err error) {
	p.matchmaker, err = p.start(head, filepath.Join(p.dir, "matchmaker.log"), "skua-matchmaker", "--config", filepath.Join(p.dir, "matchmaker.toml"))
	if err != nil {
		return err
	}
	return await(ctx, atOnce, "the matchmaker serves", func() (bool, error) {
		select {
		case <-p.matchmaker.ended:
			return false, fmt.Errorf("the matchmaker %w: %v", errEnded, p.matchmaker.cmd.ProcessState)
		default:
		}
		_, err := p.admin(ctx, "members")
		return err == nil, nil
	})
}

// admin gives an order to the matchmaker.
func (p *pool) admin(ctx context.Context, args ...string) (string, error) {
	out, err := p.run(ctx, head, append([]string{"skua-matchmaker", "--config", filepath.Join(p.dir, "matchmaker.toml")}, args...)...)
	return strings.TrimSpace(out), err
}

// skua runs a command of the user on the laptop.
func (p *pool) skua(ctx context.Context, args ...string) (string, error) {
	return p.run(ctx, laptop, append([]string{"skua"}, args...)...)
}

// run runs a program of ours on a machine to its end, in the pool's directory, and gives its output.
func (p *pool) run(ctx context.Context, machine string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := p.command(ctx, machine, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second // a courier may have kept the output open
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return stdout.String(), &commandError{args, strings.TrimSpace(stderr.String()), err}
	}
	return stdout.String(), nil
}

func (p *pool) command(ctx context.Context, machine string, args ...string) *exec.Cmd {
	cmd := p.lab.Enter(ctx, machine, p.enter(machine), filepath.Join(p.bin, args[0]), args[1:]...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "SKUA_HOME="+p.home(), faultctl.Variable+"="+p.controlFile(machine))
	return cmd
}

// enter gives the options with which nsenter comes to the disk of a machine.
func (p *pool) enter(machine string) []string {
	d := p.disk
	for _, desk := range p.desks {
		if desk.name == machine {
			d = desk.disk
		}
	}
	if machine == laptop || d == nil {
		return nil
	}
	return append(d.enter(), "--wd="+p.dir) // or it is the root directory
}

func (p *pool) home() string { return filepath.Join(p.dir, "home") }

// start starts a program on a machine, in the background.
func (p *pool) start(machine, log string, args ...string) (*program, error) {
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := p.command(context.Background(), machine, args...) // ended by kill, in the order of the schedule
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	g := &program{cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // ProcessState says it
		close(g.ended)
	}()
	return g, nil
}

// kill ends a program with SIGKILL.
func (g *program) kill() {
	_ = g.cmd.Process.Kill() // it may have ended
	<-g.ended
}

func (p *pool) write(name, text string) error {
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// close ends everything that belongs to the pool, and takes its network down.
func (p *pool) close() error {
	if p.dir == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, d := range p.desks {
		if d.disk != nil {
			defer removeAll(d.cgroups())
		}
	}
	err := await(ctx, atOnce, "nothing of the pool runs", func() (bool, error) {
		left := processesOf(p.dir)
		for _, d := range p.desks {
			if d.disk != nil {
				left = append(left, p.processesOn(d)...)
			}
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		return len(left) == 0, nil
	})
	if p.lab != nil {
		err = errors.Join(err, p.lab.Close(ctx))
	}
	return err
}

// keep copies what is on the disks into the pool's directory, for people to look at.
func (p *pool) keep() error {
	var errs []error
	if p.disk != nil {
		errs = append(errs, p.disk.copyTree(filepath.Join(p.dir, "kept-matchmaker")))
	}
	for _, d := range p.desks {
		if d.disk != nil {
			errs = append(errs, d.disk.copyTree(filepath.Join(p.dir, "kept-"+filepath.Base(d.dir))))
		}
	}
	return errors.Join(errs...)
}

// atOnce is how often is looked for what should come soon.
const atOnce = 50 * time.Millisecond

// errEnded means that there is no use in waiting.
var errEnded = errors.New("has ended by itself")

// await looks until ok holds.
func await(ctx context.Context, every time.Duration, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		done, err := ok()
		if done {
			return nil
		}
		if errors.Is(err, errEnded) {
			return err
		}
		if perr := pause.For(ctx, every); perr != nil {
			return errors.Join(fmt.Errorf("in good time still not: %s", what), err)
		}
	}
}

// schedule of a goroutine group that ends with its context.
type group struct {
	sync.WaitGroup
	mu   sync.Mutex
	errs []error // guarded by mu
}

func (g *group) run(f func() error) {
	g.Go(func() {
		if err := f(); err != nil {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.errs = append(g.errs, err)
		}
	})
}

func (g *group) wait() error {
	g.Wait()
	return errors.Join(slices.Clone(g.errs)...)
}
