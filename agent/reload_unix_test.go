//go:build !windows

package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"skua/agent/startd"
	"skua/policy"
)

// A SIGHUP has the policy read again; one that is no good leaves the old one in force, and the log says so.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cfg := write("agent.toml", "name = \"desk\"\ndir = \""+dir+"\"\npolicy = \"policy.toml\"\n")
	write("policy.toml", `preset = "desktop"`)
	p, err := readPolicy(filepath.Join(dir, "policy.toml"))
	if err != nil {
		t.Fatal(err)
	}
	var log journal
	logger := slog.New(slog.NewTextHandler(&log, nil))
	m, err := startd.NewMachine(startd.Settings{Name: "desk", Dir: dir}, nil, p, logger)
	if err != nil {
		t.Fatal(err)
	}
	r := &rules{configFile: cfg, log: logger}
	r.of(m)
	done := make(chan struct{})
	stop := onReload(func() { r.reload(); done <- struct{}{} })
	defer stop()
	for _, tt := range []struct {
		text string
		want policy.Preset
		log  string
	}{
		{`preset = "office"`, policy.Office, "the policy was read again"},
		{`preset = "ofice"`, policy.Office, "there is no preset"},
		{"", policy.Desktop, "the policy was read again"},
	} {
		write("policy.toml", tt.text)
		log.take()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		<-done
		if got, said := m.Policy().Preset, log.take(); got != tt.want || !strings.Contains(said, tt.log) {
			t.Errorf("with %q the preset is %q, want %q; the log says %s", tt.text, got, tt.want, said)
		}
	}
}

// journal is a log that is read while others may write.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

// take gives what has been written since the last time.
func (j *journal) take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.text.Reset()
	return j.text.String()
}
