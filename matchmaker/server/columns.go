package server

import (
	"encoding/json"

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
	row := []byte{'['}
	for i, e := range c.exprs {
		if i > 0 {
			row = append(row, ',')
		}
		row = appendString(row, e.Eval(ad, nil).String())
	}
	return append(row, ']')
}

// appendString appends a string in JSON.
func appendString(data []byte, s string) []byte {
	before := len(data)
	data = append(data, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			data = append(data, '\\', c)
		case c < ' ' || c >= 0x7f: // seldom
			text, err := json.Marshal(s)
			if err != nil {
				return append(data[:before], `""`...) // which is not possible for a string
			}
			return append(data[:before], text...)
		default:
			data = append(data, c)
		}
	}
	return append(data, '"')
}
