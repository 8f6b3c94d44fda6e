package starter

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// liveUsage adds up what the living processes of the job have used, and the memory that each has for
// itself now. Pages that processes share since a fork count for each of them.
func liveUsage() (u Usage, memory int64) {
	for _, pid := range pids() {
		if pid == 1 {
			continue
		}
		st, err := readStat(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		sizes := readSizes(fmt.Sprintf("/proc/%d/status", pid), "VmHWM", "RssAnon", "RssShmem")
		u = u.Plus(Usage{User: st.cpu, System: st.sys, MaxRSS: sizes["VmHWM"]})
		memory += sizes["RssAnon"] + sizes["RssShmem"]
	}
	return u, memory
}

// jobThreads counts the threads of all processes but the init.
func jobThreads() (n int) {
	for _, pid := range pids() {
		if pid == 1 {
			continue
		}
		entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		n += len(entries)
	}
	return n
}

// exactMemory is the memory that the job's processes have now together. The kernel walks their page
// tables for it.
func exactMemory() (sum int64) {
	for _, pid := range pids() {
		if pid == 1 {
			continue
		}
		sizes := readSizes(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss_Anon", "Pss_Shmem")
		sum += sizes["Pss_Anon"] + sizes["Pss_Shmem"]
	}
	return sum
}

// readSizes reads the named lines of a file in which the kernel writes sizes, "VmHWM:   3304 kB", in
// bytes. What is not there is missing in the result.
func readSizes(path string, names ...string) map[string]int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return parseSizes(string(b), names...)
}

func parseSizes(text string, names ...string) map[string]int64 {
	sizes := make(map[string]int64, len(names))
	for line := range strings.Lines(text) {
		for _, name := range names {
			v, ok := strings.CutPrefix(line, name+":")
			if !ok {
				continue
			}
			if kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 53); err == nil {
				sizes[name] = kb << 10
			}
		}
	}
	return sizes
}
