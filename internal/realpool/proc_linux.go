package realpool

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a process of this machine, seen from outside of every sandbox.
type Process struct {
	Pid     int
	Command string
}

// processes lists the processes of this machine for which is holds. It is given the path of each one's
// directory below /proc.
func processes(is func(proc string) bool) []Process {
	var found []Process
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well formed
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() || state(dir) == 'Z' || !is(dir) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		found = append(found, Process{pid, strings.TrimSpace(string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))})
	}
	return found
}

// Leftovers are the processes that belong to the pool: those that name its directory in their command
// line or environment, or that see it among their mounts, as jobs and their inits do.
func (p *Pool) Leftovers() []Process {
	own, _ := os.Readlink("/proc/self/ns/mnt")
	return processes(func(proc string) bool {
		for _, name := range []string{"cmdline", "environ"} {
			if contains(filepath.Join(proc, name), p.Dir) {
				return true
			}
		}
		ns, _ := os.Readlink(filepath.Join(proc, "ns", "mnt"))
		return ns != own && contains(filepath.Join(proc, "mountinfo"), filepath.Base(p.Dir))
	})
}

// PowerOff ends all that runs on the machine with that number, at once: the agent, jobs and their inits. Its disk stays as
// it is.
func (p *Pool) PowerOff(n int) {
	p.t.Helper()
	name := p.Agents[n-1].Name
	own, _ := os.Readlink("/proc/self/ns/mnt")
	there := func() []Process {
		return processes(func(proc string) bool {
			if contains(filepath.Join(proc, "cmdline"), filepath.Join(p.Dir, name)+".toml") {
				return true
			}
			ns, _ := os.Readlink(filepath.Join(proc, "ns", "mnt"))
			return ns != own && contains(filepath.Join(proc, "mountinfo"), filepath.Base(p.Dir)+"/"+name+"/")
		})
	}
	p.Await(name+" is off", func() bool {
		all := there()
		for _, proc := range all {
			_ = syscall.Kill(proc.Pid, syscall.SIGKILL) // it may have ended
		}
		return len(all) == 0
	})
	<-p.Agents[n-1].ended
}

// JobProcesses are the processes of a job of this pool: those whose environment has the job's id and
// that see the pool among their mounts.
func (p *Pool) JobProcesses(id string) []Process {
	return processes(func(proc string) bool {
		return contains(filepath.Join(proc, "environ"), "SKUA_JOB_ID="+id+"\x00") &&
			contains(filepath.Join(proc, "mountinfo"), filepath.Base(p.Dir))
	})
}

func contains(file, text string) bool {
	data, err := os.ReadFile(file)
	return err == nil && bytes.Contains(data, []byte(text))
}

// state is the letter of a process's or thread's state; 0 when it is gone.
func state(proc string) byte {
	data, err := os.ReadFile(filepath.Join(proc, "stat"))
	if i := bytes.LastIndexByte(data, ')'); err == nil && i >= 0 && i+2 < len(data) {
		return data[i+2]
	}
	return 0
}

// Frozen reports whether no thread of the processes can run: each is stopped, or its cgroup is frozen.
func Frozen(all []Process) bool {
	for _, proc := range all {
		if cgroupFrozen(proc.Pid) {
			continue
		}
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", proc.Pid))
		for _, thread := range threads {
			if s := state(thread); s != 'T' && s != 't' && s != 0 {
				return false
			}
		}
	}
	return true
}

func cgroupFrozen(pid int) bool {
	dir := cgroupOf(pid)
	return dir != "" && contains(filepath.Join(dir, "cgroup.events"), "frozen 1")
}

// cgroupOf gives the directory of a process's cgroup v2, "" when there is none.
func cgroupOf(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
				if dir := filepath.Join(root, path); fileExists(filepath.Join(dir, "cgroup.events")) {
					return dir
				}
			}
		}
	}
	return ""
}

// removeCgroups removes the cgroups of the claims below dir, whose processes are gone.
func removeCgroups(dir string) {
	for _, cgroup := range claimCgroups(dir) {
		_ = os.Remove(cgroup)
	}
}

// claimCgroups gives the cgroups that the claims below dir have.
func claimCgroups(dir string) []string {
	var cgroups []string
	records, _ := filepath.Glob(filepath.Join(dir, "*", "claims", "*", "claim.json"))
	for _, file := range records {
		var record struct{ Cgroup string }
		data, err := os.ReadFile(file)
		if err == nil && json.Unmarshal(data, &record) == nil && record.Cgroup != "" && fileExists(record.Cgroup) {
			cgroups = append(cgroups, record.Cgroup)
		}
	}
	return cgroups
}

// Line is one line of a journal: what a job wrote down outside of Skua.
type Line struct {
	Nonce string // drawn once by a job at its beginning
	What  string // a step number, or another word
	At    time.Time
}

// Lines reads a journal.
func (p *Pool) Lines(name string) []Line {
	p.t.Helper()
	data, err := os.ReadFile(filepath.Join(p.Journal, name))
	if err != nil {
		return nil
	}
	var lines []Line
	for text := range strings.Lines(string(data)) {
		f := strings.Fields(text)
		if len(f) != 3 || !strings.HasSuffix(text, "\n") {
			continue // it is just being written
		}
		at, err := strconv.ParseFloat(f[2], 64)
		if err != nil {
			p.t.Fatalf("journal %s: %q", name, text)
		}
		lines = append(lines, Line{f[0], f[1], time.Unix(0, int64(at*1e9))})
	}
	return lines
}

// Stepper is a job's script that appends its steps, with a nonce drawn once, to a journal: its arguments
// are the journal, the number of steps, and the pause after each.
const Stepper = `nonce=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
i=0
while [ $i -lt $2 ]; do
	i=$((i+1))
	echo "$nonce $i $(date +%s.%N)" >> "$1"
	sleep "$3"
done
echo "$i steps"
`

// Steps reads the journal of a [Stepper]: its nonces in the order of their appearance, and how many
// steps were repeated or left out.
func (p *Pool) Steps(name string) (nonces []string, last, repeated, skipped int) {
	p.t.Helper()
	seen := map[string]bool{}
	done := map[int]bool{}
	for _, l := range p.Lines(name) {
		if !seen[l.Nonce] {
			seen[l.Nonce] = true
			nonces = append(nonces, l.Nonce)
		}
		n, err := strconv.Atoi(l.What)
		if err != nil {
			p.t.Fatalf("journal %s: step %q", name, l.What)
		}
		if done[n] {
			repeated++
		}
		done[n] = true
		last = max(last, n)
	}
	return nonces, last, repeated, last - len(done)
}
