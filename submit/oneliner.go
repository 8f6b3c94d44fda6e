package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"skua/internal/diag"
)

// systemDirs are where a program lies that every machine of a pool has, or that it is no use to send.
var systemDirs = []string{"/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"}

// oneLiner is the job description of "skua submit -- command": what a person would have written for it.
type oneLiner struct {
	executable string
	transfer   bool     // the program is sent; otherwise the machine's own is run
	name       string   // of the files that the job writes
	args       []string // after the program
	inputs     []string // arguments that are files here
	unsent     []string // arguments that are files or directories here, and do not go with the job
	absent     []string // arguments that are called as files are, and are none here
}

// thing is what a name stands for on this machine.
type thing int

const (
	nothing thing = iota // that is a file or directory
	file
	directory
)

// fileLike is the name of a file that has an extension.
var fileLike = regexp.MustCompile(`^[\w./-]*\w\.[A-Za-z][A-Za-z0-9]{0,4}$`)

// parseOneLiner finds out what is meant by a command. look says what a name stands for here, and find gives the place of
// a program that is called by its name alone.
func parseOneLiner(words []string, look func(string) thing, find func(string) (string, error)) (oneLiner, error) {
	o := oneLiner{executable: words[0], args: words[1:], transfer: true, name: fileName(words[0])}
	switch {
	case filepath.Base(o.executable) != o.executable:
		o.transfer = !slices.Contains(systemDirs, filepath.Dir(o.executable))
	default:
		place, err := find(o.executable)
		switch {
		case err == nil:
			o.executable, o.transfer = place, !slices.Contains(systemDirs, filepath.Dir(place))
		case look(o.executable) != file:
			return o, &diag.Problem{
				What: fmt.Sprintf("there is no program %q", o.executable),
				Hint: "a program of yours is named with its directory, such as ./" + o.executable, Err: err,
			}
		}
	}
	for _, arg := range o.args {
		switch is := look(arg); {
		case is == nothing && fileLike.MatchString(arg) && !slices.Contains(o.absent, arg):
			o.absent = append(o.absent, arg)
		case is == nothing || slices.Contains(o.inputs, arg) || slices.Contains(o.unsent, arg):
		case is == file && filepath.IsLocal(arg) && !strings.Contains(arg, ","):
			o.inputs = append(o.inputs, arg)
		case !systems(arg):
			o.unsent = append(o.unsent, arg)
		}
		what := ""
		switch {
		case strings.ContainsAny(arg, "\n\r\x00"):
			what = "a line break"
		case strings.Contains(arg, "$$"): // it would be replaced by attributes of the machine
			what = "$$"
		}
		if what != "" {
			return o, &diag.Problem{What: "an argument has " + what + " in it", Hint: "put the command into a script, and submit that"}
		}
	}
	if len(o.inputs) == 1 && !o.transfer { // of "python3 sim.py 7" the script is what it is about
		o.name = fileName(o.inputs[0])
	}
	return o, nil
}

// systems says whether a path leads to what belongs to the system, of which other machines have their own.
func systems(path string) bool {
	top, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return filepath.IsAbs(path) && slices.Contains([]string{"", "bin", "dev", "etc", "lib", "proc", "sbin", "sys", "usr"}, top)
}

// fileName is what the files of a job are called that runs the program.
func fileName(program string) string {
	name := filepath.Base(program)
	if short := strings.TrimSuffix(name, filepath.Ext(name)); short != "" {
		name = short
	}
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' || r == '+' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return '_'
	}, name)
}

// description is the text of the job description, without a queue statement.
func (o oneLiner) description() string {
	var b strings.Builder
	line := func(name, value string) { fmt.Fprintf(&b, "%s = %s\n", name, value) }
	line("executable", literal(o.executable))
	if !o.transfer {
		line("transfer_executable", "false")
	}
	if len(o.args) > 0 {
		line("arguments", literal(quoteArguments(o.args)))
	}
	if len(o.inputs) > 0 {
		line("transfer_input_files", literal(strings.Join(o.inputs, ", ")))
		// An argument names the file where it is here, and so it must be there, too.
		if slices.ContainsFunc(o.inputs, func(name string) bool { return filepath.Base(name) != filepath.Clean(name) }) {
			line("preserve_relative_paths", "true")
		}
	}
	line("output", o.name+".$(Cluster).$(Process).out")
	line("error", o.name+".$(Cluster).$(Process).err")
	line("log", o.name+".log")
	line("batch_name", o.name)
	return b.String()
}

// told says what was assumed.
func (o oneLiner) told() string {
	s := fmt.Sprintf("standard output goes to %s.CLUSTER.0.out, errors to %[1]s.CLUSTER.0.err, the log is %[1]s.log", o.name)
	if len(o.inputs) > 0 {
		s += "; sent with the job: " + strings.Join(o.inputs, ", ")
	}
	if len(o.unsent) > 0 {
		s += "; not sent, since only files below this directory are: " + strings.Join(o.unsent, ", ") +
			" (--append 'transfer_input_files = ...' sends what is named)"
	}
	if len(o.absent) > 0 {
		s += "; no file here: " + strings.Join(o.absent, ", ")
	}
	if !o.transfer {
		s += "; the machine's own " + o.executable + " is run"
	}
	return s
}

// macro is the beginning of one, or of a function such as $INT(.
var macro = regexp.MustCompile(`\$([A-Za-z_]*\()`)

// literal protects a text from the expansion of macros. A dollar sign that begins none is one.
func literal(s string) string { return macro.ReplaceAllString(s, "$$(DOLLAR)$1") }

// quoteArguments writes arguments in the new syntax of job descriptions.
func quoteArguments(args []string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		if arg == "" || strings.ContainsAny(arg, " \t'") {
			arg = "'" + strings.ReplaceAll(arg, "'", "''") + "'"
		}
		quoted[i] = strings.ReplaceAll(arg, `"`, `""`)
	}
	return `"` + strings.Join(quoted, " ") + `"`
}

// lookAt says what a name stands for.
func lookAt(name string) thing {
	st, err := os.Stat(name)
	switch {
	case err == nil && st.Mode().IsRegular():
		return file
	case err == nil && st.IsDir():
		return directory
	}
	return nothing
}

// findProgram finds a program as a shell does, but prefers the system's own, which is on other machines.
func findProgram(name string) (string, error) {
	for _, dir := range systemDirs {
		full := filepath.Join(dir, name)
		if st, err := os.Stat(full); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0 {
			return full, nil
		}
	}
	return exec.LookPath(name)
}
