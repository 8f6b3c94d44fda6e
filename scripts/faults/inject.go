//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"skua/internal/faultctl"
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
	r := rand.New(rand.NewPCG(p.seed, uint64(f.at)))
	var d *desk
	if f.machine >= 0 {
		d = p.desks[f.machine]
	}
	switch f.kind {
	case killMatchmaker:
		p.matchmaker.kill()
		return p.startMatchmaker, nil
	case tornLog:
		p.matchmaker.kill()
		err := tear(newest(p.disk.files("broker", "*.blk")), r)
		if archive := newest(p.disk.files("queue/archive", "*.log")); archive != "" && r.IntN(2) == 0 {
			err = errors.Join(err, tear(archive, r))
		}
		return p.startMatchmaker, err
	case damagedStream:
		p.matchmaker.kill()
		if r.IntN(2) == 0 {
			return p.startMatchmaker, os.RemoveAll(p.disk.path("broker", "jetstream"))
		}
		return p.startMatchmaker, halve(newest(p.disk.files("broker", "*.blk")))
	case fullHead:
		return func(ctx context.Context) error {
			err := p.disk.free()
			select {
			case <-p.matchmaker.ended: // its service is started again
				return errors.Join(err, p.startMatchmaker(ctx))
			default:
				return err
			}
		}, p.disk.fill()
	case damagedImage:
		parts := p.disk.files("blobs", "*")
		r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		struck := false
		for _, path := range parts {
			if struck && r.IntN(3) > 0 {
				break
			}
			data, err := os.ReadFile(path)
			if err != nil || utf8.Valid(data) {
				continue // removed, or no part of an image: those are encrypted
			}
			if err := flip(path, r); err != nil {
				return nil, err
			}
			struck = true
		}
		if !struck {
			return nil, errNothing
		}
		return none, nil
	case clockHead:
		return p.jumpClock(head, r)
	case clockMachine:
		return p.jumpClock(d.name, r)
	case disturb:
		all := slices.Collect(p.lab.Machines())
		set := func(percent int64) (err error) {
			for _, machine := range all {
				err = errors.Join(err, p.control(machine, func(c *faultctl.Control) { c.Messages = percent }))
			}
			return err
		}
		return func(context.Context) error { return set(0) }, set(5 + r.Int64N(25))
	case killCommand:
		p.submitKills.Add(1)
		return none, nil
	case fullAgent:
		return func(context.Context) error {
			err := d.disk.free()
			select {
			case <-d.agent.ended: // its service is started again
				return errors.Join(err, p.startAgent(d))
			default:
				return err
			}
		}, d.disk.fill()
	case damagedCache:
		cached := d.disk.files("cache", "*")
		if len(cached) == 0 {
			return nil, errNothing
		}
		return none, flip(cached[r.IntN(len(cached))], r)
	case mute:
		return func(ctx context.Context) error { return p.lab.Heal(ctx, d.name) }, p.lab.Mute(ctx, d.name)
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
	defer removeAll(d.cgroups())
	d.agent.kill()
	err := await(ctx, "the machine is dead", func() (bool, error) {
		left := processesOf(d.dir)
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		return len(left) == 0, nil
	})
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

// jumpClock has the wall clock of a machine jump, by hours ahead or by minutes back.
func (p *pool) jumpClock(machine string, r *rand.Rand) (undo func(context.Context) error, err error) {
	ahead := 1 + r.Int64N(6*3600)
	if r.IntN(2) == 0 {
		ahead = -1 - r.Int64N(3600)
	}
	set := func(seconds int64) error {
		return p.control(machine, func(c *faultctl.Control) { c.Clock = seconds })
	}
	return func(context.Context) error { return set(0) }, set(ahead)
}

// newest gives the file that was changed last; "" if there is none.
func newest(paths []string) (last string) {
	var at time.Time
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(at) {
			last, at = path, info.ModTime()
		}
	}
	return last
}

// halve cuts a file in its middle.
func halve(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, info.Size()/2)
}

// cgroups are those of the claims on a machine.
func (d *desk) cgroups() (paths []string) {
	for _, path := range d.disk.files("claims", "claim.json") {
		var record struct{ Cgroup string }
		if data, err := os.ReadFile(path); err == nil && json.Unmarshal(data, &record) == nil && record.Cgroup != "" {
			paths = append(paths, record.Cgroup)
		}
	}
	return paths
}

// removeAll removes cgroups whose processes were killed from outside.
func removeAll(cgroups []string) {
	for _, path := range cgroups {
		_ = os.Remove(path) // the next agent may have removed it
	}
}
