package negotiate

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"skua/policy"
	"skua/policy/classad"
)

// Memo keeps between cycles what was found out about the slots' ads and the jobs' expressions that are
// still the same, the pointer itself. It changes how long a cycle takes and never what comes of it. The
// zero Memo is ready for use; nil is none. Cycles that run at the same time may share one: while one
// prepares itself, the others wait.
type Memo struct {
	mu sync.Mutex // guards what follows

	slots   remembered[*classad.Ad, reading]
	exprs   remembered[*classad.Expr, reading]
	columns remembered[columnKey, *column]
}

// reading is what an expression reads, or the expressions of a slot do.
type reading struct {
	text   string   // of an expression, as printed
	names  []string // in lower case, of either side
	untold bool     // and others, whose names are made at run time

	clauses []slotClause // what the slot asks of jobs

	partitionable bool // the slot is
}

// remembered is what was read in this cycle and in the one before. What neither asked for is forgotten.
type remembered[K comparable, V any] struct{ now, before map[K]V }

func (r *remembered[K, V]) begin() { r.before, r.now = r.now, make(map[K]V, len(r.now)) }

func (r *remembered[K, V]) of(key K, read func(K) V) V {
	got, ok := r.now[key]
	if ok {
		return got
	}
	if got, ok = r.before[key]; !ok {
		got = read(key)
	}
	r.now[key] = got
	return got
}

// begin starts the preparation of a cycle, and end ends it.
func (m *Memo) begin() {
	m.mu.Lock()
	m.slots.begin()
	m.exprs.begin()
	m.columns.begin()
}

func (m *Memo) end() {
	maps.DeleteFunc(m.columns.now, func(key columnKey, _ *column) bool {
		_, transient := key.table.(*Batch)
		return transient
	})
	m.mu.Unlock()
}

// textOf prints an attribute; "" stands for none.
func (m *Memo) textOf(ad *classad.Ad, name string) string {
	e, ok := ad.Lookup(name)
	if !ok {
		return ""
	}
	if v, literal := e.Literal(); literal {
		return v.String()
	}
	return m.exprs.of(e, readExpr).text
}

func readExpr(e *classad.Expr) reading {
	r := reading{text: e.String()}
	refs := e.References()
	for _, name := range slices.Concat(refs.My, refs.Target) {
		r.names = append(r.names, strings.ToLower(name))
	}
	r.untold = evaluates(r.text)
	return r
}

// readSlot follows the attributes of the slot that its Requirements and Rank lead to.
func readSlot(slot *classad.Ad) (r reading) {
	r.clauses = slotClauses(slot)
	if r.partitionable, _ = slot.Bool(policy.AttrPartitionable); r.partitionable {
		r.names = append(r.names, "requestcpus", "requestmemory", "requestdisk", "requestgpus")
	}
	done, read := map[string]bool{}, map[string]bool{}
	for todo := []string{classad.AttrRequirements, classad.AttrRank}; len(todo) > 0; {
		name := strings.ToLower(todo[0])
		todo = todo[1:]
		e, ok := slot.Lookup(name)
		if done[name] || !ok {
			continue
		}
		done[name] = true
		if _, literal := e.Literal(); literal {
			continue
		}
		refs := e.References()
		for _, name := range slices.Concat(refs.My, refs.Target) {
			if name = strings.ToLower(name); !read[name] {
				read[name] = true
				r.names = append(r.names, name)
			}
		}
		r.untold = r.untold || evaluates(e.String())
		todo = append(todo, refs.My...)
	}
	return r
}

// evaluates reports whether an expression may call eval(). A string that merely says so costs time, no more.
func evaluates(text string) bool { return strings.Contains(strings.ToLower(text), "eval") }
