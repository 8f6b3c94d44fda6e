package main

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// table is rows under headings. On a terminal its lines are cut at the edge; into a pipe they go whole.
type table struct {
	heads  []string
	right  map[int]bool // columns that are aligned to the right
	left   map[int]bool // of those, the ones whose heading stands at the left
	least  map[int]int  // least widths
	cutAt  int          // length of lines; 0 means the terminal's, negative means as long as they are
	padded bool         // blanks after a short last column, too
	gap    bool         // an empty line below the headings
	rows   [][]string
	paint  func(col int, cell string) string // the colour of a cell, on terminals that have them; may be nil

	out     *bufio.Writer // where rows are printed to
	limit   int
	widths  []int
	flip    []bool // columns that are aligned to the right, for speed
	colours bool
}

// Colours of terminals.
const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

func newTable(heads ...string) *table {
	return &table{heads: heads, right: map[int]bool{}, left: map[int]bool{}, least: map[int]int{}}
}

// enoughRows are looked at to find the widths of the columns of a table that prints rows while they come.
const enoughRows = 1000

// stream has the table print rows as soon as it has seen enough of them to know their widths.
func (t *table) stream(w io.Writer) {
	if t.limit = t.cutAt; t.limit == 0 {
		t.limit = terminalWidth(w)
	}
	t.colours = isTerminal(w) && t.paint != nil && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	t.out = bufio.NewWriterSize(w, 64<<10)
}

func (t *table) add(cells ...string) {
	if t.widths != nil {
		t.line(cells, true)
		return
	}
	t.rows = append(t.rows, cells)
	if t.out != nil && len(t.rows) == enoughRows {
		t.begin()
	}
}

// write prints what has not been printed.
func (t *table) write(w io.Writer) error {
	if t.out == nil {
		t.stream(w)
	}
	if t.widths == nil {
		t.begin()
	}
	return t.out.Flush()
}

// begin fixes the widths and prints the headings and the rows so far.
func (t *table) begin() {
	t.widths, t.flip = make([]int, len(t.heads)), make([]bool, len(t.heads))
	for i := range t.widths {
		t.widths[i], t.flip[i] = t.least[i], t.right[i]
	}
	for _, row := range append([][]string{t.heads}, t.rows...) {
		for i, cell := range row {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cell))
		}
	}
	t.line(t.heads, false)
	if t.gap {
		t.line(nil, false)
	}
	for _, row := range t.rows {
		t.line(row, true)
	}
	t.rows = nil
}

func (t *table) line(cells []string, body bool) {
	used := 0
	for i, cell := range cells {
		n := utf8.RuneCountInString(cell)
		before, after := 0, max(t.widths[i]-n, 0)
		if t.flip[i] && (body || !t.left[i]) {
			before, after = after, 0
		}
		if i == len(cells)-1 && !t.padded {
			after = 0
		}
		if i > 0 {
			before++
		}
		if t.limit > 0 && used+before+n+after > t.limit {
			t.out.WriteString(cut(blanks(before)+cell+blanks(after), t.limit, used))
			break
		}
		used += before + n + after
		t.out.WriteString(blanks(before))
		colour := ""
		if body && t.colours {
			colour = t.paint(i, cell)
		}
		if colour != "" {
			cell = colour + cell + plain
		}
		t.out.WriteString(cell)
		t.out.WriteString(blanks(after))
	}
	t.out.WriteByte('\n')
}

// cut shortens a cell to what is left of a line of limit characters, of which some are used; limit 0
// means as long as it is.
func cut(cell string, limit, used int) string {
	if limit <= 0 || used+utf8.RuneCountInString(cell) <= limit {
		return cell
	}
	return string([]rune(cell)[:max(limit-used, 0)])
}

// blanks gives n blanks, none for less than none.
func blanks(n int) string {
	const some = "                                                                "
	if n <= len(some) {
		return some[:max(n, 0)]
	}
	return strings.Repeat(" ", n)
}

// span writes a duration as HTCondor does: days+hours:minutes:seconds.
func span(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	b := strconv.AppendInt(make([]byte, 0, 12), s/86400, 10)
	for i, n := range [...]int64{s / 3600 % 24, s / 60 % 60, s % 60} {
		b = append(b, "+::"[i], byte('0'+n/10), byte('0'+n%10))
	}
	return string(b)
}

// moment writes a time as HTCondor does.
func moment(unix int64) string {
	if unix <= 0 {
		return ""
	}
	t := time.Unix(unix, 0)
	_, month, day := t.Date()
	hour, minute, _ := t.Clock()
	b := make([]byte, 0, 11)
	b = append(b, blanks(2-len(strconv.Itoa(int(month))))...)
	b = strconv.AppendInt(b, int64(month), 10)
	b = append(b, '/')
	b = strconv.AppendInt(b, int64(day), 10)
	b = append(b, blanks(6-len(b))...)
	b = append(b, byte('0'+hour/10), byte('0'+hour%10), ':', byte('0'+minute/10), byte('0'+minute%10))
	return string(b)
}
