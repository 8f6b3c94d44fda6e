// Skua is what the users of a pool type: it submits jobs, shows how they are and why, brings their
// outputs, and starts a pool of one's own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"skua/internal/cli"
	"skua/internal/diag"
	"skua/submit/client"
	"skua/submit/courier"
)

// version is set by the build.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line, whose first word is what the program was called by, and gives its exit
// code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{in: stdin, out: stdout, err: stderr}
	program, args := args[0], args[1:]
	if a.as = condorTool(program); a.as != "" {
		return a.runAsCondor(ctx, args)
	}
	return a.run(ctx, args)
}

// run executes the words after the program's name.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.command()
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	args, err := dashes(root, signedWords(args))
	if err == nil {
		root.SetArgs(args)
		err = root.ExecuteContext(ctx)
	}
	switch {
	case err == nil:
		return diag.ExitOK
	case errors.Is(err, errQuiet):
		return diag.ExitJobFailed
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		a.say("interrupted")
		return diag.ExitFailure
	}
	diag.Print(a.err, a.name(), err)
	return diag.ExitCode(err)
}

// app is what the commands share.
type app struct {
	in       io.Reader
	out, err io.Writer

	// as is the tool of HTCondor that the program was called by, such as condor_rm, whose words and exit
	// codes its users expect; empty for skua itself.
	as string
}

// name is what the program calls itself.
func (a *app) name() string {
	if a.as != "" {
		return a.as
	}
	return "skua"
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "skua",
		Short: "run jobs on the idle desktops of a pool",
		Long: `Skua runs your jobs on the machines of a pool while nobody uses them, gets out of the way when
somebody does, and goes on elsewhere from where it was.

A job is described in a file, in HTCondor's language:

  executable = sim
  arguments  = --seed $(Process)
  output     = out.$(Process)
  log        = sim.log
  queue 10

A first session:

  skua up                 a pool of your own on this machine, for as long as it runs
  skua submit sim.sub     in another terminal: queue the ten jobs
  skua q                  how they are, and why if they wait
  skua why 1.3            all about why one of them waits
  skua wait               until they have ended
  skua history            how they ended`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return cli.Unknown(c, args[0])
		},
		RunE: cli.Help,
	}
	root.SetVersionTemplate("skua {{.Version}}\n")
	root.SetFlagErrorFunc(cli.FlagError)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		a.submitCommand(), a.qCommand(), a.whyCommand(), a.watchCommand(), a.waitCommand(), a.tailCommand(),
		a.logsCommand(), a.fetchCommand(), a.historyCommand(),
		a.holdCommand(), a.releaseCommand(), a.rmCommand(), a.vacateCommand(), a.suspendCommand(),
		a.continueCommand(), a.editCommand(), a.prioCommand(),
		a.statusCommand(), a.usersCommand(), a.limitsCommand(), a.runtimesCommand(), a.classadCommand(),
		a.loginCommand(), a.upCommand(), a.versionCommand(), a.courierCommand(),
		a.completionCommand(), a.manCommand(), a.condorLinksCommand(),
	)
	root.AddCommand(topics()...)
	cli.StrictHelp(root)
	return root
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "say which version this is", Args: cli.NoArgs,
		Run: func(*cobra.Command, []string) { fmt.Fprintln(a.out, "skua", version) },
	}
}

// connect connects to the user's pool, and starts the courier if it is missing.
func (a *app) connect(ctx context.Context) (*client.Client, client.Home, error) {
	home, err := client.UserHome()
	if err != nil {
		return nil, "", err
	}
	c, err := client.Connect(ctx, client.Connection{Home: home, Trouble: a.trouble})
	if err != nil {
		return nil, "", err
	}
	if courier.Wanted(home) {
		a.startCourier(home)
	}
	return c, home, nil
}

// startCourier starts the background process that writes logs and brings outputs. Without it nothing is
// lost: the next command tries again.
func (a *app) startCourier(home client.Home) {
	program, err := os.Executable()
	if err == nil {
		err = courier.Start(home, program, "courier")
	}
	if err != nil {
		a.say("logs and outputs are not brought for now: %v", err)
	}
}

// say tells the person something that is not what was asked for.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.err, a.name()+": "+format+"\n", args...)
}

func (a *app) trouble(err error) { a.say("%v; trying again", err) }
