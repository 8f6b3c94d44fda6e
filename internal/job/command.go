package job

import (
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"skua/internal/fit"
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
	Dir    string   // where it runs, on a file system that it finds on every machine; empty for the scratch directory
	Stdin  string   // name in the scratch directory, or with Dir an absolute path; empty for none
	Stdout string
	Stderr string

	CheckpointExit int  // exit code that says "I saved my state, start me again"
	SelfCheckpoint bool // CheckpointExit means something

	Stop      Stop
	Transfers Transfers

	Baseline fit.Baseline // CpuBaseline; "" for none
	Runtime  string       // RuntimeRoot: the name of an archive, on the user's side or after [PoolRuntime]; "" for none

	CPUs  int64 // RequestCpus, at least 1
	Core  int64 // bytes that a core file may have; 0 for none, negative for any number
	Stack int64 // bytes of stack; 0 for the machine's usual ones
}

// CommandFaults are the attributes on whose account [CommandOf] may refuse a job. What the others say is taken as it is.
var CommandFaults = []string{
	"Cmd", "ShouldTransferFiles", "Iwd", "Arguments", "Environment", "Env", "EnvDelim", "KillSig", "RemoveKillSig", "HoldKillSig",
	"CpuBaseline",
}

// CommandOf reads the command from a job's ad: Cmd, Args or Arguments, Env with EnvDelim or Environment, In, Out,
// Err, Iwd, ShouldTransferFiles, TransferExecutable, SuccessCheckpointExitCode, RequestCpus, CoreSize, StackSize, CpuBaseline, and
// what [Stop] and [Transfers] are made of.
func CommandOf(ad *classad.Ad) (Command, error) {
	c := Command{Stdout: StdoutFile, Stderr: StderrFile, Transfers: transfersOf(ad), CPUs: 1}
	cmd, ok := ad.Str("Cmd")
	if !ok || cmd == "" {
		return c, fmt.Errorf("the job has no Cmd")
	}
	if should, _ := ad.Str("ShouldTransferFiles"); strings.EqualFold(should, "NO") {
		if c.Dir, _ = ad.Str("Iwd"); !path.IsAbs(c.Dir) {
			return c, fmt.Errorf("the job's files are not transferred, and its Iwd is no absolute path")
		}
	}
	transfer, set := ad.Bool("TransferExecutable")
	switch {
	case set && !transfer:
	case c.Dir != "":
		cmd = from(c.Dir, cmd)
	default:
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
	} else if s, ok := ad.Str("Env"); ok {
		delim, _ := ad.Str("EnvDelim")
		c.Env = splitOldEnv(s, delim)
	}
	for _, e := range c.Env {
		if !strings.Contains(e, "=") {
			return c, fmt.Errorf("environment entry %q is not NAME=value", e)
		}
	}
	if s, ok := ad.Str("In"); ok && s != "" && s != "/dev/null" {
		if c.Stdin = path.Base(s); c.Dir != "" {
			c.Stdin = from(c.Dir, s)
		}
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
	if n, ok := ad.Int("RequestCpus"); ok && n > 1 {
		c.CPUs = n
	}
	if n, ok := ad.Int("CoreSize"); ok {
		c.Core = n
	}
	if n, ok := ad.Int("StackSize"); ok && n > 0 {
		c.Stack = n
	}
	if s, ok := ad.Str(fit.AttrBaseline); ok {
		var err error
		if c.Baseline, err = fit.ParseBaseline(s); err != nil {
			return c, fmt.Errorf("attribute %s: %w: %s", fit.AttrBaseline, err, fit.BaselineHint)
		}
	}
	c.Runtime, _ = ad.Str("RuntimeRoot")
	var err error
	c.Stop, err = stopOf(ad)
	return c, err
}

// from makes a path absolute that is relative to dir.
func from(dir, name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(dir, name)
}

// splitOldEnv splits an environment in HTCondor's old form: NAME=value, separated by a delimiter (its first character
// counts; a semicolon if it is empty) or by the ends of lines. Blanks before a name are no part of it, and nothing can
// be quoted. A list that begins with | is separated by that, whatever delimiter stands beside it, as in descriptions.
func splitOldEnv(s, delim string) []string {
	sep, n := utf8.DecodeRuneInString(delim)
	if n == 0 {
		sep = ';'
	}
	if rest, own := strings.CutPrefix(s, "|"); own {
		s, sep = rest, '|'
	}
	var env []string
	for _, e := range strings.FieldsFunc(s, func(c rune) bool { return c == sep || c == '\n' }) {
		if e = strings.TrimLeft(e, " \t"); e != "" {
			env = append(env, e)
		}
	}
	return env
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
