package eventlog

import (
	"bytes"
	"strings"

	"skua/internal/diag"
)

// cutEvent finds the end of the first event in b, blank lines before it included. It is not whole
// while its end has not been seen, and broken if another event begins before its end: its writer was
// interrupted, and somebody else wrote on.
func cutEvent(b []byte) (n int, whole, broken bool) {
	for n < len(b) && (b[n] == '\n' || b[n] == '\r') {
		n++
	}
	if n < len(b) && b[n] == '{' {
		end, whole, broken := cutObject(b[n:])
		return n + end, whole, broken
	}
	for begin := n; n < len(b); {
		if n > begin && begins(b[n:]) {
			return n, true, true
		}
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			break
		}
		line := b[n : n+i]
		n += i + 1
		if isEnd(string(line)) {
			return n, true, false
		}
	}
	return 0, false, false
}

// begins reports whether b starts as an event does that stands after another: "NNN (" or an object.
func begins(b []byte) bool {
	const shape = "000 ("
	if len(b) < len(shape) {
		return len(b) > 0 && b[0] == '{'
	}
	for i := range shape {
		if digit := b[i] >= '0' && b[i] <= '9'; digit != (shape[i] == '0') || !digit && b[i] != shape[i] {
			return bytes.HasPrefix(b, []byte(`{"`)) || bytes.HasPrefix(b, []byte("{\n"))
		}
	}
	return true
}

// cutObject finds the end of a JSON object, which HTCondor writes over many lines, and of the line that
// it ends on.
func cutObject(b []byte) (n int, whole, broken bool) {
	depth, inText := 0, false
	for ; n < len(b); n++ {
		switch c := b[n]; {
		case c == '\n' && (inText || n+1 < len(b) && depth > 0 && begins(b[n+1:])):
			return n + 1, true, true
		case inText && c == '\\':
			n++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{':
			depth++
		case c == '}':
			depth--
		case c == '\n' && depth == 0:
			return n + 1, true, false
		}
	}
	return 0, false, false
}

// isXML reports whether text is the beginning of a log in HTCondor's XML form.
func isXML(text string) bool {
	text = strings.TrimLeft(text, " \t\r\n")
	return strings.HasPrefix(text, "<?xml") || strings.HasPrefix(text, "<!DOCTYPE") || strings.HasPrefix(text, "<c>")
}

// errXML is what becomes of such a log.
var errXML = &diag.Problem{
	What: "the job log is in HTCondor's XML form, which is not read",
	Hint: "submit without log_xml; condor_wait -allevents -echo LOG writes it out as text",
	Err:  ErrNotEvent,
}
