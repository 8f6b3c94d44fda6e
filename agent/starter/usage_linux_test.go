package starter

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// What a job uses can be seen while it runs, memory that its processes share counted once when it
// matters.
func TestLook(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	eachFreezer(t, func(t *testing.T, s *Starter) {
		i := open(t, s, "look")
		if _, err := i.Look(t.Context(), 0); !errors.Is(err, ErrNoJob) {
			t.Errorf("without a job a look gives %v, want ErrNoJob", err)
		}
		run(t, i, JobSpec{Argv: []string{"python3", "-c", `import os
x = bytearray(64 << 20)
for i in range(0, len(x), 4096): x[i] = 1
while os.times().user < 0.05: pass
os.fork() and os.fork()
open("ready" + str(os.getpid()), "w").close()
import time
time.sleep(1000)`}, Stdout: "out", Stderr: "out"})
		const shared, many = 64 << 20, 1 << 40
		var r Reading
		await(t, "three processes with 64 MiB", func() bool {
			var err error
			if r, err = i.Look(t.Context(), many); err != nil {
				t.Fatal(err)
			}
			return r.Memory >= 3*shared
		})
		if r.Used.User < 50*time.Millisecond || r.Used.Wall < r.Used.User || r.Used.MaxRSS < shared {
			t.Errorf("usage is %+v", r.Used)
		}
		if r, err := i.Look(t.Context(), shared); err != nil || r.Memory < shared || r.Memory > 2*shared {
			t.Errorf("counted exactly it is %d bytes (%v), want little more than %d", r.Memory, err, shared)
		}
		if err := i.Freeze(); err != nil {
			t.Fatal(err)
		}
		if r, err := i.Look(t.Context(), many); err != nil || r.Memory < shared {
			t.Errorf("of a frozen job: %+v (%v)", r, err)
		}
	})
}

func TestParseSizes(t *testing.T) {
	const status = "Name:\tx\nVmHWM:\t    3304 kB\nRssAnon:\t 100 kB\nRssShmem:\tmany kB\nRssAnonym: 5 kB\n"
	got := parseSizes([]byte(status), "VmHWM", "RssAnon", "RssShmem", "Pss")
	if len(got) != 2 || got["VmHWM"] != 3304<<10 || got["RssAnon"] != 100<<10 {
		t.Errorf("sizes are %v", got)
	}
}

// A job has the limits that it asks for.
func TestOwnLimits(t *testing.T) {
	capable(t)
	i := open(t, newStarter(t, nil), "limits")
	for _, tt := range []struct {
		name        string
		core, stack int64
		want        string
	}{
		{"none", 0, 0, "0 0"},
		{"a core file, and a small stack", 1 << 20, 1 << 20, "2048 2048 1024"},
		{"a core file of any size", -1, 0, "unlimited unlimited"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script := "ulimit -Sc; ulimit -Hc"
			if tt.stack > 0 {
				script += "; ulimit -Ss"
			}
			writeScratch(t, i, "out", "")
			run(t, i, JobSpec{Argv: []string{"/bin/sh", "-c", script}, Stdout: "out", Core: tt.core, Stack: tt.stack})
			awaitExit(t, i)
			if got := strings.Join(strings.Fields(readScratch(t, i, "out")), " "); got != tt.want {
				t.Errorf("the limits are %q, want %q", got, tt.want)
			}
		})
	}
}

// What a look at a running job costs its init.
func BenchmarkLook(b *testing.B) {
	capable(b)
	for _, processes := range []int{4, 200} {
		b.Run(fmt.Sprint(processes, "processes"), func(b *testing.B) {
			i := open(b, newStarter(b, nil), "bench")
			runShell(b, i, fmt.Sprintf("i=1; while [ $i -lt %d ]; do sleep 1000 & i=$((i+1)); done; wait", processes))
			await(b, "all are there", func() bool {
				r, err := i.Look(b.Context(), 1<<40)
				return err == nil && r.Pids == processes
			})
			for b.Loop() {
				if _, err := i.Look(b.Context(), 1<<40); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
