package submitfile

import (
	"bytes"
	"strings"
)

// source hands out the logical lines of one file: trimmed, joined where a backslash continues them,
// without comments.
type source struct {
	name   string
	rest   []byte
	line   int  // number of the physical line last read
	indent int  // bytes of blanks before it
	joined bool // the logical line last read is of several physical ones
}

func newSource(name string, text []byte) (*source, error) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	if len(text) > MaxFileSize {
		return nil, problem(pos{file: name}, "", "the file has %d bytes; at most %d are read", len(text), MaxFileSize)
	}
	if i := bytes.IndexByte(text, 0); i >= 0 {
		return nil, problem(pos{file: name, line: 1 + bytes.Count(text[:i], []byte("\n"))},
			"a job description is a text file; the program itself goes into its line \"executable = ...\"",
			"the file is not text")
	}
	return &source{name: name, rest: text}, nil
}

func (s *source) pos() pos { return pos{file: s.name, line: s.line} }

// physical returns the next line of the file, trimmed.
func (s *source) physical() (string, bool) {
	if len(s.rest) == 0 {
		return "", false
	}
	line, rest, _ := bytes.Cut(s.rest, []byte("\n"))
	s.rest = rest
	s.line++
	s.indent = len(line) - len(bytes.TrimLeft(line, " \t"))
	return strings.TrimSpace(string(line)), true
}

// next returns the next logical line that is not empty, and where it begins.
func (s *source) next() (string, pos, error) {
	for {
		line, ok := s.physical()
		if !ok {
			return "", pos{}, errEnd
		}
		if line == "" || line[0] == '#' {
			continue
		}
		at, indent := s.pos(), s.indent
		joined, err := s.continued(line)
		s.indent, s.joined = indent, len(joined) != len(line)
		return joined, at, err
	}
}

// continued joins line with the lines after it for as long as each ends with a backslash.
func (s *source) continued(line string) (string, error) {
	if !strings.HasSuffix(line, `\`) {
		return line, nil
	}
	at := s.pos()
	var b strings.Builder
	for strings.HasSuffix(line, `\`) {
		b.WriteString(strings.TrimSuffix(line, `\`))
		if b.Len() > maxLine {
			return "", problem(at, "", "the line has more than %d bytes", maxLine)
		}
		next, ok := s.physical()
		if !ok {
			return b.String(), nil
		}
		if strings.HasPrefix(next, "#") {
			return "", problem(s.pos(), "put the comment above the line that begins at line "+itoa(at.line),
				"a comment cannot stand within a line that is continued with a backslash")
		}
		line = next
	}
	b.WriteString(line)
	return strings.TrimSpace(b.String()), nil
}

// block returns the lines up to one that is "@tag", joined with newlines. Comments and empty lines
// are left out, and a backslash continues a line, as everywhere else.
func (s *source) block(tag string) (string, error) {
	at := s.pos()
	var lines []string
	size := 0
	for {
		line, ok := s.physical()
		if !ok {
			return "", problem(at, "end the text with a line that is @"+tag, "the text that begins here never ends")
		}
		if line == "@"+tag {
			return strings.Join(lines, "\n"), nil
		}
		if line == "" || line[0] == '#' {
			continue
		}
		line, err := s.continued(line)
		if err != nil {
			return "", err
		}
		if size += len(line) + 1; size > maxLine {
			return "", problem(at, "", "the text has more than %d bytes", maxLine)
		}
		lines = append(lines, line)
	}
}
