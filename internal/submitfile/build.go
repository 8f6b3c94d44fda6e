package submitfile

import (
	"path/filepath"
	"strings"

	"skua/internal/job"
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
