package systemdtest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// source is where the machine has what an administrator works with: a checked out and built source.
const source = "/usr/src/skua"

// Versions of the agent, before and after its upgrade.
const (
	older = "systemdtest-1"
	newer = "systemdtest-2"
)

// user is a person with an account on the machine.
const user = "ann"

// TestServices has an administrator set up a pool of one machine as the README says, and then lets
// everything happen to its services that happens to services, while a job runs.
func TestServices(t *testing.T) {
	m := boot(t)
	build(t, m.path(source+"/bin"), older)
	m.setUp()
	m.must("skua-agent --version")

	// Its job is where agents before this version had theirs, and stays there.
	m.must("systemctl stop skua-jobs")
	j := submitStepper(m, user, "long")
	j.checkPlace("/system.slice/skua-agent.service/skua/")
	began := j.process()
	survives := func(figure string, what func()) {
		t.Helper()
		stop := len(j.steps())
		what()
		j.goesOn()
		if now := j.process(); now != began {
			t.Fatalf("%s: the job is process %+v, and was %+v", figure, now, began)
		}
		j.checkSteps()
		t.Logf("figure: %s=true", figure)
		t.Logf("%s: steps %d to %d", figure, stop, len(j.steps()))
	}

	survives("survived_kill", func() { m.kill("skua-agent") })
	survives("survived_restart", func() { m.replaced("skua-agent", func() { m.must("systemctl restart skua-agent") }) })
	survives("survived_upgrade", func() { m.upgrade() })
	survives("survived_matchmaker_kill", func() { m.kill("skua-matchmaker") })
	survives("survived_matchmaker_restart", func() {
		m.replaced("skua-matchmaker", func() { m.must("systemctl restart skua-matchmaker") })
	})
	m.checkOwners()
	j.checkPlace("/system.slice/skua-agent.service/skua/")
	j.end()
	m.as(user, "cd ~/work && skua wait --timeout 4m "+j.id)
	if want, got := fmt.Sprintln(len(j.steps()), "steps"), m.read("/home/ann/work/long.out"); got != want {
		t.Errorf("the job's output is %q, want %q", got, want)
	}
	j.checkLog(user, 1)
	t.Logf("figure: completed_once=%v", !t.Failed())

	m.unitForJobs()
	m.stopVacates()
	m.ownerLogsIn()
	m.checkJournal()
}

// build builds the programs into dir.
func build(t *testing.T, dir, version string) {
	t.Helper()
	for program, pkg := range map[string]string{"skua": "./submit", "skua-agent": "./agent", "skua-matchmaker": "./matchmaker"} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-X main.version="+version, "-o", filepath.Join(dir, program), pkg)
		cmd.Dir = filepath.Join("..", "..")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", program, err, out)
		}
	}
}

// setUp makes a pool of the machine by what the README has an administrator type, and a user of it.
func (m *machine) setUp() {
	t := m.t
	t.Helper()
	for _, dir := range []string{"packaging", "scripts"} {
		if out, err := exec.Command("cp", "-r", filepath.Join("..", "..", dir), m.path(source)).CombinedOutput(); err != nil {
			t.Fatalf("copy %s: %v\n%s", dir, err, out)
		}
	}
	m.must("useradd --create-home " + user + " && install -d -m 1777 " + shared)

	steps := commands(t, "README.md", "Five minutes for an administrator")
	if len(steps) != 3 {
		t.Fatalf("the README has %d blocks of commands for an administrator, want those for head, tokens and desktops", len(steps))
	}
	var agentToken, userToken string
	for _, line := range append(append(steps[0], steps[1]...), steps[2]...) {
		switch {
		case line == "make build":
			continue // has been done: this machine has no Go
		case strings.Contains(line, "token agent"):
			agentToken = m.type_(line)
			continue
		case strings.Contains(line, "token user NAME"):
			userToken = m.type_(strings.Replace(line, "NAME", user, 1))
			continue
		case strings.Contains(line, "skua-agent join"):
			line = regexp.MustCompile(`skua-agent-\S+$`).ReplaceAllLiteralString(line, agentToken)
		}
		m.type_(line)
		if strings.Contains(line, "policy.toml") {
			// Nobody ever sits at this machine, and its users share a directory.
			m.must(fmt.Sprintf(`sed -i 's|^#preset = .*|preset = "dedicated"|; s|^#mounts = .*|mounts = [%q]|' /etc/skua/policy.toml`, shared))
			m.must("skua-agent policy check /etc/skua/policy.toml")
		}
	}
	if agentToken == "" || userToken == "" {
		t.Fatal("the README makes no tokens")
	}
	m.as(user, "skua login "+userToken)
	m.await("the machine is offered", func() bool { return strings.Contains(m.as(user, "skua status"), "Unclaimed") })
	for _, service := range []string{"skua-agent", "skua-matchmaker"} {
		if got := m.must("systemctl is-enabled " + service); got != "enabled" {
			t.Errorf("%s is %s, and would not come back after a boot", service, got)
		}
	}
	// It may listen on ports below 1024, and has no other privilege.
	const bindService = "0000000000000400"
	if got := m.must(fmt.Sprintf("sed -n 's/^CapEff:[[:space:]]*//p' /proc/%d/status", m.mainPID("skua-matchmaker"))); got != bindService {
		t.Errorf("the matchmaker's effective capabilities are %s, want %s", got, bindService)
	}
	t.Log("figure: admin_path=true")
}

// type_ types a line in the source directory and gives what it says.
func (m *machine) type_(line string) string {
	m.t.Helper()
	m.t.Log("$ ", line)
	return m.must("cd " + source + " && " + line)
}

// mainPID is the main process of a service, 0 if it has none.
func (m *machine) mainPID(service string) int {
	m.t.Helper()
	pid, err := strconv.Atoi(m.must("systemctl show --property=MainPID --value " + service))
	if err != nil {
		m.t.Fatal(err)
	}
	return pid
}

// kill kills the main process of a service and waits for the next one.
func (m *machine) kill(service string) {
	m.t.Helper()
	m.replaced(service, func() { m.must(fmt.Sprint("kill -KILL ", m.mainPID(service))) })
}

// replaced waits, after what replaces the main process of a service, until the service has another.
func (m *machine) replaced(service string, what func()) {
	m.t.Helper()
	before := m.mainPID(service)
	if before == 0 {
		m.t.Fatalf("%s does not run", service)
	}
	what()
	m.await(service+" runs again", func() bool {
		now := m.mainPID(service)
		return now != 0 && now != before && strings.Contains(m.must("systemctl show --property=ActiveState "+service), "=active")
	})
}

// upgrade builds a newer version and does what the documents say about an upgrade.
func (m *machine) upgrade() {
	t := m.t
	t.Helper()
	build(t, m.path(source+"/bin"), newer)
	blocks := commands(t, "docs/operations.md", "Upgrades")
	if len(blocks) != 1 {
		t.Fatalf("operations has %d blocks of commands for an upgrade, want one", len(blocks))
	}
	m.replaced("skua-agent", func() {
		for _, line := range blocks[0] {
			m.type_(line)
		}
	})
	if exe, err := os.Readlink(m.path(fmt.Sprint("/proc/", m.mainPID("skua-agent"), "/exe"))); err != nil || exe != "/usr/bin/skua-agent" {
		t.Errorf("the agent runs %q (%v)", exe, err)
	}
	m.await("the log tells of the new version", func() bool {
		return strings.Contains(m.must("journalctl -b -o cat -u skua-agent"), `msg="agent starts" version=`+newer)
	})
}

// checkOwners: the matchmaker has its own directory and no other, whichever service was there first.
func (m *machine) checkOwners() {
	m.t.Helper()
	const want = "root 711 /var/lib/skua\nroot 711 /var/lib/skua/agent\nskua 711 /var/lib/skua/matchmaker"
	if got := m.must("stat -c '%U %a %n' /var/lib/skua /var/lib/skua/agent /var/lib/skua/matchmaker"); got != want {
		m.t.Errorf("the directories of the services are\n%s\nwant\n%s", got, want)
	}
}

// jobsPlace is where jobs have their cgroups: in a unit of its own, in a slice beside those of users and services.
const jobsPlace = "/skua.slice/skua-jobs.service/skua/"

// unitForJobs: the unit for jobs has been started before the agent, jobs are in it, and stay when its process is
// killed and replaced.
func (m *machine) unitForJobs() {
	t := m.t
	t.Helper()
	if jobs, agent := m.monotonic("skua-jobs", "ActiveEnter"), m.monotonic("skua-agent", "ExecMainStart"); jobs == 0 || jobs > agent {
		t.Errorf("the unit for jobs was up at %d, and the agent started at %d", jobs, agent)
	}
	j := submitStepper(m, user, "placed")
	j.checkPlace(jobsPlace)
	began := j.process()
	m.kill("skua-jobs")
	j.goesOn()
	if now := j.process(); now != began {
		t.Errorf("the job is process %+v, and was %+v", now, began)
	}
	j.checkPlace(jobsPlace)
	if in := m.must(fmt.Sprint("cat /proc/", m.mainPID("skua-jobs"), "/cgroup")); !strings.HasSuffix(in, "/skua.slice/skua-jobs.service/keeper") {
		t.Errorf("the unit's process is in %s", in)
	}
	j.end()
	m.as(user, "cd ~/work && skua wait --timeout 4m "+j.id)
	j.checkSteps()
	j.checkLog(user, 1)
	t.Logf("figure: unit_for_jobs=%v", !t.Failed())
}

// monotonic is a time stamp of a unit, in microseconds since the boot; 0 if there is none.
func (m *machine) monotonic(unit, stamp string) int64 {
	m.t.Helper()
	at, err := strconv.ParseInt(m.must("systemctl show --value --property="+stamp+"TimestampMonotonic "+unit), 10, 64)
	if err != nil {
		m.t.Fatal(err)
	}
	return at
}

// stopVacates: a stop has a job leave with a checkpoint, nothing of it stays behind, and after the next
// start it goes on from there.
func (m *machine) stopVacates() {
	t := m.t
	t.Helper()
	j := submitStepper(m, user, "moved")
	j.checkPlace(jobsPlace)
	before := j.process()
	m.must("systemctl stop skua-agent")
	if left := j.processes(); len(left) > 0 {
		t.Errorf("after the stop processes of the job are left: %v", left)
	}
	if out, _, _ := m.try("pgrep -a skua-init"); out != "" {
		t.Errorf("after the stop are left:\n%s", out)
	}
	m.await("the unit for jobs has stopped", func() bool {
		out, _, _ := m.try("systemctl is-active skua-jobs")
		return out == "inactive\n"
	})
	if agent, jobs := m.monotonic("skua-agent", "InactiveEnter"), m.monotonic("skua-jobs", "ActiveExit"); agent == 0 || agent > jobs {
		t.Errorf("the unit for jobs was stopped at %d, and the agent had ended at %d", jobs, agent)
	}
	for _, cgroup := range []string{"system.slice/skua-agent.service", "skua.slice/skua-jobs.service"} {
		if _, err := os.Stat(m.path("/sys/fs/cgroup/" + cgroup)); err == nil {
			t.Errorf("after the stop the cgroup %s is left", cgroup)
		}
	}
	if out := m.must("ls -A /var/lib/skua/agent/claims"); out != "" {
		t.Errorf("after the stop claims are left: %s", out)
	}
	stood := len(j.steps())
	m.must("systemctl start skua-agent")
	m.await("the job goes on", func() bool { return len(j.steps()) > stood+3 })
	if j.process() == before {
		t.Error("the job is still the process that should have left")
	}
	j.checkSteps()
	j.end()
	m.as(user, "cd ~/work && skua wait --timeout 4m "+j.id)
	j.checkSteps()
	j.checkLog(user, 2)
	t.Logf("figure: stop_vacates=%v", !t.Failed())
}

// checkJournal: neither systemd nor Skua has logged an error since the boot.
func (m *machine) checkJournal() {
	t := m.t
	t.Helper()
	if out := m.must("journalctl -b -p err -q --no-pager"); out != "" {
		t.Errorf("errors in the machine's journal:\n%s", out)
	}
	var warnings int
	for line := range strings.Lines(m.must("journalctl -b -q -o cat -u skua-agent -u skua-matchmaker") + "\n") {
		switch {
		case strings.Contains(line, "level=ERROR"):
			t.Errorf("in the journal: %s", line)
		case strings.Contains(line, "level=WARN"):
			warnings++
			t.Logf("in the journal: %s", line)
		}
	}
	t.Logf("figure: warnings=%d", warnings)
	t.Logf("figure: journal_clean=%v", !t.Failed())
}
