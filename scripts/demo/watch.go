//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"skua/internal/pause"
)

// tree is the job as this machine's kernel shows it to anybody: Skua is not asked.
type tree struct {
	root int // process id of the job's first process
}

// findJob looks for the process that was started with argument among its arguments.
func findJob(ctx context.Context, argument string) (*tree, error) {
	for {
		dirs, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			return nil, err
		}
		for _, dir := range dirs {
			line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
			if err != nil || !bytes.Contains(line, []byte(argument+"\x00")) {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err == nil && pid != os.Getpid() {
				return &tree{pid}, nil
			}
		}
		if err := pause.For(ctx, 20*time.Millisecond); err != nil {
			return nil, errors.New("the job's process is nowhere to be found")
		}
	}
}

// timeToFrozen presses a key and measures until the last thread of the job stands still. The clock
// starts before the program that presses the key does, so its start is in the figure.
func (t *tree) timeToFrozen(ctx context.Context, press func(context.Context) error) (time.Duration, error) {
	begin := time.Now()
	pressed := make(chan error, 1)
	go func() { pressed <- press(ctx) }()
	for {
		still, err := t.still()
		if err != nil {
			return 0, err
		}
		if still {
			took := time.Since(begin)
			return took, errors.Join(<-pressed, t.reallyStill(ctx))
		}
		if time.Since(begin) > 10*time.Second {
			return 0, errors.Join(errors.New("the job still runs after ten seconds"), <-pressed)
		}
		if err := pause.For(ctx, 200*time.Microsecond); err != nil {
			return 0, err
		}
	}
}

// reallyStill makes sure of the first look: half a second later the job must not have used any CPU.
func (t *tree) reallyStill(ctx context.Context) error {
	before, err := t.cpu()
	if err != nil {
		return err
	}
	if err := pause.For(ctx, 500*time.Millisecond); err != nil {
		return err
	}
	after, err := t.cpu()
	if err == nil && after != before {
		err = fmt.Errorf("the job looked frozen but used %d ticks of CPU", after-before)
	}
	return err
}

// awaitThawed waits until the job runs again.
func (t *tree) awaitThawed(ctx context.Context) error {
	start, err := t.cpu()
	if err != nil {
		return err
	}
	for begin := time.Now(); time.Since(begin) < 15*time.Second; {
		if now, err := t.cpu(); err != nil || now > start {
			return err
		}
		if err := pause.For(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("the job did not go on")
}

// still reports whether the kernel calls every thread of the job stopped: all of its cgroup frozen, or
// each in state T.
func (t *tree) still() (bool, error) {
	if events, err := os.ReadFile(filepath.Join(t.cgroup(), "cgroup.events")); err == nil {
		if bytes.Contains(events, []byte("frozen 1")) {
			return true, nil
		}
	}
	stats, err := t.stats()
	if err != nil {
		return false, err
	}
	for _, s := range stats {
		if s[0] != "T" {
			return false, nil
		}
	}
	return true, nil
}

// cgroup is the directory of the job's cgroup v2.
func (t *tree) cgroup() string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", t.root))
	for line := range strings.Lines(string(data)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
				if _, err := os.Stat(filepath.Join(mount, path, "cgroup.events")); err == nil {
					return filepath.Join(mount, path)
				}
			}
		}
	}
	return ""
}

// cpu is what all threads of the job have used, in clock ticks.
func (t *tree) cpu() (ticks int, err error) {
	stats, err := t.stats()
	for _, s := range stats {
		for _, field := range s[11:13] { // utime and stime
			n, _ := strconv.Atoi(field)
			ticks += n
		}
	}
	return ticks, err
}

// stats gives the fields of /proc/PID/task/TID/stat from the state on, for all threads of the job's
// processes.
func (t *tree) stats() (all [][]string, err error) {
	for _, pid := range t.processes() {
		names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				continue // it has just ended
			}
			_, rest, ok := strings.Cut(string(data), ") ")
			if fields := strings.Fields(rest); ok && len(fields) > 13 {
				all = append(all, fields)
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the job's processes are gone")
	}
	return all, nil
}

// processes lists the root and its descendants.
func (t *tree) processes() []int {
	pids := []int{t.root}
	for i := 0; i < len(pids); i++ {
		names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[i]))
		for _, name := range names {
			data, _ := os.ReadFile(name)
			for _, f := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(f); err == nil {
					pids = append(pids, pid)
				}
			}
		}
	}
	return pids
}

// journal is what the job wrote down outside Skua: a random number drawn at its start, and its steps.
type journal struct {
	nonces map[string]bool
	steps  map[int]int // how often each was written
}

func readJournal(path string) journal {
	j := journal{nonces: make(map[string]bool), steps: make(map[int]int)}
	data, _ := os.ReadFile(path)
	for line := range strings.Lines(string(data)) {
		nonce, step, ok := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(step)
		if ok && err == nil {
			j.nonces[nonce] = true
			j.steps[n]++
		}
	}
	return j
}

func (j journal) last() (last int) {
	for n := range j.steps {
		last = max(last, n)
	}
	return last
}

func (j journal) repeated() (n int) {
	for _, times := range j.steps {
		n += times - 1
	}
	return n
}
