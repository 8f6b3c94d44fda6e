package main

import (
	"bytes"
	"testing"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
)

func TestPrintGoodput(t *testing.T) {
	for _, tt := range []struct {
		name string
		g    wire.Goodput
		want string
	}{
		{"nothing has run", wire.Goodput{}, ""},
		{"four parts", wire.Goodput{
			Since:   time.Date(2026, 3, 2, 12, 0, 0, 0, time.Local),
			Goodput: job.Goodput{Counted: 90 * time.Hour, Lost: 8 * time.Hour, Checkpoints: 90 * time.Minute, Transfers: 30 * time.Minute},
		}, `
Processor time of all jobs since 2026-03-02, of runs that are over: 100.0 h
  90.0 h (90.0 %)      counted
  8.0 h (8.0 %)        lost, as its work had to be done again
  1.5 h (1.5 %)        for checkpoints
  0.5 h (0.5 %)        for transfers
`},
	} {
		var out bytes.Buffer
		if printGoodput(&out, tt.g); out.String() != tt.want {
			t.Errorf("%s: printed\n%q\nwant\n%q", tt.name, out.String(), tt.want)
		}
	}
}
