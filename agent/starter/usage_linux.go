package starter

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// survey is what one look at all living processes of the job finds.
type survey struct {
	used    Usage
	memory  int64 // that each process has for itself; pages that processes share since a fork count for each of them
	threads int
	// atWork is how many of these run or wait for a processor or a disk at this moment: the job's part of the load that the
	// system counts.
	atWork int
}

// surveyMost bounds how many threads are asked one by one whether they are at work.
const surveyMost = 4096

// surveyJob looks at all processes but the init. A job of many processes is looked at again and again while it runs, so
// as little is read as will do.
func surveyJob() (s survey) {
	var f procFile
	for _, pid := range pids() {
		if pid == 1 {
			continue
		}
		dir := "/proc/" + strconv.Itoa(pid)
		st, err := f.stat(dir + "/stat")
		if err != nil {
			continue
		}
		s.used = s.used.Plus(Usage{User: st.cpu, System: st.sys})
		if status, err := f.read(dir + "/status"); err == nil {
			sizes := parseSizes(status, "VmHWM", "RssAnon", "RssShmem")
			s.used.MaxRSS = max(s.used.MaxRSS, sizes["VmHWM"])
			s.memory += sizes["RssAnon"] + sizes["RssShmem"]
		}
		if st.threads <= 1 {
			s.threads++
			s.atWork += loads(st.state)
			continue
		}
		tasks := numbersIn(dir + "/task")
		for _, tid := range tasks[:min(len(tasks), max(0, surveyMost-s.threads))] {
			if st, err := f.stat(dir + "/task/" + strconv.Itoa(tid) + "/stat"); err == nil {
				s.atWork += loads(st.state)
			}
		}
		s.threads += len(tasks)
	}
	return s
}

// loads is 1 for the states of threads that count for the load.
func loads(state byte) int {
	if state == 'R' || state == 'D' {
		return 1
	}
	return 0
}

// procFile reads small files of /proc, each at once and without what package os does for files that one may have to wait
// for: that is three system calls instead of seven.
type procFile struct{ buf [8192]byte }

// read gives what is in a file, or as much as fits. It is good until the next read.
func (f *procFile) read(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, f.buf[:])
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: path, Err: err}
	}
	return f.buf[:n], nil
}

func (f *procFile) stat(path string) (procStat, error) {
	b, err := f.read(path)
	if err != nil {
		return procStat{}, err
	}
	return parseStat(b)
}

// exactMemory is the memory that the job's processes have now together, and what they have in the swap. The kernel walks
// their page tables for it.
func exactMemory() (sum, swapped int64) {
	var f procFile
	for _, pid := range pids() {
		if pid == 1 {
			continue
		}
		rollup, err := f.read(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		sizes := parseSizes(rollup, "Pss_Anon", "Pss_Shmem", "SwapPss")
		sum += sizes["Pss_Anon"] + sizes["Pss_Shmem"]
		swapped += sizes["SwapPss"]
	}
	return sum, swapped
}

// parseSizes reads the named lines of a text in which the kernel tells sizes, "VmHWM:   3304 kB", in bytes. What is not
// there is missing in the result.
func parseSizes(text []byte, names ...string) map[string]int64 {
	sizes := make(map[string]int64, len(names))
	for line := range bytes.Lines(text) {
		name, v, ok := bytes.Cut(line, []byte{':'})
		if !ok || !slices.Contains(names, string(name)) {
			continue
		}
		if kb, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(v), []byte(" kB"))), 10, 53); err == nil {
			sizes[string(name)] = kb << 10
		}
	}
	return sizes
}
