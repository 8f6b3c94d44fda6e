package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"skua/internal/cli"
	"skua/internal/diag"
)

// A habit is how HTCondor's users write a flag, beyond its name with two dashes.
type habit struct {
	also  []string // other names of it, such as "af"
	short string   // the shortest beginning of its name that means it, where several would fit
	words int      // how many words of the command line are its value; 0 and 1 say what the flag's type says
	opts  bool     // letters or a number may follow after a colon: -af:jh
}

// untilDash are the words of a flag that takes all that follow, up to the next flag.
const untilDash = -1

// wordSep joins the words of a flag that takes several into the one that its value is set to. It cannot
// be in a word of a command line. Options after a colon are the first word, and empty without any.
const wordSep = "\x00"

// Annotations that keep a flag's habit.
const (
	noteAlso  = "skua_also"
	noteShort = "skua_short"
	noteWords = "skua_words"
	noteOpts  = "skua_opts"
)

// teach gives a command's flag a habit.
func teach(c *cobra.Command, flag string, h habit) {
	f := c.Flags().Lookup(flag)
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[noteAlso] = h.also
	if h.short != "" {
		f.Annotations[noteShort] = []string{h.short}
	}
	if h.words != 0 {
		f.Annotations[noteWords] = []string{strconv.Itoa(h.words)}
	}
	if h.opts {
		f.Annotations[noteOpts] = nil
	}
}

func habitOf(f *pflag.Flag) habit {
	h := habit{also: f.Annotations[noteAlso]}
	if s := f.Annotations[noteShort]; len(s) > 0 {
		h.short = s[0]
	}
	if s := f.Annotations[noteWords]; len(s) > 0 {
		h.words, _ = strconv.Atoi(s[0])
	}
	_, h.opts = f.Annotations[noteOpts]
	return h
}

// dashes rewrites a command line as HTCondor's users type it into the form that flags are parsed from:
// long names after one dash, any beginning of a name that fits one flag only, options after a colon,
// and flags that take several words.
//
//	q -nob -cons 'JobPrio > 0' -af:h ClusterId Cmd
func dashes(root *cobra.Command, args []string) ([]string, error) {
	c, rest := root, args
	for len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		i := slices.IndexFunc(c.Commands(), func(sub *cobra.Command) bool { return sub.Name() == rest[0] || sub.HasAlias(rest[0]) })
		if i < 0 {
			break
		}
		c, rest = c.Commands()[i], rest[1:]
	}
	if c.DisableFlagParsing || c == root && c.HasSubCommands() {
		return args, nil // what is no command of ours is for the library: help, completion
	}
	c.InitDefaultHelpFlag()
	c.InitDefaultVersionFlag()
	out := slices.Clone(args[:len(args)-len(rest)])
	for len(rest) > 0 {
		word := rest[0]
		if word == "--" {
			return append(out, rest...), nil
		}
		if !isFlag(word) {
			out, rest = append(out, word), rest[1:]
			continue
		}
		words, n, err := flagWords(c, word, rest[1:])
		if err != nil {
			return nil, err
		}
		out, rest = append(out, words...), rest[1+n:]
	}
	return out, nil
}

// isFlag says whether a word of a command line is a flag; "-" is standard input, and "-5" a number.
func isFlag(word string) bool {
	return len(word) > 1 && word[0] == '-' && (word[1] < '0' || word[1] > '9')
}

// flagWords gives the words that stand for a flag and its value, and how many of the next words belong
// to it.
func flagWords(c *cobra.Command, word string, next []string) (words []string, n int, err error) {
	body := strings.TrimPrefix(word[1:], "-")
	name, value, hasValue := strings.Cut(body, "=")
	name, opts, hasOpts := strings.Cut(name, ":")
	if len(word)-len(body) == 1 && len(name) == 1 && c.Flags().ShorthandLookup(name) != nil {
		name = c.Flags().ShorthandLookup(name).Name
	}
	f, err := findFlag(c, word, name)
	if err != nil {
		return nil, 0, err
	}
	h := habitOf(f)
	long := "--" + f.Name
	need := func(want int) error {
		if len(next) >= want {
			return nil
		}
		return cli.FlagError(c, &diag.Problem{What: "flag needs an argument: " + word})
	}
	switch {
	case hasOpts && !h.opts:
		return nil, 0, cli.FlagError(c, &diag.Problem{What: "flag " + long + " takes no options after a colon: " + word})
	case h.words == untilDash:
		vals := []string{value}
		if !hasValue {
			if vals = next[:firstFlag(next)]; len(vals) == 0 {
				return nil, 0, cli.FlagError(c, &diag.Problem{What: "flag needs arguments: " + word})
			}
			n = len(vals)
		}
		return []string{long + "=" + strings.Join(append([]string{opts}, vals...), wordSep)}, n, nil
	case h.words > 1:
		if err := need(h.words); err != nil {
			return nil, 0, err
		}
		return []string{long + "=" + strings.Join(next[:h.words], wordSep)}, h.words, nil
	case hasValue:
		return []string{long + "=" + value}, 0, nil
	case f.NoOptDefVal != "" && hasOpts:
		return []string{long + "=" + opts}, 0, nil
	case f.NoOptDefVal != "":
		return []string{long}, 0, nil
	}
	if err := need(1); err != nil {
		return nil, 0, err
	}
	return []string{long + "=" + next[0]}, 1, nil
}

func firstFlag(words []string) int {
	if i := slices.IndexFunc(words, isFlag); i >= 0 {
		return i
	}
	return len(words)
}

// findFlag finds the flag that name, or the beginning of one, means.
func findFlag(c *cobra.Command, word, name string) (*pflag.Flag, error) {
	if f := c.Flags().Lookup(name); f != nil {
		return f, nil
	}
	var found, hidden []*pflag.Flag
	var exact *pflag.Flag
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		h := habitOf(f)
		if !f.Hidden {
			names = append(names, f.Name)
		}
		fits := strings.HasPrefix(f.Name, name)
		for _, also := range h.also {
			if also == name {
				exact = f
			}
			fits = fits || strings.HasPrefix(also, name)
		}
		if fits && name != "" {
			if f.Hidden {
				hidden = append(hidden, f)
			} else {
				found = append(found, f)
			}
			if h.short != "" && strings.HasPrefix(name, h.short) {
				exact = f
			}
		}
	})
	if len(found) == 0 {
		found = hidden // which are there for those who ask for them
	}
	switch {
	case exact != nil:
		return exact, nil
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		var could []string
		for _, f := range found {
			could = append(could, "--"+f.Name)
		}
		return nil, usage("write more of it", "%s could be %s", word, strings.Join(could, " or "))
	}
	hint := cli.HelpHint(c)
	if near := diag.Suggest(name, names); near != "" {
		hint = `did you mean "--` + near + `"? ` + hint
	}
	return nil, usage(hint, "unknown flag: %s", word)
}
