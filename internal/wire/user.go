package wire

import (
	"encoding/json"
	"time"

	"skua/internal/blob"
	"skua/internal/job"
	"skua/policy/classad"
)

// Submit adds one cluster to the queue. It is acknowledged when the queue log is on disk.
type Submit struct {
	V       int           `json:"v"`
	Request string        `json:"request"`         // random; a repeated request gets the first one's answer
	Ad      *classad.Ad   `json:"ad"`              // what all procs share
	Procs   []*classad.Ad `json:"procs"`           // what differs; the proc number is the index
	Inputs  [][]job.File  `json:"inputs"`          // per proc, or one list for all
	Table   *job.TableRef `json:"table,omitempty"` // in the place of Procs and Inputs, for many procs
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
	Remove   ActionVerb = "remove"
	HoldJob  ActionVerb = "hold"
	Release  ActionVerb = "release"
	Deliver  ActionVerb = "deliver"  // the courier has the outputs
	Suspend  ActionVerb = "suspend"  // freeze where it runs
	Continue ActionVerb = "continue" // end a pause that its user asked for
	Vacate   ActionVerb = "vacate"   // leave the machine, saving what can be saved
	Evict    ActionVerb = "evict"    // leave the machine at once
	Edit     ActionVerb = "edit"     // set attributes, as Action.Set says
	Prio     ActionVerb = "prio"     // set JobPrio to the value of Action.Set[0].Expr in the job's ad
)

// Action does something to jobs.
type Action struct {
	V      int            `json:"v"`
	Do     ActionVerb     `json:"do"`
	Select Selection      `json:"select"`
	Reason string         `json:"reason,omitempty"`
	Set    []job.Assigned `json:"set,omitempty"`  // for edit and prio
	After  job.ID         `json:"after,omitzero"` // only jobs after this one: [ActionResult].Next of the answer before

	// Request is a random name, by which the matchmaker knows the message again should it come twice. Without one, as
	// from the first clients, it is done each time.
	Request string `json:"request,omitempty"`
}

// ActionResult answers Action.
type ActionResult struct {
	V    int      `json:"v"`
	Done []job.ID `json:"done"`
	Note string   `json:"note,omitempty"` // what is to be known about what was done
	// Not says why an action did not apply to a job that was named.
	Not  map[string]string `json:"not,omitempty"`
	More bool              `json:"more,omitempty"` // there are more jobs than one message takes: ask again
	Next job.ID            `json:"next,omitzero"`  // with More: the last job looked at, for [Action].After
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
	QuerySummary  QueryKind = "summary"  // the selected jobs counted by batch, as [BatchRow]
	QueryWhy      QueryKind = "why"      // why the one selected job does not run, as negotiate.Explanation
	QueryNeedy    QueryKind = "needy"    // which of the selected jobs needs an explanation most, as [Needy]; no row if there is none
	QueryUsers    QueryKind = "users"    // everybody's share, as [UserRow]
	QueryLimits   QueryKind = "limits"   // concurrency limits, as [LimitRow]
	QueryGoodput  QueryKind = "goodput"  // what came of the processor time of all jobs, as [Goodput]
	QueryPeek     QueryKind = "peek"     // a piece of a file of the one selected running job, as [Peeked]
	QueryComing   QueryKind = "coming"   // what has yet to enter the queue of the user's clusters, of those selected if some are, as [job.Opened] of all that is left of one
	QueryRuntimes QueryKind = "runtimes" // the runtime roots that the pool has, by name, as [RuntimeRow]
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

	// Undelivered asks of history only for completed jobs whose outputs the submit side does not have. An older
	// matchmaker answers with all of it.
	Undelivered bool `json:"undelivered,omitempty"`

	// Columns are ClassAd expressions. With them a row of jobs, history or machines is not an ad but the
	// list of their values in it, each as the new ClassAd syntax writes it.
	Columns []string `json:"columns,omitempty"`

	Peek *Peek `json:"peek,omitempty"` // for QueryPeek
}

// Peek asks for a piece of a file of a running job.
type Peek struct {
	File   string `json:"file"`             // relative to the scratch directory; [job.StdoutFile] for standard output
	Offset int64  `json:"offset,omitempty"` // negative: that many bytes before the end
	Limit  int    `json:"limit,omitempty"`  // bytes; 0 and what is more than [MaxPeek] means that
}

// MaxPeek is how many bytes of a file one [Peek] can bring.
const MaxPeek = 64 << 10

// Peeked answers [Peek].
type Peeked struct {
	V      int      `json:"v"`
	ID     string   `json:"id,omitempty"` // of the control message that asked
	Data   []byte   `json:"data,omitempty"`
	Offset int64    `json:"offset"` // of Data in the file
	Size   int64    `json:"size"`   // of the file now
	Fail   *Failure `json:"fail,omitempty"`
}

// BatchRow counts the jobs of a batch: of a batch name, or else of a cluster.
type BatchRow struct {
	User      job.UserID `json:"user"`
	Owner     string     `json:"owner"`
	Name      string     `json:"name,omitempty"` // JobBatchName; empty for a cluster without one
	First     int        `json:"first"`          // lowest and highest cluster
	Last      int        `json:"last"`
	FirstJob  job.ID     `json:"first_job"` // lowest and highest job in the queue
	LastJob   job.ID     `json:"last_job"`
	Submitted time.Time  `json:"submitted"` // of the first cluster
	Command   string     `json:"command"`   // of the first job, as a person would write it
	Total     int        `json:"total"`     // all jobs of the clusters, ended and not yet materialized ones included; of a selection by constraint or single jobs, those of it in the queue
	Done      int        `json:"done"`
	Removed   int        `json:"removed,omitempty"`
	Running   int        `json:"running"`
	Idle      int        `json:"idle"` // those to be materialized later included
	Held      int        `json:"held"`
	Suspended int        `json:"suspended"`
	Late      int        `json:"late,omitempty"` // of Idle: to be materialized later
	Why       string     `json:"why,omitempty"`  // why the first idle job waits
	HeldWhy   string     `json:"held_why,omitempty"`
	FirstIdle job.ID     `json:"first_idle,omitzero"` // whom Why and HeldWhy are about; older matchmakers do not say
	FirstHeld job.ID     `json:"first_held,omitzero"`
	NoImage   string     `json:"no_image,omitempty"` // why the first running job that cannot be checkpointed cannot
}

// Needy is the job that needs an explanation most: a held one, or else one that no machine would run whatever its owner or
// other jobs did, one that waits, a suspended one, any.
type Needy struct {
	Job    job.ID `json:"job"`
	Others int    `json:"others,omitempty"` // of the selected ones, that are not running either
}

// UserRow is one user's share of the pool.
type UserRow struct {
	User      job.UserID `json:"user"`
	Name      string     `json:"name"`
	Priority  float64    `json:"priority"` // real; effective is this times the factor
	Factor    float64    `json:"factor"`
	Effective float64    `json:"effective"` // lower is better
	InUse     int        `json:"in_use"`    // slots now
	Hours     float64    `json:"hours"`     // slot hours used in all
	First     time.Time  `json:"first,omitzero"`
	Last      time.Time  `json:"last,omitzero"`
}

// LimitRow is a concurrency limit.
type LimitRow struct {
	Name string  `json:"name"`
	Cap  float64 `json:"cap"` // negative for none
	Used float64 `json:"used"`
}

// Goodput is what came of the processor time of all the pool's jobs.
type Goodput struct {
	job.Goodput
	Since time.Time `json:"since,omitzero"` // nothing before that is in it; zero if there was nothing yet
}

// RuntimeRow is a runtime root that the pool has: jobs call it by its name, and get the archive with that digest.
type RuntimeRow struct {
	Name     string      `json:"name"`
	Digest   blob.Digest `json:"digest"` // of the archive
	Size     int64       `json:"size"`   // of the archive, in bytes
	Unpacked int64       `json:"unpacked"`
	Added    time.Time   `json:"added"`
	By       string      `json:"by,omitempty"` // the account that has added it
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
	Ask bool   `json:"ask,omitempty"` // nobody logs in: the answer says only which pool it is
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
