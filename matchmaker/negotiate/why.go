package negotiate

import (
	"fmt"
	"strings"

	"skua/policy/classad"
)

// Why says why a job was not matched, counted in machines. A machine with several slots counts once,
// for the slot that comes closest.
type Why struct {
	Machines int // in the pool
	Unsuited int // do not meet the job's Requirements
	Unwanted int // meet them, but their START does not accept the job
	Owner    int // suit, but are in use by their owners
	Claimed  int // suit, but have other jobs
	Resting  int // suit, but gave back an offer or a job a moment ago

	// Clause is a part of the job's Requirements that no machine meets, if there is such a part.
	Clause string
}

// why sums up the verdicts on a job's group.
func (c *cycle) why(w *candidate) *Why {
	g := w.group
	if g.why != nil {
		return g.why
	}
	best := make([]verdict, c.machines)
	for i, v := range g.verdicts {
		if c.taken[i] && v == matching {
			v = claimed
		}
		best[c.machine[i]] = max(best[c.machine[i]], v)
	}
	why := &Why{Machines: c.machines}
	for _, v := range best {
		switch v {
		case unsuited:
			why.Unsuited++
		case unwanted:
			why.Unwanted++
		case owned:
			why.Owner++
		case claimed:
			why.Claimed++
		case resting:
			why.Resting++
		}
	}
	if why.Machines > 0 && why.Unsuited == why.Machines {
		why.Clause = c.unmet(g.sample)
	}
	g.why = why
	return why
}

// unmet gives the first clause of the Requirements that no slot meets.
func (c *cycle) unmet(ad *classad.Ad) string {
	requirements, ok := ad.Lookup(classad.AttrRequirements)
	if !ok {
		return ""
	}
	for _, clause := range requirements.Conjuncts() {
		met := false
		for _, s := range c.slots {
			if clause.Eval(ad, s.Ad).IsTrue() {
				met = true
				break
			}
		}
		if !met {
			return clause.String()
		}
	}
	return ""
}

// String says it in a sentence for the user, without a full stop.
func (w *Why) String() string {
	if w.Machines == 0 {
		return "no machine is in the pool"
	}
	suited := w.Owner + w.Claimed + w.Resting
	switch {
	case w.Clause != "" && w.Machines == 1:
		return fmt.Sprintf("the pool's one machine does not match: %s is not true there", shorten(w.Clause))
	case suited == 0 && w.Unwanted == 0 && w.Machines == 1:
		return "the pool's one machine does not meet all of the job's requirements"
	case w.Clause != "":
		return fmt.Sprintf("no machine matches: %s is true on none of the %d machines", shorten(w.Clause), w.Machines)
	case suited == 0 && w.Unwanted == 0:
		return fmt.Sprintf("no machine matches: none of the %d machines meets all of the job's requirements", w.Machines)
	case suited == 0:
		return fmt.Sprintf("no machine accepts the job now: %s the job's requirements, but START refuses it there",
			meet(w.Unwanted))
	}
	var uses []string
	add := func(n int, one, many string) {
		switch {
		case n == 1:
			uses = append(uses, "1 "+one)
		case n > 1:
			uses = append(uses, fmt.Sprintf("%d %s", n, many))
		}
	}
	add(w.Owner, "is in use by its owner", "are in use by their owners")
	add(w.Claimed, "has another job", "have other jobs")
	add(w.Resting, "gave a job back a moment ago", "gave a job back a moment ago")
	var text string
	_, rest, _ := strings.Cut(uses[0], " ")
	switch {
	case suited == 1:
		text = "the only machine that matches " + rest
	case len(uses) == 1:
		text = fmt.Sprintf("all %d machines that match %s", suited, rest)
	default:
		text = fmt.Sprintf("of the %d machines that match, %s", suited, listed(uses))
	}
	if w.Unwanted > 0 {
		text += fmt.Sprintf("; START refuses the job on %d more", w.Unwanted)
	}
	return text
}

func meet(n int) string {
	if n == 1 {
		return "1 machine meets"
	}
	return fmt.Sprintf("%d machines meet", n)
}

func listed(parts []string) string {
	last := len(parts) - 1
	return strings.Join(parts[:last], ", ") + " and " + parts[last]
}

// shorten keeps a clause readable in a list of jobs.
func shorten(clause string) string {
	const most = 120
	if len(clause) <= most {
		return clause
	}
	return strings.ToValidUTF8(clause[:most], "") + "..."
}
