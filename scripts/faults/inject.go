//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// inject carries out a schedule and counts what it did. Every fault is undone at its time; inject returns when
// the last one is.
func (p *pool) inject(ctx context.Context, schedule []fault, count map[kind]int) error {
	log, err := os.Create(filepath.Join(p.dir, "faults.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	var mu sync.Mutex // guards log and count
	began := time.Now()
	var undoing group
	for _, f := range schedule {
		if err := pause(ctx, time.Until(began.Add(f.at))); err != nil {
			break
		}
		undo, err := p.strike(ctx, f)
		mu.Lock()
		fmt.Fprintf(log, "%s %v", time.Now().Format(time.StampMicro), f)
		if err != nil {
			fmt.Fprintf(log, ": %v", err)
		} else {
			count[f.kind]++
		}
		fmt.Fprintln(log)
		mu.Unlock()
		if errors.Is(err, errNothing) {
			continue
		}
		if err != nil {
			undoing.Wait()
			return fmt.Errorf("%v: %w", f, err)
		}
		undoing.run(func() error {
			pause(ctx, f.lasts) // undone in any case
			if err := undo(context.WithoutCancel(ctx)); err != nil {
				return fmt.Errorf("undo %v: %w", f, err)
			}
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(log, "%s   over: %v\n", time.Now().Format(time.StampMicro), f)
			return nil
		})
	}
	return errors.Join(undoing.wait(), ctx.Err())
}

// errNothing means that there was nothing that the fault could have struck.
var errNothing = errors.New("nothing to strike")

// strike does what a fault says, and gives what undoes it.
func (p *pool) strike(ctx context.Context, f fault) (undo func(context.Context) error, err error) {
	none := func(context.Context) error { return nil }
	var d *desk
	if f.machine >= 0 {
		d = p.desks[f.machine]
	}
	switch f.kind {
	case killMatchmaker:
		p.matchmaker.kill()
		return p.startMatchmaker, nil
	case killAgent:
		d.agent.kill()
		return func(context.Context) error { return p.startAgent(d) }, nil
	case upgradeAgent:
		if err := d.agent.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			return nil, err
		}
		return func(ctx context.Context) error {
			select {
			case <-d.agent.ended:
				return p.startAgent(d)
			case <-time.After(time.Minute):
				return errors.New("the agent does not hand over")
			}
		}, nil
	case killInit:
		inits := initsOf(d)
		if len(inits) == 0 {
			return nil, errNothing
		}
		return none, syscall.Kill(inits[0], syscall.SIGKILL)
	case killCourier:
		pid, err := p.courier()
		if err != nil {
			return nil, errNothing
		}
		return none, syscall.Kill(pid, syscall.SIGKILL)
	case sleep:
		stopped := processesOf(d.dir)
		for _, pid := range stopped {
			_ = syscall.Kill(pid, syscall.SIGSTOP) // it may have ended
		}
		return func(context.Context) error {
			p.woke(time.Now())
			for _, pid := range stopped {
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
			return nil
		}, nil
	case partition:
		return func(ctx context.Context) error { return p.lab.Heal(ctx, d.name) }, p.lab.Cut(ctx, d.name)
	case cutUser:
		return func(ctx context.Context) error { return p.lab.Heal(ctx, laptop) }, p.lab.Cut(ctx, laptop)
	case loss:
		return func(ctx context.Context) error { return p.lab.Heal(ctx, d.name) }, p.lab.Lose(ctx, d.name, 33)
	case gone:
		if err := p.destroy(ctx, d); err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return p.replace(ctx, d) }, nil
	}
	return nil, fmt.Errorf("nobody knows how to do this")
}

// courier gives the process of the user's courier.
func (p *pool) courier() (pid int, err error) {
	locks, err := filepath.Glob(filepath.Join(p.home(), "hosts", "*", "courier.lock"))
	if err != nil || len(locks) == 0 {
		return 0, errors.Join(errNothing, err)
	}
	data, err := os.ReadFile(locks[0])
	if err != nil {
		return 0, err
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(data))); err != nil {
		return 0, err
	}
	return pid, syscall.Kill(pid, 0)
}

// destroy ends everything on a machine at once and removes its disk.
func (p *pool) destroy(ctx context.Context, d *desk) error {
	d.agent.kill()
	err := await(ctx, "the machine is dead", func() (bool, error) {
		left := processesOf(d.dir)
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		return len(left) == 0, nil
	})
	removeCgroups(d.dir)
	return errors.Join(err, os.RemoveAll(d.dir))
}

// replace puts a new machine in a desk's place. It joins through a matchmaker that may not be there just now.
func (p *pool) replace(ctx context.Context, d *desk) error {
	return await(ctx, d.name+" has joined again", func() (bool, error) {
		err := p.join(ctx, d)
		return err == nil, err
	})
}

// heal ends what may be left of any fault.
func (p *pool) heal(ctx context.Context) error {
	select {
	case <-p.matchmaker.ended:
		return fmt.Errorf("the matchmaker has ended by itself: %v", p.matchmaker.cmd.ProcessState)
	default:
	}
	for _, d := range p.desks {
		select {
		case <-d.agent.ended:
			return fmt.Errorf("the agent of %s has ended by itself: %v", d.dir, d.agent.cmd.ProcessState)
		default:
		}
	}
	return nil
}

// removeCgroups removes the cgroups of claims whose processes were killed from outside.
func removeCgroups(dir string) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != "claim.json" {
			return nil // what cannot be read is not there any more
		}
		var record struct{ Cgroup string }
		if data, err := os.ReadFile(path); err == nil && json.Unmarshal(data, &record) == nil && record.Cgroup != "" {
			_ = os.Remove(record.Cgroup)
		}
		return nil
	})
}
