package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"skua/internal/diag"
	"skua/internal/membership"
	"skua/internal/submitfile"
	"skua/submit/client"
)

// source says where a description comes from, and what the command line adds to it.
type source struct {
	file    string   // "-" is standard input; empty for a description that is all on the command line
	command []string // in the place of a file: the program and its arguments

	assignments   []string // name=value, before the file's first line
	appended      []string // lines before its queue statement
	queue         string   // its queue statement
	allowCommands bool     // it may run commands while it is read
	dryRun        bool
}

// describe reads a job description.
func (a *app) describe(ctx context.Context, s source) (*submitfile.Description, error) {
	opts, err := surroundings()
	if err != nil {
		return nil, err
	}
	opts.DryRun, opts.Append, opts.Queue = s.dryRun, s.appended, s.queue
	if opts.Args, err = assignments(s.assignments); err != nil {
		return nil, err
	}
	if s.allowCommands {
		opts.Command = func(line string) ([]byte, error) { return shell(ctx, line) }
		opts.WriteFile = func(name string, data []byte) error { return os.WriteFile(name, data, 0o666) } // what a command wrote
	}
	if s.file != "-" {
		opts.Stdin = func() ([]byte, error) { return io.ReadAll(io.LimitReader(a.in, submitfile.MaxFileSize+1)) }
	}
	name, text, err := a.read(s)
	if err != nil {
		return nil, err
	}
	if len(s.command) > 0 && s.queue == "" {
		opts.Queue = "1"
	}
	return submitfile.Parse(name, text, opts)
}

// read gives the text of the description and what it is called in messages.
func (a *app) read(s source) (name string, text []byte, err error) {
	switch {
	case len(s.command) > 0:
		o, err := parseOneLiner(s.command, lookAt, findProgram)
		if err != nil {
			return "", nil, err
		}
		if !s.dryRun {
			a.say("note: %s", printable(o.told()))
		}
		return "the command", []byte(o.description()), nil
	case s.file == "":
		return "command line", nil, nil
	case s.file == "-":
		name = "standard input"
		text, err = io.ReadAll(io.LimitReader(a.in, submitfile.MaxFileSize+1))
	default:
		name = s.file
		text, err = readBounded(name)
	}
	if err != nil {
		return "", nil, &diag.Problem{What: "read job description: " + err.Error(), Err: err}
	}
	return name, text, nil
}

// assignments reads values given as name=value.
func assignments(words []string) (map[string]string, error) {
	values := map[string]string{}
	for _, s := range words {
		k, v, ok := strings.Cut(s, "=")
		if k = strings.TrimSpace(k); !ok || k == "" {
			return nil, usage("what stands beside the file are values for it, such as seed=7", "%q is not of the form name=value", s)
		}
		values[k] = strings.TrimSpace(v)
	}
	return values, nil
}

// surroundings are what a description may refer to.
func surroundings() (submitfile.Options, error) {
	dir, err := os.Getwd()
	if err != nil {
		return submitfile.Options{}, err
	}
	opts := submitfile.Options{
		Dir: dir, Environ: os.Environ(), Arch: "X86_64", OpSys: "LINUX", Now: time.Now(), Seed: rand.Uint64(),
		ReadFile: readBounded,
		Stat:     os.Stat,
		Glob:     filepath.Glob,
	}
	if runtime.GOARCH == "arm64" {
		opts.Arch = "aarch64"
	}
	if runtime.GOOS == "windows" {
		opts.OpSys = "WINDOWS"
	}
	if home, err := client.UserHome(); err == nil {
		if m, err := membership.Open(home.Member()); err == nil {
			opts.User = m.Name
		}
	}
	return opts, nil
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, submitfile.MaxFileSize+1)) // one more than is accepted
}

// shell runs a command for a description that was allowed to, and gives what it writes.
func shell(ctx context.Context, line string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("it did not end within a minute"))
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	if runtime.GOOS == "windows" {
		cmd = exec.CommandContext(ctx, "cmd", "/c", line)
	}
	var out bounded
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	cmd.WaitDelay = time.Second // what it started may keep the pipe open
	err := cmd.Run()
	switch {
	case out.full != nil:
		err = out.full
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return out.text, err
}

// bounded takes as much as a description may have.
type bounded struct {
	text []byte
	full error // there was more
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(b.text)+len(p) > submitfile.MaxFileSize {
		b.full = fmt.Errorf("it writes more than %d bytes", submitfile.MaxFileSize)
		return 0, b.full // which ends the program by its pipe
	}
	b.text = append(b.text, p...)
	return len(p), nil
}
