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
	tornLog        kind = "torn-log"        // the same, and the last write of the queue log, or of its archive, is half done
	damagedStream  kind = "damaged-stream"  // the same, and the queue log has lost its end, or is gone
	fullHead       kind = "full-matchmaker" // the matchmaker's disk is full
	damagedImage   kind = "damaged-image"   // stored parts of checkpoint images change
	clockHead      kind = "clock-matchmaker"
	disturb        kind = "disturb" // everybody's messages come twice, late and out of order

	killAgent    kind = "kill-agent"    // SIGKILL, and started again
	killInit     kind = "kill-init"     // SIGKILL of the init of a claim, and with it of the job
	upgradeAgent kind = "upgrade-agent" // the agent hands its jobs over to the next one
	sleep        kind = "sleep"         // everything on a machine stands still for several leases
	partition    kind = "partition"     // a machine's cable is cut; both ends believe in their connections
	mute         kind = "mute"          // what a machine says gets lost, what it is told does not
	loss         kind = "loss"          // a third of the packets of a machine get lost
	gone         kind = "gone"          // a machine is destroyed with its disk; another one joins
	fullAgent    kind = "full-machine"  // a machine's disk is full
	damagedCache kind = "damaged-cache" // files that a machine keeps change
	clockMachine kind = "clock-machine" // a machine's wall clock jumps, and back again

	killCourier kind = "kill-courier" // SIGKILL; any skua command starts it again
	cutUser     kind = "cut-user"     // the user's cable is cut
	killCommand kind = "kill-command" // SIGKILL of a submit on its way; the user does that himself
)

// victim is what a kind of fault strikes. One at a time strikes each.
type victim int

const (
	aMachine    victim = iota // one of them
	matchmaker                // its process or its disk
	store                     // what it keeps for others
	clock                     // of the matchmaker
	messages                  // between all
	courier                   //
	userNetwork               //
	command                   // of the user
)

// shape says what a kind of fault needs.
type shape struct {
	kind            kind
	weight          int
	victim          victim
	atLeast, atMost time.Duration
}

var shapes = []shape{
	{killMatchmaker, 4, matchmaker, 100 * time.Millisecond, 2 * time.Second},
	{tornLog, 4, matchmaker, 100 * time.Millisecond, time.Second},
	{damagedStream, 4, matchmaker, 100 * time.Millisecond, time.Second},
	{fullHead, 4, matchmaker, time.Second, 4 * time.Second},
	{damagedImage, 4, store, 0, 0},
	{clockHead, 4, clock, time.Second, 5 * time.Second},
	{disturb, 4, messages, 2 * time.Second, 6 * time.Second},
	{killAgent, 4, aMachine, 50 * time.Millisecond, 8 * time.Second},
	{killInit, 5, aMachine, 0, 0},
	{upgradeAgent, 4, aMachine, 0, 0},
	{sleep, 4, aMachine, 2 * time.Second, 12 * time.Second},
	{partition, 4, aMachine, time.Second, 12 * time.Second},
	{mute, 4, aMachine, time.Second, 10 * time.Second},
	{loss, 4, aMachine, time.Second, 8 * time.Second},
	{gone, 3, aMachine, 0, 0},
	{fullAgent, 4, aMachine, time.Second, 6 * time.Second},
	{damagedCache, 4, aMachine, 0, 0},
	{clockMachine, 4, aMachine, time.Second, 6 * time.Second},
	{killCourier, 4, courier, 0, 0},
	{cutUser, 4, userNetwork, time.Second, 8 * time.Second},
	{killCommand, 4, command, 0, 0},
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

// plan is the schedule of a seed: about two faults a second, no two at a time on the same victim, and never
// on all machines at a time.
func plan(seed uint64, machines int, length time.Duration, kinds []kind) []fault {
	r := rand.New(rand.NewPCG(seed, 0x5ca1ab1e))
	machineFree := make([]time.Duration, machines) // when it has nothing left of its last fault
	free := map[victim]time.Duration{}             // the same of the others
	var schedule []fault
	for at := 200 * time.Millisecond; at < length; at += time.Duration(100+r.IntN(700)) * time.Millisecond {
		s := draw(r, kinds)
		f := fault{at: at, kind: s.kind, machine: -1}
		if s.atMost > 0 {
			f.lasts = s.atLeast + time.Duration(r.Int64N(int64(s.atMost-s.atLeast)))
		}
		const recovery = 500 * time.Millisecond
		until := at + f.lasts + recovery
		if s.victim != aMachine {
			if free[s.victim] <= at {
				free[s.victim] = until
				schedule = append(schedule, f)
			}
			continue
		}
		f.machine = r.IntN(machines)
		if machineFree[f.machine] > at || busy(machineFree, at) >= machines-1 {
			continue
		}
		machineFree[f.machine] = until
		schedule = append(schedule, f)
	}
	return schedule
}

// busy counts the machines that have something left of a fault.
func busy(free []time.Duration, at time.Duration) (n int) {
	for _, until := range free {
		if until > at {
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
