package negotiate

import (
	"slices"
	"strconv"
	"strings"

	"skua/policy/classad"
)

// groupKeys gives every job a key. Jobs with equal keys look the same to every expression that a
// match evaluates, on either side.
//
// The attributes that matter are found from both ends: what the slots' expressions read of a job, and
// what the jobs' own read, with what those read in turn. Too many names only make more groups, so
// a bare name counts for either side.
func groupKeys(jobs []Job, slots []Slot) []string {
	names, told := significant(jobs, slots)
	keys := make([]string, len(jobs))
	texts := map[*classad.Expr]string{} // procs of a cluster share its expressions: print them once
	var b strings.Builder
	for i, j := range jobs {
		b.Reset()
		for _, name := range names {
			if e, ok := j.Ad.Lookup(name); ok {
				text, ok := texts[e]
				if !ok {
					text = e.String()
					texts[e] = text
				}
				b.WriteString(text)
			}
			b.WriteByte(0)
		}
		if !told {
			b.WriteString(strconv.Itoa(i)) // a group of its own
		}
		keys[i] = b.String()
	}
	return keys
}

// significant gives the sorted names of the job attributes that matter. told is false when nobody can
// tell them: eval() reads attributes whose names are made at run time.
func significant(jobs []Job, slots []Slot) (names []string, told bool) {
	told = true
	set := map[string]bool{}
	add := func(e *classad.Expr) (grew bool) {
		refs := e.References()
		for _, name := range slices.Concat(refs.My, refs.Target) {
			if name = strings.ToLower(name); !set[name] {
				set[name] = true
				grew = true
			}
		}
		// A string that merely says eval costs time, no more.
		if strings.Contains(strings.ToLower(e.String()), "eval") {
			told = false
		}
		return grew
	}
	for _, attr := range []string{classad.AttrRequirements, classad.AttrRank} {
		set[strings.ToLower(attr)] = true
		for _, s := range slots {
			addReached(s.Ad, attr, add)
		}
	}
	seen := map[*classad.Expr]bool{}
	for grew := true; grew; {
		grew = false
		names = names[:0]
		for name := range set {
			names = append(names, name)
		}
		for _, j := range jobs {
			for _, name := range names {
				if e, ok := j.Ad.Lookup(name); ok && !seen[e] {
					seen[e] = true
					grew = add(e) || grew
				}
			}
		}
	}
	slices.Sort(names)
	return names, told
}

// addReached adds an attribute's expression, and those of the ad's other attributes that it reads in turn.
func addReached(ad *classad.Ad, attr string, add func(*classad.Expr) bool) {
	done := map[string]bool{}
	for todo := []string{attr}; len(todo) > 0; {
		name := strings.ToLower(todo[0])
		todo = todo[1:]
		e, ok := ad.Lookup(name)
		if done[name] || !ok {
			continue
		}
		done[name] = true
		add(e)
		todo = append(todo, e.References().My...)
	}
}
