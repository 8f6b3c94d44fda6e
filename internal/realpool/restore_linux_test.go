package realpool_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skua/internal/realpool"
)

// opener is a [realpool.Stepper] that opens a file beside its journal as soon as there is one named "open" there.
const opener = `nonce=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
dir=$(dirname "$1")
i=0
while [ $i -lt $2 ]; do
	i=$((i+1))
	if [ -e "$dir/open" ] && ! [ -e "$dir/opened" ]; then
		exec 3>>"$dir/extra"
		echo content >&3
		echo "$nonce" >"$dir/opened"
	fi
	echo "$nonce $i $(date +%s.%N)" >> "$1"
	sleep "$3"
done
echo "$i steps"
`

// An image from which the job cannot go on, though nothing is wrong with the image itself, is tried on three
// machines. Then the job goes on from the one before.
func TestRestartFails(t *testing.T) {
	if can := needSandbox(t); !can.Checkpoint {
		t.Skip("this machine cannot checkpoint jobs: ", can.CheckpointWhy)
	}
	p := realpool.Start(t, bin, realpool.Config{Agents: 3, Lease: 60})
	p.Script("opener", opener)
	const steps = 150
	id := p.Submit("steps.sub", "executable = opener\narguments = "+filepath.Join(p.Journal, "steps")+" 150 0.05\nlog = steps.log\nqueue\n") + ".0"
	said := func(what string) int { return strings.Count(p.Read("steps.log"), what) }
	goesOn := func() {
		stood := len(p.Lines("steps"))
		p.Await("the job makes steps", func() bool { return len(p.Lines("steps")) > stood+2 })
	}
	goesOn()
	p.Must("skua", "vacate", id)
	p.Await("the job runs again", func() bool { return said("001 (") == 2 })
	goesOn()

	// The newest image has a file open that nobody opens again once it is gone.
	if err := os.WriteFile(filepath.Join(p.Journal, "open"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p.Await("the job has opened the file", func() bool { return realpool.Exists(filepath.Join(p.Journal, "opened")) })
	goesOn()
	p.Must("skua", "edit", id, "Requirements=false") // it waits when it has left
	p.Must("skua", "vacate", id)
	p.Await("the job has left", func() bool { return said("004 (") == 2 })
	if err := os.Remove(filepath.Join(p.Journal, "extra")); err != nil {
		t.Fatal(err)
	}
	stood := len(p.Lines("steps"))
	p.Must("skua", "edit", id, "Requirements=true")
	p.Must("skua", "wait", id, "--timeout", "4m")

	nonces, last, repeated, skipped := p.Steps("steps")
	if len(nonces) != 1 || last != steps || skipped != 0 || repeated == 0 || repeated > stood {
		t.Errorf("the job began %d times, took %d steps, %d of them twice, and left %d out", len(nonces), last, repeated, skipped)
	}
	if n := said("could not be restored"); n != 3 {
		t.Errorf("the log tells of %d restores that failed, want 3:\n%s", n, p.Read("steps.log"))
	}
	checkCompletions(t, p, id)

	// What came of its time.
	var counted, lost, checkpoints, transfers float64
	out := p.Must("skua", "history", id, "-af", "CountedCpu", "LostCpu", "CheckpointCpu", "TransferCpu")
	if _, err := fmt.Sscan(out, &counted, &lost, &checkpoints, &transfers); err != nil || min(counted, lost, checkpoints, transfers) <= 0 {
		t.Errorf("of the job's time %q counted, was lost, went for checkpoints and for transfers; all should be more than 0 (%v)", out, err)
	}
	if totals := p.Must("skua", "status", "--totals"); !strings.Contains(totals, "Processor time of all jobs since") {
		t.Errorf("the pool's totals do not tell what came of jobs' time:\n%s", totals)
	}
}

// saver is a job that saves its own state: the second time so that it makes no sense of it and dies of that.
const saver = `trap 'echo bad >state; exit 85' TERM
state=$(cat state 2>/dev/null)
echo "run ${state:-none} $(date +%s.%N)" >>"$1"
case "$state" in
"")
	echo good >state
	exit 85
	;;
bad) kill -SEGV $$ ;;
esac
[ "$(wc -l <"$1")" -gt 2 ] && exit 0 # it was here before
while :; do sleep 0.05; done
`

// What a job has saved itself, and dies of at once when it is started from that, is tried twice. Then it is started from
// what it had saved before.
func TestSavedStateFailsTwice(t *testing.T) {
	needSandbox(t)
	p := realpool.Start(t, bin, realpool.Config{Agents: 2, Lease: 60})
	p.Script("saver", saver)
	id := p.Submit("saver.sub", "executable = saver\narguments = "+filepath.Join(p.Journal, "runs")+
		"\ncheckpoint_exit_code = 85\ntransfer_checkpoint_files = state\nlog = saver.log\nqueue\n") + ".0"
	p.Await("the job has saved its state and goes on", func() bool { return len(p.Lines("runs")) == 2 })
	p.Must("skua", "vacate", id)
	p.Must("skua", "wait", id, "--timeout", "4m")
	var runs []string
	for _, l := range p.Lines("runs") {
		runs = append(runs, l.What)
	}
	if got, want := strings.Join(runs, " "), "none good bad bad good"; got != want {
		t.Errorf("the job found the states %q, want %q\n%s", got, want, p.Read("saver.log"))
	}
	if n := strings.Count(p.Read("saver.log"), "could not be restored"); n != 2 {
		t.Errorf("the log tells of %d restores that failed, want 2:\n%s", n, p.Read("saver.log"))
	}
}
