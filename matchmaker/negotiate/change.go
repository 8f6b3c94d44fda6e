package negotiate

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"skua/internal/why"
	"skua/policy/classad"
)

// changes looks for the smallest changes of the job that make machines match: one part of the
// Requirements dropped or one number made smaller, and pairs of these if no single one does. Each is
// tried on all machines.
func (a *analysis) changes() []why.Change {
	const (
		most     = 3
		maxEdits = 24 // of which pairs are tried
	)
	var edits []why.Edit
	for k := range a.clauses {
		if slices.Contains(a.clauses[k].holds, false) {
			if e := a.relax(k); e != (why.Edit{}) {
				edits = append(edits, e)
			}
			if a.void(k) == nil && !a.clauses[k].implicit && (a.clauses[k].size == nil || a.clauses[k].size.request == "") {
				edits = append(edits, why.Edit{Drop: a.clauses[k].text})
			}
		}
	}
	var found []why.Change
	for _, e := range edits {
		if n := a.try(e); n > 0 {
			found = append(found, why.Change{Edits: []why.Edit{e}, Matches: n})
		}
	}
	if len(found) == 0 {
		edits = edits[:min(len(edits), maxEdits)]
		for i, e := range edits {
			for _, f := range edits[i+1:] {
				if e.Drop != "" && e.Drop == f.Drop {
					continue
				}
				if n := a.try(e, f); n > 0 {
					found = append(found, why.Change{Edits: []why.Edit{e, f}, Matches: n})
				}
			}
		}
	}
	slices.SortStableFunc(found, func(x, y why.Change) int {
		return cmp.Or(cmp.Compare(drops(x), drops(y)), cmp.Compare(y.Matches, x.Matches))
	})
	return found[:min(len(found), most)]
}

// drops is how many clauses a change gives up.
func drops(c why.Change) int {
	n := 0
	for _, e := range c.Edits {
		if e.Set == "" && e.With == "" {
			n++
		}
	}
	return n
}

// relax makes the number in clause k as large as the largest slot can satisfy which meets all others, or
// as the largest of all when there is none.
func (a *analysis) relax(k int) why.Edit {
	cl := &a.clauses[k]
	s := cl.size
	if s == nil {
		return why.Edit{}
	}
	most := a.largestAtAll(k)
	to := s.resource().Neat(most)
	if s.strict && to == most {
		to--
	}
	if to <= 0 || to >= s.asked {
		return why.Edit{}
	}
	if s.request != "" {
		return why.Edit{Set: s.request, From: s.asked, To: to, What: s.resource()}
	}
	op := " >= "
	if s.strict {
		op = " > "
	}
	return why.Edit{Drop: cl.text, With: "TARGET." + s.attr + op + strconv.FormatFloat(to, 'f', -1, 64), From: s.asked, To: to, What: s.resource()}
}

// try counts the machines that match the job once it is edited. Where the owner or another job is, that
// counts as well.
func (a *analysis) try(edits ...why.Edit) int {
	ad := a.edited(edits)
	if ad == nil {
		return 0
	}
	requirements, checkpoint := needs(ad)
	suits, accepts := a.c.index.required(requirements, ad), a.c.index.accepted(ad)
	return a.c.countMachines(func(i int) bool {
		s := &a.c.slots[i]
		switch {
		case !suits(i), checkpoint != nil && !checkpoint.Eval(ad, s.Ad).IsTrue():
			return false
		case s.Status == Owner || s.Status == Claimed:
			return roomy(s.Ad, ad) && !a.c.shutting(i).unable
		}
		return accepts(i)
	})
}

// edited gives the job's ad with the edits made, nil if they cannot be.
func (a *analysis) edited(edits []why.Edit) *classad.Ad {
	ad := classad.NewAd()
	ad.SetParent(a.ad)
	var left []string
	for _, cl := range a.clauses {
		if cl.implicit {
			continue
		}
		text := cl.text
		for _, e := range edits {
			if e.Drop == cl.text {
				text = e.With
			}
		}
		if text != "" {
			left = append(left, "("+text+")")
		}
	}
	if len(left) == 0 {
		left = []string{"true"}
	}
	e, err := classad.ParseExpr(strings.Join(left, " && "))
	if err != nil {
		return nil
	}
	ad.Set(classad.AttrRequirements, e)
	for _, e := range edits {
		if e.Set != "" {
			if e.To == float64(int64(e.To)) {
				ad.SetInt(e.Set, int64(e.To))
			} else {
				ad.SetReal(e.Set, e.To)
			}
		}
	}
	return ad
}

// roomy reports whether a slot is large enough for what a job requests, as the slot sees it.
func roomy(slot, job *classad.Ad) bool {
	fits, ok := slot.Eval(attrWithinLimits, job).Bool()
	return fits || !ok
}
