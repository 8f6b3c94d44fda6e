package realpool_test

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"skua/internal/realpool"
)

// TestFailover measures how long a pool pauses when its leader is killed with jobs in flight, as many as
// SKUA_FAILOVER says; scripts/failover runs it. Its line for machines goes to standard output.
func TestFailover(t *testing.T) {
	jobs, err := strconv.Atoi(cmp.Or(os.Getenv("SKUA_FAILOVER"), "0"))
	if err != nil || jobs <= 0 {
		t.Skip("a measurement: SKUA_FAILOVER says of how many jobs")
	}
	p := startHeads(t, realpool.HeadsConfig{Heads: 2, Config: realpool.Config{Agents: 4, Slots: 4, Lease: 60}})
	p.Script("short", `echo start "$SKUA_JOB_ID" $(date +%s%N) >>"$1/runs"; echo end "$SKUA_JOB_ID" $(date +%s%N) >>"$1/runs"`)
	cluster := p.Submit("short.sub", fmt.Sprintf("executable = short\narguments = %s\nlog = short.log\nqueue %d\n", p.Journal, jobs))
	p.Await("a few jobs have ended", func() bool { return count(p, "end ") >= min(20, jobs/4) })
	leader := p.Leader(1)
	if leader == 0 {
		t.Fatal("nobody leads")
	}
	before := count(p, "end ")
	killed := time.Now()
	p.Heads[leader-1].Kill()
	p.Await("the new leader answers", func() bool {
		_, _, code := p.Run("", "skua", "q")
		return code == 0
	})
	answered := time.Since(killed)
	p.AwaitFor(20*time.Minute, "all jobs are done", func() bool {
		_, _, code := p.Run("", "skua", "wait", cluster, "--timeout", "1m")
		return code == 0
	})

	var starts []time.Time
	runs, ends := map[string]int{}, map[string]int{}
	for line := range strings.Lines(p.ReadJournal("runs")) {
		var what, id string
		var nanoseconds int64
		if _, err := fmt.Sscan(line, &what, &id, &nanoseconds); err != nil {
			t.Fatalf("journal: %q: %v", line, err)
		}
		if what == "end" {
			ends[id]++
			continue
		}
		runs[id]++
		starts = append(starts, time.Unix(0, nanoseconds))
	}
	lost, doubled := 0, 0
	for n := range jobs {
		id := fmt.Sprintf("%s.%d", cluster, n)
		if ends[id] == 0 {
			lost++
		}
		if runs[id] > 1 || ends[id] > 1 {
			doubled++
		}
	}
	pause := longestPause(starts, killed)
	fmt.Printf("killed the leader when %d of %d jobs had ended; skua q was answered %.1f s later, all had %v later\n", before, jobs, answered.Seconds(), time.Since(killed).Round(time.Second))
	fmt.Printf("failover: ok=%v jobs=%d pause_s=%.1f lost=%d doubled=%d\n", lost == 0 && doubled == 0 && len(runs) == jobs, jobs, pause.Seconds(), lost, doubled)
	if lost > 0 || doubled > 0 || len(runs) != jobs {
		t.Errorf("%d of %d jobs are lost, %d were done more than once", lost, jobs, doubled)
	}
}

// longestPause gives the longest time between two jobs' starts one after another, of which the later came after a
// moment.
func longestPause(starts []time.Time, after time.Time) time.Duration {
	slices.SortFunc(starts, time.Time.Compare)
	longest := time.Duration(0)
	for i := 1; i < len(starts); i++ {
		if starts[i].After(after) {
			longest = max(longest, starts[i].Sub(starts[i-1]))
		}
	}
	return longest
}
