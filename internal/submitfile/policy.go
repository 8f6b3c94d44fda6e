package submitfile

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"skua/policy/classad"
)

// buildExit composes when a job that has ended leaves the queue.
func buildExit(p *proc) error {
	get := func(names ...string) (v value, err error) { return p.get(names...) }
	retries, err := get("max_retries", "jobmaxretries")
	if err != nil {
		return err
	}
	until, err := get("retry_until")
	if err != nil {
		return err
	}
	success, err := get("success_exit_code", "jobsuccessexitcode")
	if err != nil {
		return err
	}
	remove, err := get("on_exit_remove", "onexitremove")
	if err != nil {
		return err
	}
	hold, err := get("on_exit_hold", "onexithold")
	if err != nil {
		return err
	}
	if success.set() {
		n, err := success.integer()
		if err != nil {
			return err
		}
		p.setInt("JobSuccessExitCode", n)
	}
	if !retries.set() && !until.set() && !success.set() {
		if remove.set() {
			if err := p.setExpr("OnExitRemove", remove); err != nil {
				return err
			}
		}
		if hold.set() {
			return p.setExpr("OnExitHold", hold)
		}
		return nil
	}
	const defaultRetries = 2
	n := int64(defaultRetries)
	if retries.set() {
		if n, err = retries.integer(); err != nil {
			return err
		}
	}
	p.setInt("JobMaxRetries", n)
	expr := "NumJobCompletions > JobMaxRetries || ExitCode =?= 0"
	if success.set() {
		expr = "NumJobCompletions > JobMaxRetries || ExitCode =?= JobSuccessExitCode"
	}
	if until.set() {
		e, err := classad.ParseOldExpr(until.text)
		if err != nil {
			return exprError("retry_until", until, err)
		}
		code, isCode := integerOf(e.Eval(classad.NewAd(), nil))
		if refs := e.ReferencesIn(classad.NewAd()); isCode && len(refs.Target)+len(refs.My) == 0 {
			expr += fmt.Sprintf(" || ExitCode =?= %d", code)
		} else {
			expr += " || " + operand(until.text)
		}
	}
	if remove.set() {
		if _, err := classad.ParseOldExpr(remove.text); err != nil {
			return exprError("on_exit_remove", remove, err)
		}
		expr += " || " + operand(remove.text)
	}
	if err := p.setText("OnExitRemove", expr); err != nil {
		return err
	}
	if hold.set() {
		return p.setExpr("OnExitHold", hold)
	}
	p.setBool("OnExitHold", false)
	return nil
}

// operand puts parentheses around an expression that would come apart as an operand of ||.
func operand(expr string) string {
	if strings.Contains(strings.NewReplacer("=?=", "").Replace(expr), "?") {
		return "(" + expr + ")"
	}
	return expr
}

func buildAccounting(p *proc) error {
	group, err := p.get("accounting_group", "acctgroup", "accountinggroup")
	if err != nil {
		return err
	}
	user, err := p.get("accounting_group_user", "acctgroupuser")
	if err != nil {
		return err
	}
	nice, _, err := p.boolOf(false, "nice_user", "niceuser")
	if err != nil {
		return err
	}
	if nice {
		if group.set() {
			if err := p.e.d.refuse(group.at, "leave one of them out", "accounting_group and nice_user are both set"); err != nil {
				return err
			}
		} else {
			group.text = "nice-user"
		}
		p.setInt("MaxJobRetirementTime", 0)
	}
	if !group.set() && !user.set() {
		return nil
	}
	if !user.set() {
		user.text = p.e.d.opts.User
	}
	for _, v := range []value{group, user} {
		const hint = "names of letters, digits, - and _, joined by dots"
		if strings.ContainsAny(v.text, " \t") {
			return problem(v.at, hint, "%s = %s is not a name", v.name, clip(v.text))
		}
		if strings.ContainsAny(v.text, "@\"'") || strings.HasPrefix(v.text, ".") || strings.HasSuffix(v.text, ".") {
			if err := p.e.d.refuse(v.at, hint, "%s = %s is not a name", v.name, clip(v.text)); err != nil {
				return err
			}
		}
	}
	p.setString("AcctGroupUser", user.text)
	if !group.set() {
		p.setString("AccountingGroup", user.text)
		return nil
	}
	p.setString("AcctGroup", group.text)
	p.setString("AccountingGroup", group.text+"."+user.text)
	return nil
}

func buildLimits(p *proc) error {
	v, err := p.get("concurrency_limits")
	if err != nil {
		return err
	}
	expr, err := p.get("concurrency_limits_expr")
	if err != nil {
		return err
	}
	switch {
	case v.set() && expr.set():
		return problem(expr.at, "leave one of them out", "concurrency_limits and concurrency_limits_expr are both set")
	case expr.set():
		return p.setExpr("ConcurrencyLimits", expr)
	case !v.set():
		return nil
	}
	limits := strings.FieldsFunc(strings.ToLower(v.text), isSeparator)
	for _, l := range limits {
		name, amount, hasAmount := strings.Cut(l, ":")
		e, err := classad.ParseExpr(amount)
		ok := !hasAmount
		if hasAmount && err == nil {
			f, isNumber := e.Eval(nil, nil).Real()
			ok = isNumber && f > 0
		}
		const hint = "for example: concurrency_limits = licence, matlab:2"
		if !isLimitName(name) {
			return problem(v.at, hint, "%q is not a limit", l)
		}
		if !ok {
			if err := p.e.d.refuse(v.at, hint, "%q is not a limit", l); err != nil {
				return err
			}
		}
	}
	sort.Strings(limits)
	p.setString("ConcurrencyLimits", strings.Join(limits, ","))
	return nil
}

// isLimitName recognises the name of a limit, which may be of two parts with a dot between them.
func isLimitName(s string) bool {
	group, name, two := strings.Cut(s, ".")
	for _, part := range []string{group, name} {
		if part == "" && two || part != "" && (!isMacroName(part) || isDigit(part[0]) || strings.Contains(part, ".")) {
			return false
		}
	}
	return group != ""
}

func buildLease(p *proc) error {
	const standard, shortest = 2400, 20 // seconds
	v, err := p.get("job_lease_duration", "jobleaseduration")
	if err != nil {
		return err
	}
	if kind, err := p.kind(); err != nil || isHere(kind) && !v.set() {
		return err
	}
	if !v.set() {
		p.setInt("JobLeaseDuration", standard)
		return nil
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	if err != nil || n <= 0 { // nothing of the kind is corrected
		return p.setExpr("JobLeaseDuration", v)
	}
	if n < shortest {
		p.note(v.at, fmt.Sprintf("job_lease_duration = %d is too short; %d seconds are used", n, shortest))
		n = shortest
	}
	p.setInt("JobLeaseDuration", n)
	return nil
}

var cronFields = []struct {
	command, attr string
	low, high     int
}{
	{"cron_minute", "CronMinute", 0, 59},
	{"cron_hour", "CronHour", 0, 23},
	{"cron_day_of_month", "CronDayOfMonth", 1, 31},
	{"cron_month", "CronMonth", 1, 12},
	{"cron_day_of_week", "CronDayOfWeek", 0, 7},
}

// deferred reports whether the job is to start at a set time.
func (p *proc) deferred() (bool, error) {
	for _, f := range cronFields {
		if v, err := p.get(f.command); err != nil || v.set() {
			return true, err
		}
	}
	v, err := p.get("deferral_time", "deferraltime")
	return v.set(), err
}

func buildDeferral(p *proc) error {
	deferred, err := p.deferred()
	if err != nil {
		return err
	}
	const prep, scheduler = 300, 300 // seconds
	if (deferred || p.forced["deferraltime"]) && !p.forcesRequirements() {
		p.setInt("ScheddInterval", scheduler) // for the clause of Requirements
	}
	if !deferred {
		return nil
	}
	for _, f := range cronFields {
		v, err := p.get(f.command)
		if err != nil {
			return err
		}
		if !v.set() {
			continue
		}
		if !validCron(v.text, f.low, f.high) {
			err := p.e.d.refuse(v.at, fmt.Sprintf("numbers from %d to %d, as in 5 or 1,2 or 1-5 or */2", f.low, f.high), "%s = %s", v.name, clip(v.text))
			if err != nil {
				return err
			}
		}
		p.setString(f.attr, v.text)
	}
	for _, f := range []struct {
		attr  string
		def   int64 // -1: none
		names []string
	}{
		{"DeferralTime", -1, []string{"deferral_time", "deferraltime"}},
		{"DeferralWindow", 0, []string{"cron_window", "deferral_window", "deferralwindow"}},
		{"DeferralPrepTime", prep, []string{"cron_prep_time", "deferral_prep_time", "deferralpreptime"}},
	} {
		v, err := p.get(f.names...)
		if err != nil {
			return err
		}
		if !v.set() {
			if f.def >= 0 {
				p.setInt(f.attr, f.def)
			}
			continue
		}
		e, err := classad.ParseOldExpr(v.text)
		if err != nil {
			return exprError(v.name, v, err)
		}
		if refs := e.ReferencesIn(classad.NewAd()); len(refs.Target)+len(refs.My) == 0 {
			val := e.Eval(classad.NewAd(), nil)
			if n, _ := val.Int(); val.Kind() != classad.Error && (val.Kind() != classad.Integer || n < 0) {
				return problem(v.at, "write a number of seconds, or an expression", "%s = %s is not an integer from 0 on", v.name, clip(v.text))
			}
		}
		if err := p.setExpr(f.attr, v); err != nil {
			return err
		}
	}
	return nil
}

// validCron checks a field of crontab: *, numbers and ranges, each with a step or without, in a list.
func validCron(text string, low, high int) bool {
	for _, part := range strings.Split(text, ",") {
		part, step, hasStep := strings.Cut(strings.TrimSpace(part), "/")
		if hasStep && !inRange(step, 1, high) {
			return false
		}
		if part == "*" {
			continue
		}
		first, last, isRange := strings.Cut(part, "-")
		if !inRange(first, low, high) {
			return false
		}
		if from, _ := strconv.Atoi(first); isRange && !inRange(last, from, high) {
			return false
		}
	}
	return true
}

func inRange(s string, low, high int) bool {
	n := 0
	for i := range len(s) {
		if !isDigit(s[i]) || n > high {
			return false
		}
		n = 10*n + int(s[i]-'0')
	}
	return s != "" && low <= n && n <= high
}
