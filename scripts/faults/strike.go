//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"skua/internal/faultctl"
)

// headHealed undoes a fault of the matchmaker's disk. If the matchmaker has ended because of it, its service starts it
// again.
func (p *pool) headHealed(undo func() error) func(context.Context) error {
	return func(ctx context.Context) error {
		err := undo()
		select {
		case <-p.matchmaker.ended:
			return errors.Join(err, p.startMatchmaker(ctx))
		default:
			return err
		}
	}
}

// agentHealed is the same for a machine's disk and agent.
func (p *pool) agentHealed(d *desk, undo func() error) func(context.Context) error {
	return func(context.Context) error {
		err := undo()
		select {
		case <-d.agent.ended:
			return errors.Join(err, p.startAgent(d))
		default:
			return err
		}
	}
}

func (p *pool) cable(machine string) func(context.Context) error {
	return func(ctx context.Context) error { return p.lab.Heal(ctx, machine) }
}

// tearLog kills the matchmaker and leaves half a write at the end of its queue log, or of the archive too.
func (p *pool) tearLog(r *rand.Rand) error {
	block := newest(p.disk.files("broker", "*.blk"))
	if block == "" {
		return errNothing
	}
	p.matchmaker.kill()
	err := tear(block, r)
	if archive := newest(p.disk.files("queue/archive", "*.log")); archive != "" && r.IntN(2) == 0 {
		err = errors.Join(err, tear(archive, r))
	}
	return err
}

// damageStream kills the matchmaker and takes from its queue log half of what is there, or all. It does so only while the
// archive is up to date: nothing can bring back what has been written once and is then destroyed.
func (p *pool) damageStream(r *rand.Rand) error {
	if behind, err := p.archiveIsBehind(); behind || err != nil {
		return cmp.Or(err, errNothing)
	}
	p.matchmaker.kill()
	if r.IntN(2) == 0 {
		return os.RemoveAll(p.disk.path("broker", "jetstream"))
	}
	if block := newest(p.disk.files("broker", "*.blk")); block != "" {
		return halve(block)
	}
	return os.RemoveAll(p.disk.path("broker", "jetstream"))
}

// archiveIsBehind says whether the matchmaker could not write its archive when it last said something about that.
func (p *pool) archiveIsBehind() (bool, error) {
	said, err := os.ReadFile(filepath.Join(p.dir, "matchmaker.log"))
	good := max(bytes.LastIndex(said, []byte("archive of the queue log is up to date again")), bytes.LastIndex(said, []byte(`msg="queue read"`)))
	return bytes.LastIndex(said, []byte("archive of the queue log is behind")) > good, err
}

// startMended starts the matchmaker as its admin would: one that does not start, since its log has a hole that only the
// archive can fill, is started again after a repair. Nothing may be dropped by that.
func (p *pool) startMended(ctx context.Context) error {
	err := p.startMatchmaker(ctx)
	if !errors.Is(err, errEnded) {
		return err
	}
	if _, rerr := p.admin(ctx, "log", "repair"); rerr != nil {
		return errors.Join(err, rerr)
	}
	return p.startMatchmaker(ctx)
}

// damageImages changes some of the stored parts of checkpoint images.
func (p *pool) damageImages(r *rand.Rand) error {
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
			continue // its disk is out of order itself just now, or it has been removed
		}
		struck = true
	}
	if !struck {
		return errNothing
	}
	return nil
}

// damageCache changes a file in the cache of one of the machines that have any. Most have none most of the time.
func (p *pool) damageCache(r *rand.Rand) error {
	var cached []string
	p.mu.Lock()
	for _, d := range p.desks {
		cached = append(cached, d.disk.files("cache", "*")...)
	}
	p.mu.Unlock()
	if len(cached) == 0 || flip(cached[r.IntN(len(cached))], r) != nil { // its disk is out of order itself just now
		return errNothing
	}
	return nil
}

// disturb has so many percent of all messages come twice, and as many late.
func (p *pool) disturb(percent int64) (undo func(context.Context) error, err error) {
	all := slices.Collect(p.lab.Machines())
	set := func(percent int64) (err error) {
		for _, machine := range all {
			err = errors.Join(err, p.control(machine, func(c *faultctl.Control) { c.Messages = percent }))
		}
		return err
	}
	return func(context.Context) error { return set(0) }, set(percent)
}

// upgrade has an agent hand over to the next one. It is told so again now and then: one that has only just been started
// does not listen yet.
func (p *pool) upgrade(d *desk) (undo func(context.Context) error, err error) {
	if err := d.agent.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		for range 12 {
			select {
			case <-d.agent.ended:
				return p.startAgent(d)
			case <-time.After(5 * time.Second):
				_ = d.agent.cmd.Process.Signal(syscall.SIGUSR1) // it may have ended
			}
		}
		// Its log then has what it waits for.
		return errors.Join(errors.New("the agent does not hand over"), d.agent.cmd.Process.Signal(syscall.SIGQUIT))
	}, nil
}

// stop has all processes of a machine stand still, those too that others start while they are looked for.
func (p *pool) stop(d *desk) (undo func(context.Context) error) {
	stopped := map[int]bool{}
	for more := true; more; {
		more = false
		for _, pid := range p.processesOn(d) {
			if !stopped[pid] {
				stopped[pid], more = true, true
				_ = syscall.Kill(pid, syscall.SIGSTOP) // it may have ended
			}
		}
	}
	return func(context.Context) error {
		p.woke(time.Now())
		for pid := range stopped {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
		return nil
	}
}

// stopMatchmaker has the matchmaker stand still.
func (p *pool) stopMatchmaker() (undo func(context.Context) error, err error) {
	pid := p.matchmaker.cmd.Process.Pid
	return func(context.Context) error { return syscall.Kill(pid, syscall.SIGCONT) }, syscall.Kill(pid, syscall.SIGSTOP)
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
	err := await(ctx, atOnce, "the machine is dead", func() (bool, error) {
		left := p.processesOn(d)
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		return len(left) == 0, nil
	})
	return errors.Join(err, os.RemoveAll(d.dir))
}

// replace puts a new machine in a desk's place. It joins through a matchmaker that may not be there just now.
func (p *pool) replace(ctx context.Context, d *desk) error {
	return await(ctx, lookEvery, d.name+" has joined again", func() (bool, error) {
		err := p.join(ctx, d)
		return err == nil, err
	})
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
