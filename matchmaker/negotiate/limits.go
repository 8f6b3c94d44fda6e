package negotiate

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"skua/policy/classad"
)

// attrLimits names the concurrency limits that a job counts against: a string such as "matlab:2,licence",
// or an expression that gives one.
const attrLimits = "ConcurrencyLimits"

// LimitUse is how much of a concurrency limit is in use.
type LimitUse struct {
	Name string
	Cap  float64 // negative: there is no limit of that name
	Used float64
}

// LimitsOf gives the concurrency limits of a job on a slot as a [Claim] keeps them; slot may be nil.
func LimitsOf(ad, slot *classad.Ad) string {
	text, _ := ad.Eval(attrLimits, slot).Str()
	return text
}

// LimitsVary says whether the limits of a job depend on more than the text in its ad, which may then lack what they
// are made of: its number and its user are in [job.Job.CurrentAd] only.
func LimitsVary(ad *classad.Ad) bool {
	e, ok := ad.Lookup(attrLimits)
	if !ok {
		return false
	}
	_, literal := e.Literal()
	return !literal
}

// LimitsInUse lists all limits that are configured for a name or in use, by name.
func LimitsInUse(s Snapshot) []LimitUse {
	l := newLimits(s)
	for name := range s.Limits {
		if _, ok := l.used[name]; !ok && !strings.HasSuffix(name, "*") {
			l.used[name] = 0
		}
	}
	var all []LimitUse
	for _, name := range slices.Sorted(maps.Keys(l.used)) {
		all = append(all, LimitUse{Name: name, Cap: l.capOf(name), Used: l.used[name]})
	}
	return all
}

// limits are the concurrency limits during a cycle.
type limits struct {
	caps map[string]float64
	used map[string]float64
}

func newLimits(s Snapshot) *limits {
	l := &limits{caps: s.Limits, used: map[string]float64{}}
	for _, c := range s.Claims {
		l.take(parseLimits(c.Limits))
	}
	return l
}

// share is how much of a limit a job counts for.
type share struct {
	name   string
	amount float64
}

// parseLimits reads "matlab:2, licence.solver". What cannot be read counts for one.
func parseLimits(text string) []share {
	if text == "" {
		return nil
	}
	const most = 1e9 // so that sums stay numbers
	amounts := map[string]float64{}
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		name, amount, _ := strings.Cut(strings.ToLower(part), ":")
		n, err := strconv.ParseFloat(amount, 64)
		if err != nil || !(n > 0) {
			n = 1
		}
		amounts[name] = min(amounts[name]+n, most)
	}
	var all []share
	for _, name := range slices.Sorted(maps.Keys(amounts)) {
		all = append(all, share{name, amounts[name]})
	}
	return all
}

// capOf gives the limit of that name, or of the rest of its group, or of all others; negative for none.
func (l *limits) capOf(name string) float64 {
	if n, ok := l.caps[name]; ok {
		return n
	}
	if group, _, ok := strings.Cut(name, "."); ok {
		if n, ok := l.caps[group+".*"]; ok {
			return n
		}
	}
	if n, ok := l.caps["*"]; ok {
		return n
	}
	return -1
}

// full gives the first limit that has no room for what a job wants of it.
func (l *limits) full(want []share) (LimitUse, bool) {
	const rounding = 1e-9
	for _, s := range want {
		if limit := l.capOf(s.name); limit >= 0 && l.used[s.name]+s.amount > limit+rounding {
			return LimitUse{s.name, limit, l.used[s.name]}, true
		}
	}
	return LimitUse{}, false
}

func (l *limits) take(want []share) {
	for _, s := range want {
		l.used[s.name] += s.amount
	}
}
