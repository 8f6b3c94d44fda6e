package submitfile

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"skua/internal/diag"
)

var errEnd = errors.New("end of file")

// Parse reads the description src, called name in messages. Names of other files in it are relative
// to opts.Dir.
func Parse(name string, src []byte, opts Options) (*Description, error) {
	p := &parser{d: &Description{name: name, opts: opts, env: map[string]string{}, macros: newTable()}}
	for _, e := range opts.Environ {
		if k, v, ok := strings.Cut(e, "="); ok && k != "" {
			p.d.env[k] = v
		}
	}
	for _, k := range slices.Sorted(maps.Keys(opts.Args)) {
		if err := p.define(k, opts.Args[k], pos{file: commandLine}); err != nil {
			return nil, err
		}
	}
	if err := foreign(name, src); err != nil {
		return nil, err
	}
	s, err := newSource(name, src)
	if err != nil {
		return nil, err
	}
	if err := p.file(s); err != nil {
		return nil, err
	}
	if err := p.fromCommandLine(); err != nil {
		return nil, err
	}
	if len(p.d.queues) == 0 && len(p.ifs) > 0 {
		return nil, problem(p.ifs[0].at, "add a line \"endif\" before the queue statement", "this \"if\" is never closed")
	}
	if len(p.d.queues) == 0 {
		return nil, problem(pos{file: name, line: max(1, s.line)},
			"end the description with a line \"queue\", or \"queue 10\" for ten jobs", "the description has no queue statement")
	}
	if p.d.jobs == 0 {
		p.d.note(pos{file: name}, "the queue statements come to no job at all, so nothing is queued")
	}
	return p.d, nil
}

// parser runs through the statements of a description.
type parser struct {
	d         *Description
	statement int // statements so far
	read      int // bytes so far, with includes
	depth     int // of includes
	ifs       []conditional
	forgotten pos  // the queue statement that ended the open ones, for the endif that comes after it
	file0     int  // how many ifs were open where the file that is read was included
	appended  bool // Options.Append has been read
	hadStdin  bool // standard input has been read
}

// commandLine is what messages call the file that the command line comes to.
const commandLine = "command line"

// appends reads the lines of Options.Append, which stand before the first queue statement.
func (p *parser) appends() error {
	if p.appended {
		return nil
	}
	p.appended = true
	s, err := newSource(commandLine, []byte(strings.Join(p.d.opts.Append, "\n")))
	if err != nil {
		return err
	}
	return p.file(s)
}

// fromCommandLine reads what the command line adds to a description that has been read.
func (p *parser) fromCommandLine() error {
	if err := p.appends(); err != nil {
		return err
	}
	if p.d.opts.Queue == "" {
		return nil
	}
	s, err := newSource(commandLine, []byte("queue "+p.d.opts.Queue))
	if err != nil {
		return err
	}
	if len(p.d.queues) > 0 {
		return problem(p.d.queues[0].at, "leave one of the two out", "the description has a queue statement, and the command line another")
	}
	return p.file(s)
}

func (p *parser) live() bool {
	for _, c := range p.ifs {
		if !c.live {
			return false
		}
	}
	return true
}

func (p *parser) file(s *source) error {
	if p.read += len(s.rest); p.read > MaxFileSize {
		return problem(pos{file: s.name}, "", "the description and what it includes come to more than %d bytes", MaxFileSize)
	}
	for {
		line, at, err := s.next()
		if err == errEnd {
			return nil
		}
		if err != nil {
			return err
		}
		if p.statement++; p.statement > maxStatement {
			return problem(at, "", "the description has more than %d statements", maxStatement)
		}
		if err := p.line(s, line, at); err != nil {
			return err
		}
	}
}

// line carries out one statement.
func (p *parser) line(s *source, line string, at pos) error {
	word, rest := firstWord(line)
	if handled, err := p.conditional(s, strings.ToLower(word), rest, at); handled || err != nil {
		return err
	}
	live := p.live()
	if name, value, ok := assignment(line); ok && !strings.EqualFold(name, "queue") {
		if !s.joined { // else columns would say nothing
			at.col = s.indent + len(line) - len(value) + 1
		}
		if tag, isBlock := strings.CutPrefix(value, "@"); isBlock && strings.HasSuffix(name, "\x00") {
			var err error
			if value, err = s.block(strings.TrimSpace(tag)); err != nil {
				return err
			}
			name, at.col = strings.TrimSpace(strings.TrimSuffix(name, "\x00")), 0
		}
		if !live {
			return nil
		}
		return p.define(name, value, at)
	}
	switch strings.ToLower(word) {
	case "queue":
		if !live {
			return p.skipQueue(s, rest, at)
		}
		if err := p.appends(); err != nil {
			return err
		}
		return p.queue(s, rest, at)
	case "include":
		if !live {
			return nil
		}
		return p.include(rest, at)
	case "use":
		if !live {
			return nil
		}
		if group, _, _ := strings.Cut(rest, ":"); strings.EqualFold(strings.TrimSpace(group), "strict") {
			p.d.note(at, "use strict changes nothing: what it warns of is always reported")
			return nil
		}
		return problem(at, "write the commands of the template into the description", "use: submit templates are %w", ErrUnsupported)
	case "error", "warning":
		if text, ok := strings.CutPrefix(strings.TrimSpace(rest), ":"); ok {
			return p.message(strings.ToLower(word), strings.TrimSpace(text), live, at)
		}
	}
	if !live {
		return nil
	}
	hint := "a line is \"name = value\", or begins with queue, if, else, endif or include"
	near := nearCommand(word)
	if known[strings.ToLower(word)] {
		near = word
	}
	if near != "" && rest != "" {
		hint = fmt.Sprintf("did you mean \"%s = %s\"?", near, clip(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(rest), ":"))))
	}
	return problem(at, hint, "%q is not a statement", clip(line))
}

func firstWord(line string) (word, rest string) {
	n := 0
	for n < len(line) && (isLetter(line[n]) || line[n] == '_' || n > 0 && isDigit(line[n])) {
		n++
	}
	return line[:n], strings.TrimSpace(line[n:])
}

// assignment splits "name = value". The name of the form "name @=tag", which begins a text of several
// lines, ends with a NUL, and its value is the tag with its @.
func assignment(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(line, "=")
	if !ok {
		return "", "", false
	}
	block := strings.HasSuffix(name, " @") || strings.HasSuffix(name, "\t@")
	if block {
		name = strings.TrimSuffix(name, "@")
	}
	name = strings.TrimSpace(name)
	bare := strings.TrimPrefix(name, "+")
	if bare == "" || bare[0] == '$' || block && bare != name {
		return "", "", false
	}
	for i := 0; i < len(bare); i++ {
		switch c := bare[i]; {
		case isLetter(c), isDigit(c), c == '_', c == '.':
		case c == '$' && strings.HasPrefix(bare[i+1:], "("): // a macro within the name
			_, after, closed := balanced(bare[i+2:])
			if !closed {
				return "", "", false
			}
			i = len(bare) - len(after) - 1
		default:
			return "", "", false
		}
	}
	value = strings.TrimSpace(value)
	if block {
		return name + "\x00", "@" + value, true
	}
	return name, value, true
}

// define gives a macro, a command or, after + or MY., an attribute its value.
func (p *parser) define(name, value string, at pos) error {
	x := expander{d: p.d, statement: p.statement, at: at}
	name, err := x.expand(name)
	if err != nil {
		return err
	}
	if attr, ok := strings.CutPrefix(name, "+"); ok {
		name = "MY." + attr
	}
	if !isMacroName(name) || strings.EqualFold(name, "MY.") {
		return problem(at, "", "%q is not a name", name)
	}
	if value, err = p.d.selfExpand(name, value, p.statement, at); err != nil {
		return err
	}
	if len(value) > maxLine {
		return problem(at, "", "the value of %s has more than %d bytes", name, maxLine)
	}
	p.d.macros.set(name, definition{statement: p.statement, text: value, at: at})
	return nil
}

// message carries out "error : text" and "warning : text".
func (p *parser) message(word, text string, live bool, at pos) error {
	if !live {
		return nil
	}
	x := p.expander(at)
	text, err := x.expand(text)
	if err != nil {
		return err
	}
	if word == "error" {
		return problem(at, "", "%s", text)
	}
	p.d.note(at, text)
	return nil
}

// expander returns one for what is decided while the file is read, when only the number of the next
// job is known.
func (p *parser) expander(at pos) *expander {
	return &expander{d: p.d, statement: p.statement, at: at, builtin: func(name string) (string, bool) {
		switch strings.ToLower(name) {
		case "process", "procid":
			return itoa(p.d.jobs), true
		case "step", "itemindex", "row":
			return "0", true
		}
		return "", false
	}}
}

// path makes a name from the description absolute.
func (d *Description) path(name string) string {
	if name == "" || filepath.IsAbs(name) || d.opts.Dir == "" {
		return name
	}
	return filepath.Join(d.opts.Dir, name)
}

// cause takes the path out of a file error, since the message names the file as the user wrote it.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// note adds a remark, once.
func (d *Description) note(at pos, text string) {
	s := at.String() + ": " + text
	if len(d.notes) >= maxNotes {
		return
	}
	for _, n := range d.notes {
		if n == s {
			return
		}
	}
	d.notes = append(d.notes, s)
}

// refuse is for what HTCondor accepts and Skua does not: an error, and in a dry run a note.
func (d *Description) refuse(at pos, hint, format string, args ...any) error {
	err := problem(at, hint, format, args...)
	if !d.opts.DryRun {
		return err
	}
	text := strings.TrimPrefix(err.What, at.String()+": ") + "; this would be refused"
	if hint != "" {
		text += " (" + hint + ")"
	}
	d.note(at, text)
	return nil
}

// nearCommand returns the command that word was probably meant to be, when it is very near.
func nearCommand(word string) string {
	s := diag.Suggest(word, commandNames)
	if s == "" || strings.EqualFold(s, word) || !veryNear(strings.ToLower(word), s) {
		return ""
	}
	return s
}
