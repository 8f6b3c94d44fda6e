package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"skua/policy/classad"
)

// Verdicts is what the expressions say at one moment.
type Verdicts struct {
	Start, Suspend, Continue, Preempt, Kill, WantSuspend, WantVacate bool

	Throttle   bool          // the job goes on with [Policy.InUse] only
	Draining   bool          // no further job comes
	Retirement time.Duration // that a job may have run before Preempt counts
}

// Verdicts evaluates the expressions in the ad of a slot against the ad of its job, nil if it has
// none. Only true and numbers other than zero are a yes, with exceptions in the owner's favour: a
// SUSPEND or THROTTLE that is neither true nor false, as one with a misspelt attribute, suspends or
// throttles. A job that wants less retirement than the machine grants gets less.
func (p *Policy) Verdicts(machine, job *classad.Ad) Verdicts {
	scope := p.scope(machine)
	is := func(e *classad.Expr) bool { return e.Eval(scope, job).IsTrue() }
	unless := func(e *classad.Expr) bool {
		yes, ok := e.Eval(scope, job).Bool()
		return yes || !ok
	}
	return Verdicts{
		Start:       is(p.Start),
		Suspend:     unless(p.Suspend),
		Continue:    is(p.Continue),
		Preempt:     is(p.Preempt),
		Kill:        is(p.Kill),
		WantSuspend: is(p.WantSuspend),
		WantVacate:  is(p.WantVacate),
		Throttle:    unless(p.Throttle),
		Draining:    is(p.Draining),
		Retirement:  p.retirement(scope, job),
	}
}

// retirement is what MaxJobRetirementTime of the machine and, if it has one, of the job grant.
func (p *Policy) retirement(scope, job *classad.Ad) time.Duration {
	granted := func(v classad.Value) time.Duration {
		s, ok := v.Real()
		if !ok || !(s > 0) { // nor a number that is none
			return 0
		}
		const most = 365 * 24 * time.Hour
		return time.Duration(min(s, most.Seconds()) * float64(time.Second))
	}
	machine := granted(p.Retirement.Eval(scope, job))
	if machine == 0 || job == nil {
		return machine
	}
	if _, wants := job.Lookup("MaxJobRetirementTime"); !wants {
		return machine
	}
	return min(machine, granted(job.Eval("MaxJobRetirementTime", scope)))
}

// Open reports whether those conditions of START hold that do not look at the job: whether some job
// might start. A slot that is not open is its owner's.
func (p *Policy) Open(machine *classad.Ad) bool {
	scope := p.scope(machine)
	for _, c := range p.Start.Conjuncts() {
		if len(c.References().Target) == 0 && !c.Eval(scope, nil).IsTrue() {
			return false
		}
	}
	return true
}

// ofTheMachine are the facts that a machine may be unable to tell. A job's own attributes are none of them.
var ofTheMachine = []string{
	"KeyboardIdle", "ConsoleIdle", "LoadAvg", "SkuaLoadAvg",
	"OnBattery", "BatteryPercent", "Temperature", "FullScreen", "Inhibited", "Metered", "RunningApps", "FreeDisk",
}

var undefined = mustParse("undefined")

// setUntold makes the facts undefined that a machine's ad does not tell: their names would be looked for in the job's ad.
func setUntold(machine *classad.Ad) {
	for _, name := range ofTheMachine {
		if _, told := machine.Lookup(name); !told {
			machine.Set(name, undefined)
		}
	}
}

// scope is the machine's ad with the expressions in it, since they may refer to each other.
func (p *Policy) scope(machine *classad.Ad) *classad.Ad {
	scope := classad.NewAd()
	for _, e := range p.expressions() {
		scope.Set(e.name, *e.expr)
	}
	if machine != nil {
		scope.SetParent(machine)
	}
	setUntold(scope)
	return scope
}

// Line explains one expression.
type Line struct {
	Name  string        // "START"
	Expr  string        // the expression
	Value classad.Value // what it says now
	// Because has the conditions that keep the expression from being true, each with the attributes
	// it looks at: `KeyboardIdle > 900 (KeyboardIdle is 12)`. It is empty if nothing does.
	Because []string
	// If has the smallest change of facts with which the expression would say the opposite: mostly one,
	// two if no one is enough, none if there is no such change. It is only asked of yes and no.
	If []Change
}

// String writes the line without its reasons.
func (l Line) String() string { return fmt.Sprintf("%-12s is %-9s %s", l.Name, brief(l.Value), l.Expr) }

// Explain gives every expression and what it says of the machine now, without a job.
func (p *Policy) Explain(machine *classad.Ad) []Line {
	scope := p.scope(machine)
	var lines []Line
	for _, e := range p.expressions() {
		expr := *e.expr
		line := Line{Name: e.name, Expr: expr.ReadableString(), Value: expr.Eval(scope, nil)}
		if conditions := expr.Conjuncts(); e.name != "RANK" && len(conditions) > 1 {
			for _, c := range conditions {
				if !c.Eval(scope, nil).IsTrue() {
					line.Because = append(line.Because, c.ReadableString()+readings(c, scope))
				}
			}
		}
		if e.name != "RANK" && e.name != "MaxJobRetirementTime" {
			line.If = nearest(expr, scope)
		}
		lines = append(lines, line)
	}
	return lines
}

// readings tells the values of the attributes that e looks at.
func readings(e *classad.Expr, scope *classad.Ad) string {
	var parts []string
	for _, name := range e.References().My {
		parts = append(parts, fmt.Sprintf("%s is %s", name, brief(scope.Eval(name, nil))))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// brief writes a value for people: a real has as many digits as tell them something, where the language
// has sixteen.
func brief(v classad.Value) string {
	if r, ok := v.Real(); ok && v.Kind() == classad.Real {
		return strconv.FormatFloat(r, 'g', 6, 64)
	}
	return v.String()
}
