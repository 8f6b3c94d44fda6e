package server

import (
	"encoding/json"
	"strconv"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/policy/classad"
)

// Bounds of a query for columns.
const (
	maxColumns     = 500
	maxColumnBytes = 64 << 10 // of all expressions
)

// columns are expressions whose values are asked for in the place of whole ads.
type columns struct {
	exprs []*classad.Expr
	view  job.View
	room  []byte // for rows to come
}

// columnsOf reads the expressions; it is nil when there are none, and ads are asked for.
func columnsOf(texts []string) (*columns, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	c := &columns{}
	bytes := 0
	for _, text := range texts {
		if bytes += len(text); len(texts) > maxColumns || bytes > maxColumnBytes {
			return nil, problem("%d columns with expressions of more than %d kB are too much", len(texts), bytes>>10)
		}
		e, err := classad.ParseExpr(text)
		if err != nil {
			return nil, &diag.Problem{What: "column " + text + ": " + err.Error(), Hint: "write it as a ClassAd expression, such as RequestMemory or 2 * JobPrio", Err: err}
		}
		c.exprs = append(c.exprs, e)
	}
	return c, nil
}

// ofJob gives the values in a job's ad as it is now, as a JSON list of strings.
func (c *columns) ofJob(j *job.Job) json.RawMessage { return c.of(c.view.Of(j)) }

func (c *columns) of(ad *classad.Ad) json.RawMessage {
	const atOnce = 16 << 10
	if cap(c.room)-len(c.room) < atOnce/8 {
		c.room = make([]byte, 0, atOnce) // rows are slices of it
	}
	begin := len(c.room)
	row := append(c.room, '[')
	for i, e := range c.exprs {
		if i > 0 {
			row = append(row, ',')
		}
		row = appendValue(row, e.Eval(ad, nil))
	}
	row = append(row, ']')
	if cap(row) == cap(c.room) {
		c.room = row
	}
	return row[begin:len(row):len(row)]
}

// appendValue appends a value as the new ClassAd syntax writes it, as a JSON string.
func appendValue(data []byte, v classad.Value) []byte {
	switch v.Kind() { // those that there are many of, without a detour
	case classad.Integer:
		n, _ := v.Int()
		return append(strconv.AppendInt(append(data, '"'), n, 10), '"')
	case classad.String:
		if s, _ := v.Str(); isPlain(s) {
			return append(append(append(data, `"\"`...), s...), `\""`...)
		}
	}
	if s := v.String(); isPlain(s) {
		return append(append(append(data, '"'), s...), '"')
	}
	text, err := json.Marshal(v.String())
	if err != nil {
		text = []byte(`"error"`) // which is not possible for a string
	}
	return append(data, text...)
}

// isPlain says whether a string is the same in quotes, in ClassAds and in JSON.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
