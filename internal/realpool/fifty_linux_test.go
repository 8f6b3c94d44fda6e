package realpool_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"skua/internal/realpool"
)

// TestFiftyMoves has a job driven from desk to desk by the owners of three machines, who come back at random, until
// it has moved fifty times. It runs where $SKUA_MATRIX names "all" or "owners". See scripts/matrix.
func TestFiftyMoves(t *testing.T) {
	if which := strings.Fields(os.Getenv("SKUA_MATRIX")); len(which) == 0 || which[0] != "all" && which[0] != "owners" {
		t.Skip("SKUA_MATRIX does not ask for owners")
	}
	if can := needSandbox(t); !can.Checkpoint {
		t.Fatal("jobs cannot be checkpointed here: ", can.CheckpointWhy)
	}
	const (
		machines, moves = 3, 50
		steps           = 6000 // more than can be done during so many moves

		// A machine that gives a job back sooner is left in peace for longer each time.
		stay = 31 * time.Second
	)
	p, displays := startDesks(t, machines)
	// Each step takes a third of a second, in children. The nonce and the steps are also written outside of Skua.
	p.Script("wanderer.sh", fmt.Sprintf(`nonce=$(od -An -N8 -tx1 /dev/urandom | tr -d ' ')
n=0; x=1
while [ $n -lt %d ]; do
	n=$((n+1))
	x=$(awk -v x=$x 'BEGIN { for (i = 0; i < %d; i++) x = (x*75+74)%%65537; print x }')
	echo "$n $x"
	echo "$nonce $n $(date +%%s.%%N)" >>%s/steps
	sleep 0.2
done
`, steps, stepTurns, p.Journal))
	id := p.Submit("wanderer.sub", "executable = wanderer.sh\noutput = wanderer.out\nlog = steps.log\nqueue\n") + ".0"
	events := func(kind string) int { return strings.Count("\n"+p.Read("steps.log"), "\n"+kind+" (") }
	random := rand.New(rand.NewPCG(50, 3))
	came := time.Now() // to where it is
	for events("004") < moves {
		owner := random.IntN(machines)
		moved := events("004")
		done := len(p.Lines("steps"))
		p.Await("the job has worked here for a while", func() bool {
			return len(p.Lines("steps")) > done+1 && time.Since(came) > stay
		})
		there := runsOn(p, id) == owner+1
		stop := realpool.Type(t, displays[owner])
		if there {
			p.Await("the job leaves", func() bool { return events("004") > moved })
		}
		stop()
		if there {
			p.Await("the job goes on", func() bool { return runsOn(p, id) > 0 })
			came = time.Now()
		}
	}
	p.AwaitFor(time.Hour, "the job has done all its steps", func() bool {
		_, _, code := p.Run("", "skua", "wait", id, "--timeout", "1s")
		return code == 0
	})

	var want strings.Builder
	for n, x := 1, 1; n <= steps; n++ {
		for range stepTurns {
			x = (x*75 + 74) % 65537
		}
		fmt.Fprintln(&want, n, x)
	}
	identical := p.Read("wanderer.out") == want.String()
	lost, used := reading(t, p, id, "LostCpu"), reading(t, p, id, "RemoteUserCpu")
	fmt.Printf("matrix: owners: machines=%d moves=%d identical=%t used_cpu_s=%.1f lost_cpu_pct=%.2f\n",
		machines, events("004"), identical, used, 100*lost/used)
	if !identical {
		t.Errorf("the output is another than that of one who stays:\n%.2000s", p.Read("wanderer.out"))
	}
	left, with := events("004"), strings.Count(p.Read("steps.log"), "(1) Job was checkpointed")
	if left < moves || with != left {
		t.Errorf("it left %d times, and of that %d times with an image", left, with)
	}
	if lost > used/100 {
		t.Errorf("%.2f of %.1f s of processor time were lost", lost, used)
	}
	if nonces, last, repeated, skipped := p.Steps("steps"); len(nonces) != 1 || last != steps || repeated+skipped != 0 {
		t.Errorf("%d beginnings, %d steps, %d repeated, %d left out", len(nonces), last, repeated, skipped)
	}
	checkCompletions(t, p, id)
}

// stepTurns is how often the wanderer computes in a step.
const stepTurns = 500_000

// reading is a number in the ad of a job that has ended, 0 if it has none.
func reading(t *testing.T, p *realpool.Pool, id, attribute string) float64 {
	t.Helper()
	text := strings.TrimSpace(p.Must("skua", "history", id, "-af", attribute))
	if text == "undefined" {
		return 0
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatalf("%s of job %s: %v", attribute, id, err)
	}
	return v
}
