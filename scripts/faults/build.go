//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// buildPrograms builds the three programs for fault tests: messages can be disturbed in them, and, with clock, so can
// their wall clock be, for which the runtime itself is built anew.
func buildPrograms(ctx context.Context, bin string, clock bool) error {
	args := []string{"build", "-tags", "faults"}
	if clock {
		overlay, err := overlayRuntime(ctx, bin)
		if err != nil {
			return fmt.Errorf("overlay of the runtime: %w", err)
		}
		args = append(args, "-overlay", overlay)
	}
	for program, pkg := range map[string]string{"skua": "skua/submit", "skua-agent": "skua/agent", "skua-matchmaker": "skua/matchmaker"} {
		build := exec.CommandContext(ctx, "go", append(args, "-o", filepath.Join(bin, program), pkg)...)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", program, err, out)
		}
	}
	return nil
}

// clockMoves says whether the wall clock of programs can be moved here.
func clockMoves() bool { return runtime.GOARCH == "amd64" }

// faultyClock takes the place of runtime/timeasm.go.
const faultyClock = `//go:build !faketime && linux && amd64

package runtime

import _ "unsafe"

// faultWall says how many seconds the wall clock is ahead; nil means none.
//
//go:linkname faultWall
var faultWall *int64

func realNow() (sec int64, nsec int32, mono int64)

//go:linkname time_now time.now
func time_now() (sec int64, nsec int32, mono int64) {
	sec, nsec, mono = realNow()
	if faultWall != nil {
		sec += *faultWall
	}
	return sec, nsec, mono
}
`

// overlayRuntime writes the files that replace some of the runtime's, and the list of them that the go command wants.
// All programs call time.Now plainly, and so all of them sees the clock jump; the monotonic clock does not.
func overlayRuntime(ctx context.Context, dir string) (list string, err error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	src := filepath.Join(strings.TrimSpace(string(out)), "src", "runtime")
	assembly, err := os.ReadFile(filepath.Join(src, "time_linux_amd64.s"))
	if err != nil {
		return "", err
	}
	const was, is = "TEXT time·now<ABIInternal>(SB)", "TEXT runtime·realNow<ABIInternal>(SB)"
	if bytes.Count(assembly, []byte(was)) != 1 {
		return "", fmt.Errorf("%s is not as expected: this release of Go does it in another way", filepath.Join(src, "time_linux_amd64.s"))
	}
	replace := map[string][]byte{
		"time_linux_amd64.s": bytes.Replace(assembly, []byte(was), []byte(is), 1),
		"timeasm.go":         []byte(faultyClock),
	}
	files := map[string]string{}
	for name, text := range replace {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return "", err
		}
		files[filepath.Join(src, name)] = path
	}
	data, err := json.Marshal(map[string]any{"Replace": files})
	if err != nil {
		return "", err
	}
	list = filepath.Join(dir, "overlay.json")
	return list, os.WriteFile(list, data, 0o644)
}
