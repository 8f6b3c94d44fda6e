package starter

import (
	"fmt"
	"os"
)

// runnableMost bounds how many threads are looked at.
const runnableMost = 4096

// runnable counts the job's threads that run or wait for a processor or a disk at this moment: its part
// of the load that the system counts.
func runnable() int {
	n, seen := 0, 0
	for _, pid := range pids() {
		if pid == 1 {
			continue
		}
		if seen++; seen > runnableMost {
			break
		}
		st, err := readStat(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		if st.threads <= 1 {
			n += loads(st.state)
			continue
		}
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			continue
		}
		for _, task := range tasks {
			if seen++; seen > runnableMost {
				break
			}
			if st, err := readStat(fmt.Sprintf("/proc/%d/task/%s/stat", pid, task.Name())); err == nil {
				n += loads(st.state)
			}
		}
	}
	return n
}

// loads is 1 for the states of threads that count for the load.
func loads(state byte) int {
	if state == 'R' || state == 'D' {
		return 1
	}
	return 0
}
