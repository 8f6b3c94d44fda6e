//go:build linux

// Faults runs a real pool, machines in network namespaces of their own, under a schedule of faults that a
// seed decides, and then proves from what the jobs themselves have written down that none was lost and none
// was done twice.
//
//	go run ./scripts/faults -seeds 100          seeds 1 to 100, one after another
//	go run ./scripts/faults -seed 17 -keep      one again, keeping its files
//
// The schedule, what a user does meanwhile, and the verdict are pure functions of the seed and the records;
// when which process notices what is up to the machine. The last line of standard output is for
// machines.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"skua/internal/netlab"
)

func main() {
	maybeKeepDisk()
	bin := flag.String("bin", "", "directory of the three programs, built before with -tags faults; they are built otherwise")
	seeds := flag.Int("seeds", 3, "run the seeds 1 to this")
	from := flag.Uint64("from", 1, "begin with this seed instead of 1")
	seed := flag.Uint64("seed", 0, "run this seed only")
	length := flag.Duration("length", 20*time.Second, "how long faults are injected for each seed")
	parallel := flag.Int("parallel", 1, "run so many seeds at a time; a pool that is short of processors finds other orders of things")
	only := flag.String("only", "", "inject faults of these kinds only, separated by commas")
	keep := flag.Bool("keep", false, "keep the files of every seed, not only of failed ones")
	build := flag.Bool("build", false, "only build the programs, into the directory of -bin")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	kinds, err := parseKinds(*only)
	if err == nil {
		err = netlab.Possible()
	}
	if why := faultyDisksPossible(); why != nil {
		fmt.Fprintf(os.Stderr, "faults: without the kinds %s and %s: %v\n", badHead, badAgent, why)
		kinds = slices.DeleteFunc(kinds, func(k kind) bool { return k == badHead || k == badAgent })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(2)
	}
	programs := *bin
	if *build && programs != "" {
		if err := buildPrograms(ctx, programs, clockMoves()); err != nil {
			fmt.Fprintln(os.Stderr, "faults:", err)
			os.Exit(2)
		}
		return
	}
	if programs == "" {
		if programs, err = os.MkdirTemp("", "skua-faults-"); err == nil {
			defer os.RemoveAll(programs)
			err = buildPrograms(ctx, programs, clockMoves())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "faults:", err)
			os.Exit(2)
		}
	}
	first, last := *from, uint64(*seeds)
	if *seed != 0 {
		first, last = *seed, *seed
	}
	all := tally{injected: map[kind]int{}}
	var mu sync.Mutex // guards all
	var running sync.WaitGroup
	free := make(chan struct{}, max(*parallel, 1))
	for s := first; s <= last; s++ {
		free <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		running.Go(func() {
			defer func() { <-free }()
			t, err := runSeed(ctx, seedConfig{seed: s, bin: programs, length: *length, kinds: kinds, keep: *keep})
			mu.Lock()
			defer mu.Unlock()
			all.add(t)
			if err != nil && ctx.Err() == nil {
				all.violations = append(all.violations, fmt.Sprintf("seed %d: %v", s, err))
				fmt.Fprintf(os.Stderr, "faults: seed %d: %v\n", s, err)
			}
		})
	}
	running.Wait()
	if !all.print() || ctx.Err() != nil {
		os.Exit(1)
	}
}

// tally is what some seeds came to.
type tally struct {
	seeds      int
	injected   map[kind]int
	jobs       int // accepted
	lost       int
	doubled    int
	violations []string
}

func (t *tally) add(o tally) {
	t.seeds += o.seeds
	for k, n := range o.injected {
		t.injected[k] += n
	}
	t.jobs += o.jobs
	t.lost += o.lost
	t.doubled += o.doubled
	t.violations = append(t.violations, o.violations...)
}

// print tells people what was injected, and machines the sums. It is false when something was violated.
func (t *tally) print() bool {
	sum := 0
	for _, k := range slices.Sorted(maps.Keys(t.injected)) {
		fmt.Printf("%-20s %d\n", k, t.injected[k])
		sum += t.injected[k]
	}
	for _, v := range t.violations {
		fmt.Println("violation:", v)
	}
	fmt.Printf("faults: seeds=%d injected=%d jobs=%d lost=%d doubled=%d violations=%d\n",
		t.seeds, sum, t.jobs, t.lost, t.doubled, len(t.violations))
	return t.lost == 0 && t.doubled == 0 && len(t.violations) == 0
}

type seedConfig struct {
	seed   uint64
	bin    string
	length time.Duration
	kinds  []kind
	keep   bool

	schedule []fault // of the seed, set by runSeed
}

// runSeed runs one pool under one schedule and judges it.
func runSeed(ctx context.Context, cfg seedConfig) (t tally, err error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.length+6*time.Minute)
	defer cancel()
	t = tally{seeds: 1, injected: map[kind]int{}}
	began := time.Now()
	cfg.schedule = plan(cfg.seed, machines, cfg.length, cfg.kinds)
	p, err := startPool(ctx, cfg)
	defer func() {
		good := err == nil && len(t.violations) == 0 && !cfg.keep
		if !good {
			err = errors.Join(err, p.keep())
		}
		err = errors.Join(err, p.close())
		if good && err == nil {
			err = os.RemoveAll(p.dir)
			return
		}
		fmt.Fprintf(os.Stderr, "faults: the files of seed %d are in %s\n", cfg.seed, p.dir)
	}()
	if err != nil {
		return t, fmt.Errorf("start the pool: %w", err)
	}
	user, err := newUser(p, cfg.seed)
	if err != nil {
		return t, err
	}
	ready := time.Now()
	if err := user.submit(ctx, nil, slots*machines/2); err != nil { // so that the first faults find something
		return t, err
	}
	working := make(chan error, 1)
	go func() { working <- user.work(ctx, cfg.length) }()
	err = p.inject(ctx, cfg.schedule, cfg.length, t.injected)
	err = errors.Join(err, <-working, p.heal(ctx))
	if err != nil {
		return t, err
	}
	injected := time.Now()
	records, err := user.finish(ctx)
	if err != nil {
		return t, err
	}
	v := judge(records)
	t.jobs, t.lost, t.doubled = len(records.accepted), v.lost, v.doubled
	for _, text := range v.violations {
		t.violations = append(t.violations, fmt.Sprintf("seed %d: %s", cfg.seed, text))
	}
	n := 0
	for _, k := range t.injected {
		n += k
	}
	fmt.Printf("seed %d: %d faults, %d jobs, %d violations, %.1fs to start, %.1fs of faults, %.1fs to finish\n", cfg.seed, n, t.jobs, len(v.violations),
		ready.Sub(began).Seconds(), injected.Sub(ready).Seconds(), time.Since(injected).Seconds())
	for _, text := range v.violations {
		fmt.Println("  ", strings.ReplaceAll(text, "\n", "\n   "))
	}
	return t, nil
}
