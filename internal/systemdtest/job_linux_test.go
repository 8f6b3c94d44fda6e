package systemdtest_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// shared is the directory of the machine that jobs find at the same path. It is where people have theirs.
const shared = "/home/pool"

// stepper is a job that writes down its steps, each with a number that it draws once at its beginning,
// until it finds the file that ends it. Its argument begins the names of the files.
const stepper = `#!/bin/sh
nonce=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
i=0
until [ -e "$1.end" ]; do
	i=$((i+1))
	echo "$nonce $i" >>"$1.steps"
	sleep 0.1
done
echo "$i steps"
`

// job is a submitted stepper.
type job struct {
	m    *machine
	name string
	id   string
}

// submitStepper submits a stepper as a user and waits until it is at work.
func submitStepper(m *machine, user, name string) *job {
	m.t.Helper()
	m.as(user, fmt.Sprintf(`mkdir -p ~/work && cd ~/work && cat >step <<'END' && chmod +x step
%sEND
cat >%s.sub <<'END'
executable = step
arguments = %s/%[2]s
output = %[2]s.out
log = %[2]s.log
queue
END`, stepper, name, shared))
	said := m.as(user, "cd ~/work && skua submit "+name+".sub")
	cluster := regexp.MustCompile(`submitted to cluster (\d+)`).FindStringSubmatch(said)
	if cluster == nil {
		m.t.Fatalf("submit did not name a cluster: %q", said)
	}
	j := &job{m: m, name: name, id: cluster[1] + ".0"}
	m.await("job "+name+" is at work", func() bool { return len(j.steps()) > 3 })
	return j
}

// steps are the lines that the job has written.
func (j *job) steps() []string {
	lines := strings.Split(j.m.read(filepath.Join(shared, j.name+".steps")), "\n")
	return lines[:len(lines)-1] // what follows the last newline is being written
}

// goesOn waits until the job has taken so many steps that it must have an agent: without one it would be
// frozen after two seconds, twenty steps.
func (j *job) goesOn() {
	j.m.t.Helper()
	stood := len(j.steps())
	j.m.await("job "+j.name+" goes on", func() bool { return len(j.steps()) > stood+60 })
}

// end has the job end.
func (j *job) end() {
	j.m.t.Helper()
	j.m.write(filepath.Join(shared, j.name+".end"), "", 0o644)
}

// checkSteps: the job has been one run, which took each of its steps once.
func (j *job) checkSteps() {
	j.m.t.Helper()
	steps := j.steps()
	for i, line := range steps {
		nonce, _, _ := strings.Cut(steps[0], " ")
		if want := fmt.Sprint(nonce, " ", i+1); line != want {
			j.m.t.Fatalf("job %s: line %d of its steps is %q, want %q", j.name, i+1, line, want)
		}
	}
}

// process is a process, for as long as the machine is up.
type process struct {
	pid   int
	start string // after the boot, in the kernel's ticks
}

// process finds the first process of the job.
func (j *job) process() process {
	j.m.t.Helper()
	all := j.processes()
	if len(all) == 0 {
		j.m.t.Fatalf("job %s has no process", j.name)
	}
	return all[0]
}

// checkPlace: the cgroup of each process of the job is below one of the machine's.
func (j *job) checkPlace(want string) {
	j.m.t.Helper()
	for _, p := range j.processes() {
		// As the machine sees it: from outside there is more before it.
		in, _, code := j.m.try(fmt.Sprintf("cat /proc/%d/cgroup", p.pid))
		if code == 0 && !strings.Contains("\n"+in, "\n0::"+want) {
			j.m.t.Errorf("job %s: process %d is in %q, want it below %s", j.name, p.pid, in, want)
		}
	}
}

// processes are the processes of the job in the order of their start.
func (j *job) processes() (all []process) {
	dirs, _ := filepath.Glob(j.m.path("/proc/[0-9]*")) // the pattern is well formed
	for _, dir := range dirs {
		environ, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil || !bytes.Contains(environ, []byte("SKUA_JOB_ID="+j.id+"\x00")) {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // from the third on
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || len(fields) < 20 {
			j.m.t.Fatalf("%s/stat: %q", dir, stat)
		}
		all = append(all, process{pid, fields[19]})
	}
	slices.SortFunc(all, func(a, b process) int {
		if a.start != b.start {
			at, _ := strconv.ParseInt(a.start, 10, 64)
			bt, _ := strconv.ParseInt(b.start, 10, 64)
			return int(at - bt)
		}
		return a.pid - b.pid
	})
	return all
}

// checkLog waits until the user's log tells of the job's end, which may be a moment after its outputs are
// there. It then tells of one end, and of so many runs.
func (j *job) checkLog(user string, runs int) {
	j.m.t.Helper()
	name := "/home/" + user + "/work/" + j.name + ".log"
	count := func(kind string) int { return strings.Count("\n"+j.m.read(name), "\n"+kind+" (") }
	j.m.await("the user's log tells that job "+j.name+" has ended", func() bool { return count("005") > 0 })
	if executed, evicted, ended := count("001"), count("004"), count("005"); executed != runs || evicted != runs-1 || ended != 1 {
		j.m.t.Errorf("job %s: in the user's log are %d executions, %d evictions and %d ends, want %d, %d and 1:\n%s",
			j.name, executed, evicted, ended, runs, runs-1, j.m.read(name))
	}
}
