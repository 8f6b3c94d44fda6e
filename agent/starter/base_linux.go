package starter

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// What claims get of the processors is decided by where their cgroups are. The best place is a unit that is there
// for them alone, in a slice of its own beside those of users and services: what counts between these is the weight
// of the slice. Elsewhere it is the agent's own cgroup, where jobs come last among what this service does.

// agentPart is what the systemd unit calls the agent's own part of the service's cgroup
// (DelegateSubgroup= in packaging/skua-agent.service).
const agentPart = "agent"

// The cgroup of packaging/skua-jobs.service, and the part of it that the unit's own process has.
const (
	jobsCgroup = "/skua.slice/skua-jobs.service"
	keeperPart = "keeper"
)

// baseName is the cgroup, in one that we may use, to which those of all claims belong.
const baseName = "skua"

// cgroupBases are the directories below which claims may get their cgroups, best first, where the agent is in the cgroup
// own of the hierarchy at mount. The last is for claims whose jobs must not wait for others, too.
func cgroupBases(configured, mount, own string) []string {
	switch {
	case configured == "none":
		return nil
	case configured != "":
		return []string{configured}
	case mount == "" || own == "":
		return nil
	}
	beside := filepath.Join(mount, claimsBeside(own), baseName)
	if top, ok := systemService(own); ok {
		return []string{filepath.Join(mount, top+jobsCgroup, baseName), beside}
	}
	return []string{beside}
}

// systemService says whether the cgroup own is that of a service of the system, or the agent's part of it, and
// gives what the slice of services is in: "" unless systemd runs in a container.
func systemService(own string) (top string, ok bool) {
	const services = "/system.slice/"
	at := strings.LastIndex(own, services)
	if at < 0 {
		return "", false
	}
	name := strings.TrimSuffix(own[at+len(services):], "/"+agentPart)
	return own[:at], strings.HasSuffix(name, ".service") && !strings.Contains(name, "/")
}

// claimsBeside is the cgroup to which that of all claims belongs, where the agent is in the cgroup own: the
// same, or the service's if the agent has a part of it to itself.
func claimsBeside(own string) string {
	if service := filepath.Dir(own); filepath.Base(own) == agentPart && strings.HasSuffix(service, ".service") {
		return service
	}
	return own
}

// findCgroupBases returns the bases that there may be, none if no one can be used now.
func findCgroupBases(configured string) []string {
	var mount, path string
	if configured == "" {
		mounts, own, err := readHierarchies()
		if err != nil {
			return nil
		}
		mount, path = cgroup2Mount(mounts), cgroup2Path(own)
	}
	bases := cgroupBases(configured, mount, path)
	usable := false
	for _, base := range bases {
		usable = prepareBase(base) || usable
	}
	if !usable {
		return nil
	}
	return bases
}

// baseFor returns the base for a claim, "" if there are no cgroups. That in the unit for jobs comes and goes with the
// unit: a claim is beside the agent while it is not there, and systemd may have made its cgroup anew.
func (m *means) baseFor(prompt bool) string {
	last := len(m.cgroups) - 1
	if last < 0 {
		return ""
	}
	if !prompt {
		for _, base := range m.cgroups[:last] {
			if _, err := os.Stat(base); err == nil || prepareBase(base) {
				return base
			}
		}
	}
	return m.cgroups[last]
}

// prepareBase makes a base, in a cgroup that is there, and says whether it can be used.
func prepareBase(base string) bool {
	parent := filepath.Dir(base)
	if err := mkdir(base, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return false
	}
	if unix.Access(filepath.Join(base, "cgroup.freeze"), unix.W_OK) != nil || unix.Access(base, unix.W_OK) != nil {
		return false
	}
	// Moving a process needs the right to take it away from where the init is, too.
	if os.Getuid() != 0 && unix.Access(filepath.Join(parent, "cgroup.procs"), unix.W_OK) != nil {
		return false
	}
	if strings.HasSuffix(parent, jobsCgroup) {
		moveKeeper(parent)
	}
	// Limits are taken where the machine gives them; a hybrid machine has none here.
	sign := "+"
	if !passesOn(parent) {
		sign = "-" // also what an agent before this one has begun
	}
	for _, dir := range []string{parent, base} {
		for _, c := range []string{"memory", "pids", "cpu"} {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(sign+c), 0)
		}
	}
	allClaims.set(base, true)
	return true
}

// passesOn says whether a cgroup can pass controllers on to those below it: it must not hold processes itself, unless it is
// the root of all. The kernel refuses some controllers then. Others it passes on, such as cpu and pids, as to threads of these
// processes, and then takes no process below: so none may be asked for.
func passesOn(cgroup string) bool {
	if _, err := os.Stat(filepath.Join(cgroup, "cgroup.type")); errors.Is(err, fs.ErrNotExist) {
		return true // the root has no type
	}
	procs, err := os.ReadFile(filepath.Join(cgroup, "cgroup.procs"))
	return err == nil && len(procs) == 0
}

// moveKeeper moves what systemd before 254 has left in the cgroup of the unit itself into a part of that.
func moveKeeper(unit string) {
	procs, err := os.ReadFile(filepath.Join(unit, "cgroup.procs"))
	if err != nil || len(procs) == 0 {
		return
	}
	keeper := filepath.Join(unit, keeperPart)
	if err := mkdir(keeper, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return
	}
	for pid := range strings.FieldsSeq(string(procs)) {
		// It may have ended. Where one stays, the claims are without controllers, as they would be without this.
		_ = os.WriteFile(filepath.Join(keeper, "cgroup.procs"), []byte(pid), 0)
	}
}
