package job

import (
	"strings"
	"time"

	"skua/internal/blob"
	"skua/internal/fit"
)

// File is one file of a job as the file service knows it. A file of up to [MaxInline] bytes may
// travel inside the message instead.
type File struct {
	Name   string      `json:"name"` // path relative to the scratch directory, with forward slashes
	Digest blob.Digest `json:"digest,omitempty"`
	Size   int64       `json:"size"`
	Mode   uint32      `json:"mode,omitempty"`   // permission bits
	Inline []byte      `json:"inline,omitempty"` // the content itself; Digest is then empty
}

// Dir gives the name of a directory with nothing in it, which goes along as a file whose name ends in a slash. Others come
// into being with what is in them.
func (f File) Dir() (name string, ok bool) { return strings.CutSuffix(f.Name, "/") }

// MaxInline is the size in bytes up to which an input travels inside the job.
const MaxInline = 16 << 10

// MaxInputs is how many files one job may bring, its program included.
const MaxInputs = 1000

// MaxEncoded is the size in bytes of one job's ad and inputs, as encoded: an offer must fit into a
// message, and so must an answer with one job in it.
const MaxEncoded = 192 << 10

// ImageKind says how a checkpoint was made.
type ImageKind string

// The kinds of checkpoint.
const (
	CRIUImage ImageKind = "criu"  // the process tree and its scratch directory, by CRIU
	FileImage ImageKind = "files" // files that the job saved itself
)

// Image is a checkpoint that is safely stored: from it the job goes on.
type Image struct {
	Kind   ImageKind   `json:"kind"`
	Digest blob.Digest `json:"digest"` // of the sealed manifest
	Bytes  int64       `json:"bytes"`  // size of its chunks as stored
	At     time.Time   `json:"at"`     // when the job was frozen for it
	Agent  AgentID     `json:"agent"`  // where it was made
	Usage  Usage       `json:"usage"`  // of the job up to then, since its beginning

	// Failures is how often the job could not go on from it though it was whole, and FailedIn the epoch of the last
	// such run. Failed are the machines that could not, or not from the image before, other than the one that made it;
	// the job is not offered to them. The matchmaker writes all three.
	Failures int      `json:"failures,omitempty"`
	FailedIn Epoch    `json:"failed_in,omitempty"`
	Failed   []string `json:"failed,omitempty"`

	// Needs is an expression that a machine's ad must meet to go on from it, empty for nothing: what the ad of
	// the machine where it was made tells. The matchmaker writes it.
	Needs string `json:"needs,omitempty"`
	// Fit is what else it needs of a machine, as the agent found that made it; nil if nobody knows.
	Fit *fit.Needs `json:"fit,omitempty"`
}

// How often a job may fail to go on from an image that is whole, before the one before it is used. Machines differ in
// more ways than are known, and what CRIU cannot restore on one it may on another. A job that cannot make sense of what
// it has saved itself hardly can elsewhere; the first time may have been the machine's fault.
const (
	mostFailures    = 3
	mostSetFailures = 2
)

// failed notes that the job could not go on from the image in a claim.
func (i *Image) failed(in Epoch, c *Claim) {
	i.Failures++
	i.FailedIn = in
	if c.Agent != i.Agent {
		i.Failed = newest(append(without(i.Failed, c.Machine), c.Machine), keepFailed)
	}
}

// spent reports whether the image has failed too often to be used again.
func (i *Image) spent() bool {
	if i.Kind == CRIUImage {
		return i.Failures >= mostFailures
	}
	return i.Failures >= mostSetFailures
}

// Usage is what a job consumed.
type Usage struct {
	UserCPU time.Duration `json:"user_cpu"`
	SysCPU  time.Duration `json:"sys_cpu"`
	Wall    time.Duration `json:"wall"`               // time claimed, frozen time included
	MaxRSS  int64         `json:"max_rss,omitempty"`  // bytes
	MaxDisk int64         `json:"max_disk,omitempty"` // bytes in the scratch directory at most
	Sent    int64         `json:"sent,omitempty"`     // bytes of outputs and images that left the machine
	Fetched int64         `json:"fetched,omitempty"`  // bytes of inputs and images that it was sent

	Read    int64 `json:"read,omitempty"`    // bytes that its processes read from disks
	Written int64 `json:"written,omitempty"` // and wrote to them
	NetIn   int64 `json:"net_in,omitempty"`  // bytes that came to it by the network, where it has one to itself
	NetOut  int64 `json:"net_out,omitempty"` // and that it sent

	Checkpoints time.Duration `json:"checkpoints,omitempty"` // processor time of CRIU, for its images and restores
	Transfers   time.Duration `json:"transfers,omitempty"`   // and of the agent, for its files and images on their way
}

// Add sums times and traffic and keeps the larger peaks.
func (u Usage) Add(v Usage) Usage {
	return Usage{
		UserCPU: u.UserCPU + v.UserCPU,
		SysCPU:  u.SysCPU + v.SysCPU,
		Wall:    u.Wall + v.Wall,
		MaxRSS:  max(u.MaxRSS, v.MaxRSS),
		MaxDisk: max(u.MaxDisk, v.MaxDisk),
		Sent:    u.Sent + v.Sent,
		Fetched: u.Fetched + v.Fetched,
		Read:    u.Read + v.Read,
		Written: u.Written + v.Written,
		NetIn:   u.NetIn + v.NetIn,
		NetOut:  u.NetOut + v.NetOut,

		Checkpoints: u.Checkpoints + v.Checkpoints,
		Transfers:   u.Transfers + v.Transfers,
	}
}

// cpu is the processor time of u.
func (u Usage) cpu() time.Duration { return u.UserCPU + u.SysCPU }

// Result is how a job ended. Exactly one result is recorded for each completed job.
type Result struct {
	ExitCode int    `json:"exit_code"`
	Signal   int    `json:"signal,omitempty"` // the signal that ended it; ExitCode is then meaningless
	Usage    Usage  `json:"usage"`            // of the last run
	Outputs  []File `json:"outputs,omitempty"`

	// When the program of the last run began and ended, by its machine's clock: before that its inputs were
	// moved, and after it its outputs. Zero when that is not known.
	Executing time.Time `json:"executing,omitzero"`
	Exited    time.Time `json:"exited,omitzero"`
}
