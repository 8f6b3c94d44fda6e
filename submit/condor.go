package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"skua/internal/diag"
)

// condorTools are the programs of HTCondor in whose place this one can be called, and the commands that
// they are. What a tool's words and options do differently is translated here; what it prints
// differently its command knows by app.as.
var condorTools = map[string]struct {
	command string
	adapt   func(a *app, args []string) ([]string, error)
}{
	"condor_submit":     {"submit", (*app).condorSubmit},
	"condor_q":          {"q", nil},
	"condor_status":     {"status", nil},
	"condor_history":    {"history", nil},
	"condor_rm":         {"rm", nil},
	"condor_hold":       {"hold", nil},
	"condor_release":    {"release", nil},
	"condor_vacate_job": {"vacate", nil},
	"condor_suspend":    {"suspend", nil},
	"condor_continue":   {"continue", nil},
	"condor_prio":       {"prio", nil},
	"condor_qedit":      {"edit", condorQedit},
	"condor_wait":       {"wait", condorWait},
	"condor_tail":       {"tail", nil},
	"condor_userprio":   {"users", condorUserprio},
}

// condorTool gives the tool of HTCondor that a program's name stands for; empty for none.
func condorTool(program string) string {
	name := strings.TrimSuffix(filepath.Base(program), ".exe")
	if _, ok := condorTools[name]; ok {
		return name
	}
	return ""
}

// runAsCondor is run for a tool of HTCondor, of which all failures have exit code 1.
func (a *app) runAsCondor(ctx context.Context, args []string) int {
	tool := condorTools[a.as]
	var err error
	if args, err = elsewhereWords(args); err == nil && tool.adapt != nil {
		args, err = tool.adapt(a, args)
	}
	if err != nil {
		diag.Print(a.err, a.as, err)
		return diag.ExitFailure
	}
	if a.run(ctx, append([]string{tool.command}, args...)) != diag.ExitOK {
		return diag.ExitFailure
	}
	return diag.ExitOK
}

// is says whether a word is an option of HTCondor, which may be cut short to least letters.
func is(word, option string, least int) bool {
	body := strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-")
	return len(word) > 1 && word[0] == '-' && len(body) >= least && strings.HasPrefix(option, body)
}

// elsewhereWords takes out options that mean nothing here, and refuses those that mean another pool or
// another queue, of which there is one.
func elsewhereWords(args []string) ([]string, error) {
	var out []string
	for i, word := range args {
		switch {
		case word == "--":
			return append(out, args[i:]...), nil
		case word == "-debug" || strings.HasPrefix(word, "-debug:"):
		case word == "-name" || word == "-pool" || word == "-addr" || word == "-schedd":
			return nil, usage("skua login TOKEN joins another pool; SKUA_HOME=DIR keeps the membership of a second one",
				"%s: one is a member of one pool here, and it has one queue", word)
		default:
			out = append(out, word)
		}
	}
	return out, nil
}

// condorSubmit: the description comes from standard input when no file is named, and -dry-run names a file
// to write to.
func (a *app) condorSubmit(args []string) ([]string, error) {
	var out []string
	file, queue := false, false
	for i := 0; i < len(args); i++ {
		word := args[i]
		takes := slices.ContainsFunc([]string{"append", "file", "batch-name", "maxjobs"}, func(o string) bool { return is(word, o, 1) })
		switch {
		case is(word, "dry-run", 3):
			out = append(out, "--dry-run")
			if i++; i == len(args) {
				return nil, usage("such as -dry-run job.ad, or - for standard output", "-dry-run wants the name of a file")
			}
			if args[i] == "-" {
				continue
			}
			f, err := os.Create(args[i])
			if err != nil {
				return nil, err
			}
			a.out = f // closed by the end of the process
		case is(word, "queue", 1):
			queue = true
			out = append(out, args[i:]...)
			i = len(args)
		case is(word, "interactive", 1):
			return nil, usage(seeOutput, "%s: %s", word, noInteractive)
		case is(word, "dump", 2):
			return nil, usage("-dry-run FILE writes them and submits nothing", "%s: %s", word, noDump)
		case takes && i+1 < len(args):
			file = file || is(word, "file", 1)
			out = append(out, word, args[i+1])
			i++
		default:
			file = file || word == "-" || word[:min(1, len(word))] != "-" && !assignmentWord.MatchString(word)
			out = append(out, word)
		}
	}
	if !file && !queue {
		out = append([]string{"-"}, out...)
	}
	return out, nil
}

// condorQedit: jobs and owners may be named by options.
func condorQedit(_ *app, args []string) ([]string, error) {
	var out []string
	for i := 0; i < len(args); i++ {
		switch word := args[i]; {
		case (is(word, "owner", 1) || is(word, "jobids", 1)) && i+1 < len(args):
			i++
			out = append(out, strings.FieldsFunc(args[i], func(r rune) bool { return r == ',' || r == ' ' })...)
		case is(word, "edits", 2), strings.HasPrefix(word, "-edits:"), is(word, "dry-run", 2), is(word, "forward", 1):
			return nil, usage("write the edits as words: condor_qedit 12 NAME=EXPR", "%s: Skua cannot do this", word)
		default:
			out = append(out, word)
		}
	}
	return out, nil
}

// condorWait: its -wait is our --timeout.
func condorWait(_ *app, args []string) ([]string, error) {
	var out []string
	for i := 0; i < len(args); i++ {
		switch word := args[i]; {
		case is(word, "wait", 1) && i+1 < len(args):
			i++
			out = append(out, "--timeout="+args[i]+"s")
		case word == "-log" && i+1 < len(args):
			i++
			out = append(out, args[i])
		case is(word, "allevents", 1):
			out = append(out, "--all-events")
		case strings.HasPrefix(word, "-echo:"):
			if strings.Contains(strings.ToUpper(word), "XML") || strings.Contains(strings.ToUpper(word), "JSON") {
				return nil, usage("-echo shows events as they stand in the log", "%s: Skua cannot do this", word)
			}
			out = append(out, "--echo")
		default:
			out = append(out, word)
		}
	}
	if !slices.ContainsFunc(out, func(w string) bool { return w == "--" || !strings.HasPrefix(w, "-") }) {
		return nil, usage("condor_wait sweep.log, where the job description says log = sweep.log", "condor_wait wants the name of a log file")
	}
	return out, nil
}

// condorUserprio: options say which columns are shown, of which there are few enough to show all.
func condorUserprio(_ *app, args []string) ([]string, error) {
	var out []string
	for _, word := range args {
		switch {
		case strings.HasPrefix(word, "-set"), strings.HasPrefix(word, "-reset"), is(word, "delete", 2):
			return nil, usage("an administrator sets factors on the matchmaker's machine", "%s: users cannot change shares", word)
		case slices.ContainsFunc([]string{
			"all", "allusers", "most", "priority", "usage", "quotas", "flat", "hierarchical", "grouporder", "grouprollup",
			"negotiator", "collector", "legacy", "modular",
		}, func(o string) bool { return is(word, o, 1) }):
		default:
			out = append(out, word)
		}
	}
	return out, nil
}

func (a *app) condorLinksCommand() *cobra.Command {
	var force bool
	var to string
	c := &cobra.Command{
		Use:   "condor-links DIR",
		Short: "make links by which this program answers to HTCondor's names",
		Long: `Condor-links makes links in a directory, condor_submit, condor_q and so on, that lead to this program.
Called by one of these names it takes the tool's options, prints what the tool prints and ends with its
exit codes, so that scripts written for HTCondor go on working. Put the directory into PATH.

A file of that name that is there already is left alone, unless --force is given.`,
		Example: `  skua condor-links ~/bin
  sudo skua condor-links /usr/local/bin`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("such as ~/bin", "condor-links wants the name of a directory")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if to == "" {
				program, err := os.Executable()
				if err != nil {
					return fmt.Errorf("find this program: %w", err)
				}
				to = linkTarget(program, args[0])
			}
			return makeLinks(a.out, to, args[0], force)
		},
	}
	c.Flags().BoolVar(&force, "force", false, "replace what is there")
	c.Flags().StringVar(&to, "to", "", "what the links lead to, as `PATH` written into them; by default this program")
	return c
}

// linkTarget is the path of program as links in dir have it. Beside the program, or in a sibling of its
// directory, it is relative, so that both can be moved together.
func linkTarget(program, dir string) string {
	full, err := filepath.Abs(dir)
	if err != nil {
		return program
	}
	rel, err := filepath.Rel(full, program)
	if err != nil || strings.HasPrefix(rel, filepath.Join("..", "..")) {
		return program
	}
	return rel
}

// makeLinks makes the links in dir, and prints the names of those that it made.
func makeLinks(w io.Writer, target, dir string, force bool) error {
	if err := os.Mkdir(dir, 0o777); err != nil && !errors.Is(err, os.ErrExist) {
		return &diag.Problem{What: "there is no directory " + dir, Hint: "make it: mkdir -p " + dir, Err: err}
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return &diag.Problem{What: dir + " is no directory", Hint: "name another", Err: err}
	}
	var there []string
	for _, tool := range slices.Sorted(maps.Keys(condorTools)) {
		link := filepath.Join(dir, tool)
		if old, err := os.Readlink(link); err == nil && old == target {
			continue // it is that link
		}
		if force {
			if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		switch err := os.Symlink(target, link); {
		case errors.Is(err, os.ErrExist):
			there = append(there, tool)
		case err != nil:
			return &diag.Problem{What: err.Error(), Hint: "is the directory yours?", Err: err}
		default:
			fmt.Fprintln(w, link)
		}
	}
	if len(there) > 0 {
		return &diag.Problem{
			What: fmt.Sprintf("in %s there are other programs called %s", dir, strings.Join(there, ", ")),
			Hint: "they were left alone; --force replaces them",
		}
	}
	return nil
}
