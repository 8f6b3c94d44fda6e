// Package starter runs the jobs of claims. Each claim gets an init: this very program, executed
// again as pid 1 of its own user, pid, mount, ipc, uts and network namespaces, which starts the
// claim's jobs, waits for them, freezes them, and takes and restores their checkpoints.
//
// The rule that governs it: the init is the job's guardian and needs nobody. It outlives the agent,
// and it freezes its job by itself when the agent has been silent for [Silence] or the lease is
// over; it thaws only for an agent that is there and holds a lease. Nothing of a job outlives its
// init, since it is pid 1 of their namespace.
//
// What a job can see: the system's programs read-only, its scratch directory at [ScratchPath], /tmp
// and /dev/shm inside that, its own processes. No home directory, no /run, no socket of anybody. It
// has no capabilities and can gain none.
//
// The package decides nothing: when to freeze, to checkpoint or to kill is the caller's business. It
// moves no files between machines; the caller puts an image into [Init.ImageDir] and its scratch
// into [Init.Scratch] before [Init.Resume], having verified both.
//
// [MaybeInit] must be the first call of every main and TestMain whose program may start jobs.
package starter

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"skua/agent/checkpoint"
	"skua/internal/fit"
	"skua/internal/job"
)

// Silence is how long an init lets its job run without a sign of life from the agent.
const Silence = 2 * time.Second

// beatEvery is the interval of those signs, and beatSeldom that of those which only say that the init is still needed.
const (
	beatEvery  = 500 * time.Millisecond
	beatSeldom = unneeded / 2
)

// What a job finds inside its namespaces, on every machine alike.
const (
	ScratchPath = "/scratch" // its scratch directory, and working directory at the start
	Hostname    = "skua"
	jobPath     = "/usr/local/bin:/usr/bin:/bin"
)

// Directories in scratch that stand for others. They belong to the job's state, so they travel with
// a checkpoint, but they are no output.
const (
	TmpName = ".skua-tmp" // the job's /tmp and /var/tmp
	ShmName = ".skua-shm" // the job's /dev/shm
)

// Errors that callers branch on.
var (
	ErrGone      = errors.New("the claim's init is gone")
	ErrLeaseOver = errors.New("the lease is over")
	ErrBusy      = errors.New("the claim's init is busy")
	ErrNoJob     = errors.New("no job is running")

	// ErrUsed says that something of the job before cannot be removed from a claim: the next needs a new init.
	ErrUsed = errors.New("the claim still has something of its last job")
)

// DefaultUIDBase is where a root agent's user namespaces begin. It lies above everything that
// distributions, useradd, systemd and container tools hand out.
const DefaultUIDBase = 1_879_048_192 + 1<<20

// Config is what a Starter is made of. Dir is required.
type Config struct {
	// Dir holds one directory per claim. It is made when it is missing. Two agents never share it.
	Dir string

	// CriuPath is the criu program; "" means the one that checkpoint.Find finds.
	CriuPath string

	// CgroupBase is the directory of a cgroup v2 below which claims get theirs; "" means "skua"
	// below the agent's own cgroup, "none" none. When it cannot be written, jobs are frozen by
	// signals.
	CgroupBase string

	// UIDBase is the first of the 65,536 ids that a root agent maps into its claims; 0 means
	// DefaultUIDBase. Agents without root map their own id only.
	UIDBase uint32

	// Secret is a file that no job may read. The self test on Windows tries whether one can; elsewhere jobs
	// do not see it. "" means none.
	Secret string

	Log *slog.Logger // nil means no logging
}

// Network says what a job may reach.
type Network string

// The kinds of network.
const (
	NetNone Network = "none" // only its own loopback; the default
	NetHost Network = "host" // all that the machine reaches; connected TCP sockets prevent checkpoints

	// NetOutbound is a network of its own from which the job can dial out, but not to the machine's
	// loopback; connections to other machines prevent checkpoints. See [Capabilities].
	NetOutbound Network = "outbound"
)

// Limits bound what a job takes. Zero means no limit.
type Limits struct {
	// Memory is in bytes. Where there is a memory controller the kernel keeps all processes of the job
	// to it together; see [Init.LimitsMemory]. Elsewhere whoever wants it kept has to look, and each
	// process gets twice as much data at most.
	Memory int64
	Pids   int // processes and threads together, of all that the job has
}

// ClaimSpec describes the claim to open.
type ClaimSpec struct {
	Claim   job.ClaimID
	Lease   time.Duration // what is left of the lease; the job freezes when it is over
	Network Network       // "" means NetNone
	Limits  Limits
	Shared  []string // directories of the machine that the job finds at the same path, writable

	// Runtime is a directory with the programs and libraries that the job sees instead of the machine's, in usr, lib, etc and
	// so on; "" for the machine's.
	Runtime string

	Prompt bool // its job gets the processor as others do, rather than what they leave

	// Slot is the number of the slot, from 1 on, where an agent has several: the jobs of each have ids of
	// their own. 0 is as 1.
	Slot int
}

// JobSpec describes a job to run.
type JobSpec struct {
	Job  job.ID   `json:"job"`
	Argv []string `json:"argv"` // Argv[0] without a slash is looked up in the job's PATH
	Env  []string `json:"env,omitempty"`

	// Dir is the working directory, in one of the claim's shared directories; "" is the scratch directory.
	Dir string `json:"dir,omitempty"`

	// Names of files in scratch; "" is /dev/null. Output is appended to. With a Dir the input is the
	// absolute path of a file in a shared directory.
	Stdin  string `json:"stdin,omitempty"`
	Stdout string `json:"stdout,omitempty"`
	Stderr string `json:"stderr,omitempty"`

	// Baseline is what the program keeps to, as its environment tells it; "" for nothing. For [Init.Resume] the image
	// says it.
	Baseline fit.Baseline `json:"baseline,omitempty"`

	Lease time.Duration `json:"-"` // what is left of the lease, for [Init.Run] and [Init.Resume]; 0 if the init knows

	Core  int64 `json:"core,omitempty"`  // bytes that a core file may have; 0 for none, negative for any number
	Stack int64 `json:"stack,omitempty"` // bytes of stack; 0 for what the machine gives
}

// Reading is how much a running job has used and uses.
type Reading struct {
	Used   Usage
	Memory int64 // bytes that its processes have now together, without what they only have of files
	Pids   int   // its processes and threads now

	// Swapped is what they have in the swap beside Memory. It is known only where that was counted exactly.
	Swapped int64 `json:",omitempty"`

	// Runnable is how many of its threads run or wait for a processor or a disk at this moment; nil from
	// the init of an older agent.
	Runnable *int `json:",omitempty"`
}

// Processes is what the kernel has counted of a claim's processes and threads.
type Processes struct {
	Peak    int  // at most at a time; 0 if that is not known
	Refused bool // more than Limits.Pids were wanted
}

// Usage is what a job has consumed, on all machines where it ran.
type Usage = checkpoint.Usage

// Exit says how a job ended.
type Exit struct {
	Job    job.ID `json:"job,omitzero"`
	Code   int    `json:"code"`             // when Signal is 0 and Err is ""
	Signal int    `json:"signal,omitempty"` // that ended it
	Usage  Usage  `json:"usage"`
	Err    string `json:"err,omitempty"` // why there is neither: the init died or was killed with it

	// OverMemory says that the kernel ended it because it took more than Limits.Memory. Where there
	// is no memory controller its allocations fail instead, and what it does then is its own doing.
	OverMemory bool `json:"over_memory,omitempty"`

	// Strayed says that it died of an illegal instruction after it had come from an image which was thought to keep to a
	// baseline: it does not.
	Strayed bool `json:"strayed,omitempty"`

	// OverPids says that it was refused more processes than Limits.Pids, and did not end well.
	OverPids bool `json:"over_pids,omitempty"`
}

func (e Exit) String() string {
	switch {
	case e.Err != "":
		return e.Err
	case e.OverMemory:
		return "ended for taking more memory than it may"
	case e.OverPids:
		return "ended without the processes that it wanted"
	case e.Signal != 0:
		return fmt.Sprintf("ended by signal %d", e.Signal)
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// Capabilities say what this machine can do for jobs.
type Capabilities struct {
	Sandbox    bool   // jobs can be run at all
	SandboxWhy string // why not

	Freezer string // "cgroup2", "signal", or "suspend" on Windows

	OpenNetwork bool // jobs cannot be kept off the network, so the policy must grant it

	Checkpoint    bool   // a job was dumped and restored here, a TCP listener and threads included
	CheckpointWhy string // why not
	CriuPath      string
	CriuVersion   string

	TimedOut bool // the test took too long, so that some of what is said not to work might: it is made again when asked for

	Outbound    string // the program that carries NetOutbound, tried here; "" if that cannot be had
	OutboundWhy string // why not
}

// checkClaim refuses ids that cannot name a directory.
func checkClaim(c job.ClaimID) error {
	ok := len(c) > 0 && len(c) <= 64 && c[0] != '.' && strings.Trim(string(c),
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
	if !ok {
		return fmt.Errorf("%q cannot be a claim id", string(c))
	}
	return nil
}

// check refuses what no init could run.
func (s JobSpec) check() error {
	switch {
	case s.Job.Cluster < 1 || s.Job.Proc < 0:
		return errors.New("the job has no id")
	case len(s.Argv) == 0 || s.Argv[0] == "":
		return errors.New("there is nothing to execute")
	case s.Dir != "" && (!filepath.IsAbs(s.Dir) || s.Stdin != "" && !filepath.IsAbs(s.Stdin)):
		return errors.New("the working directory and the input must be absolute paths")
	case s.Dir == "" && !localName(s.Stdin) || !localName(s.Stdout) || !localName(s.Stderr):
		return errors.New("input and output must be names within the scratch directory")
	}
	for _, list := range [][]string{s.Argv, s.Env} {
		for _, v := range list {
			if strings.ContainsRune(v, 0) {
				return errors.New("a zero byte in the arguments or the environment")
			}
		}
	}
	return nil
}
