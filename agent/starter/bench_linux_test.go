package starter

import (
	"fmt"
	"os"
	"testing"
	"time"

	"skua/internal/job"
)

// What one job of a claim after the other costs, in processor time of agent, init and job.
func BenchmarkNextJob(b *testing.B) {
	capable(b)
	i := open(b, newStarter(b, nil), "next")
	used := func() (sum time.Duration) {
		for _, path := range []string{"/proc/self/stat", fmt.Sprintf("/proc/%d/stat", initPid(b, i))} {
			text, err := os.ReadFile(path)
			if err != nil {
				b.Fatal(err)
			}
			st, err := parseStat(text)
			if err != nil {
				b.Fatal(err)
			}
			sum += st.cpu + st.sys
		}
		return sum
	}
	before := used()
	for n := 0; b.Loop(); n++ {
		if n > 0 {
			if err := i.Refresh(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		if err := i.Run(b.Context(), JobSpec{Job: job.ID{Cluster: 1, Proc: n}, Argv: []string{"/bin/true"}, Stdout: "out", Stderr: "err"}); err != nil {
			b.Fatal(err)
		}
		<-i.Done()
	}
	b.ReportMetric(float64((used()-before).Microseconds())/float64(b.N), "cpu-µs/job")
}
