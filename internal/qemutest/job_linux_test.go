package qemutest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"skua/internal/realpool"
)

// perGate is how many steps a job makes behind each gate.
const perGate = 10

// skew is how far apart the clocks of two machines may be.
const skew = 5 * time.Second

// steps is a job. Its arguments begin the names of its files outside of Skua, and say how many gates it comes to,
// at each of which it waits until a file with its number is there. It writes down its steps, with a nonce drawn
// once, and its clock since boot; its output is a sum over all steps, which only comes out right if none is left
// out or made twice.
const steps = `nonce=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
i=0 sum=1 gate=0
while [ $gate -lt $2 ]; do
	gate=$((gate+1))
	until [ -e "$1.gate$gate" ]; do sleep 0.1; done
	n=0
	while [ $n -lt 10 ]; do
		n=$((n+1)) i=$((i+1)) sum=$(((sum*1103515245+i)%2147483648))
		read up rest </proc/uptime
		echo "$nonce $i $(date +%s.%N)" >>"$1"
		echo "$nonce $i $up" >>"$1.clock"
		echo "$i $sum"
		sleep 0.1
	done
done
`

// job is a submitted job of that kind.
type job struct {
	l     *lab
	name  string
	gates int
	id    string
	open  int // gates
}

// submit submits a job with a plan of the machines on which it is to run, one after another, see startAsPlanned. A
// program beside the steps runs as long as they do.
func (l *lab) submit(name string, gates int, beside string, plan ...string) *job {
	l.t.Helper()
	script, inputs := steps, ""
	if beside != "" {
		script = "./" + beside + " &\nbeside=$!\n" + steps + "kill $beside\nwait $beside\n"
		inputs = "transfer_input_files = " + beside + "\n"
	}
	l.Script(name+".sh", script)
	cluster := l.Submit(name+".sub", fmt.Sprintf(`executable = %[1]s.sh
arguments = %[2]s %[3]d
output = %[1]s.out
log = %[1]s.log
request_memory = 50MB
%[4]s+Plan = "%[5]s"
queue
`, name, filepath.Join(l.Journal, name), gates, inputs, strings.Join(plan, ",")))
	return &job{l: l, name: name, gates: gates, id: cluster + ".0"}
}

// plan gives the job another plan.
func (j *job) plan(machines ...string) {
	j.l.t.Helper()
	j.l.Must("skua", "edit", j.id, "Plan="+strconv.Quote(strings.Join(machines, ",")))
}

// startAsPlanned is the START expression of a machine that takes jobs whose plan says so.
const startAsPlanned = `split(TARGET.Plan)[TARGET.NumJobStarts] =?= MY.Machine`

// pass lets the job through its next gate and waits until it has made the steps behind it.
func (j *job) pass() {
	j.l.t.Helper()
	j.open++
	if err := os.WriteFile(filepath.Join(j.l.Journal, fmt.Sprint(j.name, ".gate", j.open)), nil, 0o644); err != nil {
		j.l.t.Fatal(err)
	}
	j.l.AwaitFor(patience, fmt.Sprintf("job %s makes the steps behind gate %d", j.name, j.open), func() bool {
		return len(j.l.Lines(j.name)) >= perGate*j.open
	})
}

// vacate has the job leave its machine with an image.
func (j *job) vacate() {
	j.l.t.Helper()
	images := j.count("003")
	j.l.Must("skua", "vacate", j.id)
	j.l.AwaitFor(patience, "job "+j.name+" has left with an image", func() bool { return j.count("003") == images+1 })
}

// count counts the entries of a kind in the user's log.
func (j *job) count(kind string) int {
	return strings.Count("\n"+j.l.Read(j.name+".log"), "\n"+kind+" (")
}

// offered are the machines to which the job has been offered, in order.
func (j *job) offered() (machines []string) {
	for line := range strings.Lines(j.l.Matchmaker.Log()) {
		if strings.Contains(line, `msg="job offered"`) && strings.Contains(line, "job="+j.id+" ") {
			_, slot, _ := strings.Cut(line, "slot=slot1@")
			machine, _, _ := strings.Cut(slot, " ")
			machines = append(machines, machine)
		}
	}
	return machines
}

// why is what skua why says of the job.
func (j *job) why() string {
	j.l.t.Helper()
	return j.l.Must("skua", "why", j.id)
}

// awaitWhy waits until skua why says all of some things.
func (j *job) awaitWhy(things ...string) {
	j.l.t.Helper()
	j.l.AwaitFor(patience, fmt.Sprintf("skua why says of job %s %q", j.name, things), func() bool {
		said := j.why()
		return !slices.ContainsFunc(things, func(thing string) bool { return !strings.Contains(said, thing) })
	})
	j.l.t.Logf("skua why:\n%s", j.why())
}

// finish opens the gates that are left, waits for the job's end and checks that it was one run, which made each
// step once, with a clock that went on, and that its output is that of one left alone. It gives what it has found.
func (j *job) finish() (figures []string) {
	t := j.l.t
	t.Helper()
	for j.open < j.gates {
		j.pass()
	}
	j.l.Must("skua", "wait", j.id, "--timeout", "4m")
	nonces, last, repeated, skipped := j.l.Steps(j.name)
	if len(nonces) != 1 || last != perGate*j.gates || repeated != 0 || skipped != 0 {
		t.Errorf("job %s began %d times and made %d steps, %d repeated and %d left out", j.name, len(nonces), last, repeated, skipped)
	}
	var want strings.Builder
	sum := 1
	for i := 1; i <= perGate*j.gates; i++ {
		sum = (sum*1103515245 + i) % 2147483648
		fmt.Fprintln(&want, i, sum)
	}
	got := j.l.Read(j.name + ".out")
	if got != want.String() {
		t.Errorf("job %s: its output is\n%s\nand of one that was left alone\n%s", j.name, got, want.String())
	}
	clock := j.l.Lines(j.name + ".clock")
	if !slices.IsSortedFunc(clock, func(a, b realpool.Line) int { return a.At.Compare(b.At) }) {
		t.Errorf("job %s: its clock went back: %v", j.name, clock)
	}
	wall := j.l.Lines(j.name)
	passed, went := wall[len(wall)-1].At.Sub(wall[0].At), clock[len(clock)-1].At.Sub(clock[0].At)
	if went > passed+skew {
		t.Errorf("job %s: its clock went on by %v in %v", j.name, went, passed)
	}
	return []string{
		fmt.Sprint("moves=", j.count("004")), fmt.Sprint("identical=", got == want.String()),
		fmt.Sprint("nonces=", len(nonces)), fmt.Sprint("repeated_steps=", repeated),
	}
}
