package probe

import (
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

// runningApps gives those of apps that run, sorted.
func runningApps(_ string, apps []string, _ func(uint32) bool) ([]string, error) {
	snapshot, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer windows.CloseHandle(snapshot)
	var running []string
	entry := windows.ProcessEntry32{Size: uint32(unsafe.Sizeof(windows.ProcessEntry32{}))}
	for err := windows.Process32First(snapshot, &entry); err == nil; err = windows.Process32Next(snapshot, &entry) {
		name := windows.UTF16ToString(entry.ExeFile[:])
		if app := appSeen(apps, "", name); app != "" && !slices.Contains(running, app) {
			running = append(running, app)
		}
	}
	slices.SortFunc(running, strings.Compare)
	return running, nil
}

// OthersThan has nobody to leave out: no job runs here yet.
func OthersThan(uint32, uint32) func(uint32) bool { return nil }
