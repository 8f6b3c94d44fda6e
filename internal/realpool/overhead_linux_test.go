package realpool_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"skua/internal/realpool"
)

// worker is a job that holds so many megabytes that cannot be compressed, renews a tenth of them every two seconds, and
// computes in between until a file is there.
const worker = `exec python3 -c '
import hashlib, os, sys, time
mb, stop = int(sys.argv[1]), sys.argv[2]
held = [os.urandom(1 << 20) for _ in range(mb)]
n, renew = 0, time.time() + 2
while not os.path.exists(stop):
    for _ in range(20): hashlib.sha256(held[n % mb]).digest()
    if time.time() > renew:
        for i in range(mb // 10):
            n += 1
            held[n % mb] = os.urandom(1 << 20)
        renew = time.time() + 2
' "$@"
`

// TestOverhead is no test but a measurement, of what the images cost that are made of a job while it runs, at the interval
// that the agent chooses for them. It runs where $SKUA_OVERHEAD says how much the job holds, in megabytes. Its line for
// machines has the processor time of one image, CRIU's and the agent's, as the job's own account has it, and what part
// of a processor that is.
func TestOverhead(t *testing.T) {
	text := os.Getenv("SKUA_OVERHEAD")
	if text == "" {
		t.Skip("SKUA_OVERHEAD does not say how many megabytes a job is to hold")
	}
	mb, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal("SKUA_OVERHEAD: ", err)
	}
	if can := needSandbox(t); !can.Checkpoint {
		t.Fatal("jobs cannot be checkpointed here: ", can.CheckpointWhy)
	}
	const images = 2
	p := realpool.Start(t, bin, realpool.Config{Agents: 1, Lease: 600, Policy: func(int) string {
		return "preset = \"dedicated\"\n[checkpoints]\nmin_interval = \"20s\"\n" // so that it is the job's own cost which counts
	}})
	p.Script("worker", worker)
	stop := filepath.Join(p.Journal, "stop")
	id := p.Submit("worker.sub", fmt.Sprintf("executable = worker\narguments = %d %s\nlog = worker.log\nrequest_memory = %dMB\nqueue\n",
		mb, stop, mb+mb/10+200)) + ".0"
	saved := func() [][]string { return savedLine.FindAllStringSubmatch(p.Agents[0].Log(), -1) }
	p.AwaitFor(10*time.Minute, "images are made", func() bool { return len(saved()) >= images })
	if err := os.WriteFile(stop, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p.Must("skua", "wait", id, "--timeout", "1m")

	var counted, checkpoints, transfers float64
	out := p.Must("skua", "history", id, "-af", "CountedCpu", "CheckpointCpu", "TransferCpu")
	if _, err := fmt.Sscan(out, &counted, &checkpoints, &transfers); err != nil || min(counted, checkpoints, transfers) <= 0 {
		t.Fatalf("of the job's time %q counted and went for checkpoints and transfers: %v", out, err)
	}
	made := saved()
	interval, err := time.ParseDuration(made[len(made)-1][1])
	if err != nil {
		t.Fatal(err)
	}
	dumps := len(made) + strings.Count(p.Agents[0].Log(), `msg="job can be checkpointed"`) // which was tried, and thrown away
	criu, agent := checkpoints/float64(dumps), transfers/float64(len(made))
	fmt.Printf("overhead: mb=%d interval_s=%.4g image_cpu_s=%.3g criu_cpu_s=%.3g agent_cpu_s=%.3g job_cpu_s=%.4g overhead_pct=%.3g\n",
		mb, interval.Seconds(), criu+agent, criu, agent, counted, 100*(criu+agent)/interval.Seconds())
}

var savedLine = regexp.MustCompile(`msg="job is saved and goes on".* next=(\S+)`)
