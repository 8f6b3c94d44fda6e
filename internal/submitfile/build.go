package submitfile

import (
	"fmt"
	"path/filepath"
	"strings"

	"skua/internal/job"
)

// builders make a job's ad, in this order. What they share they read again from the commands, so
// that each can run alone.
var builders = []builder{
	{name: "job", build: buildStart},
	{name: "universe", build: buildUniverse},
	{name: "initialdir", build: buildIwd},
	{name: "executable", build: buildExecutable},
	{name: "arguments", build: buildArguments},
	{name: "environment", build: buildEnvironment},
	{name: "input", build: func(p *proc) error { return p.stream("In", "TransferIn", "StreamIn", "input", "stdin") }},
	{name: "output", build: func(p *proc) error { return p.stream("Out", "TransferOut", "StreamOut", "output", "stdout") }},
	{name: "error", build: func(p *proc) error { return p.stream("Err", "TransferErr", "StreamErr", "error", "stderr") }},
	{name: "log", build: buildLog},
	{name: "files", build: buildFiles},
	{name: "remaps", build: buildRemaps},
	{name: "inputs", build: buildInputs},
	{name: "checkpoint", build: buildCheckpoint},
	{name: "baseline", build: buildBaseline},
	{name: "runtime", build: buildRuntime},
	{name: "sizes", build: buildSizes},
	{name: "requests", build: buildRequests},
	{name: "requirements", build: buildRequirements},
	{name: "rank", build: buildRank},
	{name: "status", build: buildStatus},
	{name: "exit", build: buildExit},
	{name: "accounting", build: buildAccounting},
	{name: "limits", build: buildLimits},
	{name: "lease", build: buildLease},
	{name: "deferral", build: buildDeferral},
	{name: "cuda", build: buildCUDA},
	{name: "simple", build: buildSimple},
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
	"standard": "leave the line out; jobs are checkpointed where the machine can",
	"java":     "leave the line out and write: executable = /usr/bin/java, transfer_executable = false",
	"parallel": "jobs that run on several machines at once are not supported yet",
	"mpi":      "jobs that run on several machines at once are not supported yet",
	"grid":     "Skua runs jobs on its own machines only",
	"vm":       "there are no virtual machine jobs",
	"pvm":      "there are no PVM jobs",
}

// kind says how the job is to run: "" directly, "docker", "container", or on the submitting machine,
// "scheduler" or "local".
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
	case "7":
		return "scheduler", nil
	case "12":
		return "local", nil
	case "scheduler", "local":
		return name, nil
	default:
		if hint, ok := otherUniverses[name]; ok {
			return "", problem(u.at, hint, "universe = %s is %w", u.text, ErrUnsupported)
		}
		return "", problem(u.at, "leave the line out for an ordinary job", "universe = %s: there is no such universe", clip(u.text))
	}
	for _, image := range []string{"container_image", "docker_image"} {
		if v, err := p.get(image); err != nil || v.set() {
			return "container", err
		}
	}
	return "", nil
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
	t, err := p.get("transfer_executable", "transferexecutable")
	if err != nil || !t.set() {
		return v, true, err
	}
	send, known := sends(t.text)
	if !known {
		err = p.e.d.refuse(t.at, "write true or false", "%s = %s is neither true nor false", t.name, clip(t.text))
	}
	return v, send, err
}

// sends reads the value of transfer_executable. HTCondor knows its own words for false there and takes
// everything else for true.
func sends(text string) (send, known bool) {
	b, ok := parseBool(text)
	switch strings.ToLower(text) {
	case "false", "f":
		return false, true
	}
	return true, ok && b
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
	name := v.text
	if !filepath.IsAbs(name) && p.e.d.opts.Dir != "" {
		name = squeezeSlashes(strings.TrimSuffix(p.e.d.opts.Dir, "/") + "/" + name) // as it was written, else
	}
	if p.e.d.opts.Stat != nil {
		f := p.e.stat(name)
		switch {
		case f.err != nil && strings.Contains(v.text, "$$("):
			hint := fmt.Sprintf("the program is sent before there is a machine: name all of them in transfer_input_files, and write executable = ./%s with transfer_executable = false",
				filepath.Base(v.text))
			return problem(v.at, hint, "executable %s: %w", v.text, cause(f.err))
		case f.err != nil && !strings.ContainsAny(v.text, `/\`):
			return problem(v.at, "for a program that the machines have, give its full path and add transfer_executable = false",
				"executable %s: %w", v.text, cause(f.err))
		case f.err != nil:
			return problem(v.at, "", "executable %s: %w", v.text, cause(f.err))
		case f.info.IsDir():
			if err := p.e.d.refuse(v.at, "", "executable %s is a directory", v.text); err != nil {
				return err
			}
		}
	}
	p.setString("Cmd", name)
	return nil
}

func buildLog(p *proc) error {
	xml, set, err := p.boolOf(false, "log_xml")
	if err != nil {
		return err
	}
	if set {
		p.setBool("UserLogUseXML", xml)
	}
	v, err := p.get("log", "userlog")
	if err != nil || !v.set() {
		return err
	}
	if err := p.checkQuotes(v); err != nil {
		return err
	}
	name, err := p.inIwd(v.raw)
	p.setString("UserLog", name)
	return err
}

// inIwd makes a name on this side absolute.
func (p *proc) inIwd(name string) (string, error) {
	dir, _, err := p.iwd()
	if !filepath.IsAbs(name) {
		name = squeezeSlashes(strings.TrimSuffix(dir, "/") + "/" + name)
	}
	return name, err
}

// checkQuotes refuses a file's name in quotes, which would be a part of it.
func (p *proc) checkQuotes(v value) error {
	if !strings.HasPrefix(v.text, `"`) {
		return nil
	}
	return p.e.d.refuse(v.at, "leave the quotes out; a name may have blanks without them", "%s = %s: the quotes would be a part of the name", v.name, clip(v.text))
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
		if err := p.e.d.refuse(preferences.at, "leave one of them out", "rank and preferences are the same thing and are both set"); err != nil {
			return err
		}
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
		p.out = p.out[:0]
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
