package policy

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"skua/policy/classad"
)

// Change is a fact that, if it were another, would change what an expression says.
type Change struct {
	Name   string        // "KeyboardIdle"
	Is, To classad.Value // what it is, and the nearest with which the expression would say the opposite

	attr string        // that is to be set for it
	set  classad.Value // to what
}

// String writes the change as "KeyboardIdle were 901, not 12".
func (c Change) String() string {
	return fmt.Sprintf("%s were %s, not %s", c.Name, brief(c.To), brief(c.Is))
}

// mostTries bounds the pairs of facts that are tried for one expression.
const mostTries = 4000

// nearest looks for the smallest change of one fact that would turn e into the opposite of what it says
// now, and of several if no one is enough. The result is empty if there is none among the values that
// the expression itself names.
func nearest(e *classad.Expr, scope *classad.Ad) []Change {
	says := e.Eval(scope, nil).IsTrue()
	changes := candidates(e, scope)
	flips := func(with ...Change) bool {
		changed := classad.NewAd()
		changed.SetParent(scope)
		for _, c := range with {
			changed.Set(c.attr, literal(c.set))
		}
		return e.Eval(changed, nil).IsTrue() != says
	}
	for _, c := range changes {
		if flips(c) {
			return []Change{c}
		}
	}
	if conditions := e.Conjuncts(); !says && len(conditions) > 1 {
		var all []Change
		for _, c := range conditions {
			if !c.Eval(scope, nil).IsTrue() {
				all = append(all, nearest(c, scope)...)
			}
		}
		if flips(all...) {
			return all
		}
	}
	tries := 0
	for i, a := range changes {
		for _, b := range changes[i+1:] {
			if tries++; tries > mostTries {
				return nil
			}
			if a.Name != b.Name && flips(a, b) {
				return []Change{a, b}
			}
		}
	}
	return nil
}

// candidates are the changes worth a try, those of the owner's doing first, then the smaller ones: of
// truth values the other one; of numbers those at which a comparison can turn, which the numbers of the
// expression tell; of texts those that the expression names, and none.
func candidates(e *classad.Expr, scope *classad.Ad) []Change {
	numbers, texts := constants(e, scope)
	var found []Change
	names := facts(e, scope)
	add := func(name string, is classad.Value, to string) {
		found = append(found, Change{name, is, value(to), name, value(to)})
	}
	for _, name := range names {
		is := scope.Eval(name, nil)
		if strings.EqualFold(name, entered) {
			found = append(found, lasting(scope, numbers)...)
			continue
		}
		if now, ok := is.Real(); ok && is.Kind() != classad.Boolean {
			to := slices.Clone(numbers)
			for _, other := range names { // as in LoadAvg - SkuaLoadAvg > 0.3
				if v, ok := scope.Real(other); ok && other != name {
					for _, n := range numbers {
						to = append(to, n+v)
					}
				}
			}
			for _, v := range around(now, to, is.Kind() == classad.Integer) {
				add(name, is, number(v))
			}
			continue
		}
		switch is.Kind() {
		case classad.Boolean:
			b, _ := is.Bool()
			add(name, is, strconv.FormatBool(!b))
		case classad.String:
			for _, text := range append(texts, "") {
				add(name, is, strconv.Quote(text))
			}
		default: // nobody knows it
			for _, text := range []string{"true", "false"} {
				add(name, is, text)
			}
			for _, n := range numbers {
				for _, d := range []float64{0, 1, -1} {
					add(name, is, number(n+d))
				}
			}
			for _, text := range append(texts, "") {
				add(name, is, strconv.Quote(text))
			}
		}
	}
	return found
}

// entered is the attribute that expressions look at to tell how long an activity has lasted.
const entered = "EnteredCurrentActivity"

// lasting are the times that the slot's activity could have lasted, in seconds.
func lasting(scope *classad.Ad, numbers []float64) (found []Change) {
	now, ok := value("CurrentTime").Int()
	if v, has := scope.Int("CurrentTime"); has {
		now, ok = v, true
	}
	since, known := scope.Int(entered)
	if !ok || !known {
		return nil
	}
	for _, v := range around(float64(now-since), numbers, true) {
		found = append(found, Change{
			"the seconds in this activity", value(number(float64(now - since))), value(number(v)), entered, value(number(float64(now) - v)),
		})
	}
	return found
}

// around are the values at and beside those at which a comparison can turn, the nearest first.
func around(now float64, at []float64, whole bool) []float64 {
	step := 0.01
	if whole {
		step = 1
	}
	var values []float64
	for _, v := range at {
		if whole {
			v = math.Floor(v)
		}
		for _, v := range []float64{v - step, v, v + step} {
			if v >= 0 && v != now {
				values = append(values, v)
			}
		}
	}
	slices.SortFunc(values, func(a, b float64) int { return cmp.Compare(math.Abs(a-now), math.Abs(b-now)) })
	return slices.Compact(values)
}

// facts are the attributes that e looks at, through the expressions of the policy that it names. What
// the owner does comes first; the clock comes last.
func facts(e *classad.Expr, scope *classad.Ad) []string {
	order := func(name string) int {
		switch strings.ToLower(name) {
		case "keyboardidle", "consoleidle":
			return 0
		case "clockmin", "clockday", "clockdate":
			return 3
		case "state", "activity", "enteredcurrentactivity", "throttled", "skualoadavg":
			return 2 // these are the agent's own
		}
		return 1
	}
	var names []string
	seen := map[string]bool{}
	todo := []*classad.Expr{e}
	for len(todo) > 0 {
		refs := todo[0].References().My
		todo = todo[1:]
		for _, name := range refs {
			if seen[strings.ToLower(name)] {
				continue
			}
			seen[strings.ToLower(name)] = true
			switch x, ok := scope.Lookup(name); {
			case ok && isOurs(name):
				todo = append(todo, x) // what it looks at may change, and it does not by itself
			case !strings.EqualFold(name, "CurrentTime"):
				names = append(names, name)
			}
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(order(a), order(b)) })
	return names
}

// isOurs reports whether an attribute is an expression of the policy.
func isOurs(name string) bool {
	return slices.ContainsFunc((&Policy{}).expressions(), func(e named) bool { return strings.EqualFold(e.name, name) })
}

// constants are the numbers and texts in e and in the expressions of the policy that it names.
func constants(e *classad.Expr, scope *classad.Ad) (numbers []float64, texts []string) {
	sources := []string{e.OldString()}
	for _, name := range e.References().My {
		if x, ok := scope.Lookup(name); ok && isOurs(name) {
			sources = append(sources, x.OldString())
		}
	}
	for _, src := range sources {
		for i, part := range strings.Split(src, `"`) {
			if i%2 == 1 {
				texts = append(texts, strings.Split(part, ",")...)
				continue
			}
			for _, word := range strings.FieldsFunc(part, func(r rune) bool { return !(r == '.' || r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'z') }) {
				if f, err := strconv.ParseFloat(word, 64); err == nil && word[0] >= '0' && word[0] <= '9' {
					numbers = append(numbers, f)
				}
			}
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers), texts
}

// value is the value that a text of the language stands for.
func value(text string) classad.Value { return mustParse(text).Eval(nil, nil) }

// literal is the expression that has a value.
func literal(v classad.Value) *classad.Expr { return mustParse(v.String()) }
