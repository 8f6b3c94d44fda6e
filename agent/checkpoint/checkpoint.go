// Package checkpoint takes images of running jobs and starts jobs again from images, through CRIU.
//
// The rule that governs it: [Dump] and [Restore] are called by a claim's init, pid 1 of the job's
// own namespaces, and by nobody else. Images then hold no namespaces, a restored job is the init's
// child, and when CRIU must be ended by force everything but the init is. Both refuse to run
// anywhere else.
//
// The package does not freeze jobs, does not look after the files of a job (an image is worth
// nothing without the scratch directory of the same frozen instant) and does not check whether an
// image can be trusted: whoever received it verifies its digest first. It is the only door to
// go-criu. Where there is no CRIU, everything here returns [errors.ErrUnsupported].
package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// MetaName is the file of an image directory that holds its [Meta]. It is written last, so a
// directory without it is no image.
const MetaName = "meta.json"

// DefaultTimeout ends a dump or a restore of which the caller's context does not say when it must have ended. A
// truncated image makes CRIU wait for ever.
const DefaultTimeout = 5 * time.Minute

// ErrNoCRIU says that no criu program was found.
var ErrNoCRIU = errors.New("no criu program was found")

// Options tell [Dump] and [Restore] what to do. Path and Dir are required.
type Options struct {
	Path string // the criu program, as seen from the caller
	Dir  int    // descriptor of the image directory

	// ConfigFile is an absolute path at which the caller has placed ConfigText: RPC has no field for
	// what it says.
	ConfigFile string

	Pid          int    // Dump: root of the tree to dump
	Keep         bool   // Dump: leave the tree as it was found; otherwise it is killed
	FreezeCgroup string // Dump: directory of the frozen cgroup that holds the tree, "" if there is none
	OwnNetwork   bool   // the tree has a network namespace of its own, so TCP connections go along

	// Filtered says that the tree has filters of system calls which whoever restores it sees to himself,
	// and which answer CRIU's questions about them so that it goes on. They are left out of the image.
	Filtered bool
}

// ConfigText is what Options.ConfigFile must hold.
const ConfigText = "unprivileged\n"

// Stats say what a dump cost.
type Stats struct {
	Bytes int64         `json:"bytes"` // size of the image directory
	Took  time.Duration `json:"took_ns"`
	CPU   time.Duration `json:"cpu_ns,omitempty"` // of CRIU
}

// An Error is a dump or restore that CRIU refused. Its text is one clause.
type Error struct {
	Op     string // "dump" or "restore"
	Reason string // what CRIU's log gives as the cause
	Err    error  // what go-criu returned, or the context's error
}

func (e *Error) Error() string { return fmt.Sprintf("criu %s: %s", e.Op, e.Reason) }

func (e *Error) Unwrap() error { return e.Err }

// Find returns the path of the criu program: the configured one if there is one, otherwise the first
// found in $PATH and then in the private prefixes where scripts/install-criu puts it.
func Find(configured string) (string, error) {
	return find(configured, "/opt")
}

func find(configured, opt string) (string, error) {
	if configured != "" {
		if err := executable(configured); err != nil {
			return "", fmt.Errorf("configured criu: %w", err)
		}
		return filepath.Abs(configured)
	}
	// Private prefixes come first: somebody put them there because the system's own does not do.
	candidates := []string{filepath.Join(opt, "skua/criu/bin/criu")}
	more, _ := filepath.Glob(filepath.Join(opt, "criu*/bin/criu")) // the pattern is well formed
	slices.Sort(more)
	slices.Reverse(more)
	candidates = append(candidates, more...)
	if p, err := exec.LookPath("criu"); err == nil {
		candidates = append(candidates, p)
	}
	candidates = append(candidates, "/usr/sbin/criu", "/usr/local/sbin/criu") // not in every $PATH
	for _, p := range candidates {
		if executable(p) == nil {
			return p, nil
		}
	}
	return "", ErrNoCRIU
}

func executable(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		return &os.PathError{Op: "exec", Path: path, Err: os.ErrPermission}
	}
	return nil
}

// Version returns what the criu program at path calls itself, such as "4.2.1".
func Version(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", path, err)
	}
	return parseVersion(out)
}
