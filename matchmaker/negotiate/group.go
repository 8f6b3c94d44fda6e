package negotiate

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"skua/internal/why"
	"skua/policy/classad"
)

// AttrCheckpointRequirements is what a job's newest checkpoint needs of a machine, as an expression like
// Requirements. It holds while the job has a checkpoint.
const AttrCheckpointRequirements = "CheckpointRequirements"

const attrNumCkpts = "NumCkpts"

// group is a set of jobs that no expression can tell apart, with the verdict on each slot, which is
// therefore found once for all of them.
type group struct {
	sample   *classad.Ad
	judged   bool
	verdicts []verdict // by slot
	choice   []int     // the free slots that match, best first; those at its head that were taken are gone
	limits   []share   // what the job counts for, unless the slot has a say in it
	perSlot  bool      // it has
	why      *why.Waiting
}

// grouped puts the jobs into groups. Jobs in one group look the same to every expression that a match
// evaluates, on either side.
func grouped(batches []Batch, slots []Slot, memo *Memo) []*stream {
	k := newKeys(batches, slots, memo)
	groups := map[string]*group{}
	groupOf := func(key string, ad *classad.Ad) *group {
		g := groups[key]
		if g == nil {
			g = &group{sample: ad}
			groups[key] = g
		}
		return g
	}
	var all []*stream
	for i := range batches {
		b := &batches[i]
		if !k.differ(b) {
			key := k.of(b.Ad)
			if k.untold {
				key += strconv.Itoa(i)
			}
			all = append(all, newStream(b, groupOf(key, b.Ad), b.Procs))
			continue
		}
		procs := map[*group][]Range{}
		var order []*group
		b.each(func(proc int, ad *classad.Ad) {
			key := k.of(ad)
			if k.untold {
				key += strconv.Itoa(i) + "." + strconv.Itoa(proc)
			}
			g := groupOf(key, ad)
			rs, ok := procs[g]
			if !ok {
				order = append(order, g)
			}
			if n := len(rs); n > 0 && rs[n-1].Upto == proc {
				rs[n-1].Upto++
			} else {
				rs = append(rs, Range{proc, proc + 1})
			}
			procs[g] = rs
		})
		for _, g := range order {
			all = append(all, newStream(b, g, procs[g]))
		}
	}
	return all
}

func newStream(b *Batch, g *group, procs []Range) *stream {
	return &stream{batch: b, group: g, procs: procs, next: procs[0].From}
}

// len is how many jobs the batch has.
func (b *Batch) len() int {
	n := 0
	for _, r := range b.Procs {
		n += r.Upto - r.From
	}
	return n
}

// each calls f with every job and its ad.
func (b *Batch) each(f func(proc int, ad *classad.Ad)) {
	for _, r := range b.Procs {
		for proc := r.From; proc < r.Upto; proc++ {
			ad := b.Ad
			if b.AdOf != nil && (proc > r.From || r.From != b.Procs[0].From) {
				ad = b.AdOf(proc)
			}
			f(proc, ad)
		}
	}
}

// keys makes of a job's ad what is equal for jobs that look the same.
type keys struct {
	names  []string        // the attributes that matter, in lower case and sorted
	set    map[string]bool // of them
	untold bool            // nobody can tell them: eval() reads attributes whose names are made at run time
	memo   *Memo           // jobs of a cluster share its expressions: read and print them once
	line   strings.Builder
}

// newKeys finds the attributes that matter. It does so from both ends: what the slots' expressions read of a job,
// and what the jobs' own read, with what those read in turn. Too many names only make more groups, so
// a bare name counts for either side.
func newKeys(batches []Batch, slots []Slot, memo *Memo) *keys {
	k := &keys{set: map[string]bool{}, memo: memo}
	for _, name := range []string{classad.AttrRequirements, classad.AttrRank, attrLimits, AttrCheckpointRequirements, attrNumCkpts} {
		k.set[strings.ToLower(name)] = true
	}
	for _, s := range slots {
		k.add(memo.slots.of(s.Ad, readSlot))
	}
	seen := map[*classad.Expr]bool{}
	for fresh := slices.Collect(maps.Keys(k.set)); len(fresh) > 0; {
		k.names = append(k.names, fresh...)
		look := func(ad *classad.Ad) {
			for _, name := range fresh {
				e, ok := ad.Lookup(name)
				if !ok {
					continue
				}
				if _, literal := e.Literal(); !literal && !seen[e] {
					seen[e] = true
					k.add(memo.exprs.of(e, readExpr))
				}
			}
		}
		for i := range batches {
			if b := &batches[i]; k.differ(b) {
				b.each(func(_ int, ad *classad.Ad) { look(ad) })
			} else {
				look(b.Ad)
			}
		}
		fresh = nil
		for name := range k.set {
			if !slices.Contains(k.names, name) {
				fresh = append(fresh, name)
			}
		}
	}
	slices.Sort(k.names)
	return k
}

// differ reports whether jobs of the batch can differ in an attribute that matters.
func (k *keys) differ(b *Batch) bool {
	if b.len() == 1 || b.AdOf == nil {
		return false
	}
	if k.untold || k.set["procid"] {
		return true
	}
	return slices.ContainsFunc(b.Varies, func(name string) bool { return k.set[strings.ToLower(name)] })
}

// of gives the key of an ad.
func (k *keys) of(ad *classad.Ad) string {
	k.line.Reset()
	for _, name := range k.names {
		if e, ok := ad.Lookup(name); ok {
			if v, literal := e.Literal(); literal {
				k.line.WriteString(v.String())
			} else {
				k.line.WriteString(k.memo.exprs.of(e, readExpr).text)
			}
		}
		k.line.WriteByte(0)
	}
	return k.line.String()
}

// add adds what an expression reads.
func (k *keys) add(r reading) {
	k.untold = k.untold || r.untold
	for _, name := range r.names {
		k.set[name] = true
	}
}
