package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"
	"unsafe"

	"github.com/kardianos/service"
	"github.com/spf13/cobra"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"

	"skua/agent/starter"
	"skua/internal/cli"
	"skua/internal/diag"
)

// serviceArgs are the command with which the service manager starts the agent. The library that installs the
// service would answer only some of the manager's calls, and takes some systems for no service at all, so this
// program answers them itself.
var serviceArgs = []string{"service", "run"}

// serviceOptions have the agent started again when it has crashed; [complete] adds: or has ended with an error.
var serviceOptions = service.KeyValue{
	service.OnFailure:              service.OnFailureRestart,
	service.OnFailureDelayDuration: "2s",
}

// serviceOnly are the commands that are for the service manager.
func serviceOnly(configFile *string) []*cobra.Command {
	return []*cobra.Command{{
		Use: "run", Short: "be the service; only the service manager can start this", Args: cli.NoArgs, Hidden: true,
		RunE: func(*cobra.Command, []string) error { return runService(*configFile) },
	}}
}

// logLimit is how large the service's log may grow before it begins anew beside the old one.
const logLimit = 8 << 20

// runService answers the service manager until the service has stopped.
func runService(configFile string) error {
	protected := keepOthersOutOfSkua() // before the log and the configuration are opened
	if errors.Is(protected, starter.ErrOthers) {
		return protected // nothing is written where somebody else may have laid links; join has said it
	}
	file, err := openLogFile(filepath.Join(logDir, "agent.log"), logLimit)
	if err != nil {
		return errors.Join(protected, err)
	}
	defer file.Close()
	logOutput = file
	log := slog.New(slog.NewTextHandler(file, nil))
	if protected != nil {
		log.Error("other users of this machine may write here", "error", protected)
		return protected
	}
	err = svc.Run(serviceName, &handler{
		serve: func(ctx context.Context) error { return serve(ctx, configFile, nil) },
		log:   log, sign: stopSign,
	})
	if err != nil {
		log.Error("the service manager was not reached", "error", err)
		return &diag.Problem{What: "this is not the service manager", Hint: "skua-agent service start", Err: err}
	}
	return nil
}

// notRunning says why the service does not run; nil if it does.
func notRunning(s service.Service) error { return notRunningByLibrary(s) }

// preShutdown is how long the system waits for the agent before it shuts down: jobs leave meanwhile.
const preShutdown = 11 * time.Minute

// unmanaged has nothing against any service manager: there is one.
func unmanaged(string) error { return nil }

// complete says to the service manager what the library cannot.
func complete(_ service.Service, action string) error {
	if action != "install" {
		return nil
	}
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("reach the service manager: %w", err)
	}
	defer m.Disconnect()
	s, err := m.OpenService(serviceName)
	if err != nil {
		return fmt.Errorf("open the service: %w", err)
	}
	defer s.Close()
	// A system that does not know this, as Wine, starts nothing again anyhow.
	if err := s.SetRecoveryActionsOnNonCrashFailures(true); err != nil && !errors.Is(err, windows.ERROR_INVALID_LEVEL) {
		return fmt.Errorf("have the service started again when it ends with an error: %w", err)
	}
	ms := uint32(preShutdown.Milliseconds()) // SERVICE_PRESHUTDOWN_INFO
	if err := windows.ChangeServiceConfig2(s.Handle, windows.SERVICE_CONFIG_PRESHUTDOWN_INFO, (*byte)(unsafe.Pointer(&ms))); err != nil {
		return fmt.Errorf("set the time before a shutdown: %w", err)
	}
	return nil
}

// stopHint is how long the service manager is told to wait for the next sign of a stop that goes on.
const (
	stopHint = 20 * time.Second
	stopSign = 5 * time.Second
)

// accepted are the calls that the agent answers. A stop before the shutdown proper comes early enough for
// jobs to leave.
const accepted = svc.AcceptStop | svc.AcceptShutdown | svc.AcceptPreShutdown | svc.AcceptSessionChange | svc.AcceptPowerEvent

// handler is the agent as Windows' service manager sees it.
type handler struct {
	serve func(ctx context.Context) error // until ctx ends and the jobs have left
	log   *slog.Logger
	sign  time.Duration // between signs of a stop that goes on
}

// What the manager tells of the machine's power.
const (
	powerSuspend         = 0x4  // PBT_APMSUSPEND
	powerResumeAutomatic = 0x12 // PBT_APMRESUMEAUTOMATIC
)

// Execute implements [svc.Handler]. Its result is an exit code of our own: 1 for an agent that ended by itself
// with an error, so that the manager starts it anew.
func (h *handler) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (specific bool, code uint32) {
	status <- svc.Status{State: svc.StartPending}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- h.serve(ctx) }()
	now := svc.Status{State: svc.Running, Accepts: accepted}
	status <- now
	var sign <-chan time.Time // ticks while a stop goes on
	for {
		select {
		case err := <-ended:
			status <- svc.Status{State: svc.StopPending}
			if err != nil && ctx.Err() == nil {
				h.log.Error("the agent ended", "error", err)
				return true, 1
			}
			return false, 0
		case <-sign:
			now.CheckPoint++
			status <- now
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- now
			case svc.Stop, svc.Shutdown, svc.PreShutdown:
				if sign != nil {
					break // it stops already
				}
				h.log.Info("the service is asked to stop", "call", callName(r.Cmd))
				ticker := time.NewTicker(h.sign)
				defer ticker.Stop()
				sign = ticker.C
				now = svc.Status{State: svc.StopPending, CheckPoint: 1, WaitHint: uint32((h.sign + stopHint).Milliseconds())}
				status <- now
				stop()
			case svc.PowerEvent:
				// Jobs need nothing: their leases go on while the machine sleeps, and are checked before they run on.
				switch r.EventType {
				case powerSuspend:
					h.log.Info("the machine goes to sleep")
				case powerResumeAutomatic:
					h.log.Info("the machine is awake")
				}
			case svc.SessionChange:
				// The watcher hears of it itself; here it is only answered.
				h.log.Debug("a session changes", "event", r.EventType)
			}
		}
	}
}

func callName(c svc.Cmd) string {
	switch c {
	case svc.Shutdown:
		return "shutdown"
	case svc.PreShutdown:
		return "preshutdown"
	}
	return "stop"
}
