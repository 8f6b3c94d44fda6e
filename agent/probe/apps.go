package probe

import (
	"path"
	"slices"
	"strings"
)

// commLength is how much of a program's name Linux keeps in a process's comm.
const commLength = 15

// appSeen gives which of apps a process is, "" for none: by the name that the process goes by, or by the
// file that it was started from ("" if that is not known). Names of apps are in lower case. A name that
// was cut off is taken for any that begins so: better to wait for the wrong program than to disturb the
// right one.
func appSeen(apps []string, comm, exe string) string {
	comm = strings.ToLower(comm)
	if name := strings.TrimSuffix(comm, ".exe"); slices.Contains(apps, name) { // of Wine, too
		return name
	}
	base := strings.ToLower(path.Base(strings.TrimSuffix(exe, " (deleted)")))
	base = strings.TrimSuffix(base, ".exe")
	if slices.Contains(apps, base) {
		return base
	}
	if len(comm) >= commLength {
		for _, app := range apps {
			if strings.HasPrefix(app, comm) || strings.HasPrefix(app+".exe", comm) {
				return app
			}
		}
	}
	return ""
}
