package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skua/agent/session"
	"skua/agent/starter"
	"skua/internal/diag"
	"skua/internal/trust"
)

func TestMain(m *testing.M) {
	starter.MaybeInit()
	session.MaybeHelper()
	os.Exit(m.Run())
}

// What goes wrong is said with the file, the line and what to do, and in the exit code.
func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("agent.toml", "name = \"desk\"\ndir = \""+filepath.ToSlash(dir)+"/state\"\n")
	bad := write("bad.toml", "name = \"desk\"\nslotz = 2\n")
	badDir := write("bad-dir.toml", "name = \"desk\"\ndir = \""+filepath.ToSlash(dir)+"/agent.toml\"\n")
	tokenOf := func(kind trust.Kind, name string) string {
		token, err := trust.Token{
			Kind: kind, Name: name, URL: "https://127.0.0.1:1", Fingerprint: strings.Repeat("0", 64), Secret: make([]byte, 16), Expires: time.Now().Add(time.Hour),
		}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	token, usersToken := tokenOf(trust.Agent, ""), tokenOf(trust.User, "ann")
	usersConfig := write("users-token.toml", "name = \"desk\"\ndir = \""+filepath.ToSlash(dir)+"/state\"\ntoken = \""+usersToken+"\"\n")
	policy := write("policy.toml", "[owner]\nidle_after = \"20m\"\n")
	badPolicy := write("bad-policy.toml", "[owner]\nidle_afer = \"20m\"\n")

	for _, tt := range []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"help teaches", []string{"--help"}, diag.ExitOK, "skua-agent join TOKEN", ""},
		{"version", []string{"--version"}, diag.ExitOK, "skua-agent dev", ""},
		{"unknown flag", []string{"--nope"}, diag.ExitUsage, "", `"skua-agent --help" says what there is`},
		{"unknown command", []string{"bogus"}, diag.ExitUsage, "", `there is no command "bogus"`},
		{"command misspelt", []string{"polcy", "check", policy}, diag.ExitUsage, "", `did you mean "policy"?`},
		{"subcommand misspelt", []string{"policy", "chek", "x"}, diag.ExitUsage, "", `did you mean "check"?`},
		{"service misspelt", []string{"service", "instal"}, diag.ExitUsage, "", `did you mean "install"?`},
		{"group teaches", []string{"policy"}, diag.ExitOK, "policy [command]", ""},
		{"argument too many", []string{"run", "now"}, diag.ExitUsage, "", `takes no arguments, and was given "now"`},
		{"two pauses", []string{"pause", "1h", "2h"}, diag.ExitUsage, "", "pause takes one duration, and was given 2"},
		{"nothing to check", []string{"policy", "check"}, diag.ExitUsage, "", "policy check wants one file"},
		{"too much to explain", []string{"policy", "explain", policy, policy}, diag.ExitUsage, "", "policy explain wants one file"},
		{"state in a bad place", []string{"--config", badDir, "join", token}, diag.ExitFailure, "", "set dir in agent.toml"},
		{"unknown key", []string{"--config", bad, "run"}, diag.ExitFailure, "", `bad.toml:2: unknown key "slotz"`},
		{"missing file", []string{"--config", filepath.Join(dir, "none.toml"), "run"}, diag.ExitFailure, "", "none.toml"},
		{"not in a pool", []string{"--config", good, "run"}, diag.ExitFailure, "", "skua-agent join TOKEN"},
		{"no token", []string{"--config", good, "join"}, diag.ExitUsage, "", "join wants one token"},
		{"bad token", []string{"--config", good, "join", "garbage"}, diag.ExitFailure, "", "token"},
		{"a user's token", []string{"--config", good, "join", usersToken}, diag.ExitFailure, "", "skua login TOKEN"},
		{"a user's token in the configuration", []string{"--config", usersConfig, "run"}, diag.ExitFailure, "", "skua login TOKEN"},
		{"good policy", []string{"policy", "check", policy}, diag.ExitOK, "is good", ""},
		{"bad policy", []string{"policy", "check", badPolicy}, diag.ExitFailure, "", `did you mean "idle_after"?`},
		{"policy explained", []string{"--config", good, "policy", "explain", policy}, diag.ExitOK, "START", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			if code := run(t.Context(), tt.args, &stdout, &stderr); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if !strings.Contains(stdout.String(), tt.stdout) || !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("standard output %q\nstandard error %q\nwant %q and %q", stdout.String(), stderr.String(), tt.stdout, tt.stderr)
			}
		})
	}
}
