package realpool_test

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skua/internal/natslab"
	"skua/internal/realpool"
	"skua/matchmaker/queue"
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
	// A policy that is pushed at a matchmaker that stands by is handed out by the one that leads.
	push := func(at int, number string) {
		t.Helper()
		p.Write("policies/default.toml", "[machine]\nPushed = "+number+"\n")
		if said, errs, code := p.HeadAdmin(at, "policy", "push"); code != 0 {
			t.Fatalf("push at matchmaker %d: exit %d, %s%s", at, code, said, errs)
		}
		p.Await("every slot has the central policy", func() bool {
			return strings.Count(p.Must("skua", "status", "-af", "Pushed"), number) == 4
		})
	}
	push(3-p.Leader(1), "1")
	// A runtime root that is added there is known to the one that leads without it in the end.
	runtimeRoot(t, p, "sh", "cat")
	if said, errs, code := p.HeadAdmin(3-p.Leader(1), "runtime", "add", "tools", filepath.Join(p.Dir, "programs.tar.zst")); code != 0 {
		t.Fatalf("a runtime root is added: exit %d, %s%s", code, said, errs)
	}
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
	// What is put while a matchmaker is away it fetches when it is back.
	p.Script("read", `cat data | wc -c`)
	p.Write("data", strings.Repeat("0123456789abcdef", 8<<10))
	p.Write("late.sub", "executable = read\ntransfer_input_files = data\noutput = late.out\nlog = late.log\nhold = true\nqueue\n")
	late, _, _ := strings.Cut(strings.TrimSpace(p.Must("skua", "submit", "-terse", "late.sub")), ".") // also while the servers choose who keeps the log
	before = ended()
	p.Await("jobs end without one of the NATS servers", func() bool { return ended() >= before+2 })
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
	p.Script("rooted", `if [ -e /usr/bin/env ]; then echo the machine; else echo the runtime root; fi`)
	rooted := p.Submit("rooted.sub", "executable = rooted\nruntime_root = pool:tools\noutput = rooted.out\nlog = rooted.log\nqueue\n")
	p.Must("skua", "wait", cluster, late, rooted, "--timeout", "4m")
	p.Await("the output of the job with a runtime root", func() bool { return p.Read("rooted.out") == "the runtime root\n" })
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
	push(leader, "2") // without the other one, and without one of the NATS servers
}

// TestHeadAway: a matchmaker that was away until neither the log nor another one's archive had what it has not read
// begins with the other one's snapshot, stands by, and leads with the same queue.
func TestHeadAway(t *testing.T) {
	systemd := notifySocket(t)
	p := startHeads(t, realpool.HeadsConfig{
		Heads: 2, Config: realpool.Config{Agents: 1, Slots: 1, Lease: 30},
		More: "limits.snapshot_every = 300\nlimits.archive = \"64KiB\"\n",
	})
	leader := p.Leader(1)
	if leader == 0 {
		t.Fatal("nobody leads")
	}
	for range p.Heads {
		awaitReady(t, systemd) // of the one that stands by, too
	}
	away := 3 - leader
	p.Heads[away-1].Kill()
	last, ok := archived(t, p, away, false)
	if !ok {
		t.Fatal("the matchmaker has no archive")
	}
	cluster := p.Submit("never.sub", "executable = /bin/true\ntransfer_executable = false\nrequirements = TARGET.Memory < 0\nqueue 100\n")
	for {
		if first, ok := archived(t, p, leader, true); ok && first > last+1 && strings.Count(p.Heads[leader-1].Log(), `msg="snapshot of the queue taken"`) >= 2 {
			break
		}
		p.Must("skua", "hold", cluster)
		p.Must("skua", "release", cluster)
	}
	p.Must("skua", "hold", cluster+".7")
	p.Must("skua", "rm", cluster+".8")
	list := func() (string, bool) {
		out, _, code := p.Run("", "skua", "q", cluster, "-af", "ProcId", "JobStatus", "NumJobStarts")
		return out, code == 0
	}
	want, ok := list()
	if !ok || strings.Count(want, "\n") != 99 {
		t.Fatalf("the queue is\n%s", want)
	}

	p.StartHead(away)
	if log := p.Heads[away-1].Log(); !strings.Contains(log, "this matchmaker begins with another one's snapshot") {
		t.Error("the matchmaker has come back without a snapshot")
	}
	p.Heads[leader-1].Kill()
	p.Await("the matchmaker that was away leads", func() bool { return p.Leader(away) == away })
	got := ""
	p.Await("it answers", func() (ok bool) {
		got, ok = list()
		return ok
	})
	if got != want {
		t.Errorf("under the matchmaker that was away the queue is\n%s\nwant\n%s", got, want)
	}
	next := p.Submit("next.sub", "executable = /bin/true\ntransfer_executable = false\nqueue\n")
	p.Must("skua", "wait", next, "--timeout", "2m")
}

// notifySocket makes the socket on which systemd hears of services that are ready.
func notifySocket(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return c
}

// awaitReady waits for what a service says that is ready.
func awaitReady(t *testing.T, c *net.UnixConn) {
	t.Helper()
	buf := make([]byte, 1024)
	if err := c.SetReadDeadline(time.Now().Add(realpool.Patience)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(buf)
	if err != nil || string(buf[:n]) != "READY=1" {
		t.Errorf("systemd is told %q, %v, want that a matchmaker is ready", buf[:n], err)
	}
}

// archived gives the first or the last event in the archive of a matchmaker.
func archived(t *testing.T, p *realpool.Pool, head int, first bool) (seq uint64, ok bool) {
	t.Helper()
	a, err := queue.OpenArchive(queue.ArchiveConfig{Dir: filepath.Join(p.Dir, fmt.Sprint("head", head), "queue", "archive"), ReadOnly: true})
	if err != nil {
		return 0, false // it may just drop a file
	}
	defer a.Close()
	from, to := a.Span()
	if !first {
		from = to
	}
	return from, to > 0
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
