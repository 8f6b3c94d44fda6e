package job

import (
	"fmt"
	"path"
	"strings"

	"skua/policy/classad"
)

// Names of the files in the scratch directory that take the job's standard streams; HTCondor's names,
// which scripts know. They come back under the names that the submit file gives.
const (
	StdoutFile = "_condor_stdout"
	StderrFile = "_condor_stderr"
)

// ScratchPath is where every job finds its scratch directory, on every machine.
const ScratchPath = "/scratch"

// Command is what a job's ad asks to have run.
type Command struct {
	Argv   []string // the program first: a path in the scratch directory ("./sim") or of the system
	Env    []string // NAME=value
	Stdin  string   // name in the scratch directory; empty for none
	Stdout string
	Stderr string

	CheckpointExit int  // exit code that says "I saved my state, start me again"
	SelfCheckpoint bool // CheckpointExit means something
	StopSignal     int  // asks the job to leave (kill_sig); SIGTERM by default
}

const sigterm = 15

// CommandOf reads the command from a job's ad: Cmd, Args or Arguments, Env or Environment, In, Out,
// Err, TransferExecutable, SuccessCheckpointExitCode, KillSig.
func CommandOf(ad *classad.Ad) (Command, error) {
	c := Command{StopSignal: sigterm, Stdout: StdoutFile, Stderr: StderrFile}
	cmd, ok := ad.Str("Cmd")
	if !ok || cmd == "" {
		return c, fmt.Errorf("the job has no Cmd")
	}
	if transfer, ok := ad.Bool("TransferExecutable"); !ok || transfer {
		cmd = "./" + path.Base(cmd)
	}
	c.Argv = []string{cmd}
	if s, ok := ad.Str("Arguments"); ok {
		args, err := SplitArgs(s)
		if err != nil {
			return c, fmt.Errorf("attribute Arguments: %w", err)
		}
		c.Argv = append(c.Argv, args...)
	} else if s, ok := ad.Str("Args"); ok {
		c.Argv = append(c.Argv, strings.Fields(s)...)
	}
	if s, ok := ad.Str("Environment"); ok {
		env, err := SplitArgs(s)
		if err != nil {
			return c, fmt.Errorf("attribute Environment: %w", err)
		}
		c.Env = env
	} else if s, ok := ad.Str("Env"); ok && s != "" {
		c.Env = strings.Split(s, ";")
	}
	for _, e := range c.Env {
		if !strings.Contains(e, "=") {
			return c, fmt.Errorf("environment entry %q is not NAME=value", e)
		}
	}
	if s, ok := ad.Str("In"); ok && s != "" && s != "/dev/null" {
		c.Stdin = path.Base(s)
	}
	out, hasOut := ad.Str("Out")
	errs, hasErr := ad.Str("Err")
	if hasOut && hasErr && out == errs && out != "/dev/null" {
		c.Stderr = StdoutFile // one file for both, in the order written
	}
	if n, ok := ad.Int("SuccessCheckpointExitCode"); ok {
		c.CheckpointExit, c.SelfCheckpoint = int(n), true
	} else if n, ok := ad.Int("CheckpointExitCode"); ok {
		c.CheckpointExit, c.SelfCheckpoint = int(n), true
	}
	if name, ok := ad.Str("KillSig"); ok {
		n, err := ParseSignal(name)
		if err != nil {
			return c, fmt.Errorf("attribute KillSig: %w", err)
		}
		c.StopSignal = n
	} else if n, ok := ad.Int("KillSig"); ok && n > 0 && n < 65 {
		c.StopSignal = int(n)
	}
	return c, nil
}

// SplitArgs splits a string in HTCondor's new argument form: blanks separate, single quotes group,
// and a doubled single quote inside them is one quote.
func SplitArgs(s string) ([]string, error) {
	var args []string
	var word strings.Builder
	inWord, quoted := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\'' && i+1 < len(s) && s[i+1] == '\'':
			word.WriteByte('\'')
			i++
		case c == '\'':
			quoted, inWord = !quoted, true
		case !quoted && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			if inWord {
				args = append(args, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quoted {
		return nil, fmt.Errorf("single quote without its partner in %q", s)
	}
	if inWord {
		args = append(args, word.String())
	}
	return args, nil
}

// signals are the numbers of Linux. A job's ad holds names, since numbers differ between systems.
var signals = map[string]int{
	"HUP": 1, "INT": 2, "QUIT": 3, "ABRT": 6, "KILL": 9, "USR1": 10, "USR2": 12, "PIPE": 13,
	"ALRM": 14, "TERM": sigterm, "CONT": 18, "STOP": 19, "TSTP": 20,
}

// ParseSignal reads a signal's name, with or without SIG, as a number of Linux.
func ParseSignal(name string) (int, error) {
	n, ok := signals[strings.TrimPrefix(strings.ToUpper(name), "SIG")]
	if !ok {
		return 0, fmt.Errorf("%q is not the name of a signal", name)
	}
	return n, nil
}
