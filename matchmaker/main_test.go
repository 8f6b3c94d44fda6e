package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"skua/internal/diag"
	"skua/internal/trust"
)

func TestCommandLine(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "matchmaker.toml")
	if err := os.WriteFile(bad, []byte("data = \"/tmp\"\nlistne = \":9618\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "matchmaker.toml")
	if err := os.WriteFile(short, []byte("[leases]\nlease = \"10s\"\nrenew = \"9s\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	limit := filepath.Join(t.TempDir(), "matchmaker.toml")
	if err := os.WriteFile(limit, []byte("[concurrency_limits]\n\"mat lab\" = 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	negative := filepath.Join(t.TempDir(), "matchmaker.toml")
	if err := os.WriteFile(negative, []byte("[limits]\njobs = 5\nsnapshot_every = -1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args   string
		code   int
		stdout string
		stderr string
	}{
		{"--version", diag.ExitOK, "skua-matchmaker dev", ""},
		{"--help", diag.ExitOK, "skua-matchmaker token agent", ""},
		{"token --help", diag.ExitOK, "make a token", ""},
		{"--lisen :1", diag.ExitUsage, "", "unknown flag: --lisen"},
		{"tokn", diag.ExitUsage, "", `did you mean "token"?`},
		{"token user", diag.ExitUsage, "", "the user's name"},
		{"users set-factor ann", diag.ExitUsage, "", "two arguments, the user's name and the factor"},
		{"users set-factor ann much", diag.ExitUsage, "", `"much" is not a number`},
		{"users --help", diag.ExitOK, "set-factor", ""},
		{"--config " + limit + " --data /nowhere", diag.ExitFailure, "", `"mat lab" is not the name of a limit`},
		{"--config " + negative + " --data /nowhere", diag.ExitFailure, "", "[limits]: snapshot_every is negative"},
		{"runtime --help", diag.ExitOK, "runtime add debian12 debian12.tar.zst", ""},
		{"runtime add debian12", diag.ExitUsage, "", "two arguments, a name and an archive"},
		{"runtime add Debian x.tar", diag.ExitFailure, "", `"Debian" cannot be the name of a runtime root`},
		{"runtime remove", diag.ExitUsage, "", "the name of a runtime root"},
		{"--data /nowhere runtime list", diag.ExitUnreachable, "", "no matchmaker runs on /nowhere"},
		{"token agent --ttl 7", diag.ExitUsage, "", `--ttl 7 has no unit: write "7d" for days`},
		{"token agent --ttl soon", diag.ExitUsage, "", `"soon" is not a duration`},
		{"--data /nowhere token agent --ttl 7d", diag.ExitUnreachable, "", "no matchmaker runs on /nowhere"},
		{"token agent --uses 0", diag.ExitUsage, "", "--uses 0: a token is for one or more"},
		{"help tokn", diag.ExitUsage, "", `did you mean "token"?`},
		{"--config " + bad, diag.ExitFailure, "", `matchmaker.toml:2: unknown key "listne"`},
		{"--config " + short + " --data /nowhere", diag.ExitFailure, "", "too short for a renewal"},
		{"--config /nowhere/matchmaker.toml", diag.ExitFailure, "", "no such file"},
		{"--data /nowhere --listen nonsense", diag.ExitFailure, "", `listen = "nonsense" is not an address`},
		{"--data /nowhere members", diag.ExitUnreachable, "", "no matchmaker runs on /nowhere"},
		{"--data /dev/null/x", diag.ExitFailure, "", "the data directory cannot be made"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(tt.args), &stdout, &stderr)
		if code != tt.code || !strings.Contains(stdout.String(), tt.stdout) || !strings.Contains(stderr.String(), tt.stderr) {
			t.Errorf("%s: exit %d\nstdout: %s\nstderr: %s", tt.args, code, stdout.String(), stderr.String())
		}
	}
}

func TestUseOfTokens(t *testing.T) {
	until := time.Date(2026, 12, 1, 14, 1, 0, 0, time.Local)
	for _, tt := range []struct {
		kind trust.Kind
		name string
		uses int
		want string
	}{
		{trust.Agent, "", 1, "for one machine, until 1 Dec 2026 14:01: sudo skua-agent join TOKEN"},
		{trust.Agent, "", 40, "for 40 machines, until 1 Dec 2026 14:01; on each: sudo skua-agent join TOKEN"},
		{trust.User, "ann", 1, "for ann, once, until 1 Dec 2026 14:01: skua login TOKEN"},
		{trust.User, "ann", 2, "for ann on 2 machines, until 1 Dec 2026 14:01; on each: skua login TOKEN"},
	} {
		if got := use(trust.Token{Kind: tt.kind, Name: tt.name, Expires: until}, tt.uses); got != tt.want {
			t.Errorf("%s %s, %d uses: %q, want %q", tt.kind, tt.name, tt.uses, got, tt.want)
		}
	}
}

// lines is a writer that others may look at meanwhile.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestServeAndStop(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux says who is at the other end of a unix socket")
	}
	dir, err := os.MkdirTemp("", "skua")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	data := filepath.Join(dir, "mm")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var log lines
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"--data", data, "--listen", "127.0.0.1:0"}, &log, &log) }()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(log.String(), "matchmaker serves"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not serve:\n%s", log.String())
		}
	}
	var stdout, stderr bytes.Buffer
	if code := run(ctx, []string{"--data", data, "token", "agent", "--uses", "2", "--url", "https://head:9618"}, &stdout, &stderr); code != 0 {
		t.Fatalf("token: exit %d: %s", code, stderr.String())
	}
	token, err := trust.ParseToken(stdout.String())
	if err != nil || token.URL != "https://head:9618" || token.Kind != trust.Agent {
		t.Errorf("token %+v, %v", token, err)
	}
	if !strings.Contains(stderr.String(), "for 2 machines, until ") {
		t.Errorf("of the token is said %q", stderr.String())
	}
	stdout.Reset()
	if code := run(ctx, []string{"--data", data, "members"}, &stdout, &stderr); code != 0 || !strings.HasPrefix(stdout.String(), "KIND") {
		t.Errorf("members: exit %d: %s%s", code, stdout.String(), stderr.String())
	}
	stdout.Reset()
	if code := run(ctx, []string{"--data", data, "users"}, &stdout, &stderr); code != 0 || !strings.HasPrefix(stdout.String(), "NAME") {
		t.Errorf("users: exit %d: %s%s", code, stdout.String(), stderr.String())
	}
	if code := run(ctx, []string{"--data", data, "users", "set-factor", "nobody", "7"}, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), `no user "nobody"`) {
		t.Errorf("set-factor: exit %d: %s", code, stderr.String())
	}
	policies := filepath.Join(dir, "policies")
	if err := os.Mkdir(policies, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(policies, "lab.toml"), []byte("preset = \"lab-night\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ args, want string }{
		{"push --dir " + policies, "signed and handed out"},
		{"push lab --dir " + policies, "has not changed"},
		{"list", "in force"},
		{"show lab", "\npreset = \"lab-night\"\n"},
		{"withdraw lab", "no central policy any more"},
		{"list", "withdrawn"},
	} {
		stdout.Reset()
		args := append([]string{"--data", data, "policy"}, strings.Fields(tt.args)...)
		if code := run(ctx, args, &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), tt.want) {
			t.Errorf("policy %s: exit %d: %s%s, want %q", tt.args, code, stdout.String(), stderr.String(), tt.want)
		}
	}
	if code := run(ctx, []string{"--data", data, "policy", "show", "nobody"}, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "has no central policy") {
		t.Errorf("policy show: exit %d: %s", code, stderr.String())
	}
	tryRuntimes(t, dir, data)
	if code := run(ctx, []string{"--data", data, "revoke", "nobody"}, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), `no member "nobody"`) {
		t.Errorf("revoke: exit %d: %s", code, stderr.String())
	}
	stop()
	if code := <-done; code != 0 {
		t.Errorf("after a clean stop the exit code is %d:\n%s", code, log.String())
	}
	for _, name := range []string{"login.sock", "admin.sock"} {
		if _, err := os.Stat(filepath.Join(data, name)); err == nil {
			t.Errorf("%s is left behind", name)
		}
	}
}
