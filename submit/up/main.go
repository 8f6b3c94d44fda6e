// Skua-up is a pool of one's own: a matchmaker and an agent in one process. "skua up" starts it and says what it is for. It
// is a program by itself so that all other commands of skua, and what fetches the users' outputs in the background, need not
// be built with a matchmaker.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"skua/agent/session"
	"skua/agent/starter"
	"skua/internal/diag"
	"skua/submit/client"
)

func main() {
	starter.MaybeInit()   // this program is also the init of its claims
	session.MaybeHelper() // and the helper in its user's session
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run has a pool until ctx ends, and gives the program's exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := up(ctx, args, stdout, stderr)
	switch {
	case err == nil:
		return diag.ExitOK
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(stderr, "skua: interrupted")
		return diag.ExitFailure
	}
	diag.Print(stderr, "skua", err) // which has been typed
	return diag.ExitCode(err)
}

func up(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	p := personalPool{out: stdout, err: stderr}
	flags := flag.NewFlagSet("skua-up", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.IntVar(&p.slots, "slots", 0, "")
	flags.BoolVar(&p.partitionable, "partitionable", false, "")
	flags.StringVar(&p.policyFile, "policy", "", "")
	flags.BoolVar(&p.verbose, "verbose", false, "")
	err := flags.Parse(args)
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("%q is no option", flags.Arg(0))
	}
	if err != nil {
		return &diag.Problem{What: err.Error(), Hint: `start it with "skua up"; "skua up --help" says what there is`, Code: diag.ExitUsage}
	}
	if p.home, err = client.UserHome(); err != nil {
		return err
	}
	return p.run(ctx)
}
