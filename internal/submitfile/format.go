package submitfile

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// format is one conversion of C's printf with text around it, as in $INT(n,run%03d).
type format struct {
	before, after string
	flags         string // with width and precision
	long          bool   // 64 bits
	verb          byte
}

// format reads the second argument of a function; verbs are those that go with it.
func (x *expander) format(fn, text, verbs string) (format, error) {
	var f format
	bad := problem(x.at, "", "$%s(): %q is not a format, such as %s", fn, clip(text), "%5"+verbs[:1])
	before, rest, ok := cutConversion(text)
	if !ok {
		return f, bad
	}
	f.before = before
	n := 0
	for n < len(rest) && strings.IndexByte("-+ 0#.123456789", rest[n]) >= 0 {
		n++
	}
	f.flags, rest = rest[:n], rest[n:]
	const widest = 5 // characters of width and precision; wider ones only fill memory
	if len(strings.Trim(f.flags, "-+ 0#")) > widest {
		return f, bad
	}
	n = 0
	for n < len(rest) && strings.IndexByte("hlqjzt", rest[n]) >= 0 {
		f.long = f.long || rest[n] != 'h'
		n++
	}
	rest = rest[n:]
	if rest == "" || strings.IndexByte(verbs, rest[0]) < 0 {
		return f, bad
	}
	f.verb = rest[0]
	if _, _, again := cutConversion(rest[1:]); again {
		return f, bad
	}
	f.after = strings.ReplaceAll(rest[1:], "%%", "%")
	return f, nil
}

// cutConversion cuts a format at the % of its first conversion. Two of them stand for one.
func cutConversion(s string) (before, after string, ok bool) {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		if i+1 < len(s) && s[i+1] == '%' {
			i++
			continue
		}
		return strings.ReplaceAll(s[:i], "%%", "%"), s[i+1:], true
	}
	return s, "", false
}

func (f format) integer(n int64) string {
	var v any = n
	verb := f.verb
	switch verb {
	case 'i':
		verb = 'd'
	case 'u', 'o', 'x', 'X':
		if verb == 'u' {
			verb = 'd'
		}
		if v = uint64(n); n < 0 && !f.long {
			v = uint32(n) //nolint:gosec // C's int has 32 bits, and so do its two's complements
		}
	}
	return f.before + fmt.Sprintf("%"+f.flags+string(verb), v) + f.after
}

func (f format) real(r float64) string {
	flags := f.flags
	if (f.verb == 'g' || f.verb == 'G') && !strings.Contains(flags, ".") {
		flags += ".6" // C's default; Go's is as many as needed
	}
	number := fmt.Sprintf("%"+flags+string(f.verb), r)
	if math.IsInf(r, 0) || math.IsNaN(r) {
		number = strings.ToLower(number)
		if !strings.Contains(flags, "+") {
			number = strings.ReplaceAll(number, "+", "")
		}
	}
	s := f.before + number + f.after
	if !strings.Contains(s, ".") {
		s += ".0" // so that it is a real wherever it is put
	}
	return s
}

// string counts bytes, as C does.
func (f format) string(s string) string {
	width, precision, limited := strings.Cut(strings.TrimLeft(f.flags, "-+ 0#"), ".")
	if limited {
		n, _ := strconv.Atoi(precision)
		s = s[:min(n, len(s))]
	}
	n, _ := strconv.Atoi(width)
	pad := strings.Repeat(" ", max(0, n-len(s)))
	if strings.Contains(f.flags, "-") {
		return f.before + s + pad + f.after
	}
	return f.before + pad + s + f.after
}
