package wire

import (
	"encoding/json"
	"time"

	"skua/internal/job"
	"skua/policy/classad"
)

// Submit adds one cluster to the queue. It is acknowledged when the queue log is on disk.
type Submit struct {
	V       int           `json:"v"`
	Request string        `json:"request"` // random; a repeated request gets the first one's answer
	Ad      *classad.Ad   `json:"ad"`      // what all procs share
	Procs   []*classad.Ad `json:"procs"`   // what differs; the proc number is the index
	Inputs  [][]job.File  `json:"inputs"`  // per proc, or one list for all
}

// Submitted answers Submit.
type Submitted struct {
	V       int      `json:"v"`
	Cluster int      `json:"cluster"`
	Seq     uint64   `json:"seq"` // of the event that added it
	Fail    *Failure `json:"fail,omitempty"`
}

// Selection says which jobs are meant. An empty selection means all of the user's jobs.
type Selection struct {
	Clusters   []int    `json:"clusters,omitempty"`
	Jobs       []job.ID `json:"jobs,omitempty"`
	Constraint string   `json:"constraint,omitempty"` // ClassAd expression over the job
	AllUsers   bool     `json:"all_users,omitempty"`  // for queries only
}

// ActionVerb is what a user does to jobs.
type ActionVerb string

// The actions of users.
const (
	Remove  ActionVerb = "remove"
	HoldJob ActionVerb = "hold"
	Release ActionVerb = "release"
	Deliver ActionVerb = "deliver" // the courier has the outputs
)

// Action does something to jobs.
type Action struct {
	V      int        `json:"v"`
	Do     ActionVerb `json:"do"`
	Select Selection  `json:"select"`
	Reason string     `json:"reason,omitempty"`
}

// ActionResult answers Action.
type ActionResult struct {
	V    int      `json:"v"`
	Done []job.ID `json:"done"`
	// Not says why an action did not apply to a job that was named.
	Not  map[string]string `json:"not,omitempty"`
	More bool              `json:"more,omitempty"` // there are more jobs than one message takes: ask again
	Fail *Failure          `json:"fail,omitempty"`
}

// Subject of a query.
type QueryKind string

// What can be asked for.
const (
	QueryJobs     QueryKind = "jobs"     // jobs in the queue, as [JobRow]
	QueryHistory  QueryKind = "history"  // jobs that ended, newest first, as [JobRow]
	QueryMachines QueryKind = "machines" // slot ads
	QueryEvents   QueryKind = "events"   // the user's events after Since, as [job.Event]
	QueryUpload   QueryKind = "upload"   // a capability to upload inputs
	QueryFetch    QueryKind = "fetch"    // a job's outputs and a capability to download them
)

// Query asks. Answers come in pages: ask again with Since or After set to the result's Next while
// More is set.
type Query struct {
	V      int       `json:"v"`
	Kind   QueryKind `json:"kind"`
	Select Selection `json:"select"`
	Since  uint64    `json:"since,omitempty"` // events after this sequence number
	After  string    `json:"after,omitempty"` // page cursor
	Limit  int       `json:"limit,omitempty"`
}

// QueryResult answers Query.
type QueryResult struct {
	V          int               `json:"v"`
	Rows       []json.RawMessage `json:"rows"`
	Next       string            `json:"next,omitempty"` // cursor for Query.After
	More       bool              `json:"more,omitempty"`
	Seq        uint64            `json:"seq"`                  // the state is that after this event
	Capability string            `json:"capability,omitempty"` // for uploads and fetches
	Fail       *Failure          `json:"fail,omitempty"`
}

// JobRow is a job as queries show it.
type JobRow struct {
	ID      job.ID      `json:"id"`
	Ad      *classad.Ad `json:"ad"`
	Why     string      `json:"why,omitempty"`     // why an idle job waits, in plain words
	Outputs []job.File  `json:"outputs,omitempty"` // of a completed job, for QueryFetch

	Delivered bool `json:"delivered,omitempty"` // the submit side has the outputs
}

// Note tells a user's programs that the log has grown.
type Note struct {
	V   int       `json:"v"`
	Seq uint64    `json:"seq"`
	At  time.Time `json:"at"`
}

// LocalLogin is the request on the matchmaker's unix socket: the caller's uid, told by the kernel,
// vouches for the public key.
type LocalLogin struct {
	V   int    `json:"v"`
	Key string `json:"key"`
}

// LocalLogged answers LocalLogin.
type LocalLogged struct {
	V    int      `json:"v"`
	ID   string   `json:"id,omitempty"`
	Name string   `json:"name,omitempty"`
	URL  string   `json:"url,omitempty"`
	CA   string   `json:"ca,omitempty"` // the pool's CA certificate, PEM
	Fail *Failure `json:"fail,omitempty"`
}
