package startd

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/internal/job"
	"skua/internal/quantity"
	"skua/internal/wire"
)

// A job that did not make what it declared is held, and its user sees what it said.
func TestMissingOutput(t *testing.T) {
	d := newDesk(t, nil)
	done := d.run("echo working; echo trouble >&2; echo x > partial; exit 3", `TransferOutput = "result"`)
	const want = "the program ended with exit code 3 and had not made result; it left partial"
	if done.Outcome != wire.Hold || done.Code != job.HoldTransferOutput || done.SubCode != 2 || !strings.HasSuffix(done.Reason, want) || done.Result == nil || done.Result.ExitCode != 3 {
		t.Errorf("the report is %+v, want a hold that says %q", done, want)
	}
	if out, errs := d.file(done.Outputs, job.StdoutFile), d.file(done.Outputs, job.StderrFile); out != "working\n" || errs != "trouble\n" || len(done.Outputs) != 2 {
		t.Errorf("the streams are %q and %q of %v", out, errs, done.Outputs)
	}
}

func TestTransfers(t *testing.T) {
	d := newDesk(t, nil)
	const script = "echo out; echo err >&2; head -c 3000000 /dev/zero > large; echo small > small; exit $CODE"
	for _, tt := range []struct {
		name, attributes string
		code             int
		outcome          wire.Outcome
		holdCode         int
		reason           string
		files            []string
	}{
		{"all that is new", ``, 0, wire.Exited, 0, "", []string{job.StdoutFile, job.StderrFile, "large", "small"}},
		{"no streams", "TransferOut = false\nTransferErr = false\nTransferOutput = \"small\"", 0, wire.Exited, 0, "", []string{"small"}},
		{"only after success", `WhenToTransferOutput = "ON_SUCCESS"`, 4, wire.Exited, 0, "", []string{job.StdoutFile, job.StderrFile}},
		{
			"after what counts as success", "WhenToTransferOutput = \"ON_SUCCESS\"\nJobSuccessExitCode = 4\nTransferOutput = \"small\"", 4,
			wire.Exited, 0, "",
			[]string{job.StdoutFile, job.StderrFile, "small"},
		},
		{
			"more than it said", "MaxTransferOutputMB = 2", 0, wire.Hold, job.HoldOutputTooLarge,
			"the job's outputs are 3.0 MB, and its max_transfer_output_mb allows 2.1 MB",
			[]string{job.StdoutFile, job.StderrFile},
		},
		{"not more than it said", "MaxTransferOutputMB = 3\nTransferOutput = \"large\"", 0, wire.Exited, 0, "", []string{job.StdoutFile, job.StderrFile, "large"}},
		{"a program that is not there", "Cmd = \"frobnicate\"", 0, wire.Hold, job.HoldStartFailed, "the job cannot be started: execute frobnicate: no such program", []string{job.StdoutFile, job.StderrFile}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			done := d.run(strings.ReplaceAll(script, "$CODE", fmt.Sprint(tt.code)), tt.attributes)
			files := done.Outputs
			if done.Result != nil {
				files = done.Result.Outputs
			}
			var names []string
			for _, f := range files {
				names = append(names, f.Name)
			}
			if done.Outcome != tt.outcome || done.Code != tt.holdCode || !strings.Contains(done.Reason, tt.reason) || !slices.Equal(names, tt.files) {
				t.Errorf("the report is %+v, files %v\nwant %v, code %d, %q and files %v", done, names, tt.outcome, tt.holdCode, tt.reason, tt.files)
			}
		})
	}
}

// What a job finds around it is what HTCondor's jobs find.
func TestSurroundings(t *testing.T) {
	d := newDesk(t, nil)
	done := d.run(`echo $_CONDOR_SLOT $OMP_NUM_THREADS $BATCH_SYSTEM $SKUA_JOB_ID $_CONDOR_SCRATCH_DIR; grep -c "^Cmd = " $_CONDOR_JOB_AD; grep "^Name = " $_CONDOR_MACHINE_AD`,
		"RequestCpus = 3\n")
	if done.Result == nil {
		t.Fatalf("the report is %+v", done)
	}
	want := fmt.Sprintf("slot1 3 HTCondor %v /scratch\n1\nName = \"slot1@desk\"\n", done.Job)
	if got := d.file(done.Result.Outputs, job.StdoutFile); got != want {
		t.Errorf("the job sees\n%s\nwant\n%s", got, want)
	}
	if len(done.Result.Outputs) != 2 {
		t.Errorf("back came %v", done.Result.Outputs)
	}
}

// A job whose files are not transferred works where they are, if the machine has that.
func TestSharedFileSystem(t *testing.T) {
	shared := t.TempDir()
	for dir := shared; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777); err != nil { // jobs run under ids of their own
			t.Fatal(err)
		}
	}
	d := newDesk(t, func(c *Config) { c.Policy.Shared = []string{shared, filepath.Join(shared, "missing")} })
	work := filepath.Join(shared, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(work, 0o777); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(work, "in.txt"), "question\n")
	if err := os.Chmod(filepath.Join(work, "in.txt"), 0o644); err != nil {
		t.Fatal(err)
	}
	done := d.run("pwd; cat; echo made > made.txt; echo junk > $_CONDOR_SCRATCH_DIR/junk",
		fmt.Sprintf("ShouldTransferFiles = \"NO\"\nIwd = %q\nIn = \"in.txt\"", work))
	if done.Result == nil {
		t.Fatalf("the report is %+v", done)
	}
	if got, want := d.file(done.Result.Outputs, job.StdoutFile), work+"\nquestion\n"; got != want || len(done.Result.Outputs) != 2 {
		t.Errorf("it wrote %q, want %q; back came %v", got, want, done.Result.Outputs)
	}
	if made, err := os.ReadFile(filepath.Join(work, "made.txt")); err != nil || string(made) != "made\n" {
		t.Errorf("in its directory is %q (%v)", made, err)
	}
	done = d.run("pwd", "ShouldTransferFiles = \"NO\"\nIwd = \"/home/ada/work\"")
	if done.Outcome != wire.Hold || done.Code != job.HoldNoSharedFS || !strings.Contains(done.Reason, "/home/ada/work is in no file system that desk shares") {
		t.Errorf("the report is %+v", done)
	}
}

// A pause of its user's outlives the agent, and ends when the user says so.
func TestSuspendedByItsUser(t *testing.T) {
	d := newDesk(t, nil)
	ref := d.offer("i=0; while [ ! -e stop ]; do i=$((i+1)); echo $i; sleep 0.02; done", "")
	d.prints(ref, "3\n")
	d.control(ref, wire.Control{Do: wire.SuspendClaim})
	d.awaitPaused(wire.PausedByUser)
	before := d.peek(ref, wire.Peek{File: job.StdoutFile}).Size
	d.stop()
	d.start()
	d.awaitPaused(wire.PausedByUser)
	if now := d.peek(ref, wire.Peek{File: job.StdoutFile}).Size; now != before {
		t.Errorf("the suspended job went on from %d bytes to %d", before, now)
	}
	d.control(ref, wire.Control{Do: wire.ContinueClaim})
	d.awaitPaused("")
	d.await("the job goes on", func() bool { return d.peek(ref, wire.Peek{File: job.StdoutFile}).Size > before })
	d.control(ref, wire.Control{Do: wire.EvictClaim})
	if done := d.end(ref); done.Outcome != wire.Evicted || done.Usage.Wall == 0 {
		t.Errorf("the report is %+v", done)
	}
}

// awaitPaused waits for the next renewal that says so.
func (d *desk) awaitPaused(why string) {
	d.t.Helper()
	d.mu.Lock()
	from := len(d.renews)
	d.mu.Unlock()
	d.await(fmt.Sprintf("a renewal says %q", why), func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return slices.ContainsFunc(d.renews[from:], func(r wire.Renew) bool { return r.Paused == why })
	})
}

// A grant repeats what a control that was missed has asked for.
func TestGrantsRepeatWishes(t *testing.T) {
	d := newDesk(t, nil)
	ref := d.offer("echo up; sleep 1000", "")
	d.prints(ref, "up")
	d.mu.Lock()
	d.wish = wire.SuspendClaim
	d.mu.Unlock()
	d.awaitPaused(wire.PausedByUser)
	d.mu.Lock()
	d.wish = wire.EvictClaim
	d.mu.Unlock()
	if done := d.end(ref); done.Outcome != wire.Evicted {
		t.Errorf("the report is %+v", done)
	}
}

// A job that is removed or held hears of it first if it wants to.
func TestFarewell(t *testing.T) {
	const script = `trap "echo bye-int >> /scratch/log; sleep 0.1; echo ended >> /scratch/log; exit 5" INT
trap "echo bye-usr1 >> /scratch/log; while :; do sleep 0.05; done" USR1
echo up; while :; do sleep 0.05; done`
	for _, tt := range []struct {
		name, attributes string
		cause            wire.Cause
		log              string
	}{
		{"removed without ado", ``, wire.ForRemove, ""},
		{"removed with its signal", `RemoveKillSig = "SIGINT"`, wire.ForRemove, "bye-int ended"},
		{"removed gracefully", "WantGracefulRemoval = true\nKillSig = \"SIGINT\"", wire.ForRemove, "bye-int ended"},
		{"held without ado", `RemoveKillSig = "SIGINT"`, wire.ForHold, ""},
		{"held with its signal", `HoldKillSig = "SIGINT"`, wire.ForHold, "bye-int ended"},
		{"one that does not go", "HoldKillSig = \"SIGUSR1\"\nJobMaxVacateTime = 1", wire.ForHold, "bye-usr1"},
		{"an older matchmaker does not say why", `RemoveKillSig = "SIGINT"`, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, nil)
			ref := d.offer(script, tt.attributes)
			d.prints(ref, "up")
			seen := make(chan string, 1)
			in := *d.daemon.keepers[0].tenant.running.Load()
			go func() {
				<-in.Done()
				log, _ := os.ReadFile(filepath.Join(in.Scratch(), "log"))
				seen <- string(log)
			}()
			d.control(ref, wire.Control{Do: wire.KillClaim, For: tt.cause})
			if got := strings.Join(strings.Fields(<-seen), " "); got != tt.log {
				t.Errorf("the job wrote %q, want %q", got, tt.log)
			}
			d.await("the slot is free", func() bool { return d.daemon.keepers[0].state().String() == "Unclaimed/Idle" })
		})
	}
}

// A job that cannot be checkpointed is asked to leave if it wants that, and takes with it what it has made
// if it wants that.
func TestLeavesWithItsFiles(t *testing.T) {
	d := newDesk(t, nil)
	const script = `trap "echo saved $n > state; exit 0" TERM
n=$(cat state 2>/dev/null | wc -l); n=$((n+1)); echo run $n; echo $n >> runs; echo junk > other
if [ $n = 2 ]; then exit 0; fi
while :; do sleep 0.02; done`
	ref := d.offer(script, "WhenToTransferOutput = \"ON_EXIT_OR_EVICT\"\nTransferOutput = \"state, runs\"\nEraseOutputAndErrorOnRestart = false")
	d.prints(ref, "run 1")
	d.mu.Lock()
	d.loses = 1 // what the matchmaker has lost of it is sent again
	d.mu.Unlock()
	d.control(ref, wire.Control{Do: wire.VacateClaim})
	done := d.end(ref)
	if done.Outcome != wire.Evicted || strings.Contains(done.Reason, "no checkpoint") || len(d.ckpts) != 2 || d.ckpts[1].Image.Kind != job.FileImage {
		t.Fatalf("the report is %+v after %+v", done, d.ckpts)
	}
	again := d.end(d.offer(script, "WhenToTransferOutput = \"ON_EXIT_OR_EVICT\"\nTransferOutput = \"state, runs\"", *d.ckpts[1].Image))
	if again.Result == nil {
		t.Fatalf("the report is %+v", again)
	}
	out, runs := d.file(again.Result.Outputs, job.StdoutFile), d.file(again.Result.Outputs, "runs")
	if out != "run 1\nrun 2\n" || runs != "1\n2\n" {
		t.Errorf("the second run wrote %q after %q", out, runs)
	}
	if again.Usage.Fetched == 0 || done.Usage.Sent == 0 {
		t.Errorf("moved were %d and %d bytes", done.Usage.Sent, again.Usage.Fetched)
	}
}

// What a job uses is told while it runs, and at its end.
func TestUsageIsTold(t *testing.T) {
	d := newDesk(t, nil)
	ref := d.offer("head -c 5000000 /dev/zero > data; echo made; i=0; while [ ! -e stop ]; do i=$((i+1)); done", "TransferOutput = \"data\"")
	d.prints(ref, "made")
	d.await("a renewal tells what it uses", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return slices.ContainsFunc(d.renews, func(r wire.Renew) bool { return r.Usage.UserCPU > 0 && r.Usage.Wall > 0 && r.Usage.MaxRSS > 0 })
	})
	d.control(ref, wire.Control{Do: wire.EvictClaim})
	if u := d.end(ref).Usage; u.UserCPU <= 0 || u.MaxDisk < 5_000_000 {
		t.Errorf("its usage is %+v", u)
	}
	done := d.run("head -c 5000000 /dev/zero > data", "TransferOutput = \"data\"")
	if u := done.Usage; u.MaxDisk < 5_000_000 || u.Sent < 5_000_000 || done.Result == nil || done.Result.Usage != u {
		t.Errorf("its usage is %+v in %+v", u, done)
	}
}

// A job that saves its state and is started again has used what all its runs have.
func TestUsageOfAllRuns(t *testing.T) {
	d := newDesk(t, nil)
	done := d.run("sleep 0.2; if [ -e state ]; then exit 0; fi; echo > state; exit 85", "SuccessCheckpointExitCode = 85")
	if done.Result == nil || done.Result.ExitCode != 0 || len(d.ckpts) != 1 || done.Usage.Wall < 400*time.Millisecond {
		t.Errorf("the report is %+v after %d checkpoints", done, len(d.ckpts))
	}
}

// A job that takes more than its slot has is held, with what it used and what it may.
func TestOverItsLimits(t *testing.T) {
	const mem = `exec python3 -c "
import time
x = bytearray()
for i in range(60): x += bytes([1]) * (1 << 20)
print(\"full\", flush=True)
time.sleep(1000)"`
	d := newDesk(t, func(c *Config) {
		c.Policy.Memory, c.Policy.Disk = quantity.ByteShare{Bytes: 40 << 20}, quantity.ByteShare{Bytes: 8 << 20}
		c.MeasureEach = 50 * time.Millisecond
	})
	done := d.run(mem, "")
	if done.Outcome != wire.Hold || done.Code != job.HoldOutOfResources || !strings.Contains(done.Reason, "of memory, and slot1@desk allows 41.9 MB") ||
		done.Usage.MaxRSS < 40<<20 {
		t.Errorf("the report is %+v", done)
	}
	done = d.run("echo begun; head -c 20000000 /dev/zero > data; sleep 1000", "")
	if done.Outcome != wire.Hold || done.Code != job.HoldOutOfResources || done.SubCode != job.HoldOutOfDisk ||
		!strings.Contains(done.Reason, "MB of disk for its files, and slot1@desk allows 8.4 MB") || d.file(done.Outputs, job.StdoutFile) != "begun\n" {
		t.Errorf("the report is %+v", done)
	}
}

// Inputs that are named by URLs are fetched by the machine.
func TestURLInputs(t *testing.T) {
	content := strings.Repeat("0123456789", 100_000)
	cuts := 0
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/data/good.txt":
			fmt.Fprint(w, content)
		case "/cut.txt": // the first answers end in the middle
			w.Header().Set("ETag", `"one"`)
			if cuts++; cuts <= 2 {
				if cuts == 2 && r.Header.Get("If-Range") != `"one"` {
					t.Errorf("the second request has the headers %v", r.Header)
				}
				w.Header().Set("Content-Length", fmt.Sprint(len(content)))
				fmt.Fprint(w, content[:1000])
				return
			}
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
		case "/away":
			http.Redirect(w, r, "/data/good.txt", http.StatusFound)
		case "/busy":
			http.Error(w, "busy", http.StatusServiceUnavailable)
		default:
			http.NotFound(w, r)
		}
	}))
	defer web.Close()
	d := newDesk(t, nil)
	for _, tt := range []struct {
		name, urls, attributes string
		code                   int
		want                   string // in the reason or, without one, of the output
	}{
		{"a file", web.URL + "/data/good.txt?token=secret", "", 0, "1000000 good.txt"},
		{"cut twice", web.URL + "/cut.txt", "", 0, "1000000 cut.txt"},
		{"through a redirection", web.URL + "/away", "", 0, "1000000 away"},
		{"one that is not there", web.URL + "/none", "", job.HoldTransferInput, "/none cannot be fetched: the server answered 404 Not Found"},
		{"a secret is not told", web.URL + "/none?token=secret", "", job.HoldTransferInput, "/none?... cannot be fetched"},
		{"too large", web.URL + "/data/good.txt", "MaxTransferInputMB = 0.5", job.HoldInputTooLarge, "more than 524.3 kB, and its max_transfer_input_mb allows 524.3 kB"},
		{"another kind", "s3://bucket/key", "", job.HoldTransferInput, "s3://bucket/key cannot be fetched: machines fetch http and https only"},
		{"no file", web.URL + "/", "", job.HoldTransferInput, "it names no file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			done := d.run("wc -c *", fmt.Sprintf("TransferInput = %q\nTransferOutput = \"\"\n%s", tt.urls, tt.attributes))
			if tt.code != 0 {
				if strings.Contains(tt.want, "404") && done.SubCode != http.StatusNotFound {
					t.Errorf("the subcode is %d", done.SubCode)
				}
				if done.Outcome != wire.Hold || done.Code != tt.code || !strings.Contains(done.Reason, tt.want) || strings.Contains(done.Reason, "secret") {
					t.Errorf("the report is %+v, want a hold with code %d and %q", done, tt.code, tt.want)
				}
				return
			}
			if done.Result == nil || !strings.Contains(d.file(done.Result.Outputs, job.StdoutFile), tt.want) || done.Usage.Fetched != 1_000_000 {
				t.Errorf("the report is %+v with %q", done, d.file(done.Result.Outputs, job.StdoutFile))
			}
		})
	}
}
