//go:build !windows

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/kardianos/service"
	"github.com/spf13/cobra"

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
