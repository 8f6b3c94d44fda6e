package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"skua/internal/cli"
	"skua/internal/diag"
	"skua/policy/classad"
)

func (a *app) classadCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "classad",
		Short: "try expressions of the ClassAd language, and format ads",
		Long: `The language of requirements, ranks and policies is described in docs/classad.md. These commands need
no pool.`,
		Args: cli.NoArgs,
		RunE: cli.Help,
	}
	c.AddCommand(a.classadEvalCommand(), a.classadFmtCommand())
	return c
}

func (a *app) classadEvalCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "eval EXPR [-my FILE] [-target FILE]",
		Short: "evaluate an expression",
		Long: `Eval prints the value of an expression. Names without a prefix, and MY's, are looked up in the ad of -my,
TARGET's in that of -target. An ad is a file with one Name = expression per line, one in brackets, or
JSON; - is standard input.

  -my FILE       the ad in which the expression stands
  -target FILE   the ad that it is matched with
  -old           the expression is in the old syntax of submit files, where a backslash is a backslash
  -flatten       print what remains of the expression once the ad of -my is known`,
		Example: `  skua classad eval '10 / 4 + 0.5'
  skua classad eval 'TARGET.Memory >= RequestMemory' -my job.ad -target machine.ad
  skua q --long 12.0 | skua classad eval Requirements -my - -flatten`,
		// Expressions may begin with a minus, and HTCondor's users write options with one.
		DisableFlagParsing: true,
		RunE:               a.classadEval,
	}
}

func (a *app) classadEval(c *cobra.Command, args []string) error {
	var my, target string
	var old, flatten bool
	exprs, err := parseSingleDash(c, args, func(f *flag.FlagSet) {
		f.StringVar(&my, "my", "", "")
		f.StringVar(&target, "target", "", "")
		f.BoolVar(&old, "old", false, "")
		f.BoolVar(&flatten, "flatten", false, "")
	})
	if err != nil || exprs == nil {
		return err
	}
	if len(exprs) != 1 {
		return usage("put the expression in single quotes", "eval takes one expression, and got %d", len(exprs))
	}
	if my == "-" && target == "-" {
		return usage("name a file for one of them", "both ads cannot come from standard input")
	}
	var ads [2]*classad.Ad
	for i, name := range []string{my, target} {
		if name == "" {
			continue
		}
		if ads[i], _, err = a.readAd(name); err != nil {
			return err
		}
	}
	parse := classad.ParseExpr
	if old {
		parse = classad.ParseOldExpr
	}
	e, err := parse(exprs[0])
	if err != nil {
		return syntaxProblem("the expression", err)
	}
	for _, w := range e.Vet(exprs[0]) {
		a.say("%v\n%s", w, w.Caret())
	}
	switch {
	case flatten && old:
		fmt.Fprintln(a.out, e.Flatten(ads[0]).OldString())
	case flatten:
		fmt.Fprintln(a.out, e.Flatten(ads[0]))
	case old:
		fmt.Fprintln(a.out, e.Eval(ads[0], ads[1]).OldString())
	default:
		fmt.Fprintln(a.out, e.Eval(ads[0], ads[1]))
	}
	return nil
}

// parseSingleDash reads options that may stand anywhere, with one dash or two. What begins with a
// dash and no letter is an argument. It returns nil if help was asked for and given.
func parseSingleDash(c *cobra.Command, args []string, define func(*flag.FlagSet)) (rest []string, err error) {
	f := flag.NewFlagSet(c.Name(), flag.ContinueOnError)
	f.SetOutput(io.Discard)
	define(f)
	rest = []string{}
	for len(args) > 0 {
		switch arg := args[0]; {
		case arg == "--":
			return append(rest, args[1:]...), nil
		case !isOption(arg):
			rest, args = append(rest, arg), args[1:]
			continue
		}
		err := f.Parse(args)
		switch {
		case errors.Is(err, flag.ErrHelp):
			return nil, c.Help()
		case err != nil:
			return nil, cli.FlagError(c, err)
		}
		args = f.Args()
	}
	return rest, nil
}

// isOption reports whether arg is a dash or two and a word.
func isOption(arg string) bool {
	word, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	return strings.HasPrefix(arg, "-") && word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyz-") == ""
}

func (a *app) classadFmtCommand() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use:   "fmt [FILE]",
		Short: "print an ad in one form, or in another syntax",
		Long: `Fmt reads an ad from a file or standard input and prints it with the usual blanks and line breaks. It
warns of calls that can only give error, such as of a function that does not exist.`,
		Example: `  skua classad fmt machine.ad
  skua q --long 12.0 | skua classad fmt --to json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			name := "-"
			if len(args) == 1 {
				name = args[0]
			}
			ad, syntax, err := a.readAd(name)
			if err != nil {
				return err
			}
			if to == "" {
				to = syntax
			}
			a.warnOf(ad, to)
			return a.printAd(ad, to)
		},
	}
	c.Flags().StringVar(&to, "to", "", `print in this syntax: "old", "new" or "json"; that of the input if not given`)
	return c
}

// warnOf says what cannot work in an ad.
func (a *app) warnOf(ad *classad.Ad, syntax string) {
	for _, name := range ad.Names() {
		e, _ := ad.Lookup(name)
		text, parse := e.String(), classad.ParseExpr
		if syntax == "old" {
			text, parse = e.OldString(), classad.ParseOldExpr
		}
		again, err := parse(text) // for the places in what is printed
		if err != nil {
			continue
		}
		for _, w := range again.Vet(text) {
			a.say("%s: %v\n%s", name, w, w.Caret())
		}
	}
}

func (a *app) printAd(ad *classad.Ad, syntax string) error {
	switch syntax {
	case "old":
		_, err := io.WriteString(a.out, ad.OldString())
		return err
	case "new":
		var b strings.Builder
		b.WriteString("[\n")
		for line := range strings.Lines(attributesNew(ad)) {
			b.WriteString("    " + line)
		}
		b.WriteString("]\n")
		_, err := io.WriteString(a.out, b.String())
		return err
	case "json":
		data, err := ad.MarshalJSON()
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := json.Indent(&b, data, "", "  "); err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.out, &b)
		return err
	}
	return usage(`there are "old", "new" and "json"`, "--to %s", syntax)
}

// attributesNew prints the attributes of an ad in the new syntax, one per line.
func attributesNew(ad *classad.Ad) string {
	var b strings.Builder
	for _, name := range ad.Names() {
		e, _ := ad.Lookup(name)
		one := classad.NewAd()
		one.Set(name, e)
		text := strings.TrimSuffix(strings.TrimPrefix(one.String(), "[ "), " ]")
		b.WriteString(text + ";\n")
	}
	return b.String()
}

// maxAdFile bounds a file that an ad is read from.
const maxAdFile = 8 << 20

// readAd reads an ad, and tells in which syntax it was: old, new or json.
func (a *app) readAd(name string) (ad *classad.Ad, syntax string, err error) {
	in := a.in
	if name == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return nil, "", fmt.Errorf("read the ad: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxAdFile+1))
	if err != nil {
		return nil, "", fmt.Errorf("read the ad: %w", err)
	}
	if len(data) > maxAdFile {
		return nil, "", fmt.Errorf("%s: an ad has at most %d MB", name, maxAdFile>>20)
	}
	switch text := bytes.TrimSpace(data); {
	case bytes.HasPrefix(text, []byte("{")):
		ad = classad.NewAd()
		syntax, err = "json", ad.UnmarshalJSON(data)
	case bytes.HasPrefix(text, []byte("[")):
		syntax = "new"
		ad, err = classad.ParseAd(string(data))
	default:
		syntax = "old"
		ad, err = classad.ParseOldAd(string(data))
	}
	if err != nil {
		return nil, "", syntaxProblem(name, err)
	}
	return ad, syntax, nil
}

// syntaxProblem shows the place of a syntax error in the text called name.
func syntaxProblem(name string, err error) error {
	var se *classad.SyntaxError
	if !errors.As(err, &se) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return &diag.Problem{What: fmt.Sprintf("%s:%v\n%s", name, err, se.Caret()), Err: err}
}
