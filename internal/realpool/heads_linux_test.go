package realpool_test

import (
	"fmt"
	"strings"
	"testing"

	"skua/internal/natslab"
	"skua/internal/realpool"
)

func startHeads(t *testing.T, cfg realpool.HeadsConfig) *realpool.Pool {
	t.Helper()
	needSandbox(t)
	if err := natslab.Build(t.Context(), bin); err != nil {
		t.Fatal(err)
	}
	return realpool.StartHeads(t, bin, cfg)
}

// TestLeaderKilled: the leader is killed with jobs in flight, and then a NATS server; the killed leader comes back and
// leads again when the other one is killed. Every job runs once.
func TestLeaderKilled(t *testing.T) {
	p := startHeads(t, realpool.HeadsConfig{Heads: 2, Config: realpool.Config{Agents: 2, Slots: 2, Lease: 30}})
	p.Script("once", `echo start "$SKUA_JOB_ID" >>"$1/runs"; sleep 1; echo end "$SKUA_JOB_ID" >>"$1/runs"; echo done`)
	const jobs = 24
	cluster := p.Submit("once.sub", fmt.Sprintf("executable = once\narguments = %s\noutput = $(Process).out\nlog = once.log\nqueue %d\n", p.Journal, jobs))
	ended := func() int { return count(p, "end ") }
	p.Await("some jobs have ended", func() bool { return ended() >= 3 })

	leader := p.Leader(1)
	if leader == 0 {
		t.Fatal("nobody leads")
	}
	other := 3 - leader
	p.Heads[leader-1].Kill()
	p.Await("the other matchmaker leads", func() bool { return p.Leader(other) == other })
	before := ended()
	p.Await("jobs end under the new leader", func() bool { return ended() >= before+3 })

	p.NATS.Servers[0].Kill()
	before = ended()
	p.Await("jobs end without one of the NATS servers", func() bool { return ended() >= before+2 })

	// What is put while a matchmaker is away it fetches when it is back.
	p.Script("read", `cat data | wc -c`)
	p.Write("data", strings.Repeat("0123456789abcdef", 8<<10))
	p.Write("late.sub", "executable = read\ntransfer_input_files = data\noutput = late.out\nlog = late.log\nhold = true\nqueue\n")
	late := ""
	p.Await("a submit is accepted", func() bool { // one is refused while the servers choose who keeps the log
		out, _, code := p.Run("", "skua", "submit", "-terse", "late.sub")
		late, _, _ = strings.Cut(strings.TrimSpace(out), ".")
		return code == 0
	})
	p.StartHead(leader)
	p.Await("the first matchmaker has the files", func() bool {
		return strings.Contains(p.Heads[leader-1].Log(), `msg="files fetched from other matchmakers"`)
	})
	p.Await("the first matchmaker follows again", func() bool {
		log := p.Heads[leader-1].Log()
		return strings.Count(log, `msg="queue read"`) >= 2
	})
	p.Heads[other-1].Kill()
	p.Await("the first matchmaker leads again", func() bool { return p.Leader(leader) == leader })
	p.Must("skua", "release", late)
	p.Must("skua", "wait", cluster, late, "--timeout", "4m")
	p.Await("the late job's output", func() bool { return strings.TrimSpace(p.Read("late.out")) == "131072" })

	for n := range jobs {
		id := fmt.Sprintf("%s.%d", cluster, n)
		if starts, ends := count(p, "start "+id+"\n"), count(p, "end "+id+"\n"); starts != 1 || ends != 1 {
			t.Errorf("job %s has started %d times and ended %d times", id, starts, ends)
		}
		p.Await("output of "+id, func() bool { return p.Read(fmt.Sprint(n, ".out")) == "done\n" })
	}
	p.Await("the log tells of every end", func() bool { return strings.Count(p.Read("once.log"), "005 (") >= jobs })
	if n := strings.Count(p.Read("once.log"), "005 ("); n != jobs {
		t.Errorf("the log tells of %d ends, want %d", n, jobs)
	}
}

// count counts what jobs have written into their journal.
func count(p *realpool.Pool, text string) int {
	n := 0
	for _, l := range strings.SplitAfter(p.ReadJournal("runs"), "\n") {
		if strings.HasPrefix(l, text) {
			n++
		}
	}
	return n
}
