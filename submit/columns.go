package main

import (
	"cmp"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"skua/internal/job"
)

// A column of a table says which expressions it asks the matchmaker for, and what it makes of their
// values, which come as texts of the new ClassAd syntax.
type column struct {
	head  string
	least int  // least width; negative aligns to the left
	left  bool // the heading stands at the left though the values stand at the right
	from  []string
	show  func(values []string) string
	paint map[string]string // colours of cells
}

// view is the columns of a table.
type view []column

// exprs are the expressions of all columns, one column after the other.
func (v view) exprs() []string {
	var all []string
	for _, c := range v {
		all = append(all, c.from...)
	}
	return all
}

// table makes an empty table of the view.
func (v view) table(cutAt int) *table {
	heads := make([]string, len(v))
	for i, c := range v {
		heads[i] = c.head
	}
	t := newTable(heads...)
	t.cutAt = cutAt
	for i, c := range v {
		t.right[i], t.left[i], t.least[i] = c.least > 0, c.left, max(c.least, -c.least)
	}
	t.paint = func(i int, cell string) string { return v[i].paint[cell] }
	return t
}

// cells gives a row of the table from the values of the expressions.
func (v view) cells(values []string) []string {
	cells := make([]string, len(v))
	for i, c := range v {
		cells[i] = c.show(values[:len(c.from)])
		values = values[len(c.from):]
	}
	return cells
}

// rowsTo is a table of a view that is filled with rows of values and printed to w while they come.
type rowsTo struct {
	view view
	t    *table
	w    io.Writer
}

func (v view) to(w io.Writer, cutAt int) *rowsTo {
	r := &rowsTo{view: v, t: v.table(cutAt), w: w}
	r.t.stream(w)
	return r
}

func (r *rowsTo) columns() []string   { return r.view.exprs() }
func (r *rowsTo) row(values []string) { r.t.add(r.view.cells(values)...) }
func (r *rowsTo) flush() error        { return r.t.write(r.w) }

// Values as they come, made into what columns show.

func textOf(value string) string {
	if value == "undefined" || value == "error" {
		return ""
	}
	return printable(string(appendPlain(nil, value)))
}

func intOf(value string) (n int64, ok bool) {
	if value == "undefined" {
		return 0, false
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err == nil {
		return n, true
	}
	return evaluate(value).Int()
}

func realOf(value string) (f float64, ok bool) {
	if value == "undefined" {
		return 0, false
	}
	f, err := strconv.ParseFloat(value, 64)
	if err == nil {
		return f, true
	}
	return evaluate(value).Real()
}

func first(values []string) string { return textOf(values[0]) }

func momentOf(values []string) string {
	n, _ := intOf(values[0])
	return moment(n)
}

// The columns of tables of jobs.

var (
	idColumn = column{head: " ID", least: -8, from: []string{"ClusterId", "ProcId"}, show: func(v []string) string {
		return blanks(4-len(v[0])) + v[0] + "." + v[1]
	}}
	ownerColumn     = column{head: "OWNER", least: -14, from: []string{"Owner"}, show: first}
	submittedColumn = column{head: "SUBMITTED", least: 11, from: []string{"QDate"}, show: momentOf}
	stateColumn     = column{head: "ST", least: -2, from: []string{"JobStatus", "TransferringInput"}, show: stateLetter, paint: stateColours}
	prioColumn      = column{head: "PRI", least: -3, from: []string{"JobPrio"}, show: first}
	sizeColumn      = column{head: "SIZE", least: 4, left: true, from: []string{"MemoryUsage", "ImageSize"}, show: sizeOf}
	commandColumn   = column{head: "CMD", least: -1, from: []string{"Cmd", "Arguments", "Args"}, show: commandOf}
	hostColumn      = column{head: "HOST(S)", least: -1, from: []string{"RemoteHost"}, show: first}
)

// letters are HTCondor's for the states of jobs.
var letters = map[job.State]string{
	job.Idle: "I", job.Running: "R", job.Removed: "X", job.Completed: "C", job.Held: "H",
	job.TransferringOutput: ">", job.Suspended: "S",
}

// stateColours are the terminal's colours of states that want to be seen.
var stateColours = map[string]string{"R": green, "S": yellow, "H": red}

func stateLetter(v []string) string {
	n, _ := intOf(v[0])
	if job.State(n) == job.Running && v[1] == "true" {
		return "<"
	}
	return cmp.Or(letters[job.State(n)], "?")
}

// sizeOf is a job's memory in MiB.
func sizeOf(v []string) string {
	mb, ok := realOf(v[0])
	if !ok {
		kb, ok := realOf(v[1])
		if !ok {
			return ""
		}
		mb = kb / 1024
	}
	return strconv.FormatFloat(mb, 'f', 1, 64)
}

// commandOf is what a job runs, as short as HTCondor shows it.
func commandOf(v []string) string {
	args := textOf(v[1])
	if args == "" {
		args = textOf(v[2])
	} else if words, err := job.SplitArgs(args); err == nil {
		args = typed(words)
	}
	return strings.TrimSpace(filepath.Base(textOf(v[0])) + " " + args)
}

// typed writes arguments as a person would type them, with quotes around what needs them.
func typed(words []string) string {
	for i, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\n'\"") {
			words[i] = "'" + strings.ReplaceAll(w, "'", "''") + "'"
		}
	}
	return strings.Join(words, " ")
}

// runTimeColumn is how long a job has been on machines up to now, frozen or not; with only the run that
// it is in, if current.
func runTimeColumn(now time.Time, current bool) column {
	return column{
		head: "RUN_TIME", least: 12,
		from: []string{"JobStatus", "RemoteWallClockTime", "JobCurrentStartDate", "EnteredCurrentStatus"},
		show: func(v []string) string {
			state, _ := intOf(v[0])
			secs, _ := realOf(v[1])
			if current {
				secs = 0
			}
			d := time.Duration(secs * float64(time.Second))
			if s := job.State(state); s == job.Running || s == job.Suspended || s == job.TransferringOutput {
				since, ok := intOf(v[2])
				if !ok {
					since, _ = intOf(v[3])
				}
				d += now.Sub(time.Unix(since, 0))
			}
			return span(d)
		},
	}
}

// cpuTimeColumn is the processor time that a job has used.
var cpuTimeColumn = column{
	head: "CPU_TIME", least: 12, from: []string{"RemoteUserCpu"},
	show: func(v []string) string {
		secs, _ := realOf(v[0])
		return span(time.Duration(secs * float64(time.Second)))
	},
}
