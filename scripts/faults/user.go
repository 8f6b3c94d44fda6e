//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"skua/internal/pause"
)

// stepsPerJob is how many steps a job makes, of pausePerStep each.
const (
	stepsPerJob  = 30
	pausePerStep = 100 * time.Millisecond
)

// program of the jobs: it draws a number when it starts and writes it down with every step, in a journal that
// Skua knows nothing of. It goes on only with the right input, and makes a file too large to travel with a message.
const worker = `#!/usr/bin/python3
import hashlib, os, sys, time
journal, name, steps, pause, digest = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
nonce = os.urandom(6).hex()
def note(step):
    fd = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(fd, f"{name} {nonce} {step} {time.time_ns()}\n".encode())
    os.close(fd)
note(0)
with open("input", "rb") as f:
    if hashlib.sha256(f.read()).hexdigest() != digest:
        sys.exit("the input is not what was submitted")
for step in range(1, steps + 1):
    time.sleep(pause)
    note(step)
note(steps + 1)
def write(fd, data):  # again, as long as the disk is full or gives errors
    while data:
        try:
            data = data[os.write(fd, data):]
        except OSError:
            time.sleep(0.1)
while True:
    try:
        f = os.open("result", os.O_WRONLY | os.O_TRUNC | os.O_CREAT, 0o666)
        break
    except OSError:
        time.sleep(0.1)
write(f, "".join(f"{name} {line}\n" for line in range(5000)).encode())
write(1, f"{name} made {steps} steps\n".encode())
`

// output is what a job that made all its steps has written to its standard output.
func output(name string, steps int) string {
	return fmt.Sprintf("%s made %d steps\n", name, steps)
}

// result is the file that it has made.
func result(name string) string {
	var b strings.Builder
	for line := range 5000 {
		fmt.Fprintf(&b, "%s %d\n", name, line)
	}
	return b.String()
}

// From so many places the user works at a time, and submits from so many of them.
const (
	places     = 3
	submitters = 2
)

// user submits jobs and plays with them, and remembers what was asked and what was answered.
type user struct {
	p      *pool
	seed   uint64
	digest string // of the input of all jobs

	mu       sync.Mutex // guards what follows
	log      *os.File
	submits  int
	accepted map[string]string // id → name
	ids      []string          // the same ids, in the order of their acceptance
	done     []operation
}

// outcome is what an operation came to.
type outcome int

const (
	unknown outcome = iota // killed, cut off or not answered: it may be carried out at any time
	yes
	no
)

// operation is something that was asked of the matchmaker about one job.
type operation struct {
	verb     string // submit, hold, release, rm, or q, which asks for the state
	job      string // id
	from, to time.Time
	outcome  outcome
	status   int // that q saw; 0 when the job is not in the queue
}

func newUser(p *pool, seed uint64) (*user, error) {
	u := &user{p: p, seed: seed, accepted: map[string]string{}}
	// Text, so that a driver that damages images knows it from those.
	var input strings.Builder
	for r := rand.New(rand.NewPCG(seed, 0x1a9)); input.Len() < 64<<10; {
		fmt.Fprintf(&input, "%016x\n", r.Uint64())
	}
	u.digest = fmt.Sprintf("%x", sha256.Sum256([]byte(input.String())))
	var err error
	if u.log, err = os.Create(filepath.Join(p.dir, "user.log")); err != nil {
		return nil, err
	}
	return u, errors.Join(
		p.write("worker", worker), os.Chmod(filepath.Join(p.dir, "worker"), 0o755), p.write("input", input.String()),
		os.MkdirAll(filepath.Join(p.dir, "out"), 0o755), os.MkdirAll(filepath.Join(p.dir, "log"), 0o755),
	)
}

// work submits jobs for so long and holds, releases, moves and removes some of them, from several places at a time. What
// fails, fails: the matchmaker may be away. Only what was promised counts.
func (u *user) work(ctx context.Context, length time.Duration) error {
	var all group
	until := time.Now().Add(length)
	for place := range uint64(places) {
		all.run(func() error {
			r := rand.New(rand.NewPCG(u.seed, 0xc0ffee+place))
			for time.Now().Before(until) {
				if place < submitters && r.IntN(10) < 6 {
					if err := u.submit(ctx, r, 1+r.IntN(3)); err != nil {
						return err
					}
				} else {
					u.play(ctx, r)
				}
				if err := pause.For(ctx, time.Duration(300+r.IntN(900))*time.Millisecond); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return all.wait()
}

// play does something to one of the latest jobs, ended or not.
func (u *user) play(ctx context.Context, r *rand.Rand) {
	u.mu.Lock()
	n := len(u.ids)
	back := r.IntN(12)
	if n == 0 {
		u.mu.Unlock()
		return
	}
	id := u.ids[max(0, n-1-back)]
	u.mu.Unlock()
	switch n := r.IntN(20); {
	case n < 6:
		_, _, _ = u.skua(ctx, r, "vacate", id) // what comes of it, the queue log says
	case n < 12:
		u.act(ctx, r, "hold", id)
		u.ask(ctx, r, id)
		u.act(ctx, r, "release", id)
	case n < 18:
		u.ask(ctx, r, id)
	default:
		u.act(ctx, r, "rm", id)
		u.ask(ctx, r, id)
	}
}

var promised = regexp.MustCompile(`(\d+) job\S* submitted to cluster (\d+)`)

func (u *user) submit(ctx context.Context, r *rand.Rand, jobs int) error {
	u.mu.Lock()
	u.submits++
	name := fmt.Sprintf("s%dn%d", u.seed, u.submits)
	u.mu.Unlock()
	if err := u.p.write(name+".sub", fmt.Sprintf(`executable = worker
arguments = %s/steps %sp$(Process) %d %v %s
transfer_input_files = input
output = out/%sp$(Process)
transfer_output_files = result
transfer_output_remaps = "result = out/%sp$(Process).result"
log = log/%sp$(Process)
queue %d
`, u.p.journal, name, stepsPerJob, pausePerStep.Seconds(), u.digest, name, name, name, jobs)); err != nil {
		return err
	}
	from := time.Now()
	out, _, err := u.skua(ctx, r, "submit", name+".sub")
	m := promised.FindStringSubmatch(out)
	if err != nil || m == nil {
		return nil // nothing was promised, and perhaps something was done
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for proc := range jobs {
		id := fmt.Sprintf("%s.%d", m[2], proc)
		u.accepted[id] = fmt.Sprintf("%sp%d", name, proc)
		u.ids = append(u.ids, id)
		u.done = append(u.done, operation{verb: "submit", job: id, from: from, to: time.Now(), outcome: yes})
	}
	return nil
}

// act does something to a job.
func (u *user) act(ctx context.Context, r *rand.Rand, verb, id string) {
	op := operation{verb: verb, job: id, from: time.Now()}
	_, said, err := u.skua(ctx, r, verb, id)
	op.to = time.Now()
	switch {
	case err == nil:
		op.outcome = yes
	case strings.Contains(said, "at the same moment"):
		return // it was not done, for a state that is over
	case strings.Contains(said, id+" was not "):
		op.outcome = no
	}
	u.note(op)
}

// ask asks for the state of a job.
func (u *user) ask(ctx context.Context, r *rand.Rand, id string) {
	op := operation{verb: "q", job: id, from: time.Now()}
	out, _, err := u.skua(ctx, r, "q", id, "--json")
	op.to = time.Now()
	if err != nil {
		return // nothing was seen
	}
	rows, err := parseRows(out)
	if err != nil {
		return // killed on its way
	}
	op.outcome = yes
	for _, row := range rows[id] {
		op.status = row.status
	}
	u.note(op)
}

func (u *user) note(op operation) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.done = append(u.done, op)
}

// skua runs a command, and kills it on its way when it is its turn.
func (u *user) skua(ctx context.Context, r *rand.Rand, args ...string) (stdout, stderr string, err error) {
	if r != nil && u.p.commandKills.Add(-1) >= 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(r.Int64N(int64(150*time.Millisecond))))
		defer cancel()
	} else {
		u.p.commandKills.Add(1)
	}
	out, err := u.p.skua(ctx, args...)
	if failed := (*commandError)(nil); errors.As(err, &failed) {
		stderr = failed.stderr
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	fmt.Fprintf(u.log, "%s skua %s: %q %v\n", time.Now().Format(time.StampMicro), strings.Join(args, " "), out, err)
	return out, stderr, err
}

// commandError is the error of a command that ended badly.
type commandError struct {
	args   []string
	stderr string
	err    error
}

func (e *commandError) Error() string {
	return fmt.Sprintf("%s: %v: %s", strings.Join(e.args, " "), e.err, e.stderr)
}

func (e *commandError) Unwrap() error { return e.err }

// rows asks the matchmaker for jobs, "q" or "history".
func (u *user) rows(ctx context.Context, what string) (map[string][]row, error) {
	out, _, err := u.skua(ctx, nil, what, "--json")
	if err != nil {
		return nil, err
	}
	return parseRows(out)
}

func parseRows(out string) (map[string][]row, error) {
	var ads []struct {
		ClusterId, ProcId, JobStatus, NumJobStarts, ExitCode, HoldReasonCode int
		ExitBySignal                                                         bool
		HoldReason, WhyIdle, Args                                            string
	}
	if err := json.Unmarshal([]byte(out), &ads); err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	rows := map[string][]row{}
	for _, ad := range ads {
		id := fmt.Sprintf("%d.%d", ad.ClusterId, ad.ProcId)
		rows[id] = append(rows[id], row{
			status: ad.JobStatus, starts: ad.NumJobStarts, exit: ad.ExitCode, signal: ad.ExitBySignal,
			why: ad.HoldReason + ad.WhyIdle, holdCode: ad.HoldReasonCode, name: nameIn(ad.Args),
		})
	}
	return rows, nil
}

// nameIn gives the name that a job has in the journal, which is its second argument.
func nameIn(args string) string {
	f := strings.Fields(args)
	if len(f) < 2 {
		return ""
	}
	return f[1]
}
