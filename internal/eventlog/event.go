// Package eventlog writes and reads the user's job event log: the file that "log = ..." names in a
// job description, in the numbered text format that HTCondor's tools and many scripts of others read.
//
// An event is a line "NNN (cluster.proc.000) date time text", lines that belong to it, and a line of
// three dots. [Event.Append] writes it so, [Parse] reads it, also as other programs and earlier
// versions wrote it. The other form of an event is a line with a JSON object, whose attributes have the
// names of HTCondor's event ads: [Event.AppendJSON]. It is for programs of one's own, since HTCondor's tools
// follow no log but one of text. [Parse] reads both. HTCondor's XML form is neither written nor read.
//
// [Writer] is the one writer of a log: it appends whole events, repairs the end after a crash, and never
// writes an event of the queue log twice. [Reader] follows a growing log.
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

// The events that are written and read in full. A reader meets others, which it passes on with their text.
const (
	Submit          Kind = 0
	Execute         Kind = 1
	ExecutableError Kind = 2
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
	AttributeUpdate Kind = 33
	ClusterSubmit   Kind = 35
	ClusterRemove   Kind = 36
	FactoryPaused   Kind = 37
	FactoryResumed  Kind = 38
	FileTransfer    Kind = 40
)

// kinds has a kind's name and the type of its ad, HTCondor's MyType.
var kinds = map[Kind]struct{ name, adType string }{
	Submit:          {"submit", "SubmitEvent"},
	Execute:         {"execute", "ExecuteEvent"},
	ExecutableError: {"executable error", "ExecutableErrorEvent"},
	Checkpointed:    {"checkpointed", "CheckpointedEvent"},
	Evicted:         {"evicted", "JobEvictedEvent"},
	Terminated:      {"terminated", "JobTerminatedEvent"},
	ImageSize:       {"image size", "JobImageSizeEvent"},
	ShadowException: {"shadow exception", "ShadowExceptionEvent"},
	Generic:         {"generic", "GenericEvent"},
	Aborted:         {"aborted", "JobAbortedEvent"},
	Suspended:       {"suspended", "JobSuspendedEvent"},
	Unsuspended:     {"unsuspended", "JobUnsuspendedEvent"},
	Held:            {"held", "JobHeldEvent"},
	Released:        {"released", "JobReleaseEvent"},
	Disconnected:    {"disconnected", "JobDisconnectedEvent"},
	Reconnected:     {"reconnected", "JobReconnectedEvent"},
	ReconnectFailed: {"reconnect failed", "JobReconnectFailedEvent"},
	AdInformation:   {"ad information", "JobAdInformationEvent"},
	AttributeUpdate: {"attribute update", "AttributeUpdateEvent"},
	ClusterSubmit:   {"cluster submit", "ClusterSubmitEvent"},
	ClusterRemove:   {"cluster remove", "ClusterRemoveEvent"},
	FactoryPaused:   {"factory paused", "FactoryPausedEvent"},
	FactoryResumed:  {"factory resumed", "FactoryResumedEvent"},
	FileTransfer:    {"file transfer", "FileTransferEvent"},
}

func (k Kind) String() string {
	if s, ok := kinds[k]; ok {
		return s.name
	}
	return fmt.Sprintf("event %03d", int(k))
}

// Event is one entry of the log. Which fields count depends on the kind; the others stay zero.
type Event struct {
	Kind Kind
	Job  job.ID    // of a whole cluster (ClusterSubmit to FactoryResumed) the proc is -1
	Time time.Time // to the second; written as the clock on the wall of its location shows it

	Host string // Submit, ClusterSubmit, Execute, Disconnected, Reconnected, FileTransfer: an address such as <10.0.0.7:9618>
	Slot string // Execute, Disconnected, Reconnected, ReconnectFailed: "slot1@desk7"

	// Reason is why, in plain words and one line, such as "the owner of desk7 came back": Evicted,
	// Aborted, Held, Released, Suspended, Disconnected, ReconnectFailed, ShadowException, FactoryPaused,
	// FactoryResumed. Of Submit, ClusterSubmit and ClusterRemove it is a note, of Generic the text.
	Reason    string
	UserNotes string // Submit, ClusterSubmit: a second note; it takes the place of the first where that is empty

	// Code is HTCondor's hold code of Held, what is wrong with the program of ExecutableError
	// (0: it cannot be executed, 1: it is badly linked), and why of FactoryPaused.
	Code    int
	Subcode int // Held: what the code leaves open; FactoryPaused: the hold code

	Checkpointed bool // Evicted: the work is saved and goes on from there

	Exit  *Exit     // Terminated; Evicted: the job ended and runs again
	Ended time.Time // Terminated: when it ended by itself; zero leaves that out

	Run   Usage // Checkpointed, Evicted, Terminated, ShadowException: of this run
	Total Usage // Terminated: of all runs

	Resources []Resource // Evicted, Terminated

	ImageKB        int64 // ImageSize; the next two are left out of the log when negative
	MemoryMB       int64
	ResidentKB     int64
	ProportionalKB int64 // left out when zero

	Processes int // Suspended: how many were stopped

	Attrs []Attr // Execute: of the slot; AdInformation: of the job; AttributeUpdate: the one that was set

	Factory *Factory // ClusterRemove

	Transfer TransferStep  // FileTransfer
	Queued   time.Duration // FileTransfer: how long it waited for its turn; zero leaves that out

	Lines []string // read events of kinds not listed here: the text after the date, and the lines below
}

// SuccessExit is the attribute that an AdInformation before a job's end has, where not 0 is the exit code that means well.
const SuccessExit = "JobSuccessExitCode"

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
	Assigned                        string `json:",omitempty"` // which ones, such as "GPU-a1b2"
}

// Attr is an attribute and its value as an expression in the old ClassAd syntax.
type Attr struct {
	Name, Value string
	Old         string `json:",omitempty"` // AttributeUpdate: the value before; empty when it had none
}

// Factory is how far a cluster with late materialization came.
type Factory struct {
	Jobs       int        // that have been in the queue
	Items      int        // of the queue statement that they were made from
	Completion Completion // at the end
}

// Completion is how the making of a cluster's jobs ended; below zero it is the code of an error.
type Completion int

// HTCondor's numbers.
const (
	Incomplete Completion = 0
	Complete   Completion = 1
	Paused     Completion = 2
)

func (c Completion) String() string {
	switch {
	case c < Incomplete:
		return fmt.Sprintf("Error %d", int(c))
	case c == Incomplete:
		return "Incomplete"
	case c == Complete:
		return "Complete"
	}
	return "Paused"
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
