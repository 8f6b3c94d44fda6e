//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// kind is a kind of fault.
type kind string

// The kinds of faults.
const (
	killMatchmaker kind = "kill-matchmaker" // SIGKILL, and started again
	killAgent      kind = "kill-agent"      // SIGKILL, and started again
	killInit       kind = "kill-init"       // SIGKILL of the init of a claim, and with it of the job
	killCourier    kind = "kill-courier"    // SIGKILL; any skua command starts it again
	upgradeAgent   kind = "upgrade-agent"   // the agent hands its jobs over to the next one
	sleep          kind = "sleep"           // everything on a machine stands still for several leases
	partition      kind = "partition"       // a machine's cable is cut; both ends believe in their connections
	cutUser        kind = "cut-user"        // the same of the submitting machine
	loss           kind = "loss"            // a third of the packets of a machine get lost
	gone           kind = "gone"            // a machine is destroyed with its disk; another one joins
)

// shape says what a kind of fault needs.
type shape struct {
	kind            kind
	weight          int
	machine         bool // strikes one of the machines
	atLeast, atMost time.Duration
}

var shapes = []shape{
	{killMatchmaker, 3, false, 100 * time.Millisecond, 3 * time.Second},
	{killAgent, 4, true, 50 * time.Millisecond, 8 * time.Second},
	{killInit, 3, true, 0, 0},
	{killCourier, 3, false, 0, 0},
	{upgradeAgent, 3, true, 0, 0},
	{sleep, 3, true, 2 * time.Second, 12 * time.Second},
	{partition, 4, true, time.Second, 12 * time.Second},
	{cutUser, 2, false, time.Second, 8 * time.Second},
	{loss, 3, true, time.Second, 8 * time.Second},
	{gone, 2, true, 0, 0},
}

// fault is one entry of a schedule.
type fault struct {
	at      time.Duration // after the beginning
	kind    kind
	machine int           // from 0; -1 for faults that strike no machine
	lasts   time.Duration // until it is undone; 0 for a blow
}

func (f fault) String() string {
	s := fmt.Sprintf("%6.2fs %s", f.at.Seconds(), f.kind)
	if f.machine >= 0 {
		s += fmt.Sprint(" desk", f.machine+1)
	}
	if f.lasts > 0 {
		s += fmt.Sprintf(" for %.2fs", f.lasts.Seconds())
	}
	return s
}

// plan is the schedule of a seed: about one fault a second, no two at a time on the same victim, and never
// on all machines at a time.
func plan(seed uint64, machines int, length time.Duration, kinds []kind) []fault {
	r := rand.New(rand.NewPCG(seed, 0x5ca1ab1e))
	free := map[int]time.Duration{} // by victim: when it has nothing left of its last fault
	var schedule []fault
	for at := 200 * time.Millisecond; at < length; at += time.Duration(200+r.IntN(1200)) * time.Millisecond {
		s := draw(r, kinds)
		f := fault{at: at, kind: s.kind, machine: -1}
		if s.atMost > 0 {
			f.lasts = s.atLeast + time.Duration(r.Int64N(int64(s.atMost-s.atLeast)))
		}
		victim := -1 - slices.IndexFunc(shapes, func(x shape) bool { return x.kind == s.kind })
		if s.machine {
			f.machine = r.IntN(machines)
			victim = f.machine
		}
		if free[victim] > at || s.machine && busy(free, at) >= machines-1 {
			continue
		}
		const recovery = 500 * time.Millisecond
		free[victim] = at + f.lasts + recovery
		schedule = append(schedule, f)
	}
	return schedule
}

// busy counts the machines that have something left of a fault.
func busy(free map[int]time.Duration, at time.Duration) (n int) {
	for victim, until := range free {
		if victim >= 0 && until > at {
			n++
		}
	}
	return n
}

// draw chooses a kind by its weight.
func draw(r *rand.Rand, kinds []kind) shape {
	sum := 0
	for _, s := range shapes {
		if slices.Contains(kinds, s.kind) {
			sum += s.weight
		}
	}
	n := r.IntN(sum)
	for _, s := range shapes {
		if !slices.Contains(kinds, s.kind) {
			continue
		}
		if n -= s.weight; n < 0 {
			return s
		}
	}
	panic("unreachable: the weights have been counted")
}

// parseKinds reads a list of kinds; empty means all.
func parseKinds(list string) ([]kind, error) {
	var all, some []kind
	for _, s := range shapes {
		all = append(all, s.kind)
	}
	if list == "" {
		return all, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		if !slices.Contains(all, kind(name)) {
			return nil, fmt.Errorf("there is no kind of fault %q; there are %v", name, all)
		}
		some = append(some, kind(name))
	}
	return some, nil
}
