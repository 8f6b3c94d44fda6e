package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"skua/agent/startd"
	"skua/agent/starter"
	"skua/internal/diag"
)

var (
	defaultConfig = filepath.Join(os.Getenv("ProgramData"), "Skua", "agent.toml")
	defaultDir    = filepath.Join(os.Getenv("ProgramData"), "Skua", "agent")
)

// logDir is where the service's log is.
var logDir = filepath.Join(os.Getenv("ProgramData"), "Skua", "log")

// keepOthersOut keeps an agent's directory, which has the machine's key, to the system, its administrators and the agent.
// What is made below %ProgramData% inherits that every user may read it, and add files to it.
func keepOthersOut(dir string) error {
	if dir == defaultDir {
		if err := keepOthersOutOfSkua(); err != nil {
			return err
		}
	}
	return makeDir(dir, starter.CloseDir)
}

// keepOthersOutOfSkua does so with the directory that Skua has on this machine. The configuration of the service is in it,
// which everybody may read.
func keepOthersOutOfSkua() error {
	dir := filepath.Dir(defaultConfig)
	if err := makeDir(dir, starter.ShowDir); err != nil {
		return err
	}
	// Nobody adds anything to it from now on.
	entries, err := os.ReadDir(dir)
	if err != nil {
		return dirProblem(dir, err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if err := checkOwner(path); err != nil {
			return dirProblem(path, err)
		}
	}
	return makeDir(logDir, starter.CloseDir)
}

// makeDir makes a directory, if it is missing, and has access be as it is to be. It refuses one that others have made.
func makeDir(dir string, access func(string) error) error {
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = checkOwner(dir)
	}
	if err == nil {
		err = access(dir)
	}
	if err != nil {
		return dirProblem(dir, err)
	}
	return nil
}

func dirProblem(path string, err error) error {
	if errors.Is(err, starter.ErrOthers) {
		return &diag.Problem{What: err.Error(), Hint: "look at it, and as an administrator remove it or make it yours: takeown /a /r /f " + path, Err: err}
	}
	return startd.DirProblem(path, err)
}

// checkOwner is starter.CheckOwner; tests stand in for who owns it.
var checkOwner = starter.CheckOwner

// controlOf is the pipe of an agent with such a directory. Pipes are in no directory, so the name of one that is not the
// machine's usual has a part that depends on its directory.
func controlOf(dir string) string {
	const usual = `\\.\pipe\skua-agent`
	if dir == defaultDir {
		return usual
	}
	sum := sha256.Sum256([]byte(strings.ToLower(filepath.Clean(dir))))
	return fmt.Sprintf("%s-%x", usual, sum[:8])
}
