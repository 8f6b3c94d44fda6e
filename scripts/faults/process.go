//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// processesOf are the processes that belong to a directory: those that name it in their command line, and
// those that see it among their mounts, as jobs and their inits do.
func processesOf(dir string) []int {
	own, _ := os.Readlink("/proc/self/ns/mnt")
	return processes(func(proc string) bool {
		if contains(proc, "cmdline", dir) || contains(proc, "environ", dir) {
			return true
		}
		ns, _ := os.Readlink(filepath.Join(proc, "ns", "mnt"))
		return ns != own && contains(proc, "mountinfo", dir)
	})
}

// processesOn are all processes of a machine: agent, inits and jobs share its network, and nobody else has it. Inits and
// jobs can be told by nothing else, since they see neither our directories nor our environment.
func (p *pool) processesOn(machine string) []int {
	info, err := os.Stat(filepath.Join("/run/netns", p.lab.Namespace(machine)))
	if err != nil {
		return nil
	}
	namespace := fmt.Sprintf("net:[%d]", info.Sys().(*syscall.Stat_t).Ino)
	return processes(func(proc string) bool {
		ns, _ := os.Readlink(filepath.Join(proc, "ns", "net"))
		return ns == namespace
	})
}

// initsOf are the inits of the claims of a machine: they run the agent's program, and are not the agent.
func (p *pool) initsOf(d *desk) []int {
	var inits []int
	for _, pid := range p.processesOn(d.name) {
		exe, _ := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
		if filepath.Base(exe) == "skua-agent" && pid != d.agent.cmd.Process.Pid {
			inits = append(inits, pid)
		}
	}
	return inits
}

func processes(is func(proc string) bool) []int {
	var found []int
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well formed
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err == nil && pid != os.Getpid() && !zombie(dir) && is(dir) {
			found = append(found, pid)
		}
	}
	return found
}

func contains(proc, file, text string) bool {
	data, _ := os.ReadFile(filepath.Join(proc, file)) // a process that has ended has none
	return bytes.Contains(data, []byte(text))
}

func zombie(proc string) bool {
	stat, _ := os.ReadFile(filepath.Join(proc, "stat"))
	_, rest, ok := strings.Cut(string(stat), ") ")
	return !ok || strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}
