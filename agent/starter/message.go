package starter

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"time"

	"skua/agent/checkpoint"
	"skua/internal/job"
)

// protocol is the version of the messages between an agent and its inits. An agent talks to inits
// that an older agent started, so fields are only added, and what an unknown field asks for must be
// safe to leave out.
//
//   - 1: first version
const protocol = 1

// maxMessage bounds a message: arguments and environment of a job are at most 2 MiB on Linux.
const maxMessage = 4 << 20

// Operations an agent asks for. Every one is answered by a message with the same ID, except beat.
const (
	opHello      = "hello"      // answered with Status
	opBeat       = "beat"       // the agent is there; Frozen is what it wants
	opGrant      = "grant"      // LeaseMS is left of the lease
	opRun        = "run"        // start Job, frozen if Frozen, after a fresh if Fresh; LeaseMS, if there, is left of the lease
	opFresh      = "fresh"      // make the claim as new for another job
	opResume     = "resume"     // start Job from the image, as for run
	opFreeze     = "freeze"     // answered when the last thread has stopped
	opThaw       = "thaw"       //
	opCool       = "cool"       // let the job's memory go first, if it is frozen; on Windows only
	opCheckpoint = "checkpoint" // answered with Stats
	opLook       = "look"       // answered with Reading, exact if more memory than Limit is in use
	opThrottle   = "throttle"   // keep the job to CPUs processors on average, or let it have all again if that is 0
	opSignal     = "signal"     // send Signal to the job's first process
	opQuit       = "quit"       // end, if no job is running
)

// opExit is said by the init, with ID 0, when its job has ended.
const opExit = "exit"

// message is both a request and an answer.
type message struct {
	V  int    `json:"v"`
	ID uint64 `json:"id,omitempty"`
	Op string `json:"op,omitempty"`

	Fresh     bool     `json:"fresh,omitempty"` // only said to inits of the agent's own version
	Frozen    bool     `json:"frozen,omitempty"`
	LeaseMS   int64    `json:"lease_ms,omitempty"`
	TimeoutMS int64    `json:"timeout_ms,omitempty"`
	Signal    int      `json:"signal,omitempty"`
	Limit     int64    `json:"limit,omitempty"`
	CPUs      float64  `json:"cpus,omitempty"`
	Keep      bool     `json:"keep,omitempty"`
	Job       *JobSpec `json:"job,omitempty"`

	Err    string            `json:"err,omitempty"`
	Kind   string            `json:"kind,omitempty"` // of Err: which sentinel it wraps
	Status *status           `json:"status,omitempty"`
	Stats  *checkpoint.Stats `json:"stats,omitempty"`
	Exit   *Exit             `json:"exit,omitempty"`

	Reading *Reading `json:"reading,omitempty"`
}

// status is what a newly connected agent learns.
type status struct {
	Job     job.ID `json:"job,omitzero"`
	Running bool   `json:"running"`
	Pid     int    `json:"pid"`    // of the job, in its own namespace
	Frozen  bool   `json:"frozen"` // the agent has asked for it
	Exit    *Exit  `json:"exit,omitempty"`

	Restored bool `json:"restored,omitempty"` // a job of the claim has come from an image
}

// kinds are the errors that keep their identity on the way.
var kinds = map[string]error{
	"lease":  ErrLeaseOver,
	"busy":   ErrBusy,
	"nojob":  ErrNoJob,
	"nofile": errNoProgram,
	"used":   ErrUsed,

	machineKind: errMachine,
}

const machineKind = "machine"

var errNoProgram = errors.New("no such program")

// fail makes m the answer that reports err.
func (m *message) fail(err error) {
	m.Err = err.Error()
	for k, e := range kinds {
		if errors.Is(err, e) {
			m.Kind = k
		}
	}
	if m.Kind == "" && MachineFault(err) {
		m.Kind = machineKind
	}
}

// failure returns the error that m reports, or nil.
func (m *message) failure() error {
	if m.Err == "" {
		return nil
	}
	return &remoteError{text: m.Err, kind: kinds[m.Kind]}
}

// remoteError is an error of the init, as the agent sees it.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }

func (e *remoteError) Unwrap() error { return e.kind }

// errOtherAgent is what a second agent is told.
var errOtherAgent = fmt.Errorf("another agent holds the claim: %w", ErrBusy)

// refuse answers the first request of a new connection with err, and ends it. It takes no longer than limit.
func refuse(c net.Conn, err error, limit time.Duration) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(limit))
	m, rerr := readMessage(c)
	if rerr != nil {
		return
	}
	answer := &message{ID: m.ID}
	answer.fail(err)
	_ = writeMessage(c, answer)
}

// writeMessage writes m: its length in four bytes, then JSON.
func writeMessage(w io.Writer, m *message) error {
	m.V = protocol
	j, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if len(j) > maxMessage {
		return fmt.Errorf("message of %d bytes is larger than %d", len(j), maxMessage)
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(j)), uint32(len(j)))
	_, err = w.Write(append(b, j...))
	return err
}

// readMessage reads what writeMessage wrote.
func readMessage(r io.Reader) (*message, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxMessage {
		return nil, fmt.Errorf("message of %d bytes is larger than %d", n, maxMessage)
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(n))) // grows with what arrives, not with what is promised
	if err != nil {
		return nil, err
	}
	if len(b) != int(n) {
		return nil, io.ErrUnexpectedEOF
	}
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("decode message: %w", err)
	}
	if m.V < 1 {
		return nil, errors.New("message without a version")
	}
	return &m, nil
}

// initConfig is what an init is told at its birth, through a pipe.
type initConfig struct {
	V         int           `json:"v"`
	Claim     job.ClaimID   `json:"claim"`
	Lease     time.Duration `json:"lease_ns"`
	Network   Network       `json:"network"`
	Criu      string        `json:"criu,omitempty"`       // path, "" if there is none
	Mapped    bool          `json:"mapped"`               // many ids are mapped: the job gets jobID
	Cgroup    string        `json:"cgroup,omitempty"`     // its directory on the host, "" if there is none
	Joins     int           `json:"joins,omitempty"`      // how many cgroups of v1 its job belongs to, too
	Memory    int64         `json:"memory,omitempty"`     // RLIMIT_DATA of the job, 0 for none
	Pids      int           `json:"pids,omitempty"`       // RLIMIT_NPROC of the job, 0 for none
	Shared    []string      `json:"shared,omitempty"`     // directories to show as they are
	RuntimeFD int           `json:"runtime_fd,omitempty"` // descriptor of a mount of the runtime root, 0 for none
	Runtime   string        `json:"runtime,omitempty"`    // its directory, if there is no such descriptor; "" for none
	Prompt    bool          `json:"prompt,omitempty"`     // the job has no lower claim to the processor than others
}

// localName reports whether name is "" or names something within the scratch directory.
func localName(name string) bool {
	return name == "" || filepath.IsLocal(name)
}
