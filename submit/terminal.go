package main

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// isTerminal says whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// terminalWidth is the width of the terminal that w is; 0 when it is none, or does not know.
func terminalWidth(w io.Writer) int {
	if !isTerminal(w) {
		return 0
	}
	width, _, err := term.GetSize(int(w.(*os.File).Fd()))
	if err != nil {
		return 0
	}
	return width
}

// printable takes out what would move the cursor: names and reasons come from others.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// tame gives w, or for a terminal a writer that takes out what would move its cursor: values and ads of
// other people's jobs are printed as they are where a program reads them, and not where a person does.
func tame(w io.Writer) io.Writer {
	if isTerminal(w) {
		return &tamer{w: w}
	}
	return w
}

type tamer struct {
	w    io.Writer
	last byte // the byte before, of a character that may have been cut in two
	buf  []byte
}

func (t *tamer) Write(p []byte) (int, error) {
	t.buf = append(t.buf[:0], p...)
	for i, c := range t.buf {
		if c < ' ' && c != '\n' && c != '\t' || c == 0x7f {
			t.buf[i] = ' '
		}
		if t.last == 0xc2 && c >= 0x80 && c < 0xa0 {
			t.buf[i] = 0xa0 // a control character of one byte in other character sets; now a blank
		}
		t.last = c
	}
	if _, err := t.w.Write(t.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}
