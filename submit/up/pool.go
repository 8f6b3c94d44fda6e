package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"skua/agent/startd"
	"skua/agent/starter"
	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/membership"
	"skua/internal/quantity"
	"skua/internal/trust"
	"skua/matchmaker/server"
	"skua/policy"
	"skua/policy/config"
	"skua/submit/client"
)

// personalPool is a matchmaker and an agent in this process. Its directory holds
//
//	matchmaker/  what must not be lost: queue, files, members
//	agent/       claims and the cache
//	port         where the matchmaker listens, so that it stays the same
//	up.log       what both log
type personalPool struct {
	options
	out, err io.Writer
	home     client.Home
	old      bool // it has been up before
}

// options are what "skua up" was asked for.
type options struct {
	slots         int // 0 means one for each processor
	partitionable bool
	policyFile    string // "" means that the user is the machine's owner
	verbose       bool
}

func (p *personalPool) run(ctx context.Context) error {
	if c, err := net.Dial("unix", p.home.LoginSocket()); err == nil {
		c.Close()
		return &diag.Problem{What: "your pool is running already", Hint: `"skua status" shows it; ctrl-C stops it, where "skua up" was typed`}
	}
	settings, rules, err := p.agentSettings()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(settings.Dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of the pool: %w", err)
	}
	log, closeLog, err := p.logger()
	if err != nil {
		return err
	}
	defer closeLog()

	// The agent stops first: its jobs take their leave of the matchmaker.
	heading, stopHead := context.WithCancel(context.WithoutCancel(ctx))
	defer stopHead()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stopHead()
	_, err = os.Stat(filepath.Join(p.home.Pool(), "port"))
	p.old = err == nil
	head, err := p.startHead(heading, &wg, log)
	if err != nil {
		return err
	}
	user, err := p.login(ctx, head)
	if err != nil {
		return err
	}
	member, err := p.joinAgent(ctx, head, settings)
	if err != nil {
		return err
	}
	machine, err := startd.NewMachine(settings, member, rules, log)
	if err != nil {
		return err
	}
	can, err := machine.Prepare(ctx) // now, so that it can be said
	if err != nil {
		return err
	}
	p.welcome(head.URL(), user.Name, settings, can)
	return p.serve(ctx, head.failed, machine)
}

// serve runs the agent until ctx ends and its jobs have left, or until one of the two fails.
func (p *personalPool) serve(ctx context.Context, headFailed <-chan error, machine *startd.Machine) error {
	agentEnded := make(chan error, 1)
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go func() { agentEnded <- machine.Run(running, nil) }()
	select {
	case err := <-agentEnded:
		return err
	case err := <-headFailed:
		stop()
		return err
	case <-ctx.Done():
	}
	fmt.Fprintln(p.out, "\nStopping. Jobs that run are asked to leave; press ctrl-C again not to wait for them.")
	again, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	stop()
	select {
	case err := <-agentEnded:
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		return err
	case err := <-headFailed:
		return err
	case <-again.Done():
		return &diag.Problem{What: "stopped at once", Hint: `jobs that ran stand still, and go on with the next "skua up"`}
	}
}

// head is the matchmaker in this process.
type head struct {
	*server.Head
	failed chan error // receives the error that ended it
}

// startHead starts the matchmaker and waits until it serves.
func (p *personalPool) startHead(ctx context.Context, wg *sync.WaitGroup, log *slog.Logger) (*head, error) {
	data := filepath.Join(p.home.Pool(), "matchmaker")
	portFile := filepath.Join(p.home.Pool(), "port")
	listener, err := listenPersonal(portFile)
	if err != nil {
		return nil, err
	}
	h, err := server.NewHead(server.HeadConfig{
		Settings: server.Settings{Data: data, Domain: "personal"}, Listener: listener, Log: log.With("part", "matchmaker"),
	})
	if err != nil {
		return nil, err
	}
	out := &head{h, make(chan error, 1)}
	wg.Go(func() { out.failed <- h.Run(ctx) })
	select {
	case err := <-out.failed:
		return nil, fmt.Errorf("start the matchmaker: %w", err)
	case <-h.Ready():
	}
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(h.URL(), "https://"))
	if err := os.WriteFile(portFile, []byte(port+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("keep the pool's port: %w", err)
	}
	return out, nil
}

// listenPersonal opens the port that the pool had before. A new pool takes the usual one, or any when
// that is in use.
func listenPersonal(portFile string) (net.Listener, error) {
	port, err := os.ReadFile(portFile)
	if err == nil {
		return server.Listen("127.0.0.1:" + strings.TrimSpace(string(port)))
	}
	l, err := server.Listen("127.0.0.1:" + bus.DefaultPort)
	if err != nil {
		l, err = server.Listen("127.0.0.1:0") // this machine is in another pool's service, say
	}
	return l, err
}

// login makes the user of this process a user of the pool, unless that would end a membership elsewhere.
func (p *personalPool) login(ctx context.Context, h *head) (*membership.Membership, error) {
	m, err := membership.Open(p.home.Member())
	if err == nil && m.URL != h.URL() {
		return nil, &diag.Problem{
			What: fmt.Sprintf("you are in the pool at %s, and commands would not know which one you mean", m.URL),
			Hint: p.secondLife(),
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return membership.JoinLocal(ctx, p.home.Member(), h.LoginSocket())
}

// secondLife says how to have a pool of one's own besides that of others, with the queue that it may have.
func (p *personalPool) secondLife() string {
	hint := "for a second life set SKUA_HOME to another directory, here and where you submit: export SKUA_HOME=~/.skua-own"
	if p.old && os.Getenv("SKUA_HOME") == "" {
		hint += fmt.Sprintf("; the queue of your own pool comes along with: mkdir ~/.skua-own && mv %s ~/.skua-own/pool", p.home.Pool())
	}
	return hint
}

// joinAgent makes this machine a member of the pool.
func (p *personalPool) joinAgent(ctx context.Context, h *head, s startd.Settings) (*membership.Membership, error) {
	dir := startd.MembershipDir(s.Dir)
	m, err := membership.Open(dir)
	if err == nil && m.URL == h.URL() || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	text, err := h.Token(trust.TokenSpec{Kind: trust.Agent, TTL: time.Minute, Approve: true}, "")
	if err != nil {
		return nil, err
	}
	token, err := trust.ParseToken(text)
	if err != nil {
		return nil, err
	}
	return membership.Join(ctx, dir, token, s.Name)
}

// agentSettings says how this machine serves.
func (p *personalPool) agentSettings() (startd.Settings, *policy.Policy, error) {
	s := startd.Settings{Dir: filepath.Join(p.home.Pool(), "agent"), Slots: p.slots, Partitionable: p.partitionable}
	if p.slots <= 0 {
		s.Slots = runtime.NumCPU()
	}
	var err error
	if s.Name, err = os.Hostname(); err != nil {
		return s, nil, &diag.Problem{What: "this machine has no name", Hint: "give it one with hostname", Err: err}
	}
	leave := quantity.Duration(20 * time.Second)
	file := policy.File{Preset: policy.Dedicated, Vacate: policy.Vacate{MaxVacateTime: &leave}}
	if p.policyFile != "" {
		file = policy.File{}
		if err := config.Load(p.policyFile, &file); err != nil {
			return s, nil, err
		}
	} else {
		nobody := false
		s.Owner = &nobody // the owner is who submits
	}
	rules, err := policy.Derive(file)
	return s, rules, err
}

func (p *personalPool) logger() (*slog.Logger, func() error, error) {
	if p.verbose {
		return slog.New(slog.NewTextHandler(p.err, nil)), func() error { return nil }, nil
	}
	f, err := os.OpenFile(filepath.Join(p.home.Pool(), "up.log"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open the pool's log: %w", err)
	}
	return slog.New(slog.NewTextHandler(f, nil)), f.Close, nil
}

// welcome says what there is, what there is not, and what to type next.
func (p *personalPool) welcome(url, user string, s startd.Settings, can starter.Capabilities) {
	slots := "1 slot"
	switch {
	case s.Partitionable:
		slots = fmt.Sprintf("a partitionable slot, for up to %d jobs at a time", s.Slots)
	case s.Slots > 1:
		slots = fmt.Sprintf("%d slots", s.Slots)
	}
	fmt.Fprintf(p.out, "Your pool is up: a matchmaker at %s and the machine %s with %s. You are %s there.\n", url, s.Name, slots, user)
	switch {
	case !can.Sandbox:
		fmt.Fprintf(p.out, "\n  off: running jobs. %s.\n", sentence(can.SandboxWhy))
	case !can.Checkpoint:
		fmt.Fprintf(p.out, "\n  off: checkpoints of running programs. %s.\n"+
			"       scripts/install-criu installs a CRIU that is known to work.\n"+
			"       A job that has to leave begins again, unless it saves its own state\n"+
			"       (checkpoint_exit_code; examples/selfckpt.sub shows how).\n", sentence(can.CheckpointWhy))
	}
	fmt.Fprintf(p.out, `
In another terminal:
  skua submit FILE     queue the jobs that a file describes
  skua q               how they are, and why if they wait
  skua status          the machines

Ctrl-C stops the pool and keeps the queue.
`)
	if !p.verbose {
		fmt.Fprintf(p.out, "What it does in detail is in %s.\n", filepath.Join(p.home.Pool(), "up.log"))
	}
}

// sentence makes one of a reason.
func sentence(why string) string {
	why = strings.TrimSuffix(why, ".")
	if why == "" {
		return "The reason is not known"
	}
	return strings.ToUpper(why[:1]) + why[1:]
}
