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
	killMatchmaker kind = "kill-matchmaker"      // SIGKILL, and started again
	stopMatchmaker kind = "stop-matchmaker"      // it stands still for more than a lease
	tornLog        kind = "torn-log"             // killed, and the last write of the queue log, or of its archive, is half done
	damagedStream  kind = "damaged-stream"       // killed, and the queue log has lost its end, or is gone
	fullHead       kind = "full-matchmaker"      // the matchmaker's disk is full
	badHead        kind = "io-errors-matchmaker" // the matchmaker's disk fails writes, or only says that they are not safe
	damagedImage   kind = "damaged-image"        // stored parts of checkpoint images change
	damagedCache   kind = "damaged-cache"        // files that a machine keeps change
	clockHead      kind = "clock-matchmaker"     // the matchmaker's wall clock jumps, and back again
	cutHead        kind = "cut-matchmaker"       // the matchmaker's cable is cut
	disturb        kind = "disturb"              // everybody's messages come twice, late and out of order

	killAgent    kind = "kill-agent"        // SIGKILL, and started again
	killInit     kind = "kill-init"         // SIGKILL of the init of a claim, and with it of the job
	upgradeAgent kind = "upgrade-agent"     // the agent hands its jobs over to the next one
	sleep        kind = "sleep"             // everything on a machine stands still for several leases
	partition    kind = "partition"         // a machine's cable is cut; both ends believe in their connections
	mute         kind = "mute"              // what a machine says gets lost, what it is told does not
	deaf         kind = "deaf"              // what a machine is told gets lost, what it says does not
	loss         kind = "loss"              // a third of the packets of a machine get lost
	delay        kind = "delay"             // packets from and to a machine take long
	gone         kind = "gone"              // a machine is destroyed with its disk; another one joins
	fullAgent    kind = "full-machine"      // a machine's disk is full
	badAgent     kind = "io-errors-machine" // a machine's disk fails writes, or only says that they are not safe
	clockMachine kind = "clock-machine"     // a machine's wall clock jumps, and back again

	killCourier kind = "kill-courier" // SIGKILL; any skua command starts it again
	cutUser     kind = "cut-user"     // the user's cable is cut
	killCommand kind = "kill-command" // SIGKILL of a command on its way; the user does that himself
)

// victim is what a kind of fault strikes. One at a time strikes each.
type victim int

const (
	aMachine    victim = iota // one of them
	matchmaker                // its process or its disk
	headNetwork               // its cable
	store                     // what it keeps for others
	caches                    // what machines keep for themselves
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
	{killMatchmaker, 5, matchmaker, 100 * time.Millisecond, 2 * time.Second},
	{stopMatchmaker, 5, matchmaker, lease + guard, lease + 2*guard},
	{tornLog, 6, matchmaker, 100 * time.Millisecond, time.Second},
	{damagedStream, 5, matchmaker, 100 * time.Millisecond, time.Second},
	{fullHead, 5, matchmaker, 500 * time.Millisecond, 3 * time.Second},
	{badHead, 5, matchmaker, 200 * time.Millisecond, 2 * time.Second},
	{damagedImage, 1, store, 0, 0},
	{damagedCache, 1, caches, 0, 0},
	{clockHead, 2, clock, time.Second, 5 * time.Second},
	{cutHead, 2, headNetwork, time.Second, lease + 2*guard},
	{disturb, 2, messages, 2 * time.Second, 6 * time.Second},
	{killAgent, 4, aMachine, 50 * time.Millisecond, 8 * time.Second},
	{killInit, 7, aMachine, 0, 0},
	{upgradeAgent, 4, aMachine, 0, 0},
	{sleep, 4, aMachine, lease / 2, 3 * lease},
	{partition, 4, aMachine, time.Second, 3 * lease},
	{mute, 4, aMachine, time.Second, 2 * lease},
	{deaf, 4, aMachine, time.Second, 2 * lease},
	{loss, 4, aMachine, time.Second, 2 * lease},
	{delay, 4, aMachine, time.Second, 2 * lease},
	{gone, 3, aMachine, 0, 0},
	{fullAgent, 4, aMachine, time.Second, 6 * time.Second},
	{badAgent, 4, aMachine, 200 * time.Millisecond, 4 * time.Second},
	{clockMachine, 4, aMachine, time.Second, 6 * time.Second},
	{killCourier, 1, courier, 0, 0},
	{cutUser, 2, userNetwork, time.Second, 4 * time.Second},
	{killCommand, 1, command, 0, 0},
}

// fault is one entry of a schedule.
type fault struct {
	at      time.Duration // after the beginning
	kind    kind
	victim  victim
	machine int           // from 0; -1 for faults that strike no machine
	lasts   time.Duration // until it is undone; 0 for a blow
	salt    uint64        // of what is left to chance
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

// recovery is how long a victim is left alone after a fault. What all others need must work most of the time: in a
// pool that does nothing, nothing can go wrong.
func (v victim) recovery() time.Duration {
	switch v {
	case matchmaker:
		return time.Second
	case headNetwork, userNetwork:
		return 5 * time.Second
	case store, caches, courier, command, clock:
		return 2 * time.Second
	}
	return 500 * time.Millisecond
}

// overtime is how long faults may still last when no more begin.
const overtime = time.Second

// plan is the schedule of a seed: about two faults a second, no two at a time on the same victim, and never
// on all machines at a time.
func plan(seed uint64, machines int, length time.Duration, kinds []kind) []fault {
	r := rand.New(rand.NewPCG(seed, 0x5ca1ab1e))
	free := freedom{machines: make([]time.Duration, machines), others: map[victim]time.Duration{}}
	var schedule []fault
	at := 200 * time.Millisecond
	for ; at < length; at += time.Duration(100+r.IntN(500)) * time.Millisecond {
		if f, ok := free.draw(r, at, kinds); ok {
			f.lasts = min(f.lasts, length+overtime-at)
			schedule = append(schedule, f)
		}
	}
	return schedule
}

// freedom says when each victim has nothing left of its last fault.
type freedom struct {
	machines []time.Duration
	others   map[victim]time.Duration
}

// draw chooses a kind by its weight, of those whose victims are free, and one of these; false when none is.
func (free *freedom) draw(r *rand.Rand, at time.Duration, kinds []kind) (fault, bool) {
	var idle []int
	for m, until := range free.machines {
		if until <= at {
			idle = append(idle, m)
		}
	}
	var possible []shape
	sum := 0
	for _, s := range shapes {
		able := free.others[s.victim] <= at
		if s.victim == aMachine {
			able = len(idle) > 1 // one stays whole
		}
		if able && slices.Contains(kinds, s.kind) {
			possible = append(possible, s)
			sum += s.weight
		}
	}
	if sum == 0 {
		return fault{}, false
	}
	n := r.IntN(sum)
	i := 0
	for ; n >= possible[i].weight; i++ {
		n -= possible[i].weight
	}
	s := possible[i]
	f := fault{at: at, kind: s.kind, victim: s.victim, machine: -1, salt: r.Uint64()}
	if s.atMost > 0 {
		f.lasts = s.atLeast + time.Duration(r.Int64N(int64(s.atMost-s.atLeast)))
	}
	until := at + f.lasts + s.victim.recovery()
	if s.victim == aMachine {
		f.machine = idle[r.IntN(len(idle))]
		free.machines[f.machine] = until
	} else {
		free.others[s.victim] = until
	}
	return f, true
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
