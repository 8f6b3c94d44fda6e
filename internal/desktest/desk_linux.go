package desktest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"skua/agent/probe"
)

// ErrMissing says that a desk needs a program that is not installed.
var ErrMissing = errors.New("not installed")

const (
	patience = time.Minute           // for what should happen at once
	glance   = 5 * time.Millisecond  // between two looks
	quiet    = 50 * time.Millisecond // between two presses, as far as Times is concerned
)

// Desk is a machine's place for a person, with a way to do what that person's hands do.
type Desk struct {
	Source string            // what a watcher calls it
	Watch  probe.WatchConfig // has a watcher see this desk and no other
	Press  func() error      // one input, which has happened when it returns

	RuntimeDir string // of the user whose session this is, named by the user's id; "" for none

	closers []func() // from the last to the first
}

// Close takes the desk away and ends its programs.
func (d *Desk) Close() {
	for i := len(d.closers) - 1; i >= 0; i-- {
		d.closers[i]()
	}
	d.closers = nil
}

func (d *Desk) atClose(f func()) { d.closers = append(d.closers, f) }

// Times presses n times, each time after quiet, and tells how long it took until a watcher of the desk called
// OnActive.
func (d *Desk) Times(ctx context.Context, n int) ([]time.Duration, error) {
	active := make(chan probe.Active, 64)
	cfg := d.Watch
	cfg.Quiet = quiet
	cfg.OnActive = func(a probe.Active) {
		select {
		case active <- a:
		default:
		}
	}
	w, err := probe.NewWatcher(cfg)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	defer func() { stop(); <-ended }()
	var took []time.Duration
	for range n {
		if err := Quiet(ctx, w, d.Source, quiet); err != nil {
			return nil, err
		}
		for len(active) > 0 {
			<-active
		}
		start := time.Now()
		if err := d.Press(); err != nil {
			return nil, err
		}
		select {
		case a := <-active:
			took = append(took, a.At.Sub(start))
		case <-time.After(patience):
			return nil, fmt.Errorf("after %v a press on %s was not seen", patience, d.Source)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return took, nil
}

// Quiet waits until the watcher sees the source, and has seen no input there for the quiet time.
func Quiet(ctx context.Context, w *probe.Watcher, source string, quiet time.Duration) error {
	return await(ctx, source+" is not watched and quiet", func() bool {
		for _, s := range w.Sources() {
			if s.Name == source {
				return s.Watching && !s.Busy && time.Since(s.LastInput) >= quiet
			}
		}
		return false
	})
}

// await looks again and again until ok holds.
func await(ctx context.Context, what string, ok func() bool) error {
	end := time.After(patience)
	for !ok() {
		select {
		case <-time.After(glance):
		case <-end:
			return fmt.Errorf("after %v: %s", patience, what)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// start starts a program in a directory of its own rights and ends it with the desk.
func (d *Desk) start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // with what it starts
	if err := cmd.Start(); err != nil {
		return err
	}
	d.atClose(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	return nil
}

// found gives the path of a program.
func found(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("%s: %w", program, ErrMissing)
	}
	return path, nil
}

// person is a user with a runtime directory, as systemd makes it for whoever is logged in.
type person struct {
	uid     uint32
	runUser string // what is /run/user elsewhere
	dir     string // the user's directory below it
}

// stranger is a user who is nobody else on this machine.
func stranger() uint32 { return 60000 + uint32(os.Getpid())%5000 }

// newPerson makes the directories of another user, or of this process's own where others cannot be had.
func (d *Desk) newPerson(other uint32) (person, error) {
	p := person{uid: uint32(os.Getuid())}
	if p.uid == 0 {
		p.uid = other
	}
	var err error
	if p.runUser, err = os.MkdirTemp("/tmp", "skua-desk-"); err != nil { // short: the name of a socket has 107 letters
		return p, err
	}
	d.atClose(func() { _ = os.RemoveAll(p.runUser) })
	p.dir = filepath.Join(p.runUser, strconv.Itoa(int(p.uid)))
	err = errors.Join(os.Chmod(p.runUser, 0o755), os.Mkdir(p.dir, 0o700), os.Chown(p.dir, int(p.uid), int(p.uid)))
	return p, err
}

// command is a program that runs as the person, with nothing of this process's environment.
func (p person) command(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Env = []string{
		"XDG_RUNTIME_DIR=" + p.dir, "HOME=" + p.dir, "PATH=" + os.Getenv("PATH"),
		"DBUS_SESSION_BUS_ADDRESS=unix:path=" + p.dir + "/bus",
	}
	cmd.Dir = p.dir
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: p.uid, Gid: p.uid}}
	}
	return cmd
}

// watch has a watcher see the person's sessions alone.
func (p person) watch() probe.WatchConfig {
	return probe.WatchConfig{
		SkipTTYs: true, SkipDisplays: true, SkipDevices: true, Sessions: true,
		RunUser: p.runUser, SystemBus: "unix:path=" + filepath.Join(p.runUser, "no-bus"),
	}
}

func (p person) source() string { return "session of user " + strconv.Itoa(int(p.uid)) }
