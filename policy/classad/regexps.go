package classad

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// Patterns are Perl's and count bytes. Go's own engine, whose time is linear, takes those it
// understands the same way; the rest goes to a backtracking engine with a time limit. Both see each
// byte as the character of that number.

// maxCached is how many compiled patterns are kept.
const maxCached = 256

type regex struct {
	linear *regexp.Regexp // nil if only the other engine understands the pattern
	back   *regexp2.Regexp
	// strictlyLinear: the engines agree on any subject. They do not on $ before a final line break
	// and on whether \s includes the vertical tab.
	strictlyLinear bool
	groups         int // including the whole match
	cost           int // of one byte of the subject in the linear engine, at worst
}

var errTooLong = errors.New("the pattern is too long")

var regexps = struct {
	sync.Mutex
	compiled map[[2]string]*regex
}{compiled: map[[2]string]*regex{}}

// compileRegexp knows the options i, m, s and x; others are for the functions.
func compileRegexp(pattern, options string) (*regex, error) {
	if len(pattern) > maxPattern {
		return nil, errTooLong
	}
	var flags strings.Builder
	for _, c := range "imsx" {
		if strings.ContainsRune(options, c) {
			flags.WriteRune(c)
		}
	}
	key := [2]string{flags.String(), pattern}
	regexps.Lock()
	re := regexps.compiled[key]
	regexps.Unlock()
	if re != nil {
		return re, nil
	}
	re, err := newRegex(pattern, key[0])
	if err != nil {
		return nil, err
	}
	regexps.Lock()
	if len(regexps.compiled) >= maxCached {
		clear(regexps.compiled)
	}
	regexps.compiled[key] = re
	regexps.Unlock()
	return re, nil
}

func newRegex(pattern, flags string) (*regex, error) {
	pattern = toLatin1(pattern)
	re := &regex{}
	if !strings.Contains(flags, "x") {
		p := pattern
		if flags != "" {
			p = "(?" + flags + ")" + p
		}
		cost, ok := linearCost(p)
		if ok && cost > maxProgram {
			return nil, errTooLong
		}
		if linear, err := regexp.Compile(p); err == nil {
			re.linear, re.cost = linear, cost
			re.groups = linear.NumSubexp() + 1
			re.strictlyLinear = !strings.ContainsAny(pattern, "$\\[")
			if re.strictlyLinear {
				return re, nil
			}
		}
	}
	options := regexp2.RegexOptions(0)
	for i, c := range "imsx" {
		if strings.ContainsRune(flags, c) {
			options |= []regexp2.RegexOptions{
				regexp2.IgnoreCase, regexp2.Multiline, regexp2.Singleline, regexp2.IgnorePatternWhitespace,
			}[i]
		}
	}
	back, err := regexp2.Compile(pattern, options)
	if err != nil && re.linear == nil {
		return nil, err
	}
	if err == nil {
		back.MatchTimeout = maxRegexpTime
		re.back = back
	}
	if re.linear == nil {
		re.groups = len(back.GetGroupNumbers())
	}
	return re, nil
}

// linearCost is the number of instructions that the linear engine needs for a pattern.
func linearCost(pattern string) (int, bool) {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, false
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return 0, false
	}
	return len(prog.Inst), true
}

// matches reports whether the pattern matches; ok as with find.
func (re *regex) matches(ev *evaluator, subject string) (is, ok bool) {
	if re.linear != nil && re.strictlyLinear {
		if !ev.spend(len(subject)) || !ev.spend(len(subject)*re.cost/4) {
			return false, false
		}
		return re.linear.MatchString(toLatin1(subject)), true
	}
	m, ok := re.find(ev, subject, false)
	return m != nil, ok
}

// find returns the bounds, in bytes, of the groups of the first match or of all, with -1 for a group
// that had no part. It reports false if that took too long.
func (re *regex) find(ev *evaluator, subject string, all bool) (matches [][]int, ok bool) {
	if !ev.spend(len(subject)) {
		return nil, false
	}
	n := 1
	if all {
		n = -1
	}
	oddSubject := strings.HasSuffix(subject, "\n") || strings.IndexByte(subject, '\v') >= 0
	if re.linear != nil && (re.strictlyLinear || re.back == nil || !oddSubject) {
		if !ev.spend(len(subject) * re.cost / 4) {
			return nil, false
		}
		latin := toLatin1(subject)
		matches = re.linear.FindAllStringSubmatchIndex(latin, n)
		if len(latin) != len(subject) {
			for _, m := range matches {
				toBytes(latin, m)
			}
		}
		return matches, true
	}
	start := time.Now()
	defer func() { ev.regexpTime += time.Since(start) }()
	m, err := re.back.FindRunesMatch(bytesAsRunes(subject))
	for ; m != nil; m, err = re.back.FindNextMatch(m) {
		groups := make([]int, 0, 2*re.groups)
		for i := range re.groups {
			if g := m.GroupByNumber(i); g != nil && len(g.Captures) > 0 {
				groups = append(groups, g.Index, g.Index+g.Length)
			} else {
				groups = append(groups, -1, -1)
			}
		}
		matches = append(matches, groups)
		if !all {
			break
		}
		if !ev.spend(len(subject)) || ev.regexpTime+time.Since(start) > maxRegexpTime {
			return nil, false
		}
	}
	return matches, err == nil && ev.regexpTime+time.Since(start) <= maxRegexpTime
}

func bytesAsRunes(s string) []rune {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return runes
}

// toLatin1 makes a character of each byte.
func toLatin1(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return string(bytesAsRunes(s))
		}
	}
	return s
}

// toBytes turns places in the result of toLatin1 into places in what it was made of.
func toBytes(latin string, places []int) {
	for i, p := range places {
		if p > 0 {
			places[i] = utf8.RuneCountInString(latin[:p])
		}
	}
}
