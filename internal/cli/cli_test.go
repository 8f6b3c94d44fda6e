package cli_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"skua/internal/cli"
	"skua/internal/diag"
)

func TestRefusals(t *testing.T) {
	root := &cobra.Command{Use: "skua-agent", Args: cli.NoArgs, RunE: cli.Help}
	run := &cobra.Command{Use: "run", Args: cli.NoArgs, RunE: cli.Help}
	give := &cobra.Command{Use: "give A B", Args: cli.Exactly(2, "two arguments, A and B"), RunE: cli.Help}
	hidden := &cobra.Command{Use: "secret", Hidden: true, RunE: cli.Help}
	service := &cobra.Command{Use: "service", Args: cli.NoArgs, RunE: cli.Help}
	service.AddCommand(&cobra.Command{Use: "stop", SuggestFor: []string{"halt"}, RunE: cli.Help})
	root.AddCommand(run, give, hidden, service)
	for _, tt := range []struct {
		c          *cobra.Command
		args       []string
		what, hint string // "" if it is taken
	}{
		{root, nil, "", ""},
		{root, []string{"rum"}, `there is no command "rum"`, `did you mean "run"?`},
		{root, []string{"secre"}, `there is no command "secre"`, `"skua-agent --help" says what there is`},
		{root, []string{"stop"}, `there is no command "stop"`, `did you mean "skua-agent service stop"?`},
		{root, []string{"halt"}, `there is no command "halt"`, `did you mean "skua-agent service stop"?`},
		{service, []string{"halt"}, `there is no command "halt"`, `did you mean "skua-agent service stop"?`},
		{run, nil, "", ""},
		{run, []string{"now"}, `skua-agent run takes no arguments, and was given "now"`, `"skua-agent run --help" says what there is`},
		{give, []string{"a", "b"}, "", ""},
		{give, []string{"a"}, "skua-agent give wants two arguments, A and B", `"skua-agent give --help" says what there is`},
	} {
		err := tt.c.Args(tt.c, tt.args)
		var p *diag.Problem
		switch {
		case tt.what == "" && err == nil:
		case !errors.As(err, &p) || p.What != tt.what || p.Hint != tt.hint || diag.ExitCode(err) != diag.ExitUsage:
			t.Errorf("%s %v: %v, %+v, want %q and %q", tt.c.Name(), tt.args, err, p, tt.what, tt.hint)
		}
	}
	for word, what := range map[string]string{
		"12": "", "abc": `invalid argument "abc" for "-n, --number" flag: "abc" is not a whole number`,
		"99999999999999999999": `invalid argument "99999999999999999999" for "-n, --number" flag: "99999999999999999999" is too large`,
	} {
		c := &cobra.Command{Use: "count"}
		c.Flags().IntP("number", "n", 0, "")
		c.SetFlagErrorFunc(cli.FlagError)
		if err := c.ParseFlags([]string{"-n", word}); err != nil && cli.FlagError(c, err).Error() != what || (err == nil) != (what == "") {
			t.Errorf("-n %s: %v, want %q", word, cli.FlagError(c, err), what)
		}
	}
	cli.StrictHelp(root)
	root.SetOut(io.Discard)
	root.SilenceErrors, root.SilenceUsage = true, true
	for name, want := range map[string]string{"run": "", "rum": `there is no command "rum"`, "": ""} {
		root.SetArgs(strings.Fields("help " + name))
		got := ""
		if err := root.Execute(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("help %s: %q, want %q", name, got, want)
		}
	}
	err := cli.FlagError(run, errors.New("unknown flag: --nope"))
	var p *diag.Problem
	if !errors.As(err, &p) || p.What != "unknown flag: --nope" || p.Hint != `"skua-agent run --help" says what there is` {
		t.Errorf("a flag that is not there: %+v", p)
	}
}
