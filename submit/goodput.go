package main

import (
	"fmt"
	"io"
	"time"

	"skua/internal/wire"
)

// printGoodput writes what came of the processor time of all jobs, in hours.
func printGoodput(out io.Writer, g wire.Goodput) {
	all := g.All()
	if all <= 0 {
		return
	}
	share := func(d time.Duration) string {
		return fmt.Sprintf("%.1f h (%.1f %%)", d.Hours(), 100*float64(d)/float64(all))
	}
	fmt.Fprintf(out, "\nProcessor time of all jobs since %s, of runs that are over: %.1f h\n", g.Since.Local().Format(time.DateOnly), all.Hours())
	for _, part := range []struct {
		what string
		time time.Duration
	}{
		{"counted", g.Counted},
		{"lost, as its work had to be done again", g.Lost},
		{"for checkpoints", g.Checkpoints},
		{"for transfers", g.Transfers},
	} {
		fmt.Fprintf(out, "  %-20s %s\n", share(part.time), part.what)
	}
}
