// Package submitfile reads HTCondor's job description language and makes job ads of it.
//
// [Parse] runs through a file once, from top to bottom, and returns a [Description]: the macros with
// the values they have at each queue statement, and the items of each. [Description.Expand] then
// makes the ads, one common ad and one small ad for each job, as condor_submit would. What a file
// means is decided by what HTCondor does with it, not by taste; where HTCondor accepts silently what
// is almost surely a mistake, the package refuses and says what to write instead.
//
// The package never touches a file, a clock or an environment that was not handed to it in
// [Options], and expanding the same description again gives the same ads: random macros take their
// numbers from a seed. It refuses commands that Skua does not support by name, with the reason, and
// never drops one silently.
package submitfile

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/policy/classad"
)

// Limits of a description. They are far above what people write and keep a hostile or generated
// file from taking the memory of the machine that reads it.
const (
	MaxFileSize  = 16 << 20  // bytes of the description with what it includes, and of a list of items
	MaxJobs      = 1_000_000 // jobs of one submit
	maxNotes     = 1000
	maxLine      = 1 << 20 // bytes of one logical line, and of one expanded value
	maxStatement = 200_000 // statements of a description
	maxInclude   = 10      // depth of includes
	maxNesting   = 100     // depth of macros within macros
	maxSteps     = 100_000 // macro references expanded for one value
)

// Options are the surroundings that a description is read in. The zero value reads no other file,
// knows no environment and checks nothing.
type Options struct {
	Dir           string            // absolute working directory, against which relative names are resolved
	Args          map[string]string // name=value pairs from the command line; they stand before the first line
	Append        []string          // lines that stand before the first queue statement; they win over the file's
	Queue         string            // a queue statement without the word, for a description that has none
	Environ       []string          // NAME=value pairs for $ENV() and getenv, as from os.Environ
	User          string            // the submitting user: Owner, and accounting_group without a user
	Arch          string            // Arch of this machine in HTCondor's words; empty means X86_64
	OpSys         string            // OpSys of this machine; empty means LINUX
	OpSysVer      string            // $(OPSYSVER), such as 1300; empty leaves it undefined, as the two below
	OpSysMajorVer string            // $(OPSYSMAJORVER), such as 13
	OpSysAndVer   string            // $(OPSYSANDVER), such as Debian13
	FSDomain      string            // FileSystemDomain of this machine; empty leaves the attribute out
	Now           time.Time         // the time of submitting: QDate, $(SUBMIT_TIME); zero leaves them out
	Seed          uint64            // seed of the random macros

	// DryRun describes what would be submitted without refusing what only matters when jobs really
	// run: missing inputs and features that Skua lacks become notes.
	DryRun bool

	ReadFile  func(name string) ([]byte, error)          // include and queue from; nil refuses both
	Stdin     func() ([]byte, error)                     // queue from -; nil refuses it
	Stat      func(name string) (fs.FileInfo, error)     // nil checks no file and measures none
	Glob      func(pattern string) ([]string, error)     // queue matching; nil refuses it
	WriteFile func(name string, data []byte) error       // include command into; nil keeps nothing
	Command   func(line string) (output []byte, _ error) // runs a shell command; nil refuses them
}

// Description is a job description that has been read. It is not for concurrent use.
type Description struct {
	name   string
	opts   Options
	env    map[string]string
	macros *table
	queues []*queueStatement
	jobs   int
	notes  []string

	nothing map[string]bool // macros of which it was noted that they have no value

	numberless bool // while the ads of a cluster without a number are made
}

// Submission is what a description queues.
type Submission struct {
	Cluster *classad.Ad // what the jobs have in common
	Procs   []Proc
	Notes   []string // what the user should know, as "file:line: text" or of the files as text alone; not errors

	// Runtimes are the pool's runtime roots that jobs name, each with the place of the command that does, as
	// "file:line:col: runtime_root = pool:name".
	Runtimes map[string]string
}

// Proc is one job of a submission.
type Proc struct {
	ID     job.ID
	Ad     *classad.Ad // what only this job has; chained to the cluster's ad
	Inputs []string    // files to send, as named in the description: executable, stdin, inputs; no URLs
}

// Unnumbered is given to [Description.Expand] for a cluster whose number is not known yet. Attributes
// that depend on it are then expressions over ClusterId, which has its value once the job is queued.
const Unnumbered = 0

// standIn is the number that stands for the real one while such ads are made. It does not occur by
// itself.
const standIn = "1983672405"

// Jobs is the number of jobs that the description queues.
func (d *Description) Jobs() int { return d.jobs }

// Notes are the remarks made while reading, as "file:line: text". [Submission.Notes] has these too.
func (d *Description) Notes() []string { return d.notes }

// pos is a place in a description. The zero value is nowhere; col 0 is the whole line.
type pos struct {
	file string
	line int
	col  int
}

func (p pos) String() string {
	switch {
	case p.line == 0:
		return p.file
	case p.col == 0:
		return p.file + ":" + strconv.Itoa(p.line)
	}
	return p.file + ":" + strconv.Itoa(p.line) + ":" + strconv.Itoa(p.col)
}

// ErrUnsupported is the cause of a problem with a command that Skua understands and cannot carry out.
var ErrUnsupported = errors.New("not supported by this version of Skua")

// problem is an error at a place of the description.
func problem(at pos, hint, format string, args ...any) *diag.Problem {
	p := &diag.Problem{Hint: hint}
	err := fmt.Errorf(format, args...)
	p.Err = errors.Unwrap(err)
	p.What = err.Error()
	if s := at.String(); s != "" {
		p.What = s + ": " + p.What
	}
	return p
}

// exprError is the problem of a value that is no expression. It points into the value if that
// stands in the description as it is.
func exprError(what string, v value, err error) *diag.Problem {
	hint := ""
	if !strings.ContainsAny(v.text, `"'()<>=&|`) && strings.Contains(v.text, " ") {
		hint = fmt.Sprintf("a text must be quoted: %q", v.text)
	}
	var syntax *classad.SyntaxError
	if !errors.As(err, &syntax) {
		return problem(v.at, hint, "%s = %s is not an expression: %w", what, clip(v.text), err)
	}
	at := v.at
	if v.verbatim && at.col > 0 && syntax.Line == 1 {
		at.col += syntax.Col - 1
	}
	return problem(at, hint, "%s = %s is not an expression: %s", what, clip(v.text), syntax.Msg)
}
