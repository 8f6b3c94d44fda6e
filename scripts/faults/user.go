//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// stepsPerJob is how many steps a job makes, of pausePerStep each.
const (
	stepsPerJob  = 30
	pausePerStep = 100 * time.Millisecond
)

// program of the jobs: it draws a number when it starts and writes it down with every step, in a journal that
// Skua knows nothing of.
const worker = `#!/usr/bin/python3
import os, sys, time
journal, name, steps, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
nonce = os.urandom(6).hex()
def note(step):
    fd = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(fd, f"{name} {nonce} {step} {time.time_ns()}\n".encode())
    os.close(fd)
note(0)
for step in range(1, steps + 1):
    time.sleep(pause)
    note(step)
note(steps + 1)
print(f"{name} made {steps} steps")
`

// user submits jobs and plays with them, and remembers what was promised.
type user struct {
	p    *pool
	seed uint64
	r    *rand.Rand
	log  *os.File

	submits  int
	accepted map[string]string // id → name
	removed  map[string]bool
}

func newUser(p *pool, seed uint64) *user {
	return &user{p: p, seed: seed, r: rand.New(rand.NewPCG(seed, 0xc0ffee)), accepted: map[string]string{}, removed: map[string]bool{}}
}

// work submits jobs for so long and holds, releases, moves and removes some of them. What fails, fails: the
// matchmaker may be away. Only what was promised counts.
func (u *user) work(ctx context.Context, length time.Duration) (err error) {
	if u.log, err = os.Create(filepath.Join(u.p.dir, "user.log")); err != nil {
		return err
	}
	if err := u.p.write("worker", worker); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(u.p.dir, "worker"), 0o755); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < length && ctx.Err() == nil; {
		switch n := u.r.IntN(10); {
		case n < 5:
			err = u.submit(ctx, 1+u.r.IntN(4))
		case n < 7:
			u.act(ctx, "vacate", u.any())
		case n < 9:
			id := u.any()
			u.act(ctx, "hold", id)
			u.act(ctx, "release", id)
		default:
			if id := u.any(); id != "" && u.act(ctx, "rm", id) {
				u.removed[id] = true
			}
		}
		if err != nil {
			return err
		}
		if err := pause(ctx, time.Duration(300+u.r.IntN(900))*time.Millisecond); err != nil {
			return err
		}
	}
	return ctx.Err()
}

var promised = regexp.MustCompile(`(\d+) job\S* submitted to cluster (\d+)`)

func (u *user) submit(ctx context.Context, jobs int) error {
	u.submits++
	name := fmt.Sprintf("s%dn%d", u.seed, u.submits)
	if err := u.p.write(name+".sub", fmt.Sprintf(`executable = worker
arguments = %s/steps %sp$(Process) %d %v
output = out/%sp$(Process)
log = log/%sp$(Process)
queue %d
`, u.p.journal, name, stepsPerJob, pausePerStep.Seconds(), name, name, jobs)); err != nil {
		return err
	}
	for _, dir := range []string{"out", "log"} {
		if err := os.MkdirAll(filepath.Join(u.p.dir, dir), 0o755); err != nil {
			return err
		}
	}
	args := []string{"submit", name + ".sub"}
	if u.p.submitKills.Add(-1) >= 0 {
		u.kill(ctx, args)
		return nil // nothing was promised, and perhaps something was done
	}
	u.p.submitKills.Add(1)
	out, err := u.skua(ctx, args...)
	m := promised.FindStringSubmatch(out)
	if err != nil || m == nil {
		return nil // nothing was promised
	}
	for proc := range jobs {
		u.accepted[fmt.Sprintf("%s.%d", m[2], proc)] = fmt.Sprintf("%sp%d", name, proc)
	}
	return nil
}

// any gives one of the jobs, ended or not; "" when there are none.
func (u *user) any() string {
	n := len(u.accepted)
	if n == 0 {
		return ""
	}
	// The ids of maps come in any order, and the choice should be the seed's.
	cluster := 1 + u.r.IntN(u.submits)
	return fmt.Sprintf("%d.0", cluster)
}

// act does something to a job, and says whether the matchmaker has said that it is done.
func (u *user) act(ctx context.Context, verb, id string) bool {
	if id == "" || u.accepted[id] == "" {
		return false
	}
	_, err := u.skua(ctx, verb, id)
	return err == nil
}

// kill runs a command and kills it on its way.
func (u *user) kill(ctx context.Context, args []string) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(u.r.Int64N(int64(60*time.Millisecond))))
	defer cancel()
	_, _ = u.skua(ctx, args...)
}

func (u *user) skua(ctx context.Context, args ...string) (string, error) {
	out, err := u.p.skua(ctx, args...)
	fmt.Fprintf(u.log, "%s skua %s: %q %v\n", time.Now().Format(time.StampMicro), strings.Join(args, " "), out, err)
	return out, err
}

// finish waits until all jobs have ended and their outputs are there, and gathers the records.
func (u *user) finish(ctx context.Context) (records, error) {
	defer u.log.Close()
	r := records{
		accepted: u.accepted, removed: u.removed, steps: stepsPerJob, wakes: u.p.wakes,
		queue: map[string]row{}, history: map[string][]row{}, outputs: map[string]string{}, logs: map[string]string{},
	}
	err := await(ctx, "all jobs have ended", func() (bool, error) {
		// A release may have got lost.
		if _, err := u.p.skua(ctx, "release", "--constraint", "HoldReasonCode == 1"); err != nil {
			_ = err // none is held, mostly
		}
		rows, err := u.rows(ctx, "q")
		return err == nil && len(rows) == 0, err
	})
	if err != nil && ctx.Err() != nil {
		return r, err
	}
	left, err := u.rows(ctx, "q") // some may be stuck, which is for the judge
	if err != nil {
		return r, err
	}
	for id, rows := range left {
		r.queue[id] = rows[0]
	}
	if r.history, err = u.rows(ctx, "history"); err != nil {
		return r, err
	}
	r.adopt()
	err = await(ctx, "the logs tell of the end of every job", func() (bool, error) {
		_, err := u.p.skua(ctx, "q") // starts a courier that was killed
		return u.gather(&r), err
	})
	if err != nil && ctx.Err() != nil {
		return r, err
	}
	r.journal, err = readJournal(filepath.Join(u.p.journal, "steps"))
	return r, err
}

// nameIn gives the name that a job has in the journal, which is its second argument.
func nameIn(args string) string {
	f := strings.Fields(args)
	if len(f) < 2 {
		return ""
	}
	return f[1]
}

// gather reads outputs and logs, and says whether every job that has ended has its own.
func (u *user) gather(r *records) (whole bool) {
	whole = true
	for id, name := range u.accepted {
		out, _ := os.ReadFile(filepath.Join(u.p.dir, "out", name)) // what is missing is for the judge
		log, _ := os.ReadFile(filepath.Join(u.p.dir, "log", name))
		r.outputs[name], r.logs[name] = string(out), string(log)
		if len(r.history[id]) == 0 {
			continue
		}
		if removed := r.history[id][0].status == statusRemoved; removed && !strings.Contains(r.logs[name], "009 (") ||
			!removed && (!strings.Contains(r.logs[name], "005 (") || r.outputs[name] == "") {
			whole = false
		}
	}
	return whole
}

// rows asks the matchmaker.
func (u *user) rows(ctx context.Context, what string) (map[string][]row, error) {
	out, err := u.p.skua(ctx, what, "--json")
	if err != nil {
		return nil, err
	}
	var ads []struct {
		ClusterId, ProcId, JobStatus, NumJobStarts, ExitCode int
		ExitBySignal                                         bool
		HoldReason, WhyIdle, Args                            string
	}
	if err := json.Unmarshal([]byte(out), &ads); err != nil {
		return nil, fmt.Errorf("skua %s --json: %w", what, err)
	}
	rows := map[string][]row{}
	for _, ad := range ads {
		id := fmt.Sprintf("%d.%d", ad.ClusterId, ad.ProcId)
		rows[id] = append(rows[id], row{ad.JobStatus, ad.NumJobStarts, ad.ExitCode, ad.ExitBySignal, ad.HoldReason + ad.WhyIdle, nameIn(ad.Args)})
	}
	return rows, nil
}

// readJournal reads what the jobs wrote down.
func readJournal(path string) ([]entry, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []entry
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) != 4 {
			return nil, fmt.Errorf("%s: the line %q is torn", path, line)
		}
		step, err := strconv.Atoi(f[2])
		ns, err2 := strconv.ParseInt(f[3], 10, 64)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, entry{name: f[0], nonce: f[1], step: step, at: time.Unix(0, ns)})
	}
	return all, nil
}
