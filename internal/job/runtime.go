package job

import (
	"fmt"
	"strings"

	"skua/internal/diag"
)

// RuntimeFile is the name of the input that is the archive of the job's runtime root, if it has one
// ([Command].Runtime). It does not go into the scratch directory.
const RuntimeFile = ".skua-runtime"

// PoolRuntime begins a RuntimeRoot that the pool has. What follows is the name under which it does.
const PoolRuntime = "pool:"

// CheckRuntimeName refuses what cannot be the name of one of the pool's runtime roots.
func CheckRuntimeName(name string) error {
	const letters, most = "abcdefghijklmnopqrstuvwxyz0123456789", 64
	if name != "" && len(name) <= most && strings.Trim(name, letters+".-") == "" && strings.ContainsAny(name[:1], letters) {
		return nil
	}
	return &diag.Problem{
		What: fmt.Sprintf("%.80q cannot be the name of a runtime root", name),
		Hint: `use up to 64 lower-case letters, digits, dots and dashes, such as "debian12" or "ubuntu-24.04"`,
	}
}
