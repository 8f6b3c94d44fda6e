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

	"golang.org/x/sys/unix"
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

// processesOn are all processes of a machine: the agent and what it starts share its network, and jobs and their inits,
// which have networks of their own and see neither our directories nor our environment, have a part of its disk.
func (p *pool) processesOn(d *desk) []int {
	network, disk := p.network(d.name), d.disk.device()
	return processes(func(proc string) bool {
		return hasNetwork(proc, network) || disk != "" && proc != d.disk.keeperProc() && mounts(proc, disk)
	})
}

// initsOf are the inits of the claims of a machine: they run the agent's program, and are not the agent.
func (p *pool) initsOf(d *desk) []int {
	var inits []int
	for _, pid := range p.processesOn(d) {
		exe, _ := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
		if filepath.Base(exe) == "skua-agent" && pid != d.agent.cmd.Process.Pid {
			inits = append(inits, pid)
		}
	}
	return inits
}

// network names the network of a machine as /proc does; empty when there is none.
func (p *pool) network(machine string) string {
	info, err := os.Stat(filepath.Join("/run/netns", p.lab.Namespace(machine)))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("net:[%d]", info.Sys().(*syscall.Stat_t).Ino)
}

func hasNetwork(proc, network string) bool {
	ns, _ := os.Readlink(filepath.Join(proc, "ns", "net"))
	return ns == network && network != ""
}

// device is the number of the disk's file system as mountinfo gives it; empty when the disk is gone.
func (d *disk) device() string {
	var info unix.Stat_t
	if err := unix.Stat(d.path(), &info); err != nil {
		return ""
	}
	return fmt.Sprintf("%d:%d", unix.Major(info.Dev), unix.Minor(info.Dev))
}

func (d *disk) keeperProc() string { return filepath.Join("/proc", strconv.Itoa(d.keeper.Process.Pid)) }

// mounts says whether a process sees a file system.
func mounts(proc, device string) bool {
	return contains(proc, "mountinfo", " "+device+" ")
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
