package main

import (
	"bufio"
	"fmt"
	"io"
	"testing"
	"time"
)

// BenchmarkRows prints a hundred thousand rows in each form, from values as they come from the matchmaker.
func BenchmarkRows(b *testing.B) {
	const n = 100_000
	af, err := newAutoformat([]string{wordSep + "ClusterId" + wordSep + "ProcId" + wordSep + "Cmd"}, bufio.NewWriterSize(io.Discard, 64<<10))
	if err != nil {
		b.Fatal(err)
	}
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	b.Run("form=autoformat", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, id := range ids {
				af.row([]string{"12", id, `"/home/ann/sim.sh"`})
			}
		}
	})
	v := (&queueView{nobatch: true}).jobsView(time.Unix(1795300250, 0))
	b.Run("form=nobatch", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			rows := v.to(io.Discard, 0)
			for _, id := range ids {
				rows.row([]string{
					"12", id, `"ann"`, "1795300000", "1", "0.000000000000000E+00", "undefined", "1795300000", "1", "undefined",
					"0", "undefined", "100", `"/home/ann/sim.sh"`, "undefined", `"--seed 1"`,
				})
			}
			if err := rows.flush(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
