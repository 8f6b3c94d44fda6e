//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"skua/internal/pause"
)

// jobFiles is the submit directory of the demo's job.
type jobFiles struct {
	dir     string
	name    string // of the description file
	program string // in dir
	output  string // in dir
	journal string // path on this machine, outside Skua
	cluster string // once submitted
}

// prepareJob lays out a submit directory as a researcher would: the program and a description of it.
func (s *story) prepareJob(dir, examples string) (*jobFiles, error) {
	j := &jobFiles{
		dir: filepath.Join(dir, "submit"), name: "pi.sub", program: "pi.py", output: "pi.out",
		journal: filepath.Join(s.campus.journalDir, "pi.journal"),
	}
	extra := ""
	if s.method == "files" {
		j.program = "selfckpt.py"
		extra = "checkpoint_exit_code = 85\ntransfer_checkpoint_files = state.json\n"
	}
	if err := os.MkdirAll(j.dir, 0o755); err != nil {
		return nil, err
	}
	program, err := os.ReadFile(filepath.Join(examples, j.program))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(j.dir, j.program), program, 0o755); err != nil {
		return nil, err
	}
	description := fmt.Sprintf(`executable = %s
arguments  = --steps %d --journal %s
output     = %s
error      = pi.err
log        = pi.log
request_memory = 64 MB
%squeue
`, j.program, s.steps, j.journal, j.output, extra)
	return j, os.WriteFile(filepath.Join(j.dir, j.name), []byte(description), 0o644)
}

// reference is the same program with the same arguments, run without Skua and undisturbed.
type reference struct {
	cmd   *exec.Cmd
	out   bytes.Buffer
	ended chan error
}

func startReference(ctx context.Context, j *jobFiles, steps int) *reference {
	r := &reference{ended: make(chan error, 1)}
	dir := filepath.Join(filepath.Dir(j.dir), "undisturbed")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		r.ended <- err
		return r
	}
	// As humble as a job: the desks of the demo share this machine's processors with it.
	args := []string{"--idle", "0", "/usr/bin/python3", filepath.Join(j.dir, j.program), "--steps", fmt.Sprint(steps), "--journal", filepath.Join(dir, "journal")}
	r.cmd = exec.CommandContext(ctx, "chrt", args...)
	r.cmd.Dir = dir
	r.cmd.Stdout = &r.out
	r.cmd.Stderr = os.Stderr
	if err := r.cmd.Start(); err != nil {
		r.cmd = nil
		r.ended <- err
		return r
	}
	go func() { r.ended <- r.cmd.Wait() }()
	return r
}

// output waits for the run's end and gives what it wrote.
func (r *reference) output(ctx context.Context) ([]byte, error) {
	select {
	case err := <-r.ended:
		r.ended <- err
		return r.out.Bytes(), err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *reference) stop() {
	if r.cmd != nil {
		r.cmd.Process.Kill()
		<-r.ended
	}
}

// awaitFile waits for a file that the courier brings by renaming it into place.
func awaitFile(ctx context.Context, path string) ([]byte, error) {
	for begin := time.Now(); ; {
		data, err := os.ReadFile(path)
		if err == nil || !errors.Is(err, os.ErrNotExist) || time.Since(begin) > 20*time.Second {
			return data, err
		}
		if err := pause.For(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
}
