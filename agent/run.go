package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"skua/agent/footprint"
	"skua/agent/startd"
	"skua/internal/cli"
	"skua/internal/diag"
	"skua/internal/filelock"
	"skua/internal/membership"
	"skua/internal/pause"
	"skua/internal/trust"
	"skua/policy"
	"skua/policy/config"
)

// fileConfig is agent.toml.
type fileConfig struct {
	Token     string `toml:"token"`      // join token, used at the first start if the machine is in no pool yet
	TokenFile string `toml:"token_file"` // a file that has it, in the place of Token
	Log       string `toml:"log"`        // debug, info, warn or error
	startd.Settings
}

func runCommand(configFile *string) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "run the agent in the foreground, as the service does",
		Long: `Runs the agent until it gets SIGTERM or ctrl-C, upon which jobs leave with a checkpoint; its log goes to
standard error. It needs no root, but jobs are kept apart better, and see more owners, with it.`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, occasion, stop := untilHandOver(c.Context())
			defer stop()
			return serve(ctx, *configFile, occasion)
		},
	}
}

// serve runs the agent until ctx ends. What becomes of its jobs then depends on the occasion.
func serve(ctx context.Context, configFile string, occasion func() startd.Occasion) error {
	cfg, err := readConfig(configFile)
	if err != nil {
		return err
	}
	log, err := logger(cfg.Log)
	if err != nil {
		return err
	}
	if _, err := readLocal(cfg.Policy); err != nil { // before a token is spent
		return err
	}
	if err := keepOthersOut(cfg.Dir); err != nil {
		return err
	}
	alone, err := beAlone(ctx, cfg.Dir)
	if err != nil {
		return err
	}
	defer alone.Close()
	member, err := member(ctx, cfg)
	if err != nil {
		return err
	}
	r, p, err := newRules(configFile, cfg, member.Fingerprint, log)
	if err != nil {
		return err
	}
	m, err := startd.NewMachine(cfg.Settings, member, p, log)
	if err != nil {
		return err
	}
	m.Version, m.Rest = version, resting()
	r.of(m)
	log.Info("agent starts", "version", version, diag.KeyMachine, cfg.Name, diag.KeyAgent, member.ID)
	stop := onReload(r.reload)
	defer stop()
	return m.Run(ctx, occasion)
}

// handOverPatience is how long an agent waits for the one before it, which may be about to end.
const handOverPatience = 5 * time.Second

// beAlone keeps other agents off a directory, until what it gives is closed: two would be the same machine, and each would
// take what the other's jobs have for its own. Processes of jobs do not hold the lock.
func beAlone(ctx context.Context, dir string) (io.Closer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, startd.DirProblem(dir, err)
	}
	for began := time.Now(); ; {
		l, err := filelock.Take(filepath.Join(dir, "agent.lock"))
		switch {
		case err == nil:
			return l, nil
		case !errors.Is(err, filelock.ErrHeld):
			return nil, startd.DirProblem(dir, err)
		case time.Since(began) >= handOverPatience:
			return nil, &diag.Problem{
				What: "an agent runs already on this machine, with its state in " + dir,
				Hint: `"skua-agent status" says what it does; "skua-agent service stop" ends it if it is the service`,
				Err:  err,
			}
		}
		if err := pause.For(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// resting has this process take little while the agent has no job.
func resting() func(rests bool) {
	var own footprint.Footprint
	return func(rests bool) {
		if rests {
			own.Rest()
		} else {
			own.Work()
		}
	}
}

// member gives this machine's place in its pool. With a token in the configuration, the first start
// takes it.
func member(ctx context.Context, cfg fileConfig) (*membership.Membership, error) {
	dir := startd.MembershipDir(cfg.Dir)
	m, err := membership.Open(dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, startd.DirProblem(dir, err)
	case !errors.Is(err, fs.ErrNotExist):
		return m, err
	}
	var token trust.Token
	switch {
	case cfg.TokenFile != "":
		token, err = trust.ReadToken(cfg.TokenFile)
	case cfg.Token != "":
		token, err = trust.ParseToken(cfg.Token)
	default:
		err = &diag.Problem{
			What: "this machine has not joined a pool",
			Hint: `get a token with "skua-matchmaker token agent" on the matchmaker, then run "skua-agent join TOKEN" here`,
			Err:  err,
		}
	}
	if err != nil {
		return nil, err
	}
	return join(ctx, dir, token, cfg.Name)
}

// readConfig reads agent.toml: the named one, or the default one if it is there.
func readConfig(path string) (fileConfig, error) {
	var cfg fileConfig
	named := path != ""
	if !named {
		path = defaultConfig
	}
	if err := config.Load(path, &cfg); err != nil && (named || !errors.Is(err, fs.ErrNotExist)) {
		return cfg, err
	}
	if cfg.Dir == "" {
		cfg.Dir = defaultDir
	}
	if cfg.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return cfg, &diag.Problem{What: "the machine has no name", Hint: "set name in " + path, Err: err}
		}
		cfg.Name = host
	}
	if cfg.Control == "" {
		cfg.Control = controlOf(cfg.Dir)
	}
	for _, beside := range []*string{&cfg.Policy, &cfg.TokenFile} {
		if *beside != "" && !filepath.IsAbs(*beside) {
			*beside = filepath.Join(filepath.Dir(path), *beside)
		}
	}
	return cfg, nil
}

// readPolicy reads a policy file by itself; without one it is the desktop preset.
func readPolicy(path string) (*policy.Policy, error) {
	file, err := readLocal(path)
	if err != nil {
		return nil, err
	}
	return policy.Derive(file)
}

// logOutput is where the log goes: nobody reads the standard error of a service on Windows.
var logOutput io.Writer = os.Stderr

func logger(level string) (*slog.Logger, error) {
	var l slog.Level
	if level != "" {
		if err := l.UnmarshalText([]byte(level)); err != nil {
			return nil, &diag.Problem{What: "log = " + level + " is not a level", Hint: "levels are debug, info, warn and error"}
		}
	}
	return slog.New(slog.NewTextHandler(logOutput, &slog.HandlerOptions{Level: l})), nil
}
