package probe

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// processesMost bounds one scan.
const processesMost = 1 << 16

// runningApps gives those of apps that run, sorted: one look at each process below proc, less for those
// whose user skip names.
func runningApps(proc string, apps []string, skip func(uid uint32) bool) ([]string, error) {
	dir, err := os.Open(proc)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(processesMost)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var running []string
	for _, name := range names {
		if len(running) == len(apps) {
			break
		}
		if _, err := strconv.ParseUint(name, 10, 31); err != nil {
			continue
		}
		process := filepath.Join(proc, name)
		var st unix.Stat_t
		if err := unix.Stat(process, &st); err != nil || skip != nil && skip(st.Uid) {
			continue
		}
		comm, ok := readWord(process, "comm")
		if !ok {
			continue // it has ended
		}
		exe, _ := os.Readlink(filepath.Join(process, "exe"))
		if app := appSeen(apps, comm, exe); app != "" && !slices.Contains(running, app) {
			running = append(running, app)
		}
	}
	slices.SortFunc(running, strings.Compare)
	return running, nil
}

// OthersThan gives the users whose programs are no owner's: root's, when we are root ourselves, and those
// of our jobs, which have the count ids from base.
func OthersThan(base, count uint32) func(uid uint32) bool {
	root := os.Getuid() == 0
	return func(uid uint32) bool { return root && uid == 0 || uid-base < count }
}
