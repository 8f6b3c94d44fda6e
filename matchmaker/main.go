// Skua-matchmaker is the head of a pool: it keeps the queue, matches jobs with machines, and carries
// messages and files between them.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"skua/internal/cli"
	"skua/internal/diag"
)

// version is set by the build.
var version = "dev"

func main() {
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
		diag.Print(stderr, "skua-matchmaker", err)
		return diag.ExitCode(err)
	}
	return diag.ExitOK
}

func rootCommand() *cobra.Command {
	var f flags
	root := &cobra.Command{
		Use:   "skua-matchmaker",
		Short: "run the head of a pool",
		Long: `skua-matchmaker is the head of a Skua pool. It keeps the queue of jobs, offers them to machines that
are idle, and carries messages and files between machines and users, all over one port, 9618.

Without a command it runs the matchmaker in the foreground. While it runs, the commands below, given
on the same machine, let machines and users join:

  skua-matchmaker token agent --uses 40       a token for forty machines: skua-agent join TOKEN
  skua-matchmaker token user ann              a token for ann: skua login TOKEN`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cli.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return serve(c.Context(), c.ErrOrStderr(), f) },
	}
	root.SetVersionTemplate("skua-matchmaker {{.Version}}\n")
	root.SetFlagErrorFunc(cli.FlagError)
	root.PersistentFlags().StringVar(&f.config, "config", "", "configuration file (default "+defaultConfig+", if it is there)")
	root.PersistentFlags().StringVar(&f.data, "data", "", "directory of the queue, the files and the keys (default "+defaultData+")")
	root.Flags().StringVar(&f.listen, "listen", "", "address of the one port that machines and users connect to (default :9618)")
	root.AddCommand(
		runCommand(&f),
		tokenCommand(&f),
		membersCommand(&f),
		usersCommand(&f),
		logCommand(&f),
		headsCommand(&f),
		keysCommand(&f),
		policyCommand(&f),
		runtimeCommand(&f),
		memberCommand(&f, "approve", "let a member that joined without approval take part",
			`A member that waits for approval is listed so by "skua-matchmaker members", which tells its ID, too.`, adminApprove),
		memberCommand(&f, "revoke", "end a membership for good, and its connections at once",
			`Use it when a machine is given away or a key may be in wrong hands. "skua-matchmaker members" tells the ID.
Jobs that run on a machine go on elsewhere, at once if it can still be told to end them. The jobs of a user are held. The key is never
taken again, and neither is the token that a machine joined with: others that are yet to join with it need a new one.`, adminRevoke),
	)
	cli.StrictHelp(root)
	return root
}
