package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// flagged is a command with flags of every kind.
func flagged() *cobra.Command {
	root := &cobra.Command{Use: "skua"}
	c := &cobra.Command{Use: "q", Run: func(*cobra.Command, []string) {}}
	c.Flags().StringArray("autoformat", nil, "")
	c.Flags().StringArray("format", nil, "")
	c.Flags().String("constraint", "", "")
	c.Flags().BoolP("long", "l", false, "")
	c.Flags().Int("limit", 0, "")
	c.Flags().Bool("nobatch", false, "")
	c.Flags().Bool("allusers", false, "")
	c.Flags().Bool("analyze", false, "")
	c.Flags().Int("wide", 0, "")
	c.Flags().Lookup("wide").NoOptDefVal = "-1"
	teach(c, "autoformat", habit{also: []string{"af"}, words: untilDash, opts: true})
	teach(c, "format", habit{words: 2, short: "f"})
	teach(c, "constraint", habit{short: "c"})
	teach(c, "wide", habit{opts: true})
	root.AddCommand(c)
	return root
}

func TestDashes(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"q", "q"},
		{"q 12 ann", "q 12 ann"},
		{"q -nobatch 12", "q --nobatch 12"},
		{"q -nob --nob", "q --nobatch --nobatch"},
		{"q -cons a>b", "q --constraint=a>b"},
		{"q -c -1", "q --constraint=-1"},
		{"q --constraint=a==b", "q --constraint=a==b"},
		{"q -l", "q --long"},
		{"q -lim 3", "q --limit=3"},
		{"q -lim -3", "q --limit=-3"},
		{"q -af A B -nob", "q --autoformat=|A|B --nobatch"},
		{"q -af:jh A", "q --autoformat=jh|A"},
		{"q --af:, A 12", "q --autoformat=,|A|12"},
		{"q -autoformat=A 12", "q --autoformat=|A 12"},
		{"q -format %d\\n ClusterId -f - A", "q --format=%d\\n|ClusterId --format=-|A"},
		{"q -wide", "q --wide"},
		{"q -wide:120 5", "q --wide=120 5"},
		{"q -help", "q --help"},
		{"q -h", "q --help"},
		{"q - -5", "q - -5"},
		{"q -nob -- -nob", "q --nobatch -- -nob"},
		{"help q", "help q"},
		{"__complete q -nob", "__complete q -nob"},
		{"-version", "-version"},
	} {
		got, err := dashes(flagged(), strings.Fields(tt.in))
		want := strings.Fields(strings.ReplaceAll(tt.want, "|", wordSep))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s became %q and %v, want %q", tt.in, got, err, want)
		}
	}
}

func TestDashesRefuse(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"q -bogus", "unknown flag: -bogus"},
		{"q --jsn", "unknown flag: --jsn"},
		{"q -a", "-a could be --allusers or --analyze or --autoformat"},
		{"q -cons", "flag needs an argument: -cons"},
		{"q -af", "flag needs arguments: -af"},
		{"q -af -nob", "flag needs arguments: -af"},
		{"q -format %d", "flag needs an argument: -format"},
		{"q -nob:x", "flag --nobatch takes no options after a colon: -nob:x"},
	} {
		if got, err := dashes(flagged(), strings.Fields(tt.in)); err == nil || err.Error() != tt.want {
			t.Errorf("%s became %q and %v, want the error %q", tt.in, got, err, tt.want)
		}
	}
}

// FuzzDashes has command lines that must become flags or an error, whatever they are.
func FuzzDashes(f *testing.F) {
	f.Add("q -af:jh A B -nob")
	f.Add("q -format %d= ClusterId --=x -: -- -c")
	f.Fuzz(func(t *testing.T, line string) {
		root := flagged()
		args, err := dashes(root, strings.Fields(line))
		if err != nil {
			return
		}
		root.SetArgs(args)
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		_ = root.Execute() // which may not like them, either
	})
}
