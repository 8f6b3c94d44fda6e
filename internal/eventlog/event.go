// Package eventlog writes and reads the user's job event log: the file that "log = ..." names in a
// job description, in the numbered text format that HTCondor's tools and many scripts of others read.
//
// An event is a line "NNN (cluster.proc.000) date time text", lines that belong to it, and a line of
// three dots. [Event.Append] writes it so, [Parse] reads it, also as other programs and earlier
// versions wrote it. [Writer] is the one writer of a log: it appends whole events, repairs the end
// after a crash, and never writes an event of the queue log twice. [Reader] follows a growing log.
//
// The package keeps to the words that HTCondor uses, because programs look for them. What is Skua's
// own goes into the reason, which is free text.
package eventlog

import (
	"fmt"
	"time"

	"skua/internal/job"
)

// Kind is the number of an event, HTCondor's.
type Kind int

// The events that Skua writes. A reader meets others, which it passes on with their text.
const (
	Submit          Kind = 0
	Execute         Kind = 1
	Checkpointed    Kind = 3
	Evicted         Kind = 4
	Terminated      Kind = 5
	ImageSize       Kind = 6
	ShadowException Kind = 7
	Generic         Kind = 8
	Aborted         Kind = 9
	Suspended       Kind = 10
	Unsuspended     Kind = 11
	Held            Kind = 12
	Released        Kind = 13
	Disconnected    Kind = 22
	Reconnected     Kind = 23
	ReconnectFailed Kind = 24
	AdInformation   Kind = 28
	FileTransfer    Kind = 40
	highest         Kind = 999 // three digits
)

var kindNames = map[Kind]string{
	Submit: "submit", Execute: "execute", Checkpointed: "checkpointed", Evicted: "evicted", Terminated: "terminated",
	ImageSize: "image size", ShadowException: "shadow exception", Generic: "generic", Aborted: "aborted", Suspended: "suspended",
	Unsuspended: "unsuspended", Held: "held", Released: "released", Disconnected: "disconnected", Reconnected: "reconnected",
	ReconnectFailed: "reconnect failed", AdInformation: "ad information", FileTransfer: "file transfer",
}

func (k Kind) String() string {
	if s, ok := kindNames[k]; ok {
		return s
	}
	return fmt.Sprintf("event %03d", int(k))
}

// Event is one entry of the log. Which fields count depends on the kind; the others stay zero.
type Event struct {
	Kind Kind
	Job  job.ID
	Time time.Time // to the second; written as the clock on the wall of its location shows it

	Host string // Submit, Execute, Disconnected, Reconnected, FileTransfer: an address such as <10.0.0.7:9618>
	Slot string // Execute, Disconnected, Reconnected, ReconnectFailed: "slot1@desk7"

	// Reason is why, in plain words and one line, such as "the owner of desk7 came back": Evicted,
	// Aborted, Held, Released, Suspended, Disconnected, ReconnectFailed, ShadowException. Of Submit it is a note,
	// of Generic the text, of AdInformation lines of "Attr = value".
	Reason  string
	Code    int // Held, Evicted: HTCondor's hold code
	Subcode int

	Checkpointed bool // Evicted: the work is saved and goes on from there

	Exit *Exit // Terminated

	Run   Usage // Checkpointed, Evicted, Terminated: of this run
	Total Usage // Terminated: of all runs

	Resources []Resource // Evicted, Terminated

	ImageKB    int64 // ImageSize; the next two are left out of the log when negative
	MemoryMB   int64
	ResidentKB int64

	Processes int // Suspended: how many were stopped

	Transfer TransferStep // FileTransfer

	Lines []string // read events of kinds not listed here: the text after the date, and the lines below
}

// Exit is how a job ended.
type Exit struct {
	Signal int    // not 0: killed by this signal
	Code   int    // else the exit code
	Core   string // name of a core file, if there is one
}

// Usage is what a job took.
type Usage struct {
	User, System   time.Duration // CPU time, to the second
	Sent, Received int64         // bytes of files
}

// Resource is a line of the table of what a job asked for, was given and took. The values are as
// they are to be shown, in the unit the name carries, such as "Memory (MB)"; empty for unknown.
type Resource struct {
	Name, Usage, Request, Allocated string
}

// TransferStep is a stage of moving a job's files.
type TransferStep int

// The stages, with HTCondor's numbers.
const (
	InputQueued    TransferStep = 1
	InputStarted   TransferStep = 2
	InputFinished  TransferStep = 3
	OutputQueued   TransferStep = 4
	OutputStarted  TransferStep = 5
	OutputFinished TransferStep = 6
)

var transferSteps = [...]string{
	InputQueued:    "Entered queue to transfer input files",
	InputStarted:   "Started transferring input files",
	InputFinished:  "Finished transferring input files",
	OutputQueued:   "Entered queue to transfer output files",
	OutputStarted:  "Started transferring output files",
	OutputFinished: "Finished transferring output files",
}

func (s TransferStep) String() string {
	if s > 0 && int(s) < len(transferSteps) {
		return transferSteps[s]
	}
	return fmt.Sprintf("TransferStep(%d)", int(s))
}
