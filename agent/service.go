package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kardianos/service"
	"github.com/spf13/cobra"

	"skua/internal/cli"
	"skua/internal/diag"
	"skua/packaging"
)

// serviceName is what the service is called.
const serviceName = "skua-agent"

// unit is the systemd unit of an installed agent: that of packages, with the path of this program and
// its arguments left to be filled in.
var unit = strings.Replace(packaging.AgentUnit, packaging.AgentExec,
	"ExecStart={{Path | cmdEscape}}{{range Arguments}} {{. | cmd}}{{end}}\n", 1)

func serviceCommand(configFile *string) *cobra.Command {
	root := &cobra.Command{
		Use:   "service",
		Short: "install, start and stop the agent as a service of this system",
		Long: `The service is systemd's on Linux and the service manager's on Windows; packages install it by themselves.
To set a machine up by hand, as an administrator:

  skua-agent join TOKEN
  skua-agent service install
  skua-agent service start`,
		Args: cli.NoArgs,
		RunE: cli.Help,
	}
	for _, a := range []struct{ name, short, done string }{
		{"install", "have this system start the agent at every boot", "installed; start it with: skua-agent service start"},
		{"uninstall", "undo install; the machine stays a member of its pool", "uninstalled"},
		{"start", "start the installed service", "started"},
		{"stop", "stop the service; running jobs leave with a checkpoint first", "stopped"},
		{"restart", "start the service anew, as an upgrade does; on Linux running jobs stay", "restarted"},
	} {
		root.AddCommand(&cobra.Command{
			Use: a.name, Short: a.short, Args: cli.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error {
				s, err := systemService(*configFile)
				if err != nil {
					return err
				}
				if err := unmanaged(s.Platform()); err != nil {
					return err
				}
				if err := service.Control(s, a.name); err != nil {
					return serviceProblem(a.name, err)
				}
				if a.name == "install" || a.name == "uninstall" {
					if err := complete(s, a.name); err != nil {
						return serviceProblem(a.name, err)
					}
				}
				fmt.Fprintln(c.OutOrStdout(), "skua-agent:", a.done)
				return nil
			},
		})
	}
	root.AddCommand(&cobra.Command{
		Use: "status", Short: "say whether the service runs", Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return serviceStatus(c, *configFile) },
	})
	root.AddCommand(serviceOnly(configFile)...)
	return root
}

func serviceStatus(c *cobra.Command, configFile string) error {
	s, err := systemService(configFile)
	if err != nil {
		return err
	}
	if err := notRunning(s); err != nil {
		return err
	}
	fmt.Fprintln(c.OutOrStdout(), "skua-agent: running")
	return nil
}

// notRunningByLibrary says why the service does not run, as far as the library can tell; nil if it runs.
func notRunningByLibrary(s service.Service) error {
	status, err := s.Status()
	switch {
	case errors.Is(err, service.ErrNotInstalled):
		return notInstalled()
	case err != nil:
		return cannotTell(err)
	case status == service.StatusRunning:
		return nil
	}
	return stopped()
}

func notInstalled() error {
	return &diag.Problem{What: "the service is not installed", Hint: "skua-agent service install", Err: service.ErrNotInstalled}
}

func stopped() error {
	return &diag.Problem{What: "the service is installed and does not run", Hint: "skua-agent service start"}
}

// cannotTell says why nobody knows whether the service runs.
func cannotTell(err error) error {
	why := err.Error()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if said, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n"); said != "" {
			why = said
		}
	}
	return &diag.Problem{
		What: "whether the service runs cannot be told: " + why, Err: err,
		Hint: "services need a system with systemd, or Windows; skua-agent status asks the agent itself",
	}
}

func serviceProblem(action string, err error) error {
	return &diag.Problem{
		What: fmt.Sprintf("%s the service: %v", action, err),
		Hint: "this needs an administrator, and a system with systemd or Windows",
		Err:  err,
	}
}

func systemService(configFile string) (service.Service, error) {
	args := slices.Clone(serviceArgs)
	if configFile != "" {
		path, err := filepath.Abs(configFile)
		if err != nil {
			return nil, fmt.Errorf("path of the configuration: %w", err)
		}
		args = append(args, "--config", path)
	}
	return service.New(program{}, &service.Config{
		Name:        serviceName,
		DisplayName: "Skua agent",
		Description: "Skua agent: runs jobs while the owner of this machine does not need it",
		Arguments:   args,
		Option:      serviceOptions,
	})
}

// program stands for the agent where the library wants to be given a service to run. It only installs it and
// controls it; the agent answers its service manager itself.
type program struct{}

// Start implements [service.Interface].
func (program) Start(service.Service) error { return errors.ErrUnsupported }

// Stop implements [service.Interface].
func (program) Stop(service.Service) error { return errors.ErrUnsupported }
