package checkpoint

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"skua/internal/fit"
)

// metaVersion is raised when the meaning of a Meta field changes.
const metaVersion = 1

// maxMeta bounds a meta file.
const maxMeta = 1 << 20

// Meta is what another machine must know about an image beyond what CRIU stores in it.
type Meta struct {
	V    int    `json:"v"`
	Arch string `json:"arch"` // GOARCH of the machine that made the image

	Pid     int `json:"pid"`      // root of the tree
	LastPid int `json:"last_pid"` // the pid given out last before the dump; the next one follows it
	FreePid int `json:"free_pid"` // the restorer's own processes take pids above this one: none of the image's is near

	// Clocks as the job saw them at the dump. They go on from here wherever it is restored.
	Monotonic time.Duration `json:"monotonic_ns"`
	Boottime  time.Duration `json:"boottime_ns"`

	Stopped bool  `json:"stopped,omitempty"` // frozen by SIGSTOP: needs SIGCONT after the restore
	Used    Usage `json:"used"`              // what the job has used until the dump, here and before

	// Needs are what the image needs of a machine. Builds that did not know of it have none.
	Needs fit.Needs `json:"needs,omitzero"`
	// Ran are all features of the processors that the job has run on, those included that a baseline has kept it from
	// using; empty if they are those of Needs.
	Ran []string `json:"ran,omitempty"`
}

// Usage is what a job has consumed.
type Usage struct {
	User   time.Duration `json:"user_ns"`   // CPU time of all its processes, in user mode
	System time.Duration `json:"system_ns"` // and in the kernel
	MaxRSS int64         `json:"max_rss_b"` // bytes, of its largest process
	Wall   time.Duration `json:"wall_ns"`   // from start to end, less the time spent as an image

	Read    int64 `json:"read_b,omitempty"`    // bytes that it read from disks
	Written int64 `json:"written_b,omitempty"` // and wrote to them
	NetIn   int64 `json:"net_in_b,omitempty"`  // bytes that came to it by the network, where that is its own
	NetOut  int64 `json:"net_out_b,omitempty"` // and that it sent

	Checkpoints time.Duration `json:"checkpoints_ns,omitempty"` // processor time of CRIU, beside its own
}

// Plus adds the parts of a life.
func (u Usage) Plus(v Usage) Usage {
	return Usage{
		User:   u.User + v.User,
		System: u.System + v.System,
		MaxRSS: max(u.MaxRSS, v.MaxRSS),
		Wall:   u.Wall + v.Wall,

		Read:    u.Read + v.Read,
		Written: u.Written + v.Written,
		NetIn:   u.NetIn + v.NetIn,
		NetOut:  u.NetOut + v.NetOut,

		Checkpoints: u.Checkpoints + v.Checkpoints,
	}
}

// ReadMeta reads the meta file of the image in dir, which may come from another machine: no link is followed, and nothing
// that could make a reader wait is read.
func ReadMeta(dir string) (Meta, error) {
	f, err := os.OpenFile(filepath.Join(dir, MetaName), os.O_RDONLY|openPlain, 0)
	if err != nil {
		return Meta{}, fmt.Errorf("read image: %w", err)
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return Meta{}, fmt.Errorf("read image: %s is no plain file", f.Name())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxMeta+1))
	if err != nil {
		return Meta{}, fmt.Errorf("read image: %w", err)
	}
	m, err := ParseMeta(b)
	if err != nil {
		return Meta{}, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return m, nil
}

// ParseMeta decodes and checks a meta file, which may come from another machine.
func ParseMeta(b []byte) (Meta, error) {
	const pidLimit = 1 << 22 // the kernel's largest pid_max
	var m Meta
	if len(b) > maxMeta {
		return Meta{}, fmt.Errorf("image description is larger than %d bytes", maxMeta)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return Meta{}, fmt.Errorf("image description: %w", err)
	}
	switch {
	case m.V < 1 || m.V > metaVersion:
		return Meta{}, fmt.Errorf("image description has version %d, this program knows 1 to %d", m.V, metaVersion)
	case m.Pid < 2 || m.Pid >= pidLimit || m.LastPid < 2 || m.LastPid >= pidLimit ||
		m.FreePid < 2 || m.FreePid >= pidLimit:
		return Meta{}, fmt.Errorf("image description has impossible pids %d, %d, %d", m.Pid, m.LastPid, m.FreePid)
	case m.Monotonic < 0 || m.Boottime < 0:
		return Meta{}, fmt.Errorf("image description has negative clocks")
	case m.Used.User < 0 || m.Used.System < 0 || m.Used.Wall < 0 || m.Used.MaxRSS < 0,
		m.Used.Read < 0 || m.Used.Written < 0 || m.Used.NetIn < 0 || m.Used.NetOut < 0:
		return Meta{}, fmt.Errorf("image description has negative usage")
	}
	if err := m.Needs.CheckWhole(); err != nil {
		return Meta{}, fmt.Errorf("image description: %w", err)
	}
	return m, nil
}

// Append encodes m, as of this version and machine, for the meta file.
func (m Meta) Append(b []byte) ([]byte, error) {
	m.V, m.Arch = metaVersion, runtime.GOARCH
	j, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return b, fmt.Errorf("image description: %w", err)
	}
	return append(append(b, j...), '\n'), nil
}
