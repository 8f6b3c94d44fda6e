//go:build !windows

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/kardianos/service"
	"github.com/spf13/cobra"

	"skua/internal/diag"
	"skua/packaging"
)

// serviceArgs are the command with which the service manager starts the agent.
var serviceArgs = []string{"run"}

// serviceOptions give systemd the unit.
var serviceOptions = service.KeyValue{"SystemdScript": unit}

// serviceOnly are the commands that are for the service manager: none.
func serviceOnly(*string) []*cobra.Command { return nil }

// unitDir is where the library puts the agent's unit.
const unitDir = "/etc/systemd/system"

// unmanaged says that no service can be had here: on Linux without systemd the library would write, and run, scripts of other
// service managers, which know nothing of an agent that somebody has started in another way.
func unmanaged(platform string) error {
	if runtime.GOOS != "linux" || platform == "linux-systemd" {
		return nil
	}
	return &diag.Problem{
		What: "the agent is no service here: systemd does not run on this machine",
		Hint: `"skua-agent run" runs it in the foreground, and SIGTERM ends that`,
	}
}

// complete does the same with the units that the agent's wants beside it as the library has done with that one. What
// runs of them stays.
func complete(s service.Service, action string) error {
	if s.Platform() != "linux-systemd" {
		return nil
	}
	if err := putUnits(unitDir, action == "install"); err != nil {
		return err
	}
	if out, err := exec.Command("systemctl", "daemon-reload").CombinedOutput(); err != nil {
		return fmt.Errorf("systemctl daemon-reload: %w: %s", err, out)
	}
	return nil
}

// notRunning says why the service does not run; nil if it does. systemd is asked directly: to the library an agent that
// ends and is started again and again runs, and one that stops is none.
func notRunning(s service.Service) error {
	if s.Platform() != "linux-systemd" {
		err := notRunningByLibrary(s)
		if p, ok := errors.AsType[*diag.Problem](err); ok && runtime.GOOS == "linux" && errors.As(p.Err, new(*exec.ExitError)) {
			return cannotTell(errors.New("systemd does not run here")) // a script of another service manager has failed
		}
		return err
	}
	out, err := exec.Command("systemctl", "show", "--property=LoadState,ActiveState,SubState", serviceName).Output()
	if err != nil {
		return cannotTell(err)
	}
	return unitNotRunning(string(out))
}

// unitNotRunning is what systemd's properties of the unit mean.
func unitNotRunning(properties string) error {
	is := map[string]string{}
	for line := range strings.Lines(properties) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		is[key] = value
	}
	const journal = "journalctl -u " + serviceName + " -n 20"
	switch state := is["ActiveState"]; {
	case is["LoadState"] == "not-found":
		return notInstalled()
	case state == "active" || state == "reloading" || state == "refreshing":
		return nil
	case state == "activating" && strings.HasPrefix(is["SubState"], "auto-restart"):
		return &diag.Problem{What: "the agent ends again and again, and is started anew each time", Hint: journal + " says why"}
	case state == "activating":
		return &diag.Problem{What: "the service is being started", Hint: "ask again in a moment; " + journal + " says what it does"}
	case state == "deactivating":
		return &diag.Problem{What: "the service is being stopped: its jobs leave first", Hint: "ask again later, or " + journal}
	case state == "failed":
		return &diag.Problem{What: "the service has failed, and is not started again", Hint: journal + " says why; then: skua-agent service start"}
	}
	return stopped()
}

// putUnits writes those units into a directory, or removes them from there.
func putUnits(dir string, there bool) error {
	for name, text := range packaging.Units {
		path := filepath.Join(dir, name)
		var err error
		if there {
			err = errors.Join(os.WriteFile(path, []byte(text), 0o644), os.Chmod(path, 0o644))
		} else if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
			err = nil // an older agent has installed itself without them
		}
		if err != nil {
			return err
		}
	}
	return nil
}
