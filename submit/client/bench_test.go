package client_test

import (
	"os"
	"path/filepath"
	"testing"

	"skua/internal/submitfile"
	"skua/internal/wire"
	"skua/submit/client"
	"skua/submit/submittest"
)

const sweep100k = `
executable = /bin/echo
arguments = $(Process)
output = out.$(Process)
queue 100000
`

// submitted gives a client of a pool with a hundred thousand jobs.
func submitted(b *testing.B) *client.Client {
	pool := submittest.Start(b)
	c := pool.Client(client.Config{})
	b.Cleanup(func() { c.Close() })
	if _, err := c.Submit(b.Context(), describeSweep(b), nil); err != nil {
		b.Fatal(err)
	}
	return c
}

func describeSweep(b *testing.B) *submitfile.Submission {
	d, err := submitfile.Parse("sweep.sub", []byte(sweep100k), submitfile.Options{Dir: b.TempDir(), Stat: os.Stat, Glob: filepath.Glob})
	if err != nil {
		b.Fatal(err)
	}
	s, err := client.Expand(d)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func BenchmarkExpand(b *testing.B) {
	b.Run("procs=100000", func(b *testing.B) {
		for b.Loop() {
			describeSweep(b)
		}
	})
}

func BenchmarkSubmit(b *testing.B) {
	b.Run("procs=100000", func(b *testing.B) {
		pool := submittest.Start(b)
		c := pool.Client(client.Config{})
		defer c.Close()
		for b.Loop() {
			b.StopTimer()
			s := describeSweep(b)
			b.StartTimer()
			res, err := c.Submit(b.Context(), s, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if _, err := c.Act(b.Context(), wire.Remove, wire.Selection{Clusters: []int{res.Cluster}}, ""); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}

func BenchmarkColumns(b *testing.B) {
	b.Run("procs=100000", func(b *testing.B) {
		c := submitted(b)
		for b.Loop() {
			n := 0
			err := c.Columns(b.Context(), wire.QueryJobs, wire.Selection{}, []string{"ClusterId", "ProcId", "JobStatus", "Out"}, 0, func([]string) error {
				n++
				return nil
			})
			if err != nil || n != 100_000 {
				b.Fatal(n, err)
			}
		}
	})
}

func BenchmarkSummary(b *testing.B) {
	b.Run("procs=100000", func(b *testing.B) {
		c := submitted(b)
		for b.Loop() {
			if rows, err := c.Summary(b.Context(), wire.Selection{}); err != nil || len(rows) != 1 {
				b.Fatal(rows, err)
			}
		}
	})
}
