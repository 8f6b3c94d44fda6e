package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// table is rows under headings. It fits a terminal by cutting its last column; into a pipe it goes whole.
type table struct {
	heads []string
	right map[int]bool // columns that are aligned to the right
	rows  [][]string
	paint func(col int, cell string) string // the colour of a cell, on terminals that have them; may be nil
}

// Colours of terminals.
const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

func newTable(heads ...string) *table { return &table{heads: heads, right: map[int]bool{}} }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) {
	widths := make([]int, len(t.heads))
	for _, row := range append([][]string{t.heads}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	limit := terminalWidth(w)
	colours := limit > 0 && t.paint != nil && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	var b strings.Builder
	for n, row := range append([][]string{t.heads}, t.rows...) {
		used := 0
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			switch {
			case t.right[i]:
				cell = pad + cell
			case i < len(row)-1:
				cell += pad
			}
			if i > 0 {
				cell = " " + cell
			}
			cell = cut(cell, limit, used)
			used += utf8.RuneCountInString(cell)
			if colours && n > 0 {
				if c := t.paint(i, cell); c != "" {
					cell = c + cell + plain
				}
			}
			b.WriteString(cell)
		}
		b.WriteByte('\n')
	}
	io.WriteString(w, b.String())
}

// cut shortens a cell to what is left of a line of limit characters, of which some are used; limit 0
// means as long as it is.
func cut(cell string, limit, used int) string {
	if limit <= 0 || used+utf8.RuneCountInString(cell) <= limit {
		return cell
	}
	return string([]rune(cell)[:max(limit-used, 0)])
}

// terminalWidth is the width of the terminal that w is; 0 when it is none.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// span writes a duration as HTCondor does: days+hours:minutes:seconds.
func span(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	return fmt.Sprintf("%d+%02d:%02d:%02d", s/86400, s/3600%24, s/60%60, s%60)
}

// moment writes a time as HTCondor does.
func moment(unix int64) string {
	if unix <= 0 {
		return ""
	}
	return time.Unix(unix, 0).Format("1/2  15:04")
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
