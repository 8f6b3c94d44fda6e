//go:build !windows

package main

import (
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skua/agent/startd"
	"skua/internal/diag"
	"skua/internal/trust"
)

// The owner is heard although the configuration, in which a token may stand, is closed to everybody else.
func TestControlPath(t *testing.T) {
	closed := fmt.Errorf("read configuration: %w", &fs.PathError{Op: "open", Path: defaultConfig, Err: fs.ErrPermission})
	here := fileConfig{Settings: startd.Settings{Control: "/run/here.sock"}}
	deaf := fileConfig{Settings: startd.Settings{Control: startd.NoControl}}
	for _, tt := range []struct {
		name       string
		configFile string
		cfg        fileConfig
		err        error
		want, says string
	}{
		{"the usual file", "", here, nil, "/run/here.sock", ""},
		{"a file that is closed", "", fileConfig{}, closed, controlOf(defaultDir), ""},
		{"a named file that is closed", "/srv/agent.toml", fileConfig{}, closed, "", "permission"},
		{"a file with a mistake", "", fileConfig{}, &diag.Problem{What: "agent.toml:2: unknown key"}, "", "unknown key"},
		{"an agent that listens to nobody", "", deaf, nil, "", "listens to nobody"},
	} {
		got, err := controlPath(tt.configFile, tt.cfg, tt.err)
		if got != tt.want || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %q, %v; want %q, %q", tt.name, got, err, tt.want, tt.says)
		}
	}
}

// A join token may stand in a file of its own, which others must not be able to read.
func TestTokenFile(t *testing.T) {
	dir := t.TempDir()
	token, err := trust.Token{
		Kind: trust.Agent, URL: "https://127.0.0.1:1", Fingerprint: strings.Repeat("0", 64), Secret: make([]byte, 16), Expires: time.Now().Add(time.Hour),
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	cfg := filepath.Join(dir, "agent.toml")
	text := fmt.Sprintf("name = \"desk\"\ndir = %q\ntoken_file = \"token\"\n", filepath.Join(dir, "state"))
	if err := os.WriteFile(cfg, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		mode os.FileMode // 0: there is no file
		says string
	}{
		{"no file", 0, "no such file"},
		{"open to others", 0o644, "may be read by others"},
		{"closed", 0o600, "https://127.0.0.1:1 cannot be reached"}, // it is redeemed
	} {
		if tt.mode != 0 {
			path := filepath.Join(dir, "token")
			if err := os.WriteFile(path, []byte(token+"\n"), tt.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
		}
		var stdout, stderr strings.Builder
		if code := run(t.Context(), []string{"--config", cfg, "run"}, &stdout, &stderr); code == 0 || !strings.Contains(stderr.String(), tt.says) {
			t.Errorf("%s: exit %d, %q, want %q", tt.name, code, stderr.String(), tt.says)
		}
	}
}

func TestAgentRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.sock")
	cfg := fileConfig{}
	cfg.Control = path
	if agentRuns(t.Context(), "agent.toml", cfg) {
		t.Error("an agent runs where nobody listens")
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	agent := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) })}
	go func() { _ = agent.Serve(l) }()
	defer agent.Close()
	if !agentRuns(t.Context(), "agent.toml", cfg) {
		t.Error("the agent that listens is not noticed")
	}
}
