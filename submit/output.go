package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"skua/policy/classad"
)

// output is how q, status and history print what they found, as their flags say.
type output struct {
	af, formats *[]string
	long        optional // in which form
	asJSON      bool
	jsonLines   bool
	attributes  string
	wide        optional // at how many columns
	emptyList   string   // what --json prints for no ads; "" means []
}

// noList stands for printing nothing when there are no ads, as condor_q and condor_status do.
const noList = "-"

// optional is the value of a flag that may stand alone, or have options after a colon.
type optional string

const alone = "true"

func (o *optional) String() string     { return string(*o) }
func (o *optional) Set(s string) error { *o = optional(s); return nil }
func (o *optional) Type() string       { return "bool" } // help shows no value

func addOutput(c *cobra.Command, what string) *output {
	o := &output{}
	f := c.Flags()
	o.af, o.formats = addAutoformat(c)
	f.VarP(&o.long, "long", "l", "print "+what+" whole, one attribute a line")
	f.Lookup("long").NoOptDefVal = alone
	teach(c, "long", habit{opts: true, short: "l"})
	f.BoolVar(&o.asJSON, "json", false, "print "+what+" as JSON")
	f.BoolVar(&o.jsonLines, "jsonl", false, "print "+what+" as JSON, one a line")
	f.StringVar(&o.attributes, "attributes", "", "of ads only these attributes, `A,B,...`, with --long, --json and --jsonl")
	f.Var(&o.wide, "wide", "do not cut lines at the terminal's edge; -wide:120 cuts them there")
	f.Lookup("wide").NoOptDefVal = alone
	teach(c, "json", habit{short: "j"})
	teach(c, "wide", habit{opts: true, short: "w"})
	refuse(c, false, "xml", "there is no XML form of ads here", "--json and --jsonl are for programs, --long is HTCondor's text form")
	refuse(c, true, "print-format", "print formats in files are not read", "-af:h and -format print what you choose")
	return o
}

// check refuses what does not go together, and takes forms of --long apart.
func (o *output) check() error {
	switch o.long {
	case "", alone, "long":
	case "json":
		o.long, o.asJSON = "", true
	default:
		return usage("-long and -json are there", "-long:%s: there is no such form", o.long)
	}
	forms := 0
	for _, set := range []bool{o.long != "", o.asJSON, o.jsonLines, len(*o.af) > 0, len(*o.formats) > 0} {
		if set {
			forms++
		}
	}
	if forms > 1 {
		return usage("leave all but one of them out", "--long, --json, --jsonl, --autoformat and --format are forms of the same")
	}
	if o.attributes != "" && !o.ads() {
		return usage("--long, --json or --jsonl print ads; -af prints values", "--attributes says of what ads are printed, and none are")
	}
	_, err := o.cutAt()
	return err
}

// cutAt is the length at which lines of tables are cut, see table.
func (o *output) cutAt() (int, error) {
	switch o.wide {
	case "":
		return 0, nil
	case alone:
		return -1, nil
	}
	n, err := strconv.Atoi(string(o.wide))
	if err != nil || n < 1 {
		return 0, usage("such as -wide:120", "-wide:%s is not a number of columns", o.wide)
	}
	return n, nil
}

// wholeAds says whether ads are printed with all that is in them.
func (o *output) wholeAds() bool { return o.attributes == "" && o.ads() }

func (o *output) ads() bool { return o.long != "" || o.asJSON || o.jsonLines }

// rows gives the form in which rows of values are printed, if it is none of a table's.
func (o *output) rows(w io.Writer) (rowFormat, error) {
	if o.ads() {
		return newAdRows(strings.FieldsFunc(o.attributes, func(r rune) bool { return r == ',' || r == ' ' }), o.adWriter(w))
	}
	return newRowFormat(*o.af, *o.formats, bufio.NewWriterSize(tame(w), 64<<10))
}

func (o *output) adWriter(w io.Writer) *adWriter {
	return &adWriter{w: bufio.NewWriterSize(tame(w), 64<<10), list: o.asJSON, lines: o.jsonLines, empty: cmp.Or(o.emptyList, "[]\n")}
}

// adWriter prints ads while they come: a JSON list of them, a JSON object on each line, or else HTCondor's
// long form.
type adWriter struct {
	w     *bufio.Writer
	list  bool
	lines bool
	empty string // a list without ads
	n     int
	err   error
}

// add prints an ad with its attributes in the order of their names, in which they are found.
func (aw *adWriter) add(ad *classad.Ad) {
	names := ad.Names()
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(strings.ToLower(a), strings.ToLower(b)) })
	if !aw.list && !aw.lines {
		for _, n := range names {
			e, _ := ad.Lookup(n)
			aw.w.WriteString(n)
			aw.w.WriteString(" = ")
			aw.w.WriteString(e.OldString())
			aw.w.WriteByte('\n')
		}
		aw.w.WriteByte('\n')
		return
	}
	open, before, after, end := "{", "", ",", "}\n"
	if aw.list {
		open, before, after, end = ",\n{\n", "  ", ",\n", "\n}\n"
		if aw.n == 0 {
			open = "[\n{\n"
		}
	}
	aw.n++
	aw.w.WriteString(open)
	for i, n := range names {
		if i > 0 {
			aw.w.WriteString(after)
		}
		e, _ := ad.Lookup(n)
		value, err := e.MarshalJSON()
		if err != nil && aw.err == nil {
			aw.err = fmt.Errorf("write attribute %s: %w", n, err)
		}
		fmt.Fprintf(aw.w, "%s%q: ", before, n)
		aw.w.Write(value)
	}
	aw.w.WriteString(end)
}

func (aw *adWriter) flush() error {
	switch {
	case aw.list && aw.n == 0 && aw.empty == noList:
	case aw.list && aw.n == 0:
		aw.w.WriteString(aw.empty)
	case aw.list:
		aw.w.WriteString("]\n")
	}
	if err := aw.w.Flush(); err != nil {
		return err
	}
	return aw.err
}

// adRows prints some attributes of ads as ads. It asks for their expressions, not for whole ads.
type adRows struct {
	names []string
	w     *adWriter
}

func newAdRows(names []string, w *adWriter) (*adRows, error) {
	for _, n := range names {
		if !bareName.MatchString(n) {
			return nil, usage("such as --attributes ClusterId,Owner", "%q is not the name of an attribute", n)
		}
	}
	if len(names) == 0 {
		return nil, usage("such as --attributes ClusterId,Owner", "--attributes names none")
	}
	return &adRows{names: names, w: w}, nil
}

func (r *adRows) columns() []string {
	cols := make([]string, len(r.names))
	for i, n := range r.names {
		cols[i] = "unparse(" + n + ")"
	}
	return cols
}

func (r *adRows) row(values []string) {
	ad := classad.NewAd()
	for i, v := range values {
		text, _ := evaluate(v).Str()
		if e, err := classad.ParseExpr(text); err == nil {
			ad.Set(r.names[i], e)
		}
	}
	r.w.add(ad)
}

func (r *adRows) flush() error { return r.w.flush() }

// printAds prints whole ads.
func (a *app) printAds(o *output, ads []*classad.Ad) error {
	w := o.adWriter(a.out)
	for _, ad := range ads {
		w.add(ad)
	}
	return w.flush()
}

// printJSON prints ads as a JSON list.
func (a *app) printJSON(ads []*classad.Ad) error { return a.printAds(&output{asJSON: true}, ads) }

// noteRefused keeps why a flag of HTCondor's is refused, and what to do instead.
const noteRefused = "skua_refused"

// refuse has a command know a flag of HTCondor's, so that it can say why it does not do what it asks for. A
// script that uses it must not get something else in silence.
func refuse(c *cobra.Command, value bool, flag, why, hint string) {
	if value {
		c.Flags().String(flag, "", "")
	} else {
		c.Flags().Bool(flag, false, "")
	}
	f := c.Flags().Lookup(flag)
	f.Hidden = true
	teach(c, flag, habit{})
	f.Annotations[noteRefused] = []string{why, hint}
}

// refused gives the refusal of the first refused flag that was set.
func refused(c *cobra.Command) error {
	var err error
	c.Flags().Visit(func(f *pflag.Flag) {
		if why := f.Annotations[noteRefused]; err == nil && len(why) == 2 {
			err = usage(why[1], "--%s: %s", f.Name, why[0])
		}
	})
	return err
}
