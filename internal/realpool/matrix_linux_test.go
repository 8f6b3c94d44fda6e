package realpool_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"skua/internal/realpool"
)

// ways are how often and how a program is moved before its output is compared with that of one left alone.
var ways = []struct {
	name      string
	moves     int
	suspended bool // and goes on where it is, before each move
}{
	{"once", 1, false},
	{"ten times", 10, false},
	{"after a suspension", 1, true},
}

// TestMatrix moves programs of every kind from machine to machine while they work. It runs where $SKUA_MATRIX
// names programs, or says "all"; what is not installed is skipped then. See scripts/matrix.
func TestMatrix(t *testing.T) {
	which := strings.Fields(os.Getenv("SKUA_MATRIX"))
	if len(which) == 0 {
		t.Skip("SKUA_MATRIX does not say which programs to move")
	}
	can := needSandbox(t)
	if !can.Checkpoint {
		t.Fatal("jobs cannot be checkpointed here: ", can.CheckpointWhy)
	}
	var count tally
	t.Run("programs", func(t *testing.T) {
		const pools = 2 // at a time
		for n := range pools {
			t.Run(fmt.Sprint("pool", n+1), func(t *testing.T) {
				t.Parallel()
				p := realpool.Start(t, bin, realpool.Config{Agents: 2, Lease: 60})
				for i, g := range programs {
					if i%pools == n && (which[0] == "all" || slices.Contains(which, g.name)) {
						g.move(t, p, &count)
					}
				}
			})
		}
	})
	fmt.Printf("matrix: programs=%d moves=%d identical=%d refused_early=%d failed=%d\n",
		count.programs.Load(), count.moves.Load(), count.identical.Load(), count.refused.Load(), count.failed.Load())
}

type tally struct{ programs, moves, identical, refused, failed atomic.Int64 }

// move has the program run once alone, and then once in each way.
func (g program) move(t *testing.T, p *realpool.Pool, count *tally) {
	t.Helper()
	if g.needs != "" {
		if _, err := exec.LookPath(g.needs); err != nil {
			fmt.Printf("matrix: program %s is left out: %v\n", g.name, err)
			return
		}
	}
	count.programs.Add(1)
	g.prepare(t, p)
	begun := time.Now()
	want, err := g.run(p, "alone", 0, false)
	if g.refused != "" && err == nil {
		err = g.refusedEarly(p)
	}
	if err != nil || want == "" {
		fmt.Printf("matrix: %s: alone: %v, output %q\n", g.name, err, want)
		count.failed.Add(1)
		t.Errorf("%s: alone: %v, output %q", g.name, err, want)
		return
	}
	if g.refused != "" {
		count.refused.Add(1)
		fmt.Printf("matrix: %s is not checkpointable, which is known early\n", g.name)
		return
	}
	took := time.Since(begun)
	for _, way := range ways {
		got, err := g.run(p, way.name, way.moves, way.suspended)
		if err == nil && got != want {
			err = fmt.Errorf("its output is %.300q, and %.300q of one that was left alone", got, want)
		}
		if err != nil {
			fmt.Printf("matrix: %s: moved %s: %v\n", g.name, way.name, err)
			count.failed.Add(1)
			t.Errorf("%s: moved %s: %v", g.name, way.name, err)
			continue
		}
		count.moves.Add(int64(way.moves))
		count.identical.Add(1)
	}
	fmt.Printf("matrix: %s done, alone it takes %.1f s\n", g.name, took.Seconds())
}

// refusedEarly reports whether the log of the job that was left alone says why it could not have been moved.
func (g program) refusedEarly(p *realpool.Pool) error {
	log := p.Read(g.name + "-alone.log")
	for line := range strings.Lines(log) {
		if strings.Contains(line, "cannot be checkpointed as it is: ") && strings.Contains(line, g.refused) {
			return nil
		}
	}
	return fmt.Errorf("its log does not say that it cannot be checkpointed because of %q:\n%s", g.refused, log)
}

// prepare makes the program's files.
func (g program) prepare(t *testing.T, p *realpool.Pool) {
	t.Helper()
	for name, text := range g.files {
		p.Write(filepath.Join(g.name, name), text)
	}
	if g.build != nil {
		cmd := exec.Command(g.build[0], g.build[1:]...)
		cmd.Dir = filepath.Join(p.Dir, g.name)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: build: %v\n%s", g.name, err, out)
		}
	}
}

// inputs are the files that go with the job: those of the program, and what was made of them.
func (g program) inputs(p *realpool.Pool) []string {
	var names []string
	entries, _ := os.ReadDir(filepath.Join(p.Dir, g.name)) // none without files
	for _, e := range entries {
		if _, source := g.files[e.Name()]; e.Type().IsRegular() && (!source || g.build == nil) {
			names = append(names, filepath.Join(g.name, e.Name()))
		}
	}
	return names
}

// run runs the program as a job that is moved so often, and gives its output.
func (g program) run(p *realpool.Pool, way string, moves int, suspended bool) (output string, err error) {
	name := g.name + "-" + strings.ReplaceAll(way, " ", "-")
	journal := filepath.Join(p.Journal, name)
	// The nonce is written outside of Skua: one that begins anew writes another.
	p.Script(name+".sh", fmt.Sprintf("od -An -N8 -tx1 /dev/urandom >>%s\n%s\n", journal, g.work))
	text := fmt.Sprintf("executable = %[1]s.sh\noutput = %[1]s.out\nerror = %[1]s.err\nlog = %[1]s.log\nrequest_memory = 500MB\n", name)
	if inputs := g.inputs(p); len(inputs) > 0 {
		text += "transfer_input_files = " + strings.Join(inputs, ", ") + "\n"
	}
	id := p.Submit(name+".sub", text+"queue\n") + ".0"
	events := func(kind string) int { return strings.Count("\n"+p.Read(name+".log"), "\n"+kind+" (") }
	ended := func() bool { return events("005")+events("012") > 0 }
	for n := range moves {
		p.Await(name+" runs", func() bool { return ended() || events("001") == n+1 && runsOn(p, id) > 0 })
		if ended() {
			return "", fmt.Errorf("it ended after %d of %d moves", n, moves)
		}
		if suspended {
			p.Must("skua", "suspend", id)
			p.Await(name+" stands still", func() bool { return realpool.Frozen(p.JobProcesses(id)) })
			p.Must("skua", "continue", id)
			p.Await(name+" goes on", func() bool { return ended() || !realpool.Frozen(p.JobProcesses(id)) })
		}
		if out, errs, code := p.Run("", "skua", "vacate", id); code != 0 {
			return "", fmt.Errorf("vacate: exit %d: %s%s", code, out, errs)
		}
		p.Await(name+" has left", func() bool { return ended() || events("004") == n+1 })
	}
	p.Run("", "skua", "wait", id, "--timeout", "10m") // its exit code is the job's
	p.Await(name+" has ended", ended)
	log := p.Read(name + ".log")
	nonces, err := os.ReadFile(journal)
	switch {
	case err != nil:
		return "", err
	case !strings.Contains(log, "return value 0"):
		return "", fmt.Errorf("it did not end well: %.500s\n%s", p.Read(name+".err"), log)
	case events("004") != moves:
		return "", fmt.Errorf("it left %d times, not %d:\n%s", events("004"), moves, log)
	case events("003") != moves:
		return "", fmt.Errorf("of its %d moves %d were by an image:\n%s", moves, events("003"), log)
	case strings.Count(string(nonces), "\n") != 1:
		return "", fmt.Errorf("it began %d times:\n%s", strings.Count(string(nonces), "\n"), log)
	}
	return p.Read(name + ".out"), nil
}
