package classad

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A SyntaxError says where and why a text is not an expression or an ad.
type SyntaxError struct {
	Line, Col int    // from 1; columns count bytes
	Msg       string // what is wrong there
	Text      string // the line it is in
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Col, e.Msg) }

// Caret shows the line with a mark under the place, for people.
func (e *SyntaxError) Caret() string {
	const width = 76
	text, col := e.Text, min(e.Col-1, len(e.Text))
	if col > width/2 {
		text, col = text[col-width/2:], width/2
	}
	text = text[:min(len(text), width)]
	pad := mapBytes(text[:min(col, len(text))], func(c byte) byte {
		if c == '\t' {
			return c
		}
		return ' '
	})
	return text + "\n" + pad + "^"
}

func syntaxError(src string, pos int, msg string) *SyntaxError {
	pos = min(pos, len(src))
	start := strings.LastIndexByte(src[:pos], '\n') + 1
	text, _, _ := strings.Cut(src[start:], "\n")
	return &SyntaxError{
		Line: 1 + strings.Count(src[:start], "\n"), Col: pos - start + 1,
		Msg: msg, Text: strings.TrimSuffix(text, "\r"),
	}
}

type tokenKind uint8

const (
	tokEOF tokenKind = iota
	tokIdent
	tokQuoted // 'attribute name'
	tokString
	tokNumber
	tokOp    // an operator of the table, in token.op
	tokPunct // one of ( ) [ ] { } , ; . ? : =
)

type token struct {
	kind  tokenKind
	op    op
	punct byte
	pos   int
	text  string // identifier, quoted name or string, decoded
	num   Value
}

// A scanner cuts src into tokens.
type scanner struct {
	src string
	off int  // of what follows tok
	old bool // old syntax: backslashes in strings are ordinary
	tok token
	err *SyntaxError
}

func (s *scanner) fail(pos int, format string, args ...any) {
	if s.err == nil {
		s.err = syntaxError(s.src, pos, fmt.Sprintf(format, args...))
	}
	s.tok = token{kind: tokEOF, pos: pos}
	s.off = len(s.src)
}

func (s *scanner) peek(i int) byte {
	if s.off+i < len(s.src) {
		return s.src[s.off+i]
	}
	return 0
}

// next moves to the following token.
func (s *scanner) next() {
	if s.err != nil || !s.skipBlanks() {
		return
	}
	s.tok = token{pos: s.off}
	if s.off >= len(s.src) {
		return
	}
	switch c := s.src[s.off]; {
	case isLetter(c):
		start := s.off
		for s.off < len(s.src) && isWordByte[s.src[s.off]] {
			s.off++
		}
		s.tok.kind, s.tok.text = tokIdent, s.src[start:s.off]
	case isDigit(c), c == '.' && isDigit(s.peek(1)):
		s.number(s.off)
	case c == '"', c == '\'':
		s.quoted(c)
	default:
		s.operator(c)
	}
}

// skipBlanks passes over white space and comments.
func (s *scanner) skipBlanks() bool {
	for s.off < len(s.src) {
		switch c := s.src[s.off]; {
		case c == ' ' || '\t' <= c && c <= '\r':
			s.off++
		case c == '/' && s.peek(1) == '/':
			n := strings.IndexByte(s.src[s.off:], '\n')
			if n < 0 {
				n = len(s.src) - s.off
			}
			s.off += n
		case c == '/' && s.peek(1) == '*':
			n := strings.Index(s.src[s.off+2:], "*/")
			if n < 0 {
				s.fail(s.off, "comment is not closed")
				return false
			}
			s.off += n + 4
		default:
			return true
		}
	}
	return true
}

// number scans a number whose text, perhaps with a sign that has been read already, begins at start.
func (s *scanner) number(start int) {
	pos := s.off
	digits := func() {
		for isDigit(s.peek(0)) {
			s.off++
		}
	}
	digits()
	isReal := false
	if whole := s.src[pos:s.off]; len(whole) > 1 && whole[0] == '0' {
		s.fail(pos, "octal numbers are not supported: %s", whole)
		return
	}
	if s.peek(0) == '.' {
		isReal = true
		s.off++
		if !isDigit(s.peek(0)) {
			s.fail(s.off, "expected a digit after the decimal point")
			return
		}
		digits()
	}
	if c := s.peek(0); c == 'e' || c == 'E' {
		isReal = true
		s.off++
		if c := s.peek(0); c == '+' || c == '-' {
			s.off++
		}
		if !isDigit(s.peek(0)) {
			s.fail(s.off, "expected a digit in the exponent")
			return
		}
		digits()
	}
	if isLetter(s.peek(0)) {
		s.fail(s.off, "unexpected letter after the number %s", s.src[pos:s.off])
		return
	}
	s.tok = token{kind: tokNumber, pos: start}
	if text := s.src[start:s.off]; isReal {
		f, _ := strconv.ParseFloat(text, 64) // out of range gives an infinity or 0, as in HTCondor
		s.tok.num = realValue(f)
	} else {
		i, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			i = 0 // HTCondor reads an integer that does not fit in 64 bits as 0
		}
		s.tok.num = intValue(i)
	}
}

// negative scans -12 or -.5 as one number, if that is what stands there. tok is the minus sign.
func (s *scanner) negative() bool {
	if !isDigit(s.peek(0)) && (s.peek(0) != '.' || !isDigit(s.peek(1))) {
		return false
	}
	s.number(s.tok.pos)
	return s.err == nil
}

func (s *scanner) quoted(quote byte) {
	pos := s.off
	s.tok.kind = tokString
	if quote == '\'' {
		s.tok.kind = tokQuoted
	}
	s.off++
	start := s.off
	for s.off < len(s.src) && s.src[s.off] != quote && s.src[s.off] != '\\' && s.src[s.off] != 0 {
		s.off++
	}
	if s.peek(0) == quote {
		s.tok.text = s.src[start:s.off]
		s.off++
		return
	}
	buf := append(make([]byte, 0, 2*(s.off-start)+16), s.src[start:s.off]...)
	for s.off < len(s.src) {
		c := s.src[s.off]
		s.off++
		switch {
		case c == quote:
			s.tok.text = string(buf)
			return
		case c == '\\' && s.old:
			// \" is a quote, unless the text or the line ends there and the string with it.
			if s.peek(0) == '"' && !s.endsAt(s.off+1) {
				c = '"'
				s.off++
			}
		case c == '\\':
			c = s.escape()
		}
		if c == 0 {
			s.fail(s.off-1, "a string cannot contain a NUL byte")
			return
		}
		buf = append(buf, c)
	}
	what := "string"
	if quote == '\'' {
		what = "quoted name"
	}
	s.fail(pos, "%s is not closed", what)
}

func (s *scanner) endsAt(i int) bool {
	return i >= len(s.src) || s.src[i] == '\n' || s.src[i] == '\r'
}

// escape reads what follows a backslash: up to three octal digits, one of C's letters, or any other
// character, which stands for itself.
func (s *scanner) escape() byte {
	c := s.peek(0)
	s.off++
	switch c {
	case 'a':
		return '\a'
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'v':
		return '\v'
	}
	if c < '0' || c > '7' {
		return c
	}
	most := 2 // digits; three if the number fits in a byte
	if c <= '3' {
		most = 3
	}
	n := int(c - '0')
	for i := 1; i < most && '0' <= s.peek(0) && s.peek(0) <= '7'; i++ {
		n = n*8 + int(s.peek(0)-'0')
		s.off++
	}
	return byte(n & math.MaxUint8)
}

func (s *scanner) operator(c byte) {
	pos, next := s.off, s.peek(1)
	s.off++
	switch c {
	case '(', ')', '[', ']', '{', '}', ',', ';', '.', '?', ':':
		s.tok.kind, s.tok.punct = tokPunct, c
		return
	case '=':
		switch {
		case next == '=':
			s.take(opEq, 1)
		case next == '?' && s.peek(1) == '=':
			s.take(opIs, 2)
		case next == '!' && s.peek(1) == '=':
			s.take(opIsnt, 2)
		default:
			s.tok.kind, s.tok.punct = tokPunct, c
		}
	case '!':
		s.either(next == '=', opNe, opNot)
	case '&':
		s.either(next == '&', opAnd, opBitAnd)
	case '|':
		s.either(next == '|', opOr, opBitOr)
	case '<':
		if next == '<' {
			s.take(opShl, 1)
			return
		}
		s.either(next == '=', opLe, opLt)
	case '>':
		if next == '>' {
			s.off++
			s.either(s.peek(0) == '>', opUshr, opShr)
			return
		}
		s.either(next == '=', opGe, opGt)
	case '^':
		s.take(opBitXor, 0)
	case '+':
		s.take(opAdd, 0)
	case '-':
		s.take(opSub, 0)
	case '*':
		s.take(opMul, 0)
	case '/':
		s.take(opDiv, 0)
	case '%':
		s.take(opMod, 0)
	case '~':
		s.take(opCompl, 0)
	default:
		s.fail(pos, "unexpected character %q", c)
	}
}

// take makes an operator the token, of which n bytes are still to be passed over.
func (s *scanner) take(o op, n int) {
	s.tok.kind, s.tok.op = tokOp, o
	s.off += n
}

// either takes an operator of one more byte or one without it.
func (s *scanner) either(longer bool, long, short op) {
	if longer {
		s.take(long, 1)
	} else {
		s.take(short, 0)
	}
}

// isWordByte has the letters and digits that names are made of.
var isWordByte = func() (is [256]bool) {
	for c := range is {
		is[c] = isLetter(byte(c)) || isDigit(byte(c))
	}
	return is
}()

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
