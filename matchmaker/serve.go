package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"sync"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"skua/internal/cli"
	"skua/internal/diag"
	"skua/matchmaker/server"
	"skua/policy/config"
)

const (
	defaultConfig = "/etc/skua/matchmaker.toml"
	defaultData   = "/var/lib/skua/matchmaker"
)

// flags are the options of the command line. They win over the file.
type flags struct{ config, data, listen string }

// fileConfig is matchmaker.toml.
type fileConfig struct {
	Log string `toml:"log"` // debug, info, warn or error
	server.Settings
}

func runCommand(f *flags) *cobra.Command {
	c := &cobra.Command{
		Use:   "run",
		Short: "run the matchmaker in the foreground, as the service does",
		Long: `Runs the matchmaker until it gets SIGTERM or ctrl-C; its log goes to standard error. What is queued, and
the claims of running jobs, are there when it is started again.`,
		Example: `  skua-matchmaker run
  skua-matchmaker run --data /tmp/pool --listen 127.0.0.1:9618    to try it, without root`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return serve(c.Context(), c.ErrOrStderr(), *f) },
	}
	c.Flags().StringVar(&f.listen, "listen", "", "address of the one port that machines and users connect to (default :9618)")
	return c
}

// serve runs the matchmaker until ctx ends.
func serve(ctx context.Context, stderr io.Writer, f flags) error {
	cfg, err := readConfig(f)
	if err != nil {
		return err
	}
	var level slog.Level
	if cfg.Log != "" {
		if err := level.UnmarshalText([]byte(cfg.Log)); err != nil {
			return &diag.Problem{What: "log = " + cfg.Log + " is not a level", Hint: "levels are debug, info, warn and error", Err: err}
		}
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	head, err := server.NewHead(server.HeadConfig{Settings: cfg.Settings, Log: log})
	if err != nil {
		return err
	}
	log.Info("matchmaker starts", "version", version, "data", cfg.Data)
	err = runHead(ctx, head, log)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil // asked to stop before it had begun to serve
	}
	return err
}

// runHead runs the head, and tells systemd, if that waits for it, when it serves.
func runHead(ctx context.Context, head *server.Head, log *slog.Logger) error {
	running, ended := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer ended()
	wg.Go(func() {
		select {
		case <-head.Ready():
			if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
				log.Warn("tell systemd that the matchmaker serves", diag.KeyError, err)
			}
		case <-running.Done():
		}
	})
	return head.Run(ctx)
}

// readConfig reads matchmaker.toml, the named one, or the default one if it is there.
func readConfig(f flags) (fileConfig, error) {
	var cfg fileConfig
	path := f.config
	if path == "" {
		path = defaultConfig
	}
	if err := config.Load(path, &cfg); err != nil && (f.config != "" || !errors.Is(err, fs.ErrNotExist)) {
		return cfg, err
	}
	if f.data != "" {
		cfg.Data = f.data
	}
	if cfg.Data == "" {
		cfg.Data = defaultData
	}
	if f.listen != "" {
		cfg.Listen = f.listen
	}
	return cfg, nil
}
