//go:build linux

// Throughput measures how fast jobs flow that do nothing: N times /bin/true through a real matchmaker and
// real agents, each job in the full sandbox, and what one job costs in processor time of the matchmaker,
// the agents, the claims' inits and the jobs themselves. Then it measures how long one short job takes on
// an idle pool from the start of "skua submit" to its first instruction.
//
// Each figure is a line "bench: name=value"; beside it stands that of HTCondor 23.9.6, measured in the same way
// on the same kind of machine. Wall times depend on what else the machine does, processor seconds hardly.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// condor is what HTCondor does on a two-core machine: jobs per second, and milliseconds of processor time
// of all its daemons for one.
type condor struct {
	slots  int
	perSec float64
	cpuMS  float64
}

// figures are those that were measured, by the number of slots: in a configuration without any waiting.
var figures = []condor{{8, 41.5, 35}, {50, 37.3, 39.4}}

// condorStart is how long one job takes there from submit to start at best, in milliseconds.
const condorStart = 74

func main() {
	bin := flag.String("bin", "bin", "directory of the three programs")
	jobs := flag.Int("jobs", 5000, "how many jobs")
	slots := flag.Int("slots", 8, "slots of all agents together")
	agents := flag.Int("agents", 2, "how many agents share the slots")
	single := flag.Int("single", 20, "how many single jobs on the idle pool")
	keep := flag.Bool("keep", false, "keep the working directory with the logs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, *jobs, *slots, *agents, *single, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "throughput:", err)
		os.Exit(1)
	}
}

// run makes a pool, measures, and takes the pool down again.
func run(ctx context.Context, bin string, jobs, slots, agents, single int, keep bool) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "skua-tp-") // short, since the names of sockets are bounded
	if err != nil {
		return err
	}
	defer func() {
		if keep || err != nil {
			fmt.Fprintln(os.Stderr, "throughput: logs and files are in", dir)
			return
		}
		err = os.RemoveAll(dir)
	}()
	if bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	p := &pool{bin: bin, dir: dir}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.start(ctx, agents, max(slots/agents, 1)); err != nil {
		return err
	}
	slots = agents * max(slots/agents, 1)
	if err := p.many(ctx, jobs, slots); err != nil {
		return err
	}
	return p.one(ctx, single)
}

// many runs the jobs and prints what they took.
func (p *pool) many(ctx context.Context, jobs, slots int) error {
	// Warm: programs are in memory, and the agents have found out what they can do.
	if _, err := p.runJobs(ctx, "warm", slots); err != nil {
		return err
	}
	before, began := p.usage(), time.Now()
	exits, err := p.runJobs(ctx, "true", jobs)
	took, used := time.Since(began), p.usage()
	if err != nil {
		return err
	}
	if exits != jobs {
		return fmt.Errorf("%d of %d jobs completed", exits, jobs)
	}
	ms := func(of func(usage) time.Duration) float64 {
		return float64(of(used)-of(before)) / float64(time.Millisecond) / float64(jobs)
	}
	perSec, cpu := float64(jobs)/took.Seconds(), ms(usage.sum)
	fmt.Printf("trivial jobs: %d in %.1f s on %d slots; ms of CPU each: matchmaker %.2f, agents with inits and jobs %.2f; beside them submit and courier %.2f\n",
		jobs, took.Seconds(), slots, ms(func(u usage) time.Duration { return u.matchmaker }),
		ms(func(u usage) time.Duration { return u.agents }), ms(func(u usage) time.Duration { return u.user }))
	fmt.Printf("bench: trivial_jobs_per_s=%.1f\n", perSec)
	fmt.Printf("bench: trivial_cpu_ms=%.2f\n", cpu)
	c := figures[0]
	for _, f := range figures {
		if slots >= f.slots {
			c = f
		}
	}
	fmt.Printf("HTCondor %.1f jobs/s, %.1f ms of CPU each: %.1f times as many, for %.2f of the CPU\n", c.perSec, c.cpuMS, perSec/c.perSec, cpu/c.cpuMS)
	return nil
}

// one runs single jobs on the idle pool and prints how long they take to begin.
func (p *pool) one(ctx context.Context, times int) error {
	if times <= 0 {
		return nil
	}
	var took []time.Duration
	for i := range times {
		d, err := p.single(ctx, i)
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	median := took[len(took)/2]
	fmt.Printf("single jobs: from submit to running %.1f to %.1f ms; HTCondor %d\n", ms(took[0]), ms(took[len(took)-1]), condorStart)
	fmt.Printf("bench: single_submit_to_running_ms=%.1f\n", ms(median))
	return nil
}

// single submits a job that says when it runs, and gives how long that is after the start of the submit.
func (p *pool) single(ctx context.Context, i int) (time.Duration, error) {
	name := fmt.Sprint("single", i)
	text := "executable = /bin/date\narguments = +%s.%N\ntransfer_executable = false\noutput = " + name + ".out\nlog = " + name + ".log\nqueue\n"
	if err := os.WriteFile(filepath.Join(p.dir, name+".sub"), []byte(text), 0o644); err != nil {
		return 0, err
	}
	began := time.Now()
	cluster, err := p.submit(ctx, name+".sub")
	if err != nil {
		return 0, err
	}
	if err := p.wait(ctx, cluster); err != nil {
		return 0, err
	}
	out, err := os.ReadFile(filepath.Join(p.dir, name+".out"))
	if err != nil {
		return 0, err
	}
	var sec, nano int64
	if _, err := fmt.Sscanf(strings.TrimSpace(string(out)), "%d.%9d", &sec, &nano); err != nil {
		return 0, fmt.Errorf("the job said %q: %w", out, err)
	}
	return time.Unix(sec, nano).Sub(began), nil
}
