package starter

import (
	"errors"
	"strings"
)

// What a signal means where there are none. A program that wants to save its state on Windows asks for the
// events of its console, and its runtime shows it those as signals: CTRL_C as SIGINT.
type winSignal int

const (
	winNone  winSignal = iota // there is nothing like it
	winCtrlC                  // CTRL_C to the job's console
	winBreak                  // CTRL_BREAK to it
	winKill                   // the end of the whole job
)

// winSignalOf says how a job is told what a signal, by its Linux number, would have told it.
func winSignalOf(sig int) winSignal {
	switch sig {
	case 1, 2, 10, 12, 15: // SIGHUP, SIGINT, SIGUSR1, SIGUSR2, SIGTERM
		return winCtrlC
	case 3: // SIGQUIT
		return winBreak
	case 6, 9: // SIGABRT, SIGKILL
		return winKill
	}
	return winNone
}

// winEnd is the exit code of a process that this package has ended, one that programs do not use themselves.
const winEnd = 0xE0534B41

// winExit reads a process's exit code. Windows has no signals, but programs that it has ended for what they
// did say so with the number of the exception; those that mean what a signal means elsewhere are given as it.
func winExit(code uint32) (exit, signal int) {
	switch code {
	case 0xC000013A: // STATUS_CONTROL_C_EXIT
		return 0, 2
	case 0xC000001D, 0xC0000096: // STATUS_ILLEGAL_INSTRUCTION, STATUS_PRIVILEGED_INSTRUCTION
		return 0, 4
	case 0x80000003: // STATUS_BREAKPOINT
		return 0, 5
	case 0xC0000409, 0xC0000374: // STATUS_STACK_BUFFER_OVERRUN, which is also abort, STATUS_HEAP_CORRUPTION
		return 0, 6
	case 0x80000002, 0xC0000006: // STATUS_DATATYPE_MISALIGNMENT, STATUS_IN_PAGE_ERROR
		return 0, 7
	case 0xC0000094, 0xC0000095, 0xC000008E, 0xC0000090, 0xC0000091, 0xC0000093: // division, overflow, the coprocessor's
		return 0, 8
	case winEnd:
		return 0, 9
	case 0xC0000005, 0xC00000FD: // STATUS_ACCESS_VIOLATION, STATUS_STACK_OVERFLOW
		return 0, 11
	}
	return int(int32(code)), 0
}

// winSystem names the variables of the machine that a job finds as well. Nothing of the owner is among them.
var winSystem = []string{
	"SystemRoot", "SystemDrive", "windir", "ComSpec", "PATHEXT", "OS", "NUMBER_OF_PROCESSORS",
	"PROCESSOR_ARCHITECTURE", "PROCESSOR_IDENTIFIER", "PROCESSOR_LEVEL", "PROCESSOR_REVISION",
	"ProgramFiles", "ProgramFiles(x86)", "ProgramW6432", "CommonProgramFiles", "CommonProgramFiles(x86)", "CommonProgramW6432",
}

// winEnv completes a job's environment with what programs on Windows expect to find. Names do not differ by
// case; what the job says itself stands.
func winEnv(env []string, scratch string, machine func(name string) string) []string {
	has := make(map[string]bool, len(env))
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		has[strings.ToUpper(name)] = true
	}
	env = env[:len(env):len(env)]
	add := func(name, value string) {
		if value != "" && !has[strings.ToUpper(name)] {
			has[strings.ToUpper(name)] = true
			env = append(env, name+"="+value)
		}
	}
	for _, name := range winSystem {
		add(name, machine(name))
	}
	if root := machine("SystemRoot"); root != "" {
		add("PATH", root+`\system32;`+root+`;`+root+`\System32\Wbem`)
	}
	tmp := scratch + `\` + TmpName
	for _, d := range [][2]string{
		{"TEMP", tmp},
		{"TMP", tmp},
		{"TMPDIR", tmp},
		{"HOME", scratch},
		{"USERPROFILE", scratch},
		{"APPDATA", scratch},
		{"LOCALAPPDATA", scratch},
		{"USERNAME", "skua"},
		{"USER", "skua"},
	} {
		add(d[0], d[1])
	}
	return env
}

// winCandidates are the paths at which the program name may be, best first, for a job that starts in work with
// the environment env. As on other systems, the working directory is not searched for a name without a
// separator, and a name without an extension is tried with each of PATHEXT.
func winCandidates(name, work string, env []string) []string {
	get := func(want string) string {
		for _, v := range env {
			if n, value, ok := strings.Cut(v, "="); ok && strings.EqualFold(n, want) {
				return value
			}
		}
		return ""
	}
	exts := []string{""}
	if strings.LastIndexByte(name, '.') <= strings.LastIndexAny(name, `/\`) {
		list := get("PATHEXT")
		if list == "" {
			list = ".COM;.EXE;.BAT;.CMD"
		}
		for ext := range strings.SplitSeq(list, ";") {
			if ext != "" {
				exts = append(exts, strings.ToLower(ext))
			}
		}
	}
	name = strings.ReplaceAll(name, "/", `\`)
	var dirs []string
	switch {
	case len(name) > 1 && name[1] == ':' || strings.HasPrefix(name, `\`):
		dirs = []string{""}
	case strings.Contains(name, `\`):
		dirs = []string{work + `\`}
	default:
		for dir := range strings.SplitSeq(get("PATH"), ";") {
			if dir = strings.Trim(dir, `"`); dir != "" {
				dirs = append(dirs, strings.TrimRight(dir, `\`)+`\`)
			}
		}
	}
	var paths []string
	for _, dir := range dirs {
		for _, ext := range exts {
			paths = append(paths, dir+name+ext)
		}
	}
	return paths
}

// moreUsed gives the greater of what the system has counted for a job and what was seen of its processes: some
// systems count nothing, and what was seen misses processes that were short.
func moreUsed(counted, seen Usage) Usage {
	return Usage{
		User: max(counted.User, seen.User), System: max(counted.System, seen.System),
		Wall: max(counted.Wall, seen.Wall), MaxRSS: max(counted.MaxRSS, seen.MaxRSS),
	}
}

// winReport is what the job of the self test has found out about itself on Windows.
type winReport struct {
	System       bool `json:"system"`        // its account is LocalSystem
	Restricted   bool `json:"restricted"`    // its token is
	InJob        bool `json:"in_job"`        // it is in a job object
	ReadsAgents  bool `json:"reads_agents"`  // it could read one of the files that are the agent's alone
	WritesAgents bool `json:"writes_agents"` // it could make one beside that
	Privileges   int  `json:"privileges"`    // how many it has
}

// verdict says why no job of strangers must be run here, or nil.
func (r winReport) verdict() error {
	switch {
	case r.System:
		return errors.New("jobs would have the account LocalSystem")
	case !r.InJob:
		return errors.New("jobs could leave their job object")
	case !r.Restricted:
		return errors.New("the system does not restrict the account of jobs")
	case r.Privileges > 1: // all but the one to pass through directories
		return errors.New("jobs would keep privileges of the agent's account")
	case r.ReadsAgents, r.WritesAgents:
		return errors.New("the system does not keep jobs from the agent's own files")
	}
	return nil
}
