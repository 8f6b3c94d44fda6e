// Skua-agent runs on every desktop of the pool. It advertises the machine while its owner does not
// need it, runs jobs in a sandbox, and gets them out of the owner's way.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"skua/agent/session"
	"skua/agent/starter"
	"skua/internal/cli"
	"skua/internal/diag"
)

// version is set by the build.
var version = "dev"

func main() {
	starter.MaybeInit()   // this program is also the init of its claims
	session.MaybeHelper() // and the helper in users' sessions
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and gives its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		diag.Print(stderr, "skua-agent", err)
		return diag.ExitCode(err)
	}
	return diag.ExitOK
}

func rootCommand() *cobra.Command {
	var configFile string
	root := &cobra.Command{
		Use:   "skua-agent",
		Short: "run jobs on this machine while its owner does not need it",
		Long: `skua-agent is Skua's daemon on a desktop. It tells the pool when the machine is idle, runs
jobs in a sandbox, freezes them at the owner's first key press, and moves them on if the owner stays.

To add this machine to a pool, get a token on the matchmaker ("skua-matchmaker token agent") and:

  skua-agent join TOKEN
  skua-agent service install
  skua-agent service start`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cli.NoArgs,
		RunE:          cli.Help,
	}
	root.SetVersionTemplate("skua-agent {{.Version}}\n")
	root.SetFlagErrorFunc(cli.FlagError)
	root.PersistentFlags().StringVar(&configFile, "config", "", "configuration file (default "+defaultConfig+", if it is there)")
	root.AddCommand(controlCommands(&configFile)...)
	root.AddCommand(
		runCommand(&configFile),
		joinCommand(&configFile),
		serviceCommand(&configFile),
		policyCommand(&configFile),
	)
	cli.StrictHelp(root)
	return root
}
