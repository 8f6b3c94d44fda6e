package main

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"skua/policy/classad"
)

// TestRowsAsHTCondor prints the ads of testdata/condor/ads.txt in many forms, and wants what condor_q 23.9.6
// printed for the same ads and options.
func TestRowsAsHTCondor(t *testing.T) {
	ads := readAds(t, "testdata/condor/ads.txt")
	for _, c := range readCases(t, "testdata/condor/rows.txt") {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			var out strings.Builder
			f := formatOf(t, c.args, &out)
			cols := f.columns()
			for _, ad := range ads {
				f.row(evaluateAll(t, ad, cols))
			}
			if err := f.flush(); err != nil {
				t.Fatal(err)
			}
			if out.String() != c.want {
				t.Errorf("printed\n%s\nand HTCondor\n%s", out.String(), c.want)
			}
		})
	}
}

// formatOf reads flags as a command would.
func formatOf(t *testing.T, args []string, out *strings.Builder) rowFormat {
	t.Helper()
	c := &cobra.Command{Use: "q"}
	af, formats := addAutoformat(c)
	args, err := dashes(c, args)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	f, err := newRowFormat(*af, *formats, bufio.NewWriter(out))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestRowFormatsRefuse(t *testing.T) {
	for _, tt := range []struct {
		af, formats []string
		want        string
	}{
		{[]string{"x" + wordSep + "Owner"}, nil, `-af:x: there is no option 'x'`},
		{[]string{wordSep + "1 +"}, nil, "the expression 1 +:"},
		{[]string{"A"}, []string{"%d" + wordSep + "A"}, "--autoformat together with --format"},
		{nil, []string{"%d"}, "--format takes a format and an attribute"},
		{nil, []string{"%d %d" + wordSep + "A"}, `the format "%d %d" has more than one conversion`},
		{nil, []string{"%n" + wordSep + "A"}, `the format "%n" has a conversion %n that is not known`},
	} {
		_, err := newRowFormat(tt.af, tt.formats, nil)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%q %q: %v, want %q", tt.af, tt.formats, err, tt.want)
		}
	}
}

// FuzzFormat has formats that must not make the program end, whatever they are.
func FuzzFormat(f *testing.F) {
	f.Add("%-10s|\\n", `"ann"`)
	f.Add("%5.1f%%", "1.5")
	f.Add("%c", "-1")
	f.Fuzz(func(t *testing.T, format, value string) {
		if p, err := newPiece(format); err == nil {
			p.append(nil, value)
		}
	})
}

type condorCase struct {
	args []string
	want string
}

// readCases reads command lines, each after "### " as a JSON list, with what HTCondor printed below.
func readCases(t *testing.T, name string) (cases []condorCase) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq(strings.TrimPrefix(string(text), "### "), "\n### ") {
		line, want, _ := strings.Cut(block, "\n")
		c := condorCase{want: want}
		if err := json.Unmarshal([]byte(line), &c.args); err != nil {
			t.Fatalf("%s: %q: %v", name, line, err)
		}
		if cut, ok := strings.CutSuffix(strings.TrimSuffix(want, "\n"), "\n\\ no newline"); ok {
			c.want = cut
		} else if want != "" && !strings.HasSuffix(want, "\n") {
			c.want += "\n"
		}
		cases = append(cases, c)
	}
	return cases
}

// readAds reads ads in the old syntax, with empty lines between them.
func readAds(t *testing.T, name string) (ads []*classad.Ad) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		ad, err := classad.ParseOldAd(block)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ads = append(ads, ad)
	}
	return ads
}

// evaluateAll gives the values of expressions as the matchmaker sends them.
func evaluateAll(t *testing.T, ad *classad.Ad, exprs []string) []string {
	t.Helper()
	values := make([]string, len(exprs))
	for i, text := range exprs {
		e, err := classad.ParseExpr(text)
		if err != nil {
			t.Fatal(err)
		}
		values[i] = e.Eval(ad, nil).String()
	}
	return values
}
