package main

import (
	"bufio"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"skua/policy/classad"
)

// A rowFormat prints rows of values of expressions. A value is its text in the new ClassAd syntax.
type rowFormat interface {
	columns() []string // the expressions
	row(values []string)
	flush() error
}

// autoformat is HTCondor's -autoformat: a line for each ad, with as little between the values as can be
// parsed. It prints each row as it comes, unless headings want to know how wide the columns are.
type autoformat struct {
	exprs []string

	jobs   bool // j: begin with the job's id
	labels bool // l: Name = value
	heads  bool // h: headings, and values below them
	quoted bool // V: strings with their quotes
	raw    bool // r, o: expressions as they are written
	rowPre string
	colPre string
	colEnd string

	w    *bufio.Writer
	buf  []byte
	kept [][]string // rows of cells while headings wait for the widths
}

// autoformatHelp explains the letters.
const autoformatHelp = `  j  begin with the job's id         l  label values: Name = value
  h  headings, and columns           V  strings with their quotes
  r  expressions, not their values   ,  a comma after each value
  t  a tab between values            n  each value on a line of its own
  g  a blank line between ads        lrng is the form of --long`

// queryExits ends the help of commands that show something.
const queryExits = `

Exit codes: 0, also when there is nothing to show; 2 for a mistake on the command line; 3 when the pool cannot
be reached.`

// addAutoformat gives a command the flags --autoformat and --format. It returns where their values are.
func addAutoformat(c *cobra.Command) (af, formats *[]string) {
	af, formats = new([]string), new([]string)
	c.Flags().StringArrayVar(af, "autoformat", nil, "print the values of `EXPR...`, one line each; letters may follow a colon: -af:jh")
	teach(c, "autoformat", habit{also: []string{"af"}, short: "autof", words: untilDash, opts: true})
	c.Flags().StringArrayVar(formats, "format", nil, "print a value as `FMT EXPR` says, such as -format '%d\\n' ClusterId; once for each value")
	teach(c, "format", habit{short: "f", words: 2})
	return af, formats
}

// newRowFormat reads what the flags --autoformat and --format say; nil when they say nothing.
func newRowFormat(af, formats []string, w *bufio.Writer) (rowFormat, error) {
	switch {
	case len(af) > 0 && len(formats) > 0:
		return nil, usage("leave one of them out", "--autoformat together with --format")
	case len(af) > 0:
		return newAutoformat(af, w)
	case len(formats) > 0:
		return newPrintf(formats, w)
	}
	return nil, nil
}

func newAutoformat(flags []string, w *bufio.Writer) (*autoformat, error) {
	f := &autoformat{colPre: " ", w: w}
	for _, flag := range flags {
		opts, exprs, ok := strings.Cut(flag, wordSep)
		if !ok {
			opts, exprs = "", flag
		}
		if err := f.options(opts); err != nil {
			return nil, err
		}
		f.exprs = append(f.exprs, strings.Split(exprs, wordSep)...)
	}
	for _, e := range f.exprs {
		if _, err := classad.ParseExpr(e); err != nil {
			return nil, mistaken("the expression "+e, err)
		}
	}
	return f, nil
}

func (f *autoformat) options(opts string) error {
	for _, o := range opts {
		switch o {
		case 'j':
			f.jobs = true
		case 'l':
			f.labels = true
		case 'h':
			f.heads = true
		case 'V':
			f.quoted = true
		case 'r', 'o':
			f.raw = true
		case ',':
			f.colEnd = ","
		case 'n':
			f.colEnd = "\n"
		case 't':
			f.colPre = "\t"
		case 'g':
			f.colPre, f.rowPre = "", "\n"
		default:
			return usage("the options are j l h V r , t n g", "-af:%s: there is no option %q", opts, o)
		}
	}
	return nil
}

var bareName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (f *autoformat) columns() []string {
	var cols []string
	if f.jobs {
		cols = append(cols, "ClusterId", "ProcId")
	}
	for _, e := range f.exprs {
		if f.raw && bareName.MatchString(e) {
			e = "unparse(" + e + ")"
		}
		cols = append(cols, e)
	}
	return cols
}

func (f *autoformat) row(values []string) {
	if f.heads {
		f.keep(values)
		return
	}
	b := append(f.buf[:0], f.rowPre...)
	first := true
	between := func() {
		if !first {
			b = append(append(b, f.colEnd...), f.colPre...)
		}
		first = false
	}
	if f.jobs {
		between()
		if f.labels {
			b = append(b, "ID = "...)
		}
		b = append(append(append(b, values[0]...), '.'), values[1]...)
		values = values[2:]
	}
	for i, v := range values {
		between()
		if f.labels {
			b = append(append(b, f.exprs[i]...), " = "...)
		}
		b = f.appendCell(b, i, v)
	}
	f.buf = append(b, '\n')
	f.w.Write(f.buf) // an error stays with the writer, until flush
}

// appendCell appends the value of the expression with number i.
func (f *autoformat) appendCell(b []byte, i int, value string) []byte {
	switch {
	case !f.raw && f.quoted:
		return append(b, quotedText(value)...)
	case !f.raw:
		return appendPlain(b, value)
	case !bareName.MatchString(f.exprs[i]):
		return append(b, written(f.exprs[i])...)
	}
	return append(b, unparsed(value)...)
}

// keep stores a row until the widths of the columns are known.
func (f *autoformat) keep(values []string) {
	var cells []string
	if f.jobs {
		cells = append(cells, fmt.Sprintf("%4s.%-3s", values[0], values[1]))
		values = values[2:]
	}
	for i, v := range values {
		cells = append(cells, string(f.appendCell(nil, i, v)))
	}
	f.kept = append(f.kept, cells)
}

func (f *autoformat) flush() error {
	if f.heads {
		f.writeKept()
	}
	return f.w.Flush()
}

func (f *autoformat) writeKept() {
	heads := f.exprs
	if f.jobs {
		heads = append([]string{" ID"}, heads...)
	}
	widths := make([]int, len(heads))
	for _, row := range append([][]string{heads}, f.kept...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	f.kept = append([][]string{heads}, f.kept...)
	for _, row := range f.kept {
		f.w.WriteString(f.rowPre)
		for i, cell := range row {
			if i > 0 {
				f.w.WriteString(f.colEnd)
				f.w.WriteString(f.colPre)
			}
			f.w.WriteString(cell)
			f.w.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
		}
		f.w.WriteByte('\n')
	}
	f.kept = nil
}

// appendPlain appends a value as a person reads it: strings without quotes, reals without needless digits.
func appendPlain(b []byte, value string) []byte {
	n := len(value)
	switch {
	case n >= 2 && value[0] == '"' && strings.IndexByte(value, '\\') < 0:
		return append(b, value[1:n-1]...)
	case n > 0 && value[0] == '"':
		if s, ok := evaluate(value).Str(); ok {
			return append(b, s...)
		}
	case !simple(value):
		return append(b, evaluate(value).OldString()...)
	}
	return append(b, value...)
}

// unparsed is the expression that a value of the function unparse stands for, as HTCondor writes it.
func unparsed(value string) string {
	text, _ := evaluate(value).Str()
	if text == "" {
		return "undefined"
	}
	return written(text)
}

// written writes an expression as the old syntax does.
func written(text string) string {
	e, err := classad.ParseExpr(text)
	if err != nil {
		return text
	}
	return e.OldString()
}

// quotedText is a value with the quotes of strings.
func quotedText(value string) string {
	if simple(value) || value[0] == '"' {
		return value
	}
	return evaluate(value).OldString()
}

// simple says whether a value reads the same in every form: an integer or a word such as undefined.
func simple(value string) bool {
	if value == "" {
		return true
	}
	for i := range len(value) {
		if c := value[i]; c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || i == 0 && c == '-' {
			continue
		}
		return false
	}
	return true
}

// evaluate gives the value that a text of the new syntax stands for.
func evaluate(text string) classad.Value {
	e, err := classad.ParseExpr(text)
	if err != nil {
		return classad.Value{}
	}
	return e.Eval(nil, nil)
}
