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
}

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
	var b strings.Builder
	for _, row := range append([][]string{t.heads}, t.rows...) {
		line := ""
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			switch {
			case t.right[i]:
				line += pad + cell
			case i < len(row)-1:
				line += cell + pad
			default:
				line += cell
			}
			if i < len(row)-1 {
				line += " "
			}
		}
		b.WriteString(cut(line, limit))
		b.WriteByte('\n')
	}
	io.WriteString(w, b.String())
}

// cut shortens a line to at most limit characters; 0 means as long as it is.
func cut(line string, limit int) string {
	if limit <= 0 || utf8.RuneCountInString(line) <= limit {
		return line
	}
	return string([]rune(line)[:limit])
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
