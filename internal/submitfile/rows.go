package submitfile

import (
	"math"
	"slices"
	"strings"

	"skua/internal/job"
	"skua/policy/classad"
)

// setting is the value of an attribute in the making: a literal, which costs little to make and to
// compare, or an expression.
type setting struct {
	kind classad.Kind // of a literal; Undefined for an expression
	text string
	bits uint64 // integer, real or boolean
	expr *classad.Expr
}

func intSetting(n int64) setting {
	return setting{kind: classad.Integer, bits: uint64(n)} //nolint:gosec // the same bits
}

func realSetting(f float64) setting { return setting{kind: classad.Real, bits: math.Float64bits(f)} }

func stringSetting(s string) setting { return setting{kind: classad.String, text: s} }

func boolSetting(b bool) setting {
	s := setting{kind: classad.Boolean}
	if b {
		s.bits = 1
	}
	return s
}

// put gives the attribute to an ad.
func (s setting) put(ad *classad.Ad, name string) {
	switch s.kind {
	case classad.Integer:
		ad.SetInt(name, int64(s.bits)) //nolint:gosec // the same bits
	case classad.Real:
		ad.SetReal(name, math.Float64frombits(s.bits))
	case classad.String:
		ad.SetString(name, s.text)
	case classad.Boolean:
		ad.SetBool(name, s.bits == 1)
	default:
		ad.Set(name, s.expr)
	}
}

func (s setting) equal(t setting) bool {
	return s.kind == t.kind && s.text == t.text && s.bits == t.bits &&
		(s.expr == t.expr || s.expr != nil && t.expr != nil && s.expr.OldString() == t.expr.OldString())
}

// attribute is one result of a builder.
type attribute struct {
	name string
	by   int // which builder: a later one wins
	setting
}

// beaten takes out what a later builder has set for all jobs.
func beaten(own []attribute, final map[string]int) []attribute {
	return slices.DeleteFunc(own, func(a attribute) bool { return final[a.name] > a.by })
}

// row is what the builders that have to run for each job have made of one.
type row struct {
	number int
	inputs []string
	own    []attribute
}

// settle moves what is the same in every row to what the jobs have in common.
func settle(same []attribute, rows []row) ([]attribute, []row) {
	first := rows[0].own
	constant := make([]bool, len(first))
	left := len(first)
	for i := range constant {
		constant[i] = true
	}
	for _, r := range rows[1:] {
		if len(r.own) != len(first) {
			return same, rows // not the same attributes: all of them stay where they are
		}
		for i, a := range r.own {
			if a.name != first[i].name {
				return same, rows
			}
			if constant[i] && !a.equal(first[i].setting) {
				constant[i] = false
				left--
			}
		}
	}
	if left == 0 {
		return same, rows
	}
	for i, a := range first {
		// One that is set twice, and not always to the same, stays with the other.
		if constant[i] && !anyNamed(first, a.name, func(k int) bool { return !constant[k] }) {
			same = append(same, a)
		} else {
			constant[i] = false
		}
	}
	for n := range rows {
		kept := rows[n].own[:0]
		for i, a := range rows[n].own {
			if !constant[i] {
				kept = append(kept, a)
			}
		}
		rows[n].own = kept
	}
	return same, rows
}

func anyNamed(attributes []attribute, name string, ok func(i int) bool) bool {
	for i, a := range attributes {
		if a.name == name && ok(i) {
			return true
		}
	}
	return false
}

// share puts what the first jobs have in common into the cluster's ad and returns what the jobs of
// this statement have otherwise: nothing for the first statement, differences for a later one.
func (e *expansion) share(same, own []attribute) []attribute {
	if !e.filled {
		for _, a := range same {
			a.put(e.common, a.name)
		}
		if !e.d.numberless {
			e.common.SetInt("ClusterId", int64(e.cluster))
		}
		e.filled = true
		return nil
	}
	has := map[string]bool{"clusterid": true}
	var differ []attribute
	made := classad.NewAd()
	for _, a := range same { // the last value of each is the one that counts
		a.put(made, a.name)
	}
	for _, name := range made.Names() {
		has[strings.ToLower(name)] = true
		now, _ := made.Lookup(name)
		old, ok := e.common.Lookup(name)
		if !ok && strings.HasPrefix(name, "Stream") && now.OldString() == "false" { // which goes without saying
			continue
		}
		if !ok || old.OldString() != now.OldString() {
			differ = append(differ, attribute{name: name, setting: setting{expr: now}})
		}
	}
	for _, a := range own {
		has[strings.ToLower(a.name)] = true
	}
	for _, name := range e.common.Names() {
		if !has[strings.ToLower(name)] { // the cluster's value is not theirs
			differ = append(differ, attribute{name: name, setting: setting{expr: undefined}})
		}
	}
	return differ
}

var undefined = func() *classad.Expr {
	e, err := classad.ParseExpr("undefined")
	if err != nil {
		panic(err)
	}
	return e
}()

// finish makes the jobs' own ads. They are copies of the first one, which is less work than making
// each anew.
func (e *expansion) finish(procs []Proc, differ []attribute, rows []row) []Proc {
	first := classad.NewAd()
	first.SetInt("ProcId", int64(rows[0].number))
	for _, a := range differ {
		a.put(first, a.name)
	}
	plain := first.Clone()
	plain.SetParent(e.common)
	for _, a := range rows[0].own {
		a.put(first, a.name)
	}
	if parsed, err := classad.ParseAd(first.String()); err == nil {
		first = parsed // copies of an ad that was parsed have one list of names between them
	}
	first.SetParent(e.common)
	for _, r := range rows {
		ad := first
		if sameNames(r.own, rows[0].own) {
			ad = first.Clone()
		} else {
			ad = plain.Clone()
		}
		ad.SetInt("ProcId", int64(r.number))
		for _, a := range r.own {
			a.put(ad, a.name)
		}
		procs = append(procs, Proc{ID: job.ID{Cluster: e.cluster, Proc: r.number}, Ad: ad, Inputs: r.inputs})
	}
	return procs
}

func sameNames(a, b []attribute) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].name != b[i].name {
			return false
		}
	}
	return true
}

// put notes an attribute of the job, unless the description sets that one by name.
func (p *proc) put(attr string, s setting) error {
	if !isForced(p.builder) && p.forced[strings.ToLower(attr)] {
		return nil
	}
	if p.e.d.numberless {
		var err error
		if s, err = overCluster(attr, s); err != nil {
			return err
		}
	}
	p.out = append(p.out, attribute{attr, p.index, s})
	return nil
}
