package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"skua/agent/starter"
	"skua/internal/trust"
)

func TestMain(m *testing.M) {
	starter.MaybeInit() // sandbox tries whether this program can be one
	if os.Getenv("TZ") != "UTC" {
		os.Exit(inUTC())
	}
	programs := map[string]func(){}
	for _, name := range append(slices.Collect(maps.Keys(condorTools)), "skua") {
		programs[name] = func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			os.Exit(run(ctx, append([]string{name}, os.Args[1:]...), os.Stdin, os.Stdout, os.Stderr))
		}
	}
	testscript.Main(m, programs)
}

// inUTC runs this program again in the zone of the goldens. A process cannot change its own: what has asked for
// the time before does so without a lock.
func inUTC() int {
	again := exec.Command(os.Args[0], os.Args[1:]...)
	again.Env = append(os.Environ(), "TZ=UTC")
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := again.Run(); err != nil && again.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return again.ProcessState.ExitCode()
}

// TestScripts runs the commands as people do. Each file of testdata/script is one behaviour.
func TestScripts(t *testing.T) {
	top, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	programs := buildPrograms(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", programs+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("SKUA_HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("AGENT_TOKEN", agentToken(t))
			e.Setenv("EXAMPLES", filepath.Join(top, "examples"))
			e.Setenv("PACKAGING", filepath.Join(top, "packaging"))
			e.Setenv("USER", me.Username)
			e.Setenv("TZ", "UTC")
			e.Defer(func() { endCouriers(t, filepath.Join(e.WorkDir, "home")) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":       code,
			"eventually": eventually,
			"killcourier": func(ts *testscript.TestScript, _ bool, _ []string) {
				if !endCouriers(t, ts.Getenv("SKUA_HOME")) {
					ts.Fatalf("there is no courier to kill")
				}
			},
		},
		Condition: func(cond string) (bool, error) {
			if cond == "sandbox" {
				return sandbox(t), nil
			}
			return false, errors.New("unknown condition")
		},
	})
}

// buildPrograms builds the program under all its names, and the one that it starts, and gives the directory. The scripts start
// it some thousand times, and as a part of the test binary, which has the race detector in it, it takes several times as long.
func buildPrograms(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for program, pkg := range map[string]string{"skua": ".", "skua-up": "./up"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, program), pkg).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", program, err, out)
		}
	}
	for name := range condorTools {
		if err := os.Symlink("skua", filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// code runs a program and wants it to end with the exit code that stands first.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program [argument]...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if args[0] != strconv.Itoa(got) {
		ts.Fatalf("%s ended with exit code %d, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// eventually runs a program again and again until it succeeds.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: eventually program [argument]...")
	}
	const patience = 60 * time.Second
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: %v", strings.Join(args, " "), err)
		}
	}
}

// endCouriers kills the couriers of a home, which outlive whoever started them.
func endCouriers(t *testing.T, home string) (found bool) {
	locks, err := filepath.Glob(filepath.Join(home, "hosts", "*", "courier.lock"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range locks {
		text, err := os.ReadFile(l)
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			continue
		}
		if p, err := os.FindProcess(pid); err == nil && p.Kill() == nil {
			found = true
		}
	}
	return found
}

func agentToken(t *testing.T) string {
	t.Helper()
	text, err := trust.Token{
		Kind: trust.Agent, URL: "https://head.example.edu:9618", Fingerprint: strings.Repeat("ab", 32),
		Secret: make([]byte, 16), Expires: time.Now().Add(time.Hour),
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func sandbox(t *testing.T) bool {
	t.Helper()
	st, err := starter.New(starter.Config{Dir: t.TempDir()})
	if err != nil {
		t.Log("no sandbox:", err)
		return false
	}
	can := st.Capabilities(t.Context())
	if !can.Sandbox {
		t.Log("no sandbox:", can.SandboxWhy)
	}
	return can.Sandbox
}
