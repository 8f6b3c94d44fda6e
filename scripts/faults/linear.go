//go:build linux

package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// state is a job as its user can tell it apart by asking.
type state int

const (
	absent    state = iota // not submitted, as far as anybody can tell
	live                   // idle, running or leaving
	held                   //
	completed              //
	removed                //
)

func (s state) String() string {
	return [...]string{"absent", "live", "held", "completed", "removed"}[s]
}

// statusHeld is HTCondor's number.
const statusHeld = 5

// queueModel is the queue as its users may expect it: each job goes by itself, what was acknowledged is so from then
// on, what was refused could not be done, and what was not answered may be done at any time after. A live job may
// complete at any moment.
var queueModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{absent} },
	Step: func(s, in, _ any) (all []any) {
		next := after(s.(state), in.(operation))
		if s == live {
			next = append(next, after(completed, in.(operation))...)
		}
		for _, s := range next {
			all = append(all, s)
		}
		return all
	},
}

// after gives the states in which a job in a state can be after an operation; none when that cannot have had its
// outcome.
func after(s state, op operation) []state {
	can, to := false, s
	switch op.verb {
	case "submit":
		can, to = s == absent, live
	case "hold":
		can, to = s == live, held
	case "release":
		can, to = s == held, live
	case "rm":
		can, to = s == live || s == held, removed
	case "q":
		if sees(s, op.status) {
			return []state{s}
		}
		return nil
	}
	switch {
	case op.outcome == unknown && can:
		return []state{s, to}
	case op.outcome == unknown, op.outcome == no && !can:
		return []state{s}
	case op.outcome == yes && can:
		return []state{to}
	}
	return nil
}

// sees says whether a job in a state can be seen with a status of HTCondor's; 0 when it is not in the queue.
func sees(s state, status int) bool {
	switch status {
	case 0:
		return s == absent || s == completed || s == removed
	case statusHeld:
		return s == held
	case statusCompleted:
		return s == completed
	case statusRemoved:
		return s == removed
	}
	return s == live
}

// judgeOperations: what the user was told fits one order of all that was done, in which everything lies between its
// beginning and its end.
func judgeOperations(v *verdict, operations []operation, accepted map[string]string) {
	of := map[string][]porcupine.Operation{}
	told := map[string]bool{} // of its submit
	var first time.Time
	for _, op := range operations {
		if first.IsZero() || op.from.Before(first) {
			first = op.from
		}
	}
	for i, op := range operations {
		told[op.job] = told[op.job] || op.verb == "submit"
		end := int64(math.MaxInt64) // not before the end of time, as far as anybody can tell
		if op.outcome != unknown {
			end = int64(op.to.Sub(first))
		}
		of[op.job] = append(of[op.job], porcupine.Operation{ClientId: i, Input: op, Output: op, Call: int64(op.from.Sub(first)), Return: end})
	}
	model := queueModel.ToModel()
	for _, id := range slices.Sorted(maps.Keys(of)) {
		history := of[id]
		if !told[id] { // its submit was killed on its way, and found out about later
			op := operation{verb: "submit", job: id}
			history = append(history, porcupine.Operation{ClientId: len(operations), Input: op, Output: op, Call: 0, Return: math.MaxInt64})
		}
		switch result := porcupine.CheckOperationsTimeout(model, history, time.Minute); result {
		case porcupine.Ok:
		case porcupine.Illegal:
			v.add("the answers about job %s (%s) do not fit any order: %s", id, accepted[id], describe(history, first))
		default:
			v.add("it was too much to find out whether the answers about job %s fit", id)
		}
	}
}

func describe(history []porcupine.Operation, first time.Time) (text string) {
	for _, h := range history {
		op := h.Input.(operation)
		text += fmt.Sprintf("\n%s %s: %s", op.from.Format(time.StampMicro), op.verb, [...]string{"unknown", "yes", "no"}[op.outcome])
		if op.verb == "q" {
			text += fmt.Sprint(", status ", op.status)
		}
		if op.outcome != unknown {
			text += fmt.Sprintf(", after %v", op.to.Sub(op.from).Round(time.Millisecond))
		}
	}
	return text
}
