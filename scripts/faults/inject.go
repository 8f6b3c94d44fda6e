//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"skua/internal/pause"
)

// inject carries out a schedule and counts what it did. A fault that finds nothing to strike, or whose victim has
// not got over the one before, since this machine is slow, is tried again a little later. Every fault is undone at
// its time; inject returns when the last one is.
func (p *pool) inject(ctx context.Context, schedule []fault, length time.Duration, count map[kind]int) error {
	log, err := os.Create(filepath.Join(p.dir, "faults.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	i := injector{p: p, log: log, began: time.Now(), count: count, busy: map[target]bool{}}
	var undoing group
	for rest := slices.Clone(schedule); len(rest) > 0; {
		f := rest[0]
		rest = rest[1:]
		if err := pause.For(ctx, time.Until(i.began.Add(f.at))); err != nil {
			break
		}
		undo, err := i.strike(ctx, f)
		if errors.Is(err, errNothing) {
			if f.at += again; f.at < length {
				at, _ := slices.BinarySearchFunc(rest, f, func(a, b fault) int { return cmp.Compare(a.at, b.at) })
				rest = slices.Insert(rest, at, f)
			}
			continue
		}
		if err != nil {
			undoing.Wait()
			return fmt.Errorf("%v: %w", f, err)
		}
		undoing.run(func() error {
			_ = pause.For(ctx, f.lasts) // undone in any case
			return i.undo(context.WithoutCancel(ctx), f, undo)
		})
	}
	return errors.Join(undoing.wait(), ctx.Err())
}

// again is when a fault is tried again that found nothing to strike.
const again = 500 * time.Millisecond

// errNothing means that there was nothing that the fault could have struck.
var errNothing = errors.New("nothing to strike")

// target is what one fault at a time strikes.
type target struct {
	victim  victim
	machine int
}

// injector strikes and undoes.
type injector struct {
	p     *pool
	began time.Time

	mu    sync.Mutex // guards what follows
	log   *os.File
	count map[kind]int
	busy  map[target]bool
}

func (i *injector) strike(ctx context.Context, f fault) (undo func(context.Context) error, err error) {
	on := target{f.victim, f.machine}
	i.mu.Lock()
	busy := i.busy[on]
	i.busy[on] = true
	i.mu.Unlock()
	if busy {
		return nil, errNothing
	}
	undo, err = i.p.strike(ctx, f)
	i.mu.Lock()
	defer i.mu.Unlock()
	if err != nil {
		i.busy[on] = false
		if !errors.Is(err, errNothing) {
			i.say("%v: %v", f, err)
		}
		return nil, err
	}
	i.count[f.kind]++
	i.say("%v", f)
	return undo, nil
}

func (i *injector) undo(ctx context.Context, f fault, undo func(context.Context) error) error {
	err := undo(ctx)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.busy[target{f.victim, f.machine}] = false
	if err != nil {
		i.say("   not over: %v: %v", f, err)
		return fmt.Errorf("undo %v: %w", f, err)
	}
	i.say("   over: %v", f)
	return nil
}

func (i *injector) say(format string, args ...any) {
	fmt.Fprintf(i.log, "%s %s\n", time.Now().Format(time.StampMicro), fmt.Sprintf(format, args...))
}

// strike does what a fault says, and gives what undoes it.
func (p *pool) strike(ctx context.Context, f fault) (undo func(context.Context) error, err error) {
	none := func(context.Context) error { return nil }
	r := rand.New(rand.NewPCG(p.seed, f.salt))
	var d *desk
	if f.machine >= 0 {
		d = p.desks[f.machine]
	}
	switch f.kind {
	case killMatchmaker:
		p.matchmaker.kill()
		return p.startMatchmaker, nil
	case stopMatchmaker:
		return p.stopMatchmaker()
	case tornLog:
		return p.startMatchmaker, p.tearLog(r)
	case damagedStream:
		return p.startMended, p.damageStream(r)
	case fullHead:
		return p.headHealed(p.disk.free), p.disk.fill()
	case badHead:
		return p.headHealed(p.disk.mend), p.disk.fail(modes[r.IntN(len(modes))])
	case damagedImage:
		return none, p.damageImages(r)
	case clockHead:
		return p.jumpClock(head, r)
	case clockMachine:
		return p.jumpClock(d.name, r)
	case disturb:
		return p.disturb(5 + r.Int64N(25))
	case killCommand:
		p.commandKills.Add(1)
		return none, nil
	case fullAgent:
		return p.agentHealed(d, d.disk.free), d.disk.fill()
	case badAgent:
		return p.agentHealed(d, d.disk.mend), d.disk.fail(modes[r.IntN(len(modes))])
	case damagedCache:
		return none, p.damageCache(r)
	case killAgent:
		d.agent.kill()
		return func(context.Context) error { return p.startAgent(d) }, nil
	case upgradeAgent:
		return p.upgrade(d)
	case killInit:
		inits := p.initsOf(d)
		if len(inits) == 0 {
			return nil, errNothing
		}
		return none, syscall.Kill(inits[r.IntN(len(inits))], syscall.SIGKILL)
	case killCourier:
		pid, err := p.courier()
		if err != nil {
			return nil, errNothing
		}
		return none, syscall.Kill(pid, syscall.SIGKILL)
	case sleep:
		return p.stop(d), nil
	case partition:
		return p.cable(d.name), p.lab.Cut(ctx, d.name)
	case cutHead:
		return func(ctx context.Context) error { return p.lab.HealHead(ctx) }, p.lab.CutHead(ctx)
	case cutUser:
		return p.cable(laptop), p.lab.Cut(ctx, laptop)
	case mute:
		return p.cable(d.name), p.lab.Mute(ctx, d.name)
	case deaf:
		return p.cable(d.name), p.lab.Deafen(ctx, d.name)
	case loss:
		return p.cable(d.name), p.lab.Lose(ctx, d.name, 33)
	case delay:
		return func(ctx context.Context) error { return p.lab.Undelay(ctx, d.name) },
			p.lab.Delay(ctx, d.name, time.Duration(20+r.IntN(700))*time.Millisecond)
	case gone:
		return func(ctx context.Context) error { return p.replace(ctx, d) }, p.destroy(ctx, d)
	}
	return nil, fmt.Errorf("nobody knows how to do this")
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
