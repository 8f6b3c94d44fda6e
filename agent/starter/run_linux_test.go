package starter

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"skua/internal/job"
)

func TestRun(t *testing.T) {
	capable(t)
	s := newStarter(t, nil)
	i := open(t, s, "run")
	for _, tt := range []struct {
		name, script string
		code, signal int
		out          string
	}{
		{"succeeds", "echo hello", 0, 0, "hello\n"},
		{"exit code", "echo no >&2; exit 3", 3, 0, "no\n"},
		{"death by signal", "kill -SEGV $$", 0, int(unix.SIGSEGV), ""},
		{"default environment", "echo $PATH $HOME $TMPDIR; pwd; hostname", 0, 0, jobPath + " /scratch /tmp\n/scratch\nskua\n"},
		{"signals are not ignored", "trap 'echo caught; exit 4' TERM; kill -TERM $$", 4, 0, "caught\n"},
	} {
		t.Run(tt.name, func(t *testing.T) { // all in the same init, one after the other
			writeScratch(t, i, "out", "")
			runShell(t, i, tt.script)
			e := awaitExit(t, i)
			if e.Code != tt.code || e.Signal != tt.signal || e.Err != "" || e.Job != testJob {
				t.Errorf("the job ended with %+v, want code %d and signal %d", e, tt.code, tt.signal)
			}
			if got := readScratch(t, i, "out"); got != tt.out {
				t.Errorf("it wrote %q, want %q", got, tt.out)
			}
			saved, err := readExit(s.dir("run"))
			if err != nil || *saved != e {
				t.Errorf("on disk is %+v (%v), want %+v", saved, err, e)
			}
		})
	}
}

func TestStdio(t *testing.T) {
	capable(t)
	i := open(t, newStarter(t, nil), "stdio")
	writeScratch(t, i, "in", "question\n")
	writeScratch(t, i, "out", "before\n")
	run(t, i, JobSpec{Argv: []string{"sh", "-c", "cat; echo $GREETING; echo bad >&2"}, Env: []string{"GREETING=hi"}, Stdin: "in", Stdout: "out", Stderr: "err"})
	awaitExit(t, i)
	if got, want := readScratch(t, i, "out"), "before\nquestion\nhi\n"; got != want {
		t.Errorf("output is %q, want %q", got, want)
	}
	if got := readScratch(t, i, "err"); got != "bad\n" {
		t.Errorf("error output is %q", got)
	}
}

func TestRunRefuses(t *testing.T) {
	capable(t)
	i := open(t, newStarter(t, nil), "refuse")
	for name, text := range map[string]string{"text": "no program\n", "nopy": "#!/usr/bin/nosuchpy -u\n", "crlf": "#!/bin/sh\r\nexit 0\r\n"} {
		writeScratch(t, i, name, text)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(i.Scratch(), "link")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		spec JobSpec
		want string
	}{
		{"nothing", JobSpec{}, "nothing to execute"},
		{"no such program", JobSpec{Argv: []string{"frobnicate"}}, "no such program"},
		{"no such file", JobSpec{Argv: []string{"./frobnicate"}}, "no such program"},
		{"no program at all", JobSpec{Argv: []string{"./text"}}, "execute ./text: it is neither a program for Linux nor a script that begins with #!"},
		{"no interpreter", JobSpec{Argv: []string{"./nopy"}}, "execute ./nopy: its first line names /usr/bin/nosuchpy, which this machine does not have"},
		{"Windows line ends", JobSpec{Argv: []string{"./crlf"}}, "execute ./crlf: it was saved with Windows line ends"},
		{"output outside", JobSpec{Argv: []string{"true"}, Stdout: "../x"}, "within the scratch"},
		{"output through a link", JobSpec{Argv: []string{"true"}, Stdout: "link"}, "link"},
		{"input missing", JobSpec{Argv: []string{"true"}, Stdin: "nothing"}, "no such file"},
		{"zero byte", JobSpec{Argv: []string{"a\x00b"}}, "zero byte"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.spec.Job = testJob
			err := i.Run(t.Context(), tt.spec)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	if err := i.Run(t.Context(), JobSpec{Argv: []string{"true"}}); err == nil {
		t.Error("a job without an id was run")
	}
	runShell(t, i, "exit 5")
	if e := awaitExit(t, i); e.Code != 5 {
		t.Errorf("a job after the refused ones ended with %v", e)
	}
	runShell(t, i, "sleep 100")
	if err := i.Run(t.Context(), JobSpec{Job: testJob, Argv: []string{"true"}}); !errors.Is(err, ErrBusy) {
		t.Errorf("a second job beside the first gave %v, want ErrBusy", err)
	}
}

func TestUsage(t *testing.T) {
	capable(t)
	i := open(t, newStarter(t, nil), "usage")
	runShell(t, i, `i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done & wait; sleep 0.05`)
	u := awaitExit(t, i).Usage
	if u.User <= 0 || u.Wall < 50*time.Millisecond || u.MaxRSS < 100<<10 || u.Wall > patience {
		t.Errorf("usage is %+v", u)
	}
}

func TestSignal(t *testing.T) {
	capable(t)
	i := open(t, newStarter(t, nil), "signal")
	if err := i.Signal(int(unix.SIGTERM)); !errors.Is(err, ErrNoJob) {
		t.Errorf("without a job a signal gave %v, want ErrNoJob", err)
	}
	runShell(t, i, "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.01; done")
	await(t, "the job is up", func() bool { return contains(t, i, "up") })
	if err := i.Signal(int(unix.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	if e := awaitExit(t, i); e.Code != 9 || !contains(t, i, "bye") {
		t.Errorf("the job ended with %v and wrote %q", e, readScratch(t, i, "out"))
	}
}

// Everything that a job has started ends with it, and with Kill.
func TestNothingOutlivesTheJob(t *testing.T) {
	eachFreezer(t, func(t *testing.T, s *Starter) {
		const daemon = `(setsid sh -c 'sleep 1000 & setsid sleep 1001 & wait' & ) ; `
		t.Run("exit", func(t *testing.T) {
			i := open(t, s, "exit")
			pid := initPid(t, i)
			runShell(t, i, daemon+"sleep 0.02; exit 1")
			if e := awaitExit(t, i); e.Code != 1 {
				t.Errorf("the job ended with %v", e)
			}
			if left := jobPids(t, pid); len(left) > 0 {
				t.Errorf("processes %v outlive the job", left)
			}
		})
		t.Run("kill", func(t *testing.T) {
			i := open(t, s, "kill")
			pid := initPid(t, i)
			runShell(t, i, daemon+"echo up; sleep 1002")
			await(t, "four processes", func() bool { return len(jobPids(t, pid)) >= 4 })
			if err := i.Freeze(); err != nil {
				t.Fatal(err)
			}
			all := jobPids(t, pid)
			if err := i.Kill(); err != nil {
				t.Fatal(err)
			}
			for _, p := range append(all, pid) {
				if unix.Kill(p, 0) == nil {
					t.Errorf("process %d is alive", p)
				}
			}
			if e := awaitExit(t, i); e.Err == "" {
				t.Errorf("a killed claim's job ended with %+v", e)
			}
			if _, err := s.Adopt(t.Context(), "kill"); !errors.Is(err, ErrGone) {
				t.Errorf("adopting a killed claim gives %v, want ErrGone", err)
			}
		})
	})
}

func TestRemove(t *testing.T) {
	capable(t)
	s := newStarter(t, nil)
	i := open(t, s, "remove")
	pid := initPid(t, i)
	runShell(t, i, "mkdir -p a/b; chmod 0 a/b a; echo up; sleep 1000")
	await(t, "the job is up", func() bool { return contains(t, i, "up") })
	if claims, err := s.Claims(); err != nil || len(claims) != 1 || claims[0] != "remove" {
		t.Errorf("claims are %v (%v)", claims, err)
	}
	rec, err := readRecord(s.dir("remove"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing left
		if err := s.Remove("remove"); err != nil {
			t.Fatal(err)
		}
	}
	if unix.Kill(pid, 0) == nil {
		t.Error("the init is alive")
	}
	for _, p := range []string{s.dir("remove"), rec.Cgroup} {
		if _, err := os.Stat(p); err == nil {
			t.Errorf("%s is still there", p)
		}
	}
}

// What a job cannot see, and cannot do.
func TestSandbox(t *testing.T) {
	capable(t)
	s := newStarter(t, nil)
	i := open(t, s, "sandbox")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o666); err != nil {
		t.Fatal(err)
	}
	script := `
no() { if "$@" >/dev/null 2>&1; then echo "can: $*"; fi; }
for d in /home /root /run /var/lib /boot /srv /mnt ` + filepath.Dir(secret) + `; do no ls -d $d; done
no cat ` + secret + `
no cat /etc/shadow
no cat /etc/ssh/ssh_host_rsa_key
no ls /dev/sda /dev/kmsg /dev/mem
no ls /proc/` + "1/root/" + `
no sh -c 'echo x > /usr/x'
no sh -c 'echo x > /etc/x'
no sh -c 'echo x > /x'
no sh -c 'echo 0 > /proc/sys/kernel/ns_last_pid'
no mount -t tmpfs none /scratch
for s in KILL STOP QUIT TERM ABRT SEGV; do kill -$s 1 2>/dev/null; done
no chroot /
no hostname other
ls /.skua/cgroup
ls /proc | grep '^[0-9]' | sort -n | head -2 | tr '\n' ' '
grep -E 'NoNewPrivs|CapEff|CapPrm|CapInh|CapAmb' /proc/self/status | tr -s '\t \n' '   '
echo "nice $(nice) oom $(cat /proc/self/oom_score_adj) core $(ulimit -c)"
ls /proc/$$/fd > fds
echo done
`
	runShell(t, i, script)
	awaitExit(t, i)
	got := strings.Split(strings.TrimSpace(readScratch(t, i, "out")), "\n")
	// A thread of the init may have taken the job's first number.
	got[0] = regexp.MustCompile("^1 10[0-9][0-9] ").ReplaceAllString(got[0], "1 1000 ")
	want := []string{
		"1 1000 CapInh: 0000000000000000 CapPrm: 0000000000000000 CapEff: 0000000000000000 CapAmb: 0000000000000000 NoNewPrivs: 1 nice 19 oom 1000 core 0",
		"done",
	}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("the job sees\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// 10 is where the shell keeps what it has redirected.
	fds := strings.Fields(readScratch(t, i, "fds"))
	if fds = slices.DeleteFunc(fds, func(fd string) bool { return fd == "10" }); !slices.Equal(fds, []string{"0", "1", "2"}) {
		t.Errorf("the job has descriptors %v", fds)
	}
	t.Run("network", func(t *testing.T) {
		if _, err := os.Stat("/usr/bin/perl"); err != nil {
			t.Skip("there is no perl")
		}
		writeScratch(t, i, "out", "")
		runShell(t, i, `perl -MSocket -e 'socket(S,PF_INET,SOCK_STREAM,6);
print connect(S,pack_sockaddr_in(`+port+`,inet_aton("127.0.0.1"))) ? "reached\n" : "refused\n";
socket(L,PF_INET,SOCK_STREAM,6); bind(L,pack_sockaddr_in(0,inet_aton("127.0.0.1"))); listen(L,1); ($p)=unpack_sockaddr_in(getsockname(L));
socket(T,PF_INET,SOCK_STREAM,6); print connect(T,pack_sockaddr_in($p,inet_aton("127.0.0.1"))) ? "own\n" : "none\n"'`)
		awaitExit(t, i)
		if got := readScratch(t, i, "out"); got != "refused\nown\n" {
			t.Errorf("the job says %q", got)
		}
	})
}

func TestPythonRuns(t *testing.T) {
	capable(t)
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skip("there is no python3")
	}
	i := open(t, newStarter(t, nil), "python")
	run(t, i, JobSpec{Argv: []string{"python3", "-c", `
import ssl, socket, tempfile, multiprocessing, json, os
with tempfile.NamedTemporaryFile() as f: f.write(b"x")
with multiprocessing.Pool(2) as p: print(p.map(abs, [-1, -2]))
print(socket.gethostname(), os.path.expanduser("~"), socket.gethostbyname("localhost"))
`}, Stdout: "out", Stderr: "out"})
	e := awaitExit(t, i)
	if got, want := readScratch(t, i, "out"), "[1, 2]\nskua /scratch 127.0.0.1\n"; e.Code != 0 || got != want {
		t.Errorf("python ended with %v and wrote %q, want %q", e, got, want)
	}
}

// An agent that rests does without huge pages, and its jobs have them all the same.
func TestJobsMayHaveHugePages(t *testing.T) {
	if status, _ := os.ReadFile("/proc/self/status"); !bytes.Contains(status, []byte("THP_enabled:")) {
		t.Skip("this kernel does not tell whether a process may have huge pages")
	}
	if err := unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_THP_DISABLE, 0, 0, 0, 0)
	i := open(t, newStarter(t, nil), "huge")
	run(t, i, JobSpec{Argv: []string{"grep", "THP_enabled", "/proc/self/status"}, Stdout: "out"})
	awaitExit(t, i)
	if got, want := readScratch(t, i, "out"), "THP_enabled:\t1\n"; got != want {
		t.Errorf("a job sees %q, want %q", got, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	capable(t)
	s := newStarter(t, nil)
	for _, spec := range []ClaimSpec{
		{Claim: ""},
		{Claim: "../x"},
		{Claim: ".."},
		{Claim: "a/b"},
		{Claim: job.ClaimID(strings.Repeat("x", 65))},
		{Claim: "net", Network: "carrier pigeon"},
	} {
		if i, err := s.Open(t.Context(), spec); err == nil {
			i.Close()
			t.Errorf("%+v was opened", spec)
		}
	}
	open(t, s, "twice")
	if _, err := s.Open(t.Context(), ClaimSpec{Claim: "twice", Lease: time.Hour}); !errors.Is(err, os.ErrExist) {
		t.Errorf("opening a claim twice gives %v", err)
	}
	if _, err := s.Adopt(t.Context(), "twice"); !errors.Is(err, ErrBusy) {
		t.Errorf("a second agent beside the first gets %v, want ErrBusy", err)
	}
	if _, err := s.Adopt(t.Context(), "never"); !errors.Is(err, ErrGone) {
		t.Errorf("adopting a claim that never was gives %v, want ErrGone", err)
	}
}

func TestExitIsFoundByTheNextAgent(t *testing.T) {
	capable(t)
	s := newStarter(t, nil)
	i := open(t, s, "exit")
	runShell(t, i, "while [ ! -e stop ]; do sleep 0.01; done; exit 6")
	i.Close()
	writeScratch(t, i, "stop", "")
	path := filepath.Join(s.dir("exit"), stateName, exitFile)
	await(t, "the exit status is on disk", func() bool { _, err := os.Stat(path); return err == nil })
	for _, alive := range []bool{true, false} {
		j, err := s.Adopt(t.Context(), "exit")
		if err != nil {
			t.Fatal(err)
		}
		if e := awaitExit(t, j); e.Code != 6 || e.Job != testJob {
			t.Errorf("with the init alive: %v, the next agent finds %+v", alive, e)
		}
		if alive {
			if err := j.Kill(); err != nil {
				t.Fatal(err)
			}
		} else {
			if err := j.Run(withTimeout(t, patience), JobSpec{Job: testJob, Argv: []string{"true"}}); !errors.Is(err, ErrGone) {
				t.Errorf("another run with the init gone gives %v, want ErrGone", err)
			}
			if e := awaitExit(t, j); e.Code != 6 { // as before
				t.Errorf("after that its job seems to have ended with %+v", e)
			}
		}
		j.Close()
	}
}

// What is on disk of an earlier job is not taken for the end of the one with which an init has died.
func TestExitOfAnEarlierJob(t *testing.T) {
	capable(t)
	s := newStarter(t, nil)
	i := open(t, s, "earlier")
	run(t, i, JobSpec{Argv: []string{"sleep", "600"}})
	earlier := savedExit{Exit: Exit{Job: job.ID{Cluster: testJob.Cluster + 1}, Code: 6}, Boot: bootID()}
	if err := writeJSON(filepath.Join(s.dir("earlier"), stateName, exitFile), earlier); err != nil {
		t.Fatal(err)
	}
	if err := i.Kill(); err != nil {
		t.Fatal(err)
	}
	if e := awaitExit(t, i); e.Job != testJob || e.Code != 0 || e.Err == "" {
		t.Errorf("the job ended with %+v", e)
	}
}

func TestRecordsAreJSON(t *testing.T) {
	e := Exit{Job: testJob, Code: 3, Usage: Usage{User: time.Second}}
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var got Exit
	if err := json.Unmarshal(b, &got); err != nil || got != e {
		t.Errorf("%s reads as %+v (%v)", b, got, err)
	}
}

func BenchmarkOpen(b *testing.B) {
	capable(b)
	s := newStarter(b, nil)
	for b.Loop() {
		i, err := s.Open(b.Context(), ClaimSpec{Claim: "bench", Lease: time.Hour})
		if err != nil {
			b.Fatal(err)
		}
		i.Close()
		if err := s.Remove("bench"); err != nil {
			b.Fatal(err)
		}
	}
}

// A trivial job, from Run until its exit status is durable.
func BenchmarkRun(b *testing.B) {
	capable(b)
	i := open(b, newStarter(b, nil), "bench")
	for b.Loop() {
		if err := i.Run(b.Context(), JobSpec{Job: testJob, Argv: []string{"true"}}); err != nil {
			b.Fatal(err)
		}
		<-i.Done()
	}
}
