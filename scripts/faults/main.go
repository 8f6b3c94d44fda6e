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
	"syscall"
	"time"

	"skua/internal/netlab"
)

func main() {
	bin := flag.String("bin", "", "directory of the three programs, built before with -tags faults; they are built otherwise")
	seeds := flag.Int("seeds", 3, "run the seeds 1 to this")
	seed := flag.Uint64("seed", 0, "run this seed only")
	length := flag.Duration("length", 20*time.Second, "how long faults are injected for each seed")
	only := flag.String("only", "", "inject faults of these kinds only, separated by commas")
	keep := flag.Bool("keep", false, "keep the files of every seed, not only of failed ones")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	kinds, err := parseKinds(*only)
	if err == nil {
		err = netlab.Possible()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(2)
	}
	programs := *bin
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
	first, last := uint64(1), uint64(*seeds)
	if *seed != 0 {
		first, last = *seed, *seed
	}
	all := tally{injected: map[kind]int{}}
	for s := first; s <= last && ctx.Err() == nil; s++ {
		t, err := runSeed(ctx, seedConfig{seed: s, bin: programs, length: *length, kinds: kinds, keep: *keep})
		all.add(t)
		if err != nil && ctx.Err() == nil {
			all.violations = append(all.violations, fmt.Sprintf("seed %d: %v", s, err))
			fmt.Fprintf(os.Stderr, "faults: seed %d: %v\n", s, err)
		}
	}
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
}

// runSeed runs one pool under one schedule and judges it.
func runSeed(ctx context.Context, cfg seedConfig) (t tally, err error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.length+6*time.Minute)
	defer cancel()
	t = tally{seeds: 1, injected: map[kind]int{}}
	began := time.Now()
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
	schedule := plan(cfg.seed, machines, cfg.length, cfg.kinds)
	user := newUser(p, cfg.seed)
	working := make(chan error, 1)
	go func() { working <- user.work(ctx, cfg.length) }()
	err = p.inject(ctx, schedule, t.injected)
	err = errors.Join(err, <-working, p.heal(ctx))
	if err != nil {
		return t, err
	}
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
	fmt.Printf("seed %d: %d faults, %d jobs, %d violations, %v\n", cfg.seed, n, t.jobs, len(v.violations), time.Since(began).Round(time.Second))
	for _, text := range v.violations {
		fmt.Println("  ", strings.ReplaceAll(text, "\n", "\n   "))
	}
	return t, nil
}
