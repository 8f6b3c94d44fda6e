package submitfile

import (
	"fmt"
	"path/filepath"
	"sort"
	"strings"

	"skua/internal/job"
	"skua/policy/classad"
)

// builders make a job's ad, in this order. What they share they read again from the commands, so
// that each can run alone.
var builders = []builder{
	{"job", buildStart},
	{"universe", buildUniverse},
	{"initialdir", buildIwd},
	{"executable", buildExecutable},
	{"arguments", buildArguments},
	{"environment", buildEnvironment},
	{"input", func(p *proc) error { return p.stream("In", "TransferIn", "StreamIn", "input", "stdin") }},
	{"output", func(p *proc) error { return p.stream("Out", "TransferOut", "StreamOut", "output", "stdout") }},
	{"error", func(p *proc) error { return p.stream("Err", "TransferErr", "StreamErr", "error", "stderr") }},
	{"log", buildLog},
	{"files", buildFiles},
	{"remaps", buildRemaps},
	{"inputs", buildInputs},
	{"checkpoint", buildCheckpoint},
	{"sizes", buildSizes},
	{"requests", buildRequests},
	{"requirements", buildRequirements},
	{"rank", buildRank},
	{"status", buildStatus},
	{"exit", buildExit},
	{"accounting", buildAccounting},
	{"limits", buildLimits},
	{"lease", buildLease},
	{"deferral", buildDeferral},
	{"simple", buildSimple},
}

// buildStart sets what every new job has.
func buildStart(p *proc) error {
	p.setString("MyType", "Job")
	p.setString("TargetType", "Machine")
	for _, attr := range []string{
		"ExitStatus", "NumCkpts", "NumJobStarts", "NumJobCompletions", "NumRestarts", "NumSystemHolds", "CommittedTime",
		"CommittedSlotTime", "CumulativeSlotTime", "TotalSuspensions", "LastSuspensionTime", "CumulativeSuspensionTime",
		"CommittedSuspensionTime", "CurrentHosts", "JobSubmitMethod",
	} {
		p.setInt(attr, 0)
	}
	for _, attr := range []string{"RemoteWallClockTime", "RemoteUserCpu", "RemoteSysCpu", "CumulativeRemoteUserCpu", "CumulativeRemoteSysCpu"} {
		p.setReal(attr, 0)
	}
	p.setBool("ExitBySignal", false)
	p.setInt("MinHosts", 1)
	p.setInt("MaxHosts", 1)
	p.setString("JobSubmitFile", p.e.d.name)
	if now := p.e.d.opts.Now; !now.IsZero() {
		p.setInt("QDate", now.Unix())
		p.setInt("EnteredCurrentStatus", now.Unix())
	}
	if user := p.e.d.opts.User; user != "" {
		p.setString("Owner", user)
	}
	return nil
}

const vanilla = 5 // JobUniverse

// otherUniverses are HTCondor's that Skua does not have, and what to do instead.
var otherUniverses = map[string]string{
	"standard":  "leave the line out; jobs are checkpointed where the machine can",
	"java":      "leave the line out and write: executable = /usr/bin/java, transfer_executable = false",
	"parallel":  "jobs that run on several machines at once are not supported yet",
	"mpi":       "jobs that run on several machines at once are not supported yet",
	"scheduler": "run the program yourself",
	"local":     "run the program yourself",
	"grid":      "Skua runs jobs on its own machines only",
	"vm":        "there are no virtual machine jobs",
	"pvm":       "there are no PVM jobs",
}

// kind says how the job is to run: "" directly, "docker" or "container".
func (p *proc) kind() (string, error) {
	u, err := p.get("universe")
	if err != nil {
		return "", err
	}
	name := strings.ToLower(u.text)
	switch name {
	case "", "vanilla", "5":
	case "docker", "container":
		return name, nil
	default:
		if hint, ok := otherUniverses[name]; ok {
			return "", problem(u.at, hint, "universe = %s is %w", u.text, ErrUnsupported)
		}
		return "", problem(u.at, "leave the line out for an ordinary job", "universe = %s: there is no such universe", clip(u.text))
	}
	if v, err := p.get("container_image"); err != nil || v.set() {
		return "container", err
	}
	if v, err := p.get("docker_image"); err != nil || v.set() {
		return "docker", err
	}
	return "", nil
}

func buildUniverse(p *proc) error {
	p.setInt("JobUniverse", vanilla)
	kind, err := p.kind()
	if kind == "" || err != nil {
		return err
	}
	u, err := p.get("universe", "container_image", "docker_image")
	if err != nil {
		return err
	}
	image, err := p.get(kind+"_image", "docker_image")
	if err != nil {
		return err
	}
	if !image.set() {
		return problem(u.at, "add a line "+kind+"_image = ...", "a job of universe %s needs an image", kind)
	}
	if err := p.e.d.refuse(u.at, "", "%s = %s: containers are %w", u.name, clip(u.text), ErrUnsupported); err != nil {
		return err
	}
	name := strings.Trim(image.text, `"`)
	if kind == "docker" {
		p.setBool("WantDocker", true)
		p.setString("DockerImage", name)
		return nil
	}
	p.setBool("WantContainer", true)
	p.setString("ContainerImage", name)
	want, source := containerImage(name)
	p.setBool(want, true)
	p.setString("ContainerImageSource", source)
	return nil
}

// containerImage tells what kind of image a name stands for.
func containerImage(name string) (want, source string) {
	source = "local"
	if scheme := urlScheme(name); scheme != "" {
		source = scheme
	}
	switch {
	case source == "docker":
		return "WantDockerImage", source
	case strings.HasSuffix(name, ".sif"):
		return "WantSIF", source
	}
	return "WantSandboxImage", source
}

// iwd is the directory that the job's files are relative to on this side, and where it was named.
func (p *proc) iwd() (string, value, error) {
	v, err := p.get("initialdir", "iwd", "initial_dir", "job_iwd")
	if err != nil {
		return "", v, err
	}
	dir := p.e.d.opts.Dir
	switch {
	case !v.set():
	case filepath.IsAbs(v.text):
		dir = v.text
	default:
		dir = dir + "/" + v.text
	}
	return squeezeSlashes(dir), v, nil
}

// squeezeSlashes makes one slash of several. A slash at the end stays.
func squeezeSlashes(s string) string {
	for strings.Contains(s[min(1, len(s)):], "//") { // not the two that begin a Windows share
		s = s[:1] + strings.ReplaceAll(s[1:], "//", "/")
	}
	return s
}

func buildIwd(p *proc) error {
	dir, v, err := p.iwd()
	if err != nil {
		return err
	}
	if p.e.d.opts.Stat != nil && v.set() {
		if f := p.e.stat(dir); f.err != nil || !f.info.IsDir() {
			return problem(v.at, "make it before you submit", "%s = %s: there is no such directory", v.name, v.text)
		}
	}
	p.setString("Iwd", dir)
	return nil
}

// executable is the program as the description names it, and whether it is sent with the job.
func (p *proc) executable() (v value, send bool, err error) {
	if v, err = p.get("executable", "cmd"); err != nil {
		return v, false, err
	}
	send, _, err = p.boolOf(true, "transfer_executable", "transferexecutable")
	v.text = strings.Trim(v.text, `"`)
	return v, send, err
}

func buildExecutable(p *proc) error {
	v, send, err := p.executable()
	if err != nil {
		return err
	}
	if !v.set() {
		return problem(pos{file: p.e.d.name}, "add a line \"executable = PROGRAM\"", "the description names no executable")
	}
	if !send {
		p.setString("Cmd", v.text)
		p.setBool("TransferExecutable", false)
		return nil
	}
	name := p.e.d.path(v.text)
	if p.e.d.opts.Stat != nil {
		f := p.e.stat(name)
		switch {
		case f.err != nil && !strings.ContainsAny(v.text, `/\`):
			return problem(v.at, "for a program that the machines have, give its full path and add transfer_executable = false",
				"executable %s: %w", v.text, cause(f.err))
		case f.err != nil:
			return problem(v.at, "", "executable %s: %w", v.text, cause(f.err))
		case f.info.IsDir():
			return problem(v.at, "", "executable %s is a directory", v.text)
		}
	}
	p.setString("Cmd", name)
	return nil
}

func buildLog(p *proc) error {
	v, err := p.get("log", "userlog")
	if err != nil || !v.set() {
		return err
	}
	dir, _, err := p.iwd()
	if err != nil {
		return err
	}
	name := strings.Trim(v.text, `"`)
	if !filepath.IsAbs(name) {
		name = squeezeSlashes(dir + "/" + name)
	}
	p.setString("UserLog", name)
	xml, set, err := p.boolOf(false, "log_xml")
	if err == nil && set && xml {
		p.setBool("UserLogUseXML", true)
	}
	return err
}

func buildRank(p *proc) error {
	rank, err := p.get("rank")
	if err != nil {
		return err
	}
	preferences, err := p.get("preferences")
	if err != nil {
		return err
	}
	switch {
	case rank.set() && preferences.set():
		return problem(preferences.at, "leave one of them out", "rank and preferences are the same thing and are both set")
	case preferences.set():
		rank = preferences
	case !rank.set():
		p.setReal("Rank", 0)
		return nil
	}
	return p.setExpr("Rank", rank)
}

var notifications = map[string]int64{"never": 0, "always": 1, "complete": 2, "error": 3}

func buildStatus(p *proc) error {
	p.setInt("JobPrio", 0)
	prio, err := p.get("priority", "prio", "jobprio")
	if err != nil {
		return err
	}
	if prio.set() {
		n, err := prio.integer()
		if err != nil {
			return err
		}
		p.out = nil
		p.setInt("JobPrio", n)
	}
	hold, _, err := p.boolOf(false, "hold")
	if err != nil {
		return err
	}
	p.setInt("JobStatus", int64(job.Idle))
	if hold {
		const submittedOnHold = 15
		p.setInt("JobStatus", int64(job.Held))
		p.setString("HoldReason", "submitted on hold at user's request")
		p.setInt("HoldReasonCode", submittedOnHold)
	}
	p.setInt("JobNotification", 0)
	how, err := p.get("notification", "jobnotification")
	if err != nil {
		return err
	}
	if how.set() {
		n, ok := notifications[strings.ToLower(how.text)]
		if !ok {
			return problem(how.at, "write never, always, complete or error", "notification = %s", clip(how.text))
		}
		p.setInt("JobNotification", n)
	}
	p.setBool("LeaveJobInQueue", false) // leave_in_queue comes later and wins
	return nil
}

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
	const defaultRetries = 10
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
		if code, err := until.integer(); err == nil {
			expr += fmt.Sprintf(" || ExitCode =?= %d", code)
		} else if _, err := classad.ParseOldExpr(until.text); err != nil {
			return exprError("retry_until", until, err)
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
			return problem(group.at, "leave one of them out", "accounting_group and nice_user are both set")
		}
		group.text = "nice-user"
		p.setInt("MaxJobRetirementTime", 0)
	}
	if !group.set() && !user.set() {
		return nil
	}
	if !user.set() {
		user.text = p.e.d.opts.User
	}
	for _, v := range []value{group, user} {
		if strings.ContainsAny(v.text, " \t@\"'") || strings.HasPrefix(v.text, ".") || strings.HasSuffix(v.text, ".") {
			return problem(v.at, "names of letters, digits, - and _, joined by dots", "%s = %s is not a name", v.name, clip(v.text))
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
	limits := strings.FieldsFunc(strings.ToLower(strings.Trim(v.text, `"`)), isSeparator)
	for _, l := range limits {
		name, amount, hasAmount := strings.Cut(l, ":")
		e, err := classad.ParseExpr(amount)
		ok := !hasAmount
		if hasAmount && err == nil {
			f, isNumber := e.Eval(nil, nil).Real()
			ok = isNumber && f > 0
		}
		if !isMacroName(name) || !ok {
			return problem(v.at, "for example: concurrency_limits = licence, matlab:2", "%q is not a limit", l)
		}
	}
	sort.Strings(limits)
	p.setString("ConcurrencyLimits", strings.Join(limits, ","))
	return nil
}

func buildLease(p *proc) error {
	const standard, shortest = 2400, 20 // seconds
	v, err := p.get("job_lease_duration", "jobleaseduration")
	if err != nil {
		return err
	}
	if !v.set() {
		p.setInt("JobLeaseDuration", standard)
		return nil
	}
	n, err := v.integer()
	switch {
	case err != nil:
		return p.setExpr("JobLeaseDuration", v)
	case n == 0:
		return nil
	case n < shortest:
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
	if err != nil || !deferred {
		return err
	}
	for _, f := range cronFields {
		v, err := p.get(f.command)
		if err != nil {
			return err
		}
		if !v.set() {
			continue
		}
		text := strings.Trim(v.text, `"`)
		if !validCron(text, f.low, f.high) {
			return problem(v.at, fmt.Sprintf("numbers from %d to %d, as in 5 or 1,2 or 1-5 or */2", f.low, f.high), "%s = %s", v.name, clip(v.text))
		}
		p.setString(f.attr, text)
	}
	const prep, scheduler = 300, 300 // seconds
	for _, f := range []struct {
		attr  string
		def   int64 // -1: none
		names []string
	}{
		{"DeferralTime", -1, []string{"deferral_time", "deferraltime"}},
		{"DeferralWindow", 0, []string{"deferral_window", "deferralwindow", "cron_window"}},
		{"DeferralPrepTime", prep, []string{"deferral_prep_time", "deferralpreptime", "cron_prep_time"}},
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
		if n, err := v.integer(); err == nil && n < 0 {
			return problem(v.at, "", "%s = %s is negative", v.name, v.text)
		}
		if err := p.setExpr(f.attr, v); err != nil {
			return err
		}
	}
	p.setInt("ScheddInterval", scheduler)
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
		if !inRange(first, low, high) || isRange && !inRange(last, low, high) {
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

// buildSimple sets the attributes of the commands that stand alone.
func buildSimple(p *proc) error {
	for _, s := range simple {
		v, err := p.get(s.command, s.attr)
		if err != nil {
			return err
		}
		if !v.set() {
			continue
		}
		if err := p.setSimple(s.attr, s.form, v); err != nil {
			return err
		}
	}
	return nil
}

func (p *proc) setSimple(attr string, f form, v value) error {
	switch f {
	case asString:
		p.setString(attr, unquote(v.text))
	case asInt:
		n, err := v.integer()
		if err != nil {
			return err
		}
		p.setInt(attr, n)
	case asBool:
		if b, ok := parseBool(v.text); ok {
			p.setBool(attr, b)
			return nil
		}
		return p.setExpr(attr, v)
	case asList:
		p.setString(attr, strings.Join(strings.FieldsFunc(unquote(v.text), isSeparator), ","))
	case asSignal:
		name, err := signalName(v)
		if err != nil {
			return err
		}
		p.setString(attr, name)
	default:
		return p.setExpr(attr, v)
	}
	return nil
}

// unquote drops the quotes that some people put around a plain text.
func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// signals are those of Linux, which is where a name has to mean something.
var signals = []string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
	10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 17: "SIGCHLD", 18: "SIGCONT",
	19: "SIGSTOP", 20: "SIGTSTP", 21: "SIGTTIN", 22: "SIGTTOU", 23: "SIGURG", 24: "SIGXCPU", 25: "SIGXFSZ", 26: "SIGVTALRM",
	27: "SIGPROF", 28: "SIGWINCH", 29: "SIGIO", 30: "SIGPWR", 31: "SIGSYS",
}

func signalName(v value) (string, error) {
	name := strings.ToUpper(strings.Trim(v.text, `"`))
	for n, s := range signals {
		if s != "" && (name == s || name == itoa(n) || "SIG"+name == s) {
			return s, nil
		}
	}
	return "", problem(v.at, "for example SIGTERM, or 15", "%s = %s is not a signal", v.name, clip(v.text))
}

// forcedAttribute sets what +Name or MY.Name says, which wins over every command.
func forcedAttribute(macro string) func(*proc) error {
	attr := macro[len("MY."):]
	return func(p *proc) error {
		v, err := p.get(macro)
		if err != nil {
			return err
		}
		if !v.set() {
			p.setExprValue(attr, undefined)
			return nil
		}
		return p.setExpr(attr, v)
	}
}
