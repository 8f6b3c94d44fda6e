package realpool_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"skua/internal/realpool"
)

// start starts a pool of these programs.
func start(t *testing.T, cfg realpool.Config) *realpool.Pool {
	t.Helper()
	needSandbox(t)
	return realpool.Start(t, bin, cfg)
}

// The shell that submitted is gone; output and log appear all the same.
func TestOutputsFindTheirWayHome(t *testing.T) {
	p := start(t, realpool.Config{Agents: 1})
	p.Script("work/hello", `echo "hello from $1"; echo trouble >&2; echo made > made.txt`)
	p.Write("work/hello.sub", `executable = hello
arguments = the-job
output = out.txt
error = err.txt
log = hello.log
queue
`)
	shell := exec.Command("sh", "-c", `"$0" submit hello.sub && echo submitted && sleep 1000`, filepath.Join(bin, "skua"))
	shell.Dir = filepath.Join(p.Dir, "work")
	shell.Env = append(shell.Environ(), "SKUA_HOME="+filepath.Join(p.Dir, "home"))
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	said, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	var text string
	for !strings.HasSuffix(text, "\nsubmitted\n") {
		n, err := said.Read(buf)
		if text += string(buf[:n]); err != nil {
			t.Fatalf("submit said %q: %v", text, err)
		}
	}
	if err := syscall.Kill(-shell.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = shell.Wait() // it was killed

	for name, want := range map[string]string{
		"work/out.txt": "hello from the-job\n", "work/err.txt": "trouble\n", "work/made.txt": "made\n",
	} {
		p.Await(name+" is there", func() bool { return p.Read(name) != "" })
		if got := p.Read(name); got != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
	p.Await("the log tells the end", func() bool { return strings.Contains(p.Read("work/hello.log"), "005 (") })
	for _, event := range []string{"000 (", "001 ("} {
		if !strings.Contains(p.Read("work/hello.log"), event) {
			t.Errorf("event %s...) is missing from the log:\n%s", event, p.Read("work/hello.log"))
		}
	}
}

func TestExitCode(t *testing.T) {
	p := start(t, realpool.Config{Agents: 1})
	p.Script("three", "exit 3")
	cluster := p.Submit("three.sub", "executable = three\nlog = three.log\nqueue\n")
	if out, errs, code := p.Run("", "skua", "wait", cluster, "--timeout", "4m"); code != 4 {
		t.Errorf("wait: exit %d, want 4\n%s%s", code, out, errs)
	}
	out := p.Must("skua", "history")
	var found bool
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		found = found || len(f) > 0 && f[0] == cluster+".0" && strings.Contains(line, "3")
	}
	if !found {
		t.Errorf("history does not show the exit code of %s.0:\n%s", cluster, out)
	}
	if long := p.Must("skua", "history", "--json"); !strings.Contains(long, `"ExitCode": 3`) {
		t.Errorf("history --json does not have the exit code:\n%s", long)
	}
	if !strings.Contains(p.Read("three.log"), "return value 3") {
		t.Errorf("the log does not have the exit code:\n%s", p.Read("three.log"))
	}
}

func TestBadSubmits(t *testing.T) {
	p := start(t, realpool.Config{})
	p.Script("here", "true")
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"missing executable", "executable = nowhere\nqueue\n", []string{"job.sub:1", "nowhere"}},
		{"missing input", "executable = here\ntransfer_input_files = absent.dat\nqueue\n", []string{"job.sub:2", "absent.dat"}},
		{"misspelt command", "executable = here\nrequst_memory = 1GB\nqueue\n", []string{"job.sub:2", "requst_memory", "request_memory"}},
		{"bad expression", "executable = here\nrequirements = (Memory >\nqueue\n", []string{"job.sub:2"}},
		{"bad queue", "executable = here\nqueue x y z\n", []string{"job.sub:2"}},
		{"no queue", "executable = here\n", []string{"job.sub", "queue"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p.Write("job.sub", tt.text)
			out, errs, code := p.Run("", "skua", "submit", "job.sub")
			if code == 0 || !strings.HasPrefix(errs, "skua: ") {
				t.Errorf("exit %d\n%s%s", code, out, errs)
			}
			for _, want := range tt.want {
				if !strings.Contains(errs, want) {
					t.Errorf("%q does not name %s", errs, want)
				}
			}
		})
	}
	if out := p.Must("skua", "q"); !strings.Contains(out, "0 jobs") {
		t.Errorf("something was queued:\n%s", out)
	}
}

func TestNoMachineMatches(t *testing.T) {
	p := start(t, realpool.Config{Agents: 1})
	p.Script("here", "true")
	cluster := p.Submit("big.sub", "executable = here\nrequest_memory = 900TB\nqueue\n")
	var out string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("q said:\n%s", out)
		}
	})
	p.Await("q says why the job waits", func() bool {
		out = p.Must("skua", "q")
		return strings.Contains(out, cluster+".0 waiting:") && strings.Contains(out, "no machine has enough memory")
	})
	p.Matchmaker.MustRun()
	p.Agents[0].MustRun()
}

func TestBadConfigurations(t *testing.T) {
	p := realpool.New(t, bin)
	p.Write("typo.toml", "name = \"desk\"\nslotz = 3\n")
	p.Write("broken.toml", "name = \"desk\nslots = 3\n")
	p.Write("policy.toml", "preset = \"desktop\"\n[owner]\nidle_after = \"soon\"\n")
	p.Write("badexpr.toml", "[expressions]\nSTART = '(KeyboardIdle >'\n")
	p.Write("mm.toml", "data = \"/nowhere\"\n[leases]\nleasse = \"10s\"\n")
	p.Write("stranger.toml", "name = \"desk\"\ndir = "+`"`+filepath.Join(p.Dir, "state")+`"`+"\n")
	for _, tt := range []struct {
		args string
		code int
		want []string
	}{
		{"skua-agent --config typo.toml run", 1, []string{"typo.toml:2", "slotz", `"slots"`}},
		{"skua-agent --config broken.toml run", 1, []string{"broken.toml:1"}},
		{"skua-agent --config absent.toml run", 1, []string{"absent.toml"}},
		{"skua-agent --config stranger.toml run", 1, []string{"has not joined a pool", "hint: "}},
		{"skua-agent --config stranger.toml join skua-agent-nonsense", 1, []string{"token", "hint: "}},
		{"skua-agent policy check policy.toml", 1, []string{"policy.toml:3", "idle_after"}},
		{"skua-agent policy check badexpr.toml", 1, []string{"badexpr.toml:2", "START"}},
		{"skua-agent --bad-flag", 2, []string{"--bad-flag", "hint: "}},
		{"skua-matchmaker --config mm.toml", 1, []string{"mm.toml:3", "leasse", "lease"}},
		{"skua-matchmaker --listen nonsense --data data", 1, []string{"nonsense", "hint: "}},
		{"skua login nonsense", 1, []string{"token", "hint: "}},
		{"skua submti", 2, []string{"submti", `"submit"`}},
	} {
		out, errs, code := p.Run("", strings.Fields(tt.args)...)
		if code != tt.code {
			t.Errorf("%s: exit %d, want %d\n%s%s", tt.args, code, tt.code, out, errs)
		}
		for _, want := range tt.want {
			if !strings.Contains(errs, want) {
				t.Errorf("%s: %q does not say %s", tt.args, errs, want)
			}
		}
	}
}
