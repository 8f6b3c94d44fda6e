package negotiate

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"skua/internal/fit"
	"skua/internal/why"
	"skua/policy"
	"skua/policy/classad"
)

// AttrCheckpointRequirements is what a job's newest checkpoint needs of a machine, as an expression like
// Requirements. It holds while the job has a checkpoint.
const AttrCheckpointRequirements = fit.AttrRequirements

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
	entire   *group // see [cycle.entireGroup]; nil until somebody asks

	request   policy.Request // of partitionable slots
	looksBack answer         // whether that depends on the slot; unknown until somebody asks
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
		varying := k.varying(b, k.names)
		switch {
		case k.untold: // to each its own
			b.each(func(proc int) {
				key := strconv.Itoa(i) + "." + strconv.Itoa(proc)
				all = append(all, newStream(b, groupOf(key, b.adOf(proc)), []Range{{proc, proc + 1}}))
			})
		case len(varying) == 0:
			all = append(all, newStream(b, groupOf(k.of(b.Ad, nil), b.Ad), b.Procs))
		default:
			for _, part := range split(b, k.columns(b, varying)) {
				ad := b.adOf(part.procs[0].From)
				all = append(all, newStream(b, groupOf(k.of(b.Ad, part.values), ad), part.procs))
			}
		}
	}
	return all
}

func newStream(b *Batch, g *group, procs []Range) *stream {
	return &stream{batch: b, group: g, procs: procs, next: procs[0].From}
}

// each calls f with every job.
func (b *Batch) each(f func(proc int)) {
	for _, r := range b.Procs {
		for proc := r.From; proc < r.Upto; proc++ {
			f(proc)
		}
	}
}

func (b *Batch) adOf(proc int) *classad.Ad {
	if b.AdOf == nil || proc == b.Procs[0].From {
		return b.Ad
	}
	return b.AdOf(proc)
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
		for i := range batches {
			b := &batches[i]
			varying := k.varying(b, fresh)
			for _, name := range fresh {
				if slices.Contains(varying, name) {
					continue
				}
				e, ok := b.Ad.Lookup(name)
				if !ok {
					continue
				}
				if _, literal := e.Literal(); !literal && !seen[e] {
					seen[e] = true
					r := memo.exprs.of(e, readExpr)
					if name == checkpointKey {
						r.names = withoutFiles(r.names)
					}
					k.add(r)
				}
			}
			for _, c := range k.columns(b, varying) {
				k.add(c.reads)
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

// checkpointKey is AttrCheckpointRequirements as keys have it.
var checkpointKey = strings.ToLower(AttrCheckpointRequirements)

// withoutFiles leaves out the attributes of machines of which what checkpoints need reads dozens.
func withoutFiles(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.HasPrefix(name, fileKey) })
}

var fileKey = strings.ToLower(fit.AttrFile)

// varying gives those of the names in which jobs of the batch can differ.
func (k *keys) varying(b *Batch, names []string) []string {
	if b.AdOf == nil || len(b.Procs) == 1 && b.Procs[0].From+1 == b.Procs[0].Upto {
		return nil
	}
	var all []string
	for _, name := range append([]string{"procid"}, b.Varies...) {
		if name = strings.ToLower(name); slices.Contains(names, name) {
			all = append(all, name)
		}
	}
	return all
}

// of gives the key of an ad; values stand for what it has for some names.
func (k *keys) of(ad *classad.Ad, values map[string]string) string {
	k.line.Reset()
	for _, name := range k.names {
		if text, ok := values[name]; ok {
			k.line.WriteString(text)
		} else {
			k.line.WriteString(k.memo.textOf(ad, name))
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
