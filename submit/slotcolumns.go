package main

import (
	"strconv"
	"time"
)

// view is the table of slots that the flags ask for.
func (s *statusView) view() view {
	load := column{head: "LoadAv", least: 6, from: []string{"LoadAvg"}, show: loadOf}
	if s.condor {
		load.from = []string{"CondorLoadAvg"} // only that of jobs, as HTCondor's
	}
	switch {
	case s.claimed, s.run:
		return view{
			nameColumn, opSysColumn, archColumn, activityColumn, load,
			{head: "RemoteUser", least: -10, from: []string{"RemoteOwner"}, show: first},
			{head: "JobId", least: -5, from: []string{"JobId"}, show: first},
		}
	case s.server:
		return view{
			nameColumn, opSysColumn, archColumn, load,
			{head: "Memory", least: 8, left: true, from: []string{"Memory"}, show: first},
			{head: "Disk", least: 9, left: true, from: []string{"Disk"}, show: first},
			{head: "Cpus", least: 4, left: true, from: []string{"Cpus"}, show: first},
		}
	case s.state:
		return view{
			nameColumn,
			{head: "Cpu", least: 3, from: []string{"Cpus"}, show: first},
			{head: "Mem", least: 5, from: []string{"Memory"}, show: first},
			load,
			{head: "KbdIdle", least: 11, from: []string{"KeyboardIdle"}, show: spanOf},
			slotStateColumn,
			{head: "StateTime", least: 11, from: []string{"time() - EnteredCurrentState"}, show: spanOf},
			activityColumn, activityTimeColumn,
		}
	}
	return view{
		nameColumn, opSysColumn, archColumn, slotStateColumn, activityColumn, load,
		{head: "Mem", least: 4, left: true, from: []string{"Memory"}, show: first},
		activityTimeColumn,
	}
}

var (
	nameColumn         = column{head: "Name", least: -18, from: []string{"Name"}, show: first}
	opSysColumn        = column{head: "OpSys", least: -10, from: []string{"OpSys"}, show: first}
	archColumn         = column{head: "Arch", least: -6, from: []string{"Arch"}, show: first}
	slotStateColumn    = column{head: "State", least: -9, from: []string{"State"}, show: first, paint: map[string]string{"Claimed": green, "Preempting": yellow, "Drained": red}}
	activityColumn     = column{head: "Activity", least: -8, from: []string{"Activity"}, show: first, paint: map[string]string{"Suspended": yellow}}
	activityTimeColumn = column{head: "ActvtyTime", least: 11, from: []string{"time() - EnteredCurrentActivity"}, show: spanOf}
)

func loadOf(v []string) string {
	f, ok := realOf(v[0])
	if !ok {
		return ""
	}
	return strconv.FormatFloat(f, 'f', 3, 64)
}

func spanOf(v []string) string {
	secs, ok := realOf(v[0])
	if !ok {
		return ""
	}
	return span(time.Duration(secs) * time.Second)
}
