package starter

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

const lastPidFile = "/proc/sys/kernel/ns_last_pid"

func lastPid() (int, error) {
	b, err := readControl(lastPidFile)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// setLastPid makes pid+1 the next pid.
func setLastPid(pid int) error {
	if err := writeControl(lastPidFile, strconv.AppendInt(nil, int64(pid), 10)); err != nil {
		return fmt.Errorf("choose pids: %w", err)
	}
	return nil
}

func raiseLastPid(pid int) error {
	if last, err := lastPid(); err == nil && last >= pid {
		return nil
	}
	if err := setLastPid(pid); err != nil && !os.IsNotExist(errors.Unwrap(err)) {
		return err // a kernel without the file has no CRIU support either
	}
	return nil
}

// pids lists the processes in this namespace.
func pids() []int { return numbersIn("/proc") }

// numbersIn lists the entries of a directory that are numbers.
func numbersIn(dir string) (ns []int) {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1) // what there is before an error
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			ns = append(ns, n)
		}
	}
	return ns
}

// tids lists their threads.
func tids() (ns []int) {
	for _, pid := range pids() {
		ns = append(ns, numbersIn(fmt.Sprintf("/proc/%d/task", pid))...)
	}
	return ns
}

// freePid returns a pid that is followed by many that are not in use, on any machine's pid_max.
func freePid(used []int) int {
	const smallestMax, need = 32768, 1000
	used = append(slices.Clone(used), smallestMax)
	slices.Sort(used)
	best, width, from := firstPid, 0, firstPid
	for _, n := range used {
		if n > smallestMax {
			break
		}
		if n > from && n-from > width {
			best, width = from, n-from
		}
		from = max(from, n+1)
	}
	if width > 2*need {
		best += width / 2 // leave room for the pids that the job takes next
	}
	return best
}
