package classad

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The corpus was made with this zone.
func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

// conformanceCase is one line of the corpus: an expression and what HTCondor made of it.
type conformanceCase struct {
	ID, Area, Syntax, Ad, Target, Expr, Mode string
	Canon                                    *string
	Quirk                                    string
	Want                                     wantedValue
}

type wantedValue struct {
	Type     string
	Value    json.RawMessage
	EvalFail bool
	Text     *string
}

// TestConformance compares with the answers of HTCondor 23.9.6 under testdata/conformance, or those
// under the directory SKUA_CONFORMANCE.
func TestConformance(t *testing.T) {
	dir := os.Getenv("SKUA_CONFORMANCE")
	own := dir == ""
	if own {
		dir = filepath.Join("..", "..", "testdata", "conformance")
	}
	files, err := filepath.Glob(filepath.Join(dir, "classad", "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus in %s: %v", dir, err)
	}
	passed, failed, quirks := 0, 0, 0
	for _, file := range files {
		for _, c := range readConformance(t, file) {
			switch diff := c.check(); {
			case diff == "":
				passed++
			case c.Quirk != "":
				quirks++
				t.Logf("%s: %s: differs: %s (quirk: %s)", c.ID, c.Expr, diff, c.Quirk)
			default:
				failed++
				t.Errorf("%s: %s: %s", c.ID, c.Expr, diff)
			}
		}
	}
	t.Logf("conformance: area=classad passed=%d failed=%d quirks_differing=%d", passed, failed, quirks)
}

func readConformance(tb testing.TB, file string) []conformanceCase {
	tb.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	var cases []conformanceCase
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c conformanceCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		cases = append(cases, c)
	}
	if err := lines.Err(); err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	return cases
}

// check evaluates the case and describes the first difference, "" if there is none.
func (c *conformanceCase) check() string {
	my, err := parseCorpusAd(c.Ad)
	if err != nil {
		return fmt.Sprintf("ad: %v", err)
	}
	target, err := parseCorpusAd(c.Target)
	if err != nil {
		return fmt.Sprintf("target: %v", err)
	}
	if my == nil {
		my = NewAd()
	}
	if c.Mode == "match" {
		return c.checkMatch(my, target)
	}
	old := c.Syntax == "old"
	e, err := parseExpr(c.Expr, old)
	if c.Want.Type == "parse-error" {
		if err == nil {
			return "parsed as " + e.String() + ", want a parse error"
		}
		return ""
	}
	if err != nil {
		return fmt.Sprintf("does not parse: %v", err)
	}
	if c.Canon != nil {
		if diff := compareCanon(e, *c.Canon, old); diff != "" {
			return diff
		}
	}
	v, ok := try(e.root, my, target)
	if c.Want.EvalFail {
		if ok {
			return fmt.Sprintf("got %v, want a failed evaluation", v)
		}
		return ""
	}
	if !ok {
		return "the evaluation failed"
	}
	if diff := compareValue(v, c.Want.Type, c.Want.Value); diff != "" {
		return diff
	}
	text := v.String()
	if old {
		text = v.OldString()
	}
	if isScalar := v.kind != List && v.kind != AdKind; isScalar && c.Want.Text != nil && text != *c.Want.Text {
		return fmt.Sprintf("printed %s, want %s", text, *c.Want.Text)
	}
	return ""
}

func (c *conformanceCase) checkMatch(my, target *Ad) string {
	var want struct {
		My        bool `json:"my_requirements"`
		Target    bool `json:"target_requirements"`
		Symmetric bool
	}
	if err := json.Unmarshal(c.Want.Value, &want); err != nil {
		return err.Error()
	}
	got := want
	got.My = my.Eval(AttrRequirements, target).IsTrue()
	got.Target = target.Eval(AttrRequirements, my).IsTrue()
	got.Symmetric = Match(my, target)
	if got != want {
		return fmt.Sprintf("got %+v, want %+v", got, want)
	}
	return ""
}

func parseCorpusAd(src string) (*Ad, error) {
	switch {
	case src == "":
		return nil, nil
	case strings.HasPrefix(src, "["):
		return ParseAd(src)
	}
	return ParseOldAd(src)
}

// compareCanon compares e with the oracle's print of its tree. That drops the quotes of names after a
// dot, so that where it does not parse, the prints are compared without quotes and blanks.
func compareCanon(e *Expr, canon string, old bool) string {
	print := func(e *Expr) string {
		p := printer{condor: true, old: old}
		e.root.print(&p)
		return p.String()
	}
	squeeze := func(s string) string { return strings.NewReplacer(" ", "", "'", "").Replace(s) }
	got := print(e)
	if squeeze(got) == squeeze(canon) {
		return ""
	}
	c, err := parseExpr(canon, old)
	if err == nil && sortedPrint(c) == sortedPrint(e) {
		return ""
	}
	return fmt.Sprintf("parsed as %s, want %s", got, canon)
}

// sortedPrint prints e with the attributes of nested ads in one order; the oracle's is arbitrary.
func sortedPrint(e *Expr) string {
	var sorted func(n node) node
	sorted = func(n node) node {
		switch n := n.(type) {
		case *adNode:
			ad := NewAd()
			names := n.ad.Names()
			slices.SortFunc(names, compareFold)
			for _, name := range names {
				x, _ := n.ad.Lookup(name)
				ad.Set(name, &Expr{root: sorted(x.root)})
			}
			return &adNode{ad: ad}
		case *attrRef:
			c := *n
			if n.base != nil {
				c.base = sorted(n.base)
			}
			return &c
		}
		return n
	}
	p := printer{condor: true}
	sorted(e.root).print(&p)
	return p.String()
}

func compareValue(v Value, kind string, want json.RawMessage) string {
	if v.kind.String() != kind {
		return fmt.Sprintf("got %s %v, want %s %s", v.kind, v, kind, want)
	}
	same := true
	switch v.kind {
	case Boolean, Integer:
		same = fmt.Sprint(v) == string(want)
	case Real, RelTime:
		same = sameReal(v.float(), want)
	case String:
		var s string
		same = json.Unmarshal(want, &s) == nil && s == v.text()
	case AbsTime:
		var w struct{ Secs, Offset int64 }
		same = json.Unmarshal(want, &w) == nil && w.Secs == v.int() && w.Offset == int64(v.off)
	case List:
		var w []wantedValue
		if json.Unmarshal(want, &w) != nil || len(w) != len(v.body().elems) {
			same = false
			break
		}
		for i, e := range v.body().elems {
			// The oracle's harness took the elements out of the ad that they stood in.
			if diff := compareValue(run(e, nil, nil), w[i].Type, w[i].Value); diff != "" {
				return fmt.Sprintf("[%d]: %s", i, diff)
			}
		}
	case AdKind:
		var w map[string]wantedValue
		if json.Unmarshal(want, &w) != nil || len(w) != v.body().sc.ad.Len() {
			same = false
			break
		}
		for _, name := range slices.Sorted(maps.Keys(w)) {
			e, ok := v.body().sc.ad.Lookup(name)
			if !ok {
				return name + " is missing"
			}
			if diff := compareValue((&evaluator{steps: maxSteps}).eval(e.root, v.body().sc), w[name].Type, w[name].Value); diff != "" {
				return name + ": " + diff
			}
		}
	}
	if !same {
		return fmt.Sprintf("got %v, want %s", v, want)
	}
	return ""
}

func sameReal(got float64, want json.RawMessage) bool {
	switch string(want) {
	case `"inf"`:
		return math.IsInf(got, 1)
	case `"-inf"`:
		return math.IsInf(got, -1)
	case `"nan"`:
		return math.IsNaN(got)
	}
	var w float64
	if json.Unmarshal(want, &w) != nil {
		return false
	}
	return got == w || math.Abs(got-w) <= 1e-12*math.Abs(w)
}
