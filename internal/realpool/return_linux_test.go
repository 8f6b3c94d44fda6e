package realpool_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"skua/internal/desktest"
	"skua/internal/netlab"
	"skua/internal/realpool"
)

// hoarder is a job that holds so many bytes which cannot be compressed, and renews them all the time, so that each of
// its images must be sent whole. Like [realpool.Stepper] it appends its steps to a journal.
const hoarder = `exec python3 -c '
import os, sys, time
journal, steps, pause, size = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
nonce = os.urandom(8).hex()
held = {}
for i in range(1, steps + 1):
    if i % 20 == 1:
        for n in range(size >> 20): held[n] = os.urandom(1 << 20)
    with open(journal, "a") as f: f.write(f"{nonce} {i} {time.time()}\n")
    time.sleep(pause)
print(i, "steps")
' "$@"
`

// TestReturn has the owners of many machines come back within ten seconds, over a link that they share and that cannot
// carry the images of their jobs in the time that a job has to leave. A few of the machines are switched off before
// they have sent theirs. $SKUA_RETURN says how many machines there are; scripts/bench-return runs it. Its line for
// machines goes to standard output.
//
// What each job loses are the steps that its journal has twice. Where the machine stayed up there must be none; of a
// job whose machine was switched off, no more than fit between its newest image and the moment it stood still.
func TestReturn(t *testing.T) {
	machines, err := strconv.Atoi(cmp.Or(os.Getenv("SKUA_RETURN"), "0"))
	if err != nil || machines <= 0 {
		t.Skip("a measurement: SKUA_RETURN says of how many machines")
	}
	if err := netlab.Possible(); err != nil {
		t.Skip(err)
	}
	if can := needSandbox(t); !can.Checkpoint {
		t.Skip("this machine cannot checkpoint jobs: ", can.CheckpointWhy)
	}
	needProgram(t, "Xvfb", "python3")
	const (
		perDesk   = 6 // machines that one display stands for
		held      = 12 << 20
		steps     = 700
		pause     = 500 * time.Millisecond
		vacate    = 20 * time.Second
		least     = time.Minute // between two images
		within    = 10 * time.Second
		switchOff = 3 // machines
	)
	link := int64(100e6) * int64(machines) / 60 // as much for each as sixty have
	var desks []*desktest.Desk
	for range (machines + perDesk - 1) / perDesk {
		desk, err := desktest.X11(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(desk.Close)
		desks = append(desks, desk)
	}
	p := realpool.Start(t, bin, realpool.Config{
		Agents: machines, Lease: 120, Link: link,
		Policy: func(int) string {
			return fmt.Sprintf(`preset = "desktop"
[owner]
idle_after = "5s"
continue_after = "5s"
background_load = 1000.0
[limits]
memory = "200MB"
[vacate]
suspend_for = "2s"
max_vacate_time = "%v"
[checkpoints]
min_interval = "%v"
`, vacate, least)
		},
		Agent: func(n int) string { return fmt.Sprintf("displays = [%q]\nttys = false\n", desks[(n-1)/perDesk].Source) },
	})
	p.Script("job.sh", hoarder)
	cluster := p.Submit("job.sub", fmt.Sprintf(`executable = job.sh
arguments = %s/$(Process) %d %v %d
log = job.log
request_memory = 100MB
request_disk = 100MB
queue %d
`, p.Journal, steps, pause.Seconds(), held, machines))
	await(t, "there is an image of each job", func() bool { return len(newestImages(p, cluster)) == machines })

	// The owners come back, one display after another, and stay.
	returned := time.Now()
	stop, typing := make(chan struct{}), make(chan error, len(desks))
	for i, desk := range desks {
		at := time.Duration(i) * within / time.Duration(len(desks))
		go func() {
			select {
			case <-time.After(at):
			case <-stop:
			}
			for {
				if err := desk.Press(); err != nil {
					typing <- err
					return
				}
				select {
				case <-stop:
					typing <- nil
					return
				case <-time.After(300 * time.Millisecond):
				}
			}
		}()
	}
	leave := func() {
		close(stop)
		for range desks {
			if err := <-typing; err != nil {
				t.Error("type: ", err)
			}
		}
	}
	gone := func(n int) bool { return strings.Contains(p.Agents[n-1].Log(), "job is checkpointed") }
	await(t, "all jobs have been told to leave", func() bool {
		for n := 1; n <= machines; n++ {
			if !strings.Contains(p.Agents[n-1].Log(), "job leaves") {
				return false
			}
		}
		return true
	})
	await(t, "time to leave is over", func() bool { return time.Since(returned) > within+vacate })
	jobOf := map[int]int{} // machine to proc
	var off []int
	for n := machines; n > 0; n-- {
		jobOf[n] = procOn(t, p, n)
		if len(off) < switchOff && !gone(n) {
			p.PowerOff(n)
			off = append(off, n)
		}
	}
	newest := newestImages(p, cluster)
	unsent := 0
	for n := 1; n <= machines; n++ {
		if !gone(n) {
			unsent++
		}
	}
	await(t, "all images have been sent", func() bool {
		for n := 1; n <= machines; n++ {
			if !slices.Contains(off, n) && !gone(n) {
				p.Agents[n-1].MustRun()
				return false
			}
		}
		return true
	})
	sent := time.Since(returned)
	before := map[int]int{}
	for proc := range machines {
		_, before[proc], _, _ = p.Steps(strconv.Itoa(proc))
	}
	leave()
	for _, n := range off {
		p.RestartAgent(n)
	}
	await(t, "all jobs are done", func() bool {
		_, _, code := p.Run("", "skua", "wait", cluster, "--timeout", "1m")
		return code == 0
	})

	offJob := map[int]bool{}
	for _, n := range off {
		offJob[jobOf[n]] = true
	}
	ok, done, untouched := true, 0, 0
	var lostMost, interval time.Duration
	fail := func(format string, args ...any) {
		ok = false
		t.Errorf(format, args...)
	}
	for proc := range machines {
		name := strconv.Itoa(proc)
		nonces, last, repeated, skipped := p.Steps(name)
		lost := time.Duration(repeated) * pause
		stood := stoodStill(p, name, before[proc])
		most := stood.Sub(newest[proc]) + pause // the one in which it stood still may come again
		if len(nonces) == 1 && last == steps && skipped == 0 && last > before[proc] {
			done++
		} else {
			fail("job %s.%s began %d times, made %d steps, %d before its owner came, and left %d out", cluster, name, len(nonces), last, before[proc], skipped)
		}
		switch {
		case offJob[proc] && lost > max(most, 0):
			fail("job %s.%s, whose machine was switched off, lost %v of the %v since its newest image", cluster, name, lost, most)
		case !offJob[proc] && lost > 0:
			fail("job %s.%s lost %v, though its machine stayed up", cluster, name, lost)
		}
		if offJob[proc] {
			interval = max(interval, most)
		}
		if lost == 0 {
			untouched++ // the image of a machine that was switched off may just have been there
		}
		lostMost = max(lostMost, lost)
	}
	if unsent < len(off) || len(off) == 0 || sent < within+vacate || untouched == machines {
		fail("%d images were not sent in time, %d machines switched off: nothing is tested", unsent, len(off))
	}
	fmt.Printf("after %v %d of %d images had not been sent, and all %.0f s after the first owner came; %d machines were switched off before\n",
		within+vacate, unsent, machines, sent.Seconds(), len(off))
	fmt.Printf("return: machines=%d jobs=%d lost_max_s=%.1f interval_s=%.1f untouched=%d switched_off=%d sent_s=%.0f vacate_s=%.0f link_mbit=%d ok=%v\n",
		machines, done, lostMost.Seconds(), interval.Seconds(), untouched, len(off), sent.Seconds(), vacate.Seconds(), link/1e6, ok)
}

// await looks once a second: with so many agents on two processors, looking costs them something.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Minute); !ok(); time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatal("still not: ", what)
		}
	}
}

// newestImages says when the newest image of each job was made.
func newestImages(p *realpool.Pool, cluster string) map[int]time.Time {
	all := map[int]time.Time{}
	for line := range strings.Lines(p.Must("skua", "q", cluster, "-af", "ProcId", "LastCkptTime")) {
		var proc int
		var at int64
		if _, err := fmt.Sscan(line, &proc, &at); err == nil {
			all[proc] = time.Unix(at, 0)
		}
	}
	return all
}

var startOfJob = regexp.MustCompile(`msg="job starts" .*job=\d+\.(\d+)`)

// procOn is the job of the cluster that the machine has been given.
func procOn(t *testing.T, p *realpool.Pool, n int) int {
	t.Helper()
	all := startOfJob.FindAllStringSubmatch(p.Agents[n-1].Log(), -1)
	if len(all) == 0 {
		t.Fatalf("no job has started on machine %d", n)
	}
	proc, err := strconv.Atoi(all[len(all)-1][1])
	if err != nil {
		t.Fatal(err)
	}
	return proc
}

// stoodStill is when a job made the last of so many steps for the first time.
func stoodStill(p *realpool.Pool, journal string, step int) time.Time {
	for _, l := range p.Lines(filepath.Base(journal)) {
		if l.What == strconv.Itoa(step) {
			return l.At
		}
	}
	return time.Time{}
}
