package realpool_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/internal/realpool"
)

// TestDamagedImages has a job go on from its older image when the newest is corrupted, truncated, or has the content
// of another job's. It belongs to the matrix and runs with it.
func TestDamagedImages(t *testing.T) {
	if os.Getenv("SKUA_MATRIX") == "" {
		t.Skip("SKUA_MATRIX is not set")
	}
	can := needSandbox(t)
	if !can.Checkpoint {
		t.Fatal("jobs cannot be checkpointed here: ", can.CheckpointWhy)
	}
	p := realpool.Start(t, bin, realpool.Config{Agents: 1, Slots: 2, Lease: 60})
	p.Script("other", "while :; do sleep 0.1; done")
	other := p.Submit("other.sub", "executable = other\nlog = other.log\nqueue\n") + ".0"
	p.Await("the other job runs", func() bool { return runs(p, "other", 1) })
	nothing := blobs(t, p)
	var others map[string][]string
	for n := 2; len(others) == 0; n++ { // a job that has only just begun leaves without an image
		p.Must("skua", "vacate", other)
		p.Await("the other job runs again", func() bool { return runs(p, "other", n) })
		others = without(blobs(t, p), nothing)
	}

	const steps = 300
	id := submitStepper(t, p, steps, "0.1")
	started := 1
	vacate := func() (image map[string][]string) {
		t.Helper()
		stood := len(p.Lines("steps"))
		p.Await("the job makes steps", func() bool { return len(p.Lines("steps")) > stood+2 })
		before := blobs(t, p)
		p.Must("skua", "vacate", id)
		started++
		p.Await("the job runs again", func() bool { return runs(p, "steps", started) })
		return without(blobs(t, p), before)
	}
	vacate() // the older image of the first round
	for n, damage := range []struct {
		name string
		do   func([]byte) []byte
	}{
		{"corrupted", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }},
		{"truncated", func(b []byte) []byte { return b[:len(b)/2] }},
		{"swapped", func([]byte) []byte { return read(t, others[slices.Sorted(maps.Keys(others))[0]][0]) }},
	} {
		image := vacate()
		p.Must("skua", "hold", id)
		p.Await("nothing of the job runs", func() bool { return len(p.JobProcesses(id)) == 0 })
		for _, paths := range image {
			for _, path := range paths { // at the matchmaker, and in the agent's cache
				if err := os.WriteFile(path, damage.do(read(t, path)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		p.Must("skua", "release", id)
		started++
		p.AwaitFor(time.Minute, "the log says that the "+damage.name+" image cannot be used", func() bool {
			return strings.Count(p.Read("steps.log"), "cannot be used") == n+1
		})
	}
	p.Must("skua", "wait", id, "--timeout", "4m")
	if nonces, last, _, skipped := p.Steps("steps"); len(nonces) != 1 || last != steps || skipped != 0 {
		t.Errorf("the job began %d times, and took %d steps with %d left out", len(nonces), last, skipped)
	}
	checkCompletions(t, p, id)
	p.Must("skua", "rm", other)
}

// runs reports whether the job with that log runs for the n-th time.
func runs(p *realpool.Pool, name string, n int) bool {
	log := "\n" + p.Read(name+".log")
	return strings.Count(log, "\n001 (") == n
}

var blobName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// blobs lists the stored blobs of a pool, each with the places that have it.
func blobs(t *testing.T, p *realpool.Pool) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(p.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil && !os.IsNotExist(err) { // a job's directory may just go
			return err
		}
		if err == nil && e.Type().IsRegular() && blobName.MatchString(e.Name()) {
			found[e.Name()] = append(found[e.Name()], path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func without(all, some map[string][]string) map[string][]string {
	rest := maps.Clone(all)
	maps.DeleteFunc(rest, func(name string, _ []string) bool { _, in := some[name]; return in })
	return rest
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
