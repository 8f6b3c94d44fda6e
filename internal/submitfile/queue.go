package submitfile

import (
	"strings"
)

// queueStatement is one queue with everything it says, its items read.
type queueStatement struct {
	at        pos
	statement int      // which values of the macros it sees
	count     int      // jobs for each item
	vars      []string // loop variables; nil if there are no items
	items     []string // one text for each item, not yet split into the variables
	rows      []int    // index of each item before the slice was taken
	first     int      // number of its first job
	used      []bool   // whether each variable was referred to
}

func (q *queueStatement) jobs() int { return q.count * q.itemCount() }

// itemCount is at least one: without a list there is one unnamed item.
func (q *queueStatement) itemCount() int {
	if q.vars == nil {
		return 1
	}
	return len(q.items)
}

// queueArgs is a queue statement before its items are read.
type queueArgs struct {
	count string
	vars  []string
	mode  string // "", in, from, matching
	kind  string // files, dirs or any, of matching
	slice string
	list  string // what follows
	open  bool   // a list in parentheses that goes on in the next lines
	paren bool   // a list in parentheses
}

// queueKeyword finds the word in, from or matching, outside of parentheses.
func queueKeyword(s string) (mode string, at int) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '(':
			depth++
		case s[i] == ')':
			depth--
		case depth == 0 && isLetter(s[i]) && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t' || s[i-1] == ',' || s[i-1] == ')'):
			word, _ := firstWord(s[i:])
			end := i + len(word)
			switch w := strings.ToLower(word); {
			case w != "in" && w != "from" && w != "matching":
			case end == len(s) || strings.IndexByte(" \t([", s[end]) >= 0:
				return w, i
			}
			i = end - 1
		}
	}
	return "", len(s)
}

func splitQueue(s string) queueArgs {
	var a queueArgs
	var at int
	a.mode, at = queueKeyword(s)
	before := strings.TrimSpace(s[:at])
	if a.mode == "" {
		a.count = before
		return a
	}
	// The variables are the words at the end; what stands before them is the count.
	cut := len(before)
	for cut > 0 {
		c := before[cut-1]
		if isDigit(c) { // part of a name only if a letter stands before the digits
			n := cut
			for n > 0 && isDigit(before[n-1]) {
				n--
			}
			if n == 0 || !isLetter(before[n-1]) {
				break
			}
			cut = n
			continue
		}
		if !isLetter(c) && c != '_' && c != '.' && c != ',' && c != ' ' && c != '\t' {
			break
		}
		cut--
	}
	a.count = strings.TrimSpace(before[:cut])
	a.vars = strings.FieldsFunc(before[cut:], isSeparator)
	rest := strings.TrimSpace(s[at+len(a.mode):])
	if a.mode == "matching" {
		a.kind = "any"
		word, after := firstWord(rest)
		if n := len(word); n < len(rest) && (rest[n] == ' ' || rest[n] == '\t' || rest[n] == '(') { // else it is a pattern
			switch kind := strings.ToLower(word); kind {
			case "files", "dirs", "any":
				a.kind, rest = kind, after
			case "all":
				rest = after
			}
		}
	}
	if strings.HasPrefix(rest, "[") && a.mode != "matching" || isSlice(rest) {
		if end := strings.IndexByte(rest, ']'); end > 0 {
			a.slice, rest = rest[1:end], strings.TrimSpace(rest[end+1:])
		}
	}
	if list, ok := strings.CutPrefix(rest, "("); ok {
		a.paren = true
		var after string
		a.list, after, ok = balanced(list)
		if !ok || strings.TrimSpace(after) != "" { // the parenthesis that ends a list ends the line, too
			a.list, a.open = list, true
		}
		a.list = strings.TrimSpace(a.list)
		return a
	}
	a.list = rest
	return a
}

// isSlice tells [1:3] from a pattern that begins with a bracket.
func isSlice(s string) bool {
	end := strings.IndexByte(s, ']')
	return strings.HasPrefix(s, "[") && end > 0 && strings.Trim(s[1:end], "0123456789:- ") == "" && strings.Contains(s[:end], ":")
}

func isSeparator(r rune) bool { return r == ',' || r == ' ' || r == '\t' }

// skipQueue passes over the lines of a list whose queue statement does not count.
func (p *parser) skipQueue(s *source, rest string, at pos) error {
	if a := splitQueue(rest); a.open {
		_, err := p.inlineItems(s, a, at)
		return err
	}
	return nil
}

// queue reads a queue statement and its items.
func (p *parser) queue(s *source, rest string, at pos) error {
	if p.depth > 0 {
		return problem(at, "keep the queue statement in the main file", "a queue statement cannot stand in an included file")
	}
	x := p.expander(at)
	text, err := x.expand(rest)
	if err != nil {
		return err
	}
	if err := p.forgetIfs(at); err != nil {
		return err
	}
	a := splitQueue(strings.TrimSpace(text))
	if a.mode != "" && a.list == "" && !a.paren && a.mode != "from" {
		return queueProblem(at, text)
	}
	q := &queueStatement{at: at, statement: p.statement, first: p.d.jobs}
	if q.count, err = queueCount(a.count, at); err != nil {
		return err
	}
	if a.mode != "" {
		q.vars = a.vars
		if len(q.vars) == 0 {
			q.vars = []string{"Item"}
		}
		q.used = make([]bool, len(q.vars))
		if q.items, err = p.items(s, a, at); err != nil {
			return err
		}
		if err := p.d.takeSlice(q, a.slice); err != nil {
			return err
		}
		if err := p.d.checkItems(q); err != nil {
			return err
		}
	}
	if n := q.itemCount(); n > 0 && q.count > (MaxJobs-p.d.jobs)/n {
		return problem(at, "", "more than %d jobs in one submit", MaxJobs)
	}
	if len(p.d.queues) == 1 {
		p.d.note(at, "several queue statements in one description: HTCondor from version 24 on refuses that; one \"queue ... from\" can do the same")
	}
	p.d.queues = append(p.d.queues, q)
	p.d.jobs += q.jobs()
	return nil
}

// queueCount evaluates the number before the variables.
func queueCount(text string, at pos) (int, error) {
	if text == "" {
		return 1, nil
	}
	n, err := value{text: text, at: at}.integer()
	if err != nil || n < 0 {
		return 0, queueProblem(at, text)
	}
	if n > MaxJobs {
		return 0, problem(at, "", "queue %s: more than %d jobs in one submit", clip(text), MaxJobs)
	}
	return int(n), nil
}

func queueProblem(at pos, text string) error {
	return problem(at, "the forms are: queue, queue 10, queue x in (a b c), queue x,y from table.txt, queue f matching files *.dat",
		"queue %s: this is neither a number of jobs nor a list of items", clip(text))
}
