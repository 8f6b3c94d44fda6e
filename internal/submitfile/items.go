package submitfile

import (
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// items reads the list of a queue statement, wherever it is.
func (p *parser) items(s *source, a queueArgs, at pos) ([]string, error) {
	var items []string
	var err error
	switch {
	case a.open:
		items, err = p.inlineItems(s, a, at)
	case a.paren && a.mode == "from":
		if a.list != "" {
			items = []string{a.list}
		}
	case a.mode == "from":
		return p.itemsFrom(a.list, at)
	default:
		items = strings.FieldsFunc(a.list, isSeparator)
	}
	if err != nil || a.mode != "matching" {
		return items, err
	}
	return p.d.matching(items, a.kind, at)
}

// inlineItems reads the lines up to one that begins with a closing parenthesis. An empty line is an
// item, a comment is not.
func (p *parser) inlineItems(s *source, a queueArgs, at pos) ([]string, error) {
	var items []string
	add := func(line string) {
		if a.mode == "from" {
			items = append(items, line)
		} else {
			items = append(items, strings.FieldsFunc(line, isSeparator)...)
		}
	}
	if a.list != "" {
		add(a.list)
	}
	for {
		line, ok := s.physical()
		if !ok {
			return nil, problem(s.pos(), "end the list with a line that is \")\"",
				"the list of the queue statement in line %d is never closed", at.line)
		}
		switch {
		case strings.HasPrefix(line, "#"):
			continue
		case strings.HasPrefix(line, ")"):
			if rest := strings.TrimSpace(line[1:]); rest != "" && rest[0] != '#' {
				return items, p.d.refuse(s.pos(), "", "%q after the end of the list", clip(rest))
			}
			return items, nil
		}
		line, err := s.continued(line)
		if err != nil {
			return nil, err
		}
		if add(line); len(items) > MaxJobs {
			return nil, problem(at, "", "more than %d items", MaxJobs)
		}
	}
}

// itemsFrom reads the items from a file or, when the name ends with |, from a command.
func (p *parser) itemsFrom(name string, at pos) ([]string, error) {
	if name == "" {
		return nil, problem(at, "name a file, or write the items in parentheses", "queue ... from what?")
	}
	var text []byte
	var err error
	if name == "-" {
		text, err = p.stdin(at)
	} else if line, isCommand := strings.CutSuffix(name, "|"); isCommand {
		text, err = p.d.run(strings.TrimSpace(line), at)
	} else if p.isDir(name) {
		err = p.d.refuse(at, "for the files in it write: matching files "+strings.TrimSuffix(name, "/")+"/*", "%s is a directory", name)
	} else {
		text, err = p.d.readFile(name, at)
	}
	if err != nil {
		return nil, err
	}
	s, err := newSource(name, text)
	if err != nil {
		return nil, err
	}
	var items []string
	for {
		line, ok := s.physical()
		if !ok {
			return items, nil
		}
		if line, err = s.continued(line); err != nil {
			return nil, err
		}
		if strings.HasPrefix(line, "#") {
			p.d.note(s.pos(), "a line with # is an item like any other in a list of its own")
		}
		if items = append(items, line); len(items) > MaxJobs {
			return nil, problem(at, "", "%s has more than %d items", name, MaxJobs)
		}
	}
}

// stdin reads the list that is on standard input. There is one at most.
func (p *parser) stdin(at pos) ([]byte, error) {
	read := p.d.opts.Stdin
	if read == nil {
		return nil, problem(at, "save the list to a file and name that", "the items cannot be read from standard input here")
	}
	if p.hadStdin {
		return nil, problem(at, "name a file", "standard input has been read already")
	}
	p.hadStdin = true
	text, err := read()
	if err != nil {
		return nil, problem(at, "", "read the items from standard input: %w", err)
	}
	return text, nil
}

// matching expands patterns to the files or directories there are, without duplicates. The name of a
// directory ends with a slash.
func (d *Description) matching(patterns []string, kind string, at pos) ([]string, error) {
	if d.opts.Glob == nil || d.opts.Stat == nil {
		return nil, problem(at, "", "queue matching: looking for files is not possible here")
	}
	var items []string
	seen := map[string]bool{}
	for _, pattern := range patterns {
		names, err := d.opts.Glob(d.path(pattern))
		if err != nil {
			return nil, problem(at, "", "queue matching %s: %w", clip(pattern), err)
		}
		names = slices.DeleteFunc(names, func(name string) bool { return hiddenFrom(d.path(pattern), name) })
		sort.Strings(names)
		before := len(items)
		for _, name := range names {
			info, err := d.opts.Stat(name)
			if err != nil || info.IsDir() && kind == "files" || !info.IsDir() && kind == "dirs" {
				continue
			}
			name = d.asWritten(name, pattern)
			if info.IsDir() {
				name += "/"
			}
			if !seen[name] {
				seen[name] = true
				items = append(items, name)
			}
			if len(items) > MaxJobs {
				return nil, problem(at, "", "%s matches more than %d files", pattern, MaxJobs)
			}
		}
		if len(items) == before {
			d.note(at, fmt.Sprintf("the pattern %s matches nothing", pattern))
		}
	}
	return items, nil
}

// hiddenFrom says whether a name that a pattern matches has a part with a dot at its beginning where the pattern has none:
// as in HTCondor, and a shell, nobody means those.
func hiddenFrom(pattern, name string) bool {
	parts := func(name string) []string { return strings.Split(filepath.ToSlash(filepath.Clean(name)), "/") }
	want, have := parts(pattern), parts(name)
	for i, j := len(want)-1, len(have)-1; i >= 0 && j >= 0; i, j = i-1, j-1 {
		if strings.HasPrefix(have[j], ".") && !strings.HasPrefix(strings.TrimPrefix(want[i], `\`), ".") {
			return true
		}
	}
	return false
}

// asWritten gives a found file the form of the pattern: relative if that was.
func (d *Description) asWritten(name, pattern string) string {
	if d.path(pattern) == pattern {
		return name
	}
	if rel, ok := strings.CutPrefix(name, strings.TrimSuffix(d.opts.Dir, "/")+"/"); ok {
		if strings.HasPrefix(pattern, "./") {
			return "./" + rel
		}
		return rel
	}
	return name
}

// takeSlice keeps the items that [start:end:step] selects, as Python does.
func (d *Description) takeSlice(q *queueStatement, text string) error {
	n := len(q.items)
	start, end, step := 0, n, 1
	if text != "" {
		parts := strings.Split(text, ":")
		if len(parts) > 3 {
			return problem(q.at, "", "[%s] is not a slice such as [1:10] or [::2]", text)
		}
		for i, part := range parts {
			if part == "" {
				continue
			}
			v, err := strconv.Atoi(part)
			if err != nil || i == 2 && v == 0 {
				return problem(q.at, "", "[%s] is not a slice such as [1:10] or [::2]", text)
			}
			if i == 2 && v < 0 { // what HTCondor does with it is anything but the other way round
				if err := d.refuse(q.at, "", "[%s]: a slice cannot run backwards", text); err != nil {
					return err
				}
				v = 1
			}
			if i < 2 && v < 0 {
				v = max(0, n+v)
			}
			switch i {
			case 0:
				start = v
			case 1:
				end = v
			case 2:
				step = v
			}
		}
		if len(parts) == 1 && text != "" {
			d.note(q.at, fmt.Sprintf("[%s] is all items from there on; for the one item write [%d:%d]", text, start, start+1))
		}
	}
	var items []string
	var rows []int
	for i := start; i < min(end, n); i += step {
		items, rows = append(items, q.items[i]), append(rows, i)
		if step > n {
			break
		}
	}
	q.items, q.rows = items, rows
	return nil
}

// checkItems looks for variables and items that cannot be meant.
func (d *Description) checkItems(q *queueStatement) error {
	for i, v := range q.vars {
		if !isMacroName(v) || isDigit(v[0]) {
			return problem(q.at, "", "%q is not the name of a variable", v)
		}
		for _, w := range q.vars[:i] {
			if strings.EqualFold(v, w) {
				if err := d.refuse(q.at, "", "the variable %s stands twice in the queue statement", v); err != nil {
					return err
				}
			}
		}
	}
	for i, item := range q.items {
		values := splitItem(item, len(q.vars))
		if len(values) < len(q.vars) {
			err := d.refuse(q.at, "give every row as many fields as there are variables",
				"row %d, %q, has only %d of the %d fields %s; HTCondor would take the others from the row before",
				q.rows[i]+1, clip(item), len(values), len(q.vars), strings.Join(q.vars, ","))
			if err != nil {
				return err
			}
		}
		for j, v := range values {
			if v == "" {
				d.note(q.at, fmt.Sprintf("the variable %s is empty in row %d", q.vars[j], q.rows[i]+1))
			}
		}
	}
	return nil
}

// splitItem splits the text of an item into at most n values: at commas and blanks, the last value
// being all that is left.
func splitItem(item string, n int) []string {
	item = strings.TrimLeft(item, " \t")
	if n == 1 {
		return []string{item}
	}
	values := make([]string, 0, n)
	for len(values) < n-1 {
		i := strings.IndexAny(item, ", \t")
		if i < 0 {
			break
		}
		values = append(values, item[:i])
		item = strings.TrimLeft(item[i+1:], " \t")
	}
	return append(values, item)
}
