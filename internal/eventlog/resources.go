package eventlog

import (
	"fmt"
	"strings"
)

// The columns of the table of resources, at least as wide as this. HTCondor's reader finds them by the
// right ends of the words in the heading, so a wide value widens the heading as well.
var columns = [...]struct {
	heading string
	width   int
}{{"Usage", 8}, {"Request", 8}, {"Allocated", 9}}

const tableHeading = "Partitionable Resources"

func appendResources(b []byte, rs []Resource) []byte {
	if len(rs) == 0 {
		return b
	}
	var widths [len(columns)]int
	fraction := [len(columns)]bool{}
	named, allocated, assigned := 20, "", ""
	cells := make([][len(columns)]string, len(rs))
	for i, r := range rs {
		named = max(named, len(oneLine(r.Name)))
		if r.Allocated != "" {
			allocated = columns[2].heading
		}
		if r.Assigned != "" {
			assigned = "Assigned"
		}
		cells[i] = [...]string{cell(r.Usage), cell(r.Request), cell(r.Allocated)}
		for c, text := range cells[i] {
			fraction[c] = fraction[c] || strings.Contains(text, ".")
		}
	}
	for c, col := range columns {
		widths[c] = col.width
		for i := range cells {
			if text := cells[i][c]; fraction[c] && isInteger(text) {
				cells[i][c] = text + "   " // under the dot
			}
			widths[c] = max(widths[c], len(cells[i][c]))
		}
	}
	b = fmt.Appendf(b, "\t%s : %*s %*s %*s %s\n", tableHeading,
		widths[0], columns[0].heading, widths[1], columns[1].heading, widths[2], allocated, assigned)
	for i, r := range rs {
		b = fmt.Appendf(b, "\t   %-*s : %*s %*s %*s %s\n", named, oneLine(r.Name),
			widths[0], cells[i][0], widths[1], cells[i][1], widths[2], cells[i][2], oneLine(r.Assigned))
	}
	return b
}

func isInteger(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// table reads the rows of a table of resources.
type table struct {
	edges    [len(columns)]int // right ends of the columns, counted from the colon
	assigned int               // left end of the last column; 0 without one
}

// newTable takes the heading; ok says whether it is one.
func newTable(heading string) (t table, ok bool) {
	head, after, ok := strings.Cut(heading, ":")
	if !ok || !strings.HasPrefix(strings.TrimSpace(head), tableHeading) {
		return t, false
	}
	for c, col := range columns {
		if i := strings.Index(after, col.heading); i >= 0 {
			t.edges[c] = i + len(col.heading)
		}
	}
	t.assigned = max(0, strings.Index(after, "Assigned"))
	return t, true
}

// row reads a row. Rows of earlier versions could be out of line with the heading; these are read by
// the blanks between their values.
func (t table) row(line string) (Resource, bool) {
	name, values, ok := strings.Cut(line, " : ")
	r := Resource{Name: oneLine(name)}
	if !ok || r.Name == "" || strings.Contains(r.Name, ":") {
		return r, false
	}
	values = " " + values // which the colon's blank is a part of
	into := [len(columns)]*string{&r.Usage, &r.Request, &r.Allocated}
	from, inLine := 0, true
	for c, edge := range t.edges {
		if edge == 0 {
			continue
		}
		edge = min(edge, len(values))
		from = min(from, edge)
		*into[c] = oneLine(values[from:edge])
		inLine = inLine && !strings.Contains(*into[c], " ") &&
			(edge == len(values) || edge == 0 || isBlank(values[edge]) || isBlank(values[edge-1]))
		from = edge
	}
	switch rest := oneLine(values[from:]); {
	case t.assigned > 0:
		r.Assigned = rest
	case rest != "":
		inLine = false
	}
	if inLine {
		return r, true
	}
	r = Resource{Name: r.Name}
	switch f := strings.Fields(oneLine(values)); len(f) {
	case 2:
		r.Request, r.Allocated = f[0], f[1]
	case 3, 4:
		r.Usage, r.Request, r.Allocated = f[0], f[1], f[2]
	default:
		return r, false
	}
	return r, true
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
