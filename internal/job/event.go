package job

import (
	"encoding/json"
	"fmt"
	"time"

	"skua/internal/blob"
	"skua/policy/classad"
)

// Version is the version of the event records that this build writes.
//
//   - 1: first release
const Version = 1

// Event is one record of the queue log. Replaying all events in order of Seq gives the queue; there
// is no other truth.
type Event struct {
	Seq  uint64    // position in the log, from 1 without gaps; 0 before it is committed
	At   time.Time // when the matchmaker decided it
	Body Body      // what happened
}

// Body is what an event says. The concrete types are the ones of this file.
type Body interface {
	Kind() string // stable name in the log
	Jobs() []ID   // the jobs that the event is about; none for events about the whole queue
}

// The events of a job's life.
type (
	// Submitted adds a cluster. What differs from the cluster's ad is in Procs, or, of a cluster too
	// large for that, in a table of its own.
	Submitted struct {
		Cluster int           `json:"cluster"`
		User    UserID        `json:"user"`
		Owner   string        `json:"owner"` // the user's name, as people know it
		Request string        `json:"request"`
		Ad      *classad.Ad   `json:"ad"`
		Procs   []*classad.Ad `json:"procs"`
		Inputs  [][]File      `json:"inputs"` // per proc, or one list for all
		Table   *TableRef     `json:"table,omitempty"`
	}
	// Opened lets further procs of a cluster with late materialization into the queue, in order.
	Opened struct {
		Cluster int `json:"cluster"`
		From    int `json:"from"` // the first that enters
		Upto    int `json:"upto"` // the first that does not
	}
	// Closed says that no further procs of a cluster with late materialization enter the queue, since its
	// user has removed the cluster. Those that have entered are withdrawn one by one.
	Closed struct {
		Cluster int    `json:"cluster"`
		Reason  string `json:"reason"`
	}
	// Offered promises the job to a slot. From here on a lower epoch is dead.
	Offered struct {
		Job     ID      `json:"job"`
		Claim   ClaimID `json:"claim"`
		Epoch   Epoch   `json:"epoch"`
		Agent   AgentID `json:"agent"`
		Slot    string  `json:"slot"`    // "slot1@desk7"
		Machine string  `json:"machine"` // "desk7"
		// After is the claim of that slot whose report the offer answers: it comes with a grant for a short
		// time. Empty for an offer of its own. A build that does not know it gives the claim a full lease.
		After ClaimID `json:"after,omitempty"`
		// Lease is what the agent is told with the offer, and goes by as long as it has the claim. 0 if a build has
		// made the offer that did not log it.
		Lease time.Duration `json:"lease,omitempty"`
		// Cpus is how many of the slot's cpus the job gets. 0 if a build has made the offer that did not log it.
		Cpus int64 `json:"cpus,omitempty"`
	}
	// Declined ends an offer that was refused or not answered in time.
	Declined struct {
		Job    ID     `json:"job"`
		Epoch  Epoch  `json:"epoch"`
		Reason string `json:"reason"`
	}
	// Started says that the agent accepted and was granted the claim.
	Started struct {
		Job   ID     `json:"job"`
		Epoch Epoch  `json:"epoch"`
		Slot  string `json:"slot,omitempty"` // "slot1_2@desk7", carved out of the slot that was offered; empty for that itself
	}
	// Paused says that the job was frozen where it runs, and stayed so.
	Paused struct {
		Job    ID     `json:"job"`
		Epoch  Epoch  `json:"epoch"`
		Reason string `json:"reason"`
	}
	// Continued ends a pause.
	Continued struct {
		Job   ID    `json:"job"`
		Epoch Epoch `json:"epoch"`
	}
	// Checkpointed says that an image is safely stored.
	Checkpointed struct {
		Job   ID    `json:"job"`
		Epoch Epoch `json:"epoch"`
		Image Image `json:"image"`
	}
	// RestoreFailed says that the job could not go on from an image for a reason that another try may not meet. The
	// image is kept for that; after the second time it is not used again.
	RestoreFailed struct {
		Job    ID          `json:"job"`
		Epoch  Epoch       `json:"epoch"`
		Digest blob.Digest `json:"digest"`
		Reason string      `json:"reason"`
	}
	// ImageDropped says that the job could not be restored from an image, which is not used again.
	ImageDropped struct {
		Job    ID          `json:"job"`
		Epoch  Epoch       `json:"epoch"`
		Digest blob.Digest `json:"digest"`
		Reason string      `json:"reason"`
	}
	// Stranded says that no machine of the pool that could run the job otherwise can go on from its newest image,
	// or, with Over, that there is one again. That the job starts ends it, too.
	Stranded struct {
		Job   ID    `json:"job"`
		Epoch Epoch `json:"epoch"`
		Over  bool  `json:"over,omitempty"`
	}
	// Lapsed says that the lease ran out unrenewed. The same epoch may revive until a new offer.
	Lapsed struct {
		Job   ID    `json:"job"`
		Epoch Epoch `json:"epoch"`
	}
	// Revived says that the holder of a lapsed claim was heard of again before any new offer.
	Revived struct {
		Job   ID    `json:"job"`
		Epoch Epoch `json:"epoch"`
	}
	// Evicted says that the agent gave the claim back before the job ended.
	Evicted struct {
		Job    ID     `json:"job"`
		Epoch  Epoch  `json:"epoch"`
		Reason string `json:"reason"`
		Usage  Usage  `json:"usage"`
	}
	// Measured says what the present run has used so far. It is logged when that has changed enough for
	// people and policies to care, not with every renewal.
	Measured struct {
		Job       ID        `json:"job"`
		Epoch     Epoch     `json:"epoch"`
		Usage     Usage     `json:"usage"`
		Executing time.Time `json:"executing,omitzero"` // when its files were there and its program began, by the machine's clock
		Trial     *Trial    `json:"trial,omitempty"`    // if it says otherwise than what was known
	}
	// Requeued says that a run ended by itself and that the job wants to be run again, from its beginning.
	Requeued struct {
		Job    ID     `json:"job"`
		Epoch  Epoch  `json:"epoch"`
		Result Result `json:"result"`
		Reason string `json:"reason"`
	}
	// Ended records the one result of the job. Noop is set for a job that was never to run (noop_job);
	// it has no claim.
	Ended struct {
		Job    ID     `json:"job"`
		Epoch  Epoch  `json:"epoch"`
		Result Result `json:"result"`
		Noop   bool   `json:"noop,omitempty"`
	}
	// HeldBack parks a job until it is released. Agents, users and the job's own policy can cause it. With a Result
	// the run that Epoch names has ended by itself, and a release has the job run again from its beginning.
	HeldBack struct {
		Job     ID     `json:"job"`
		Reason  string `json:"reason"`
		Code    int    `json:"code"`               // HTCondor's HoldReasonCode
		SubCode int    `json:"sub_code,omitempty"` // HTCondor's HoldReasonSubCode
		Usage   Usage  `json:"usage"`
		Outputs []File `json:"outputs,omitempty"` // what the run left that its user should see: its standard streams
		Epoch   Epoch  `json:"epoch,omitempty"`   // of the claim whose own report this is; 0 when somebody else holds the job

		Result *Result `json:"result,omitempty"` // how the run ended; nil for one that was cut short
		Exit   *Result `json:"exit,omitempty"`   // how its program had ended, where that does not count as the run's end
	}
	// Departed says that nothing runs any more of a claim that was taken from its job while it ran: its
	// agent has said so, or its lease is over.
	Departed struct {
		Job   ID    `json:"job"`
		Epoch Epoch `json:"epoch"`
	}
	// Released lets a held job run again.
	Released struct {
		Job    ID     `json:"job"`
		Reason string `json:"reason"`
	}
	// Withdrawn removes a job for good.
	Withdrawn struct {
		Job    ID     `json:"job"`
		Reason string `json:"reason"`
		Usage  Usage  `json:"usage,omitzero"` // of the run that it ends, if there is one
	}
	// Edited sets attributes of a job that has not ended.
	Edited struct {
		Job ID         `json:"job"`
		Set []Assigned `json:"set"`
	}
	// Delivered says that the submit side has the outputs, so that they need not be kept. Expired is set when it has
	// not fetched them in the time for which they are kept: from here on they may be gone. A build that does not know
	// it takes them for fetched.
	Delivered struct {
		Job     ID   `json:"job"`
		Expired bool `json:"expired,omitempty"`
	}
	// Factored sets how much a user's share of the pool weighs: the effective priority is the real one
	// times the factor, and lower is better.
	Factored struct {
		User   UserID  `json:"user"`
		Factor float64 `json:"factor"`
	}
	// LeaderEpoch is the first event of every new leader; it fences out the one before.
	LeaderEpoch struct {
		Leader string `json:"leader"`
	}
)

// Trial says whether an image of the running job could be made when that was tried. Jobs change, so it is no
// promise.
type Trial struct {
	Failed string `json:"failed,omitempty"` // why not; empty if it could
}

// Assigned is an attribute and the expression that it is set to, in the new ClassAd syntax.
type Assigned struct {
	Name string `json:"name"`
	Expr string `json:"expr"`
}

// TableRef names the table that holds what differs between the jobs of a large cluster: a blob of the
// file service, or the same bytes inline where they are few.
type TableRef struct {
	Digest blob.Digest `json:"digest,omitempty"`
	Size   int64       `json:"size"`
	Inline []byte      `json:"inline,omitempty"`
	Count  int         `json:"count"` // rows, which are the cluster's procs
}

// HTCondor's hold reason codes, as far as Skua uses them.
const (
	HoldByUser          = 1
	HoldByPolicy        = 3  // JobPolicy: periodic_hold, on_exit_hold
	HoldPolicyUndefined = 5  // JobPolicyUndefined
	HoldStartFailed     = 6  // FailedToCreateProcess
	HoldTransferOutput  = 12 // UploadFileError
	HoldTransferInput   = 13 // DownloadFileError
	HoldNoSharedFS      = 14
	HoldOnSubmit        = 15 // SubmittedOnHold
	HoldMissedDeferral  = 20 // MissedDeferredExecutionTime
	HoldInvalidCron     = 25 // InvalidCronSettings
	HoldBySystem        = 26 // SystemPolicy: its user was put out of the pool
	HoldInputTooLarge   = 32 // MaxTransferInputSizeExceeded
	HoldOutputTooLarge  = 33 // MaxTransferOutputSizeExceeded
	HoldOutOfResources  = 34 // JobOutOfResources
	HoldJobDuration     = 46 // JobDurationExceeded
	HoldExecuteDuration = 47 // JobExecuteExceeded
)

// HoldOutOfDisk is HTCondor's subcode of [HoldOutOfResources] that tells disk from memory.
const HoldOutOfDisk = 104

// Kind implements [Body].
func (*Submitted) Kind() string     { return "submitted" }
func (*Opened) Kind() string        { return "opened" }
func (*Closed) Kind() string        { return "closed" }
func (*Offered) Kind() string       { return "offered" }
func (*Declined) Kind() string      { return "declined" }
func (*Started) Kind() string       { return "started" }
func (*Paused) Kind() string        { return "paused" }
func (*Continued) Kind() string     { return "continued" }
func (*Checkpointed) Kind() string  { return "checkpointed" }
func (*RestoreFailed) Kind() string { return "restore-failed" }
func (*ImageDropped) Kind() string  { return "image-dropped" }
func (*Stranded) Kind() string      { return "stranded" }
func (*Lapsed) Kind() string        { return "lapsed" }
func (*Revived) Kind() string       { return "revived" }
func (*Evicted) Kind() string       { return "evicted" }
func (*Measured) Kind() string      { return "measured" }
func (*Requeued) Kind() string      { return "requeued" }
func (*Ended) Kind() string         { return "ended" }
func (*HeldBack) Kind() string      { return "held" }
func (*Departed) Kind() string      { return "departed" }
func (*Released) Kind() string      { return "released" }
func (*Withdrawn) Kind() string     { return "withdrawn" }
func (*Edited) Kind() string        { return "edited" }
func (*Delivered) Kind() string     { return "delivered" }
func (*Factored) Kind() string      { return "factored" }
func (*LeaderEpoch) Kind() string   { return "leader" }

// Jobs implements [Body].
func (b *Submitted) Jobs() []ID {
	return idsOf(b.Cluster, 0, b.Count())
}
func (b *Opened) Jobs() []ID        { return idsOf(b.Cluster, b.From, b.Upto) }
func (*Closed) Jobs() []ID          { return nil }
func (b *Offered) Jobs() []ID       { return []ID{b.Job} }
func (b *Declined) Jobs() []ID      { return []ID{b.Job} }
func (b *Started) Jobs() []ID       { return []ID{b.Job} }
func (b *Paused) Jobs() []ID        { return []ID{b.Job} }
func (b *Continued) Jobs() []ID     { return []ID{b.Job} }
func (b *Checkpointed) Jobs() []ID  { return []ID{b.Job} }
func (b *RestoreFailed) Jobs() []ID { return []ID{b.Job} }
func (b *ImageDropped) Jobs() []ID  { return []ID{b.Job} }
func (b *Stranded) Jobs() []ID      { return []ID{b.Job} }
func (b *Lapsed) Jobs() []ID        { return []ID{b.Job} }
func (b *Revived) Jobs() []ID       { return []ID{b.Job} }
func (b *Evicted) Jobs() []ID       { return []ID{b.Job} }
func (b *Measured) Jobs() []ID      { return []ID{b.Job} }
func (b *Requeued) Jobs() []ID      { return []ID{b.Job} }
func (b *Ended) Jobs() []ID         { return []ID{b.Job} }
func (b *HeldBack) Jobs() []ID      { return []ID{b.Job} }
func (b *Departed) Jobs() []ID      { return []ID{b.Job} }
func (b *Released) Jobs() []ID      { return []ID{b.Job} }
func (b *Withdrawn) Jobs() []ID     { return []ID{b.Job} }
func (b *Edited) Jobs() []ID        { return []ID{b.Job} }
func (b *Delivered) Jobs() []ID     { return []ID{b.Job} }
func (*Factored) Jobs() []ID        { return nil }
func (*LeaderEpoch) Jobs() []ID     { return nil }

// Count is how many procs the cluster has.
func (b *Submitted) Count() int {
	if b.Table != nil {
		return b.Table.Count
	}
	return len(b.Procs)
}

// ClusterOf gives the cluster that an event is about, or whose jobs; false for one about no cluster.
func ClusterOf(b Body) (cluster int, ok bool) {
	switch b := b.(type) {
	case *Submitted:
		return b.Cluster, true
	case *Opened:
		return b.Cluster, true
	case *Closed:
		return b.Cluster, true
	}
	for _, id := range b.Jobs() {
		return id.Cluster, true
	}
	return 0, false
}

// check looks at the numbers by which a record could ask for more memory than it has itself.
func (b *Submitted) check() error {
	if n := b.Count(); n < 0 || n > MaxProcs {
		return fmt.Errorf("cluster %d: %d procs: at most %d are possible", b.Cluster, n, MaxProcs)
	}
	return nil
}

func (b *Opened) check() error {
	if b.From < 0 || b.From >= b.Upto || b.Upto > MaxProcs {
		return fmt.Errorf("cluster %d: procs from %d until before %d cannot enter the queue", b.Cluster, b.From, b.Upto)
	}
	return nil
}

func idsOf(cluster, from, upto int) []ID {
	ids := make([]ID, 0, max(upto-from, 0))
	for proc := from; proc < upto; proc++ {
		ids = append(ids, ID{cluster, proc})
	}
	return ids
}

// newBody makes an empty body of each kind for decoding.
var newBody = map[string]func() Body{
	"submitted":      func() Body { return new(Submitted) },
	"opened":         func() Body { return new(Opened) },
	"closed":         func() Body { return new(Closed) },
	"offered":        func() Body { return new(Offered) },
	"declined":       func() Body { return new(Declined) },
	"started":        func() Body { return new(Started) },
	"paused":         func() Body { return new(Paused) },
	"continued":      func() Body { return new(Continued) },
	"checkpointed":   func() Body { return new(Checkpointed) },
	"restore-failed": func() Body { return new(RestoreFailed) },
	"image-dropped":  func() Body { return new(ImageDropped) },
	"stranded":       func() Body { return new(Stranded) },
	"lapsed":         func() Body { return new(Lapsed) },
	"revived":        func() Body { return new(Revived) },
	"evicted":        func() Body { return new(Evicted) },
	"measured":       func() Body { return new(Measured) },
	"requeued":       func() Body { return new(Requeued) },
	"ended":          func() Body { return new(Ended) },
	"held":           func() Body { return new(HeldBack) },
	"departed":       func() Body { return new(Departed) },
	"released":       func() Body { return new(Released) },
	"withdrawn":      func() Body { return new(Withdrawn) },
	"edited":         func() Body { return new(Edited) },
	"delivered":      func() Body { return new(Delivered) },
	"factored":       func() Body { return new(Factored) },
	"leader":         func() Body { return new(LeaderEpoch) },
}

// record is the form of an event in the log and on the wire.
type record struct {
	V    int             `json:"v"`
	Seq  uint64          `json:"seq,omitempty"`
	At   time.Time       `json:"at"`
	Kind string          `json:"kind"`
	Body json.RawMessage `json:"body"`
}

// MarshalJSON writes the event in the format of [Version].
func (e Event) MarshalJSON() ([]byte, error) {
	body, err := json.Marshal(e.Body)
	if err != nil {
		return nil, fmt.Errorf("encode %s event: %w", e.Body.Kind(), err)
	}
	return json.Marshal(record{Version, e.Seq, e.At, e.Body.Kind(), body})
}

// UnmarshalJSON reads an event of this or an older version. An unknown kind or a newer version is an
// error: a queue that skipped an event would be a different queue.
func (e *Event) UnmarshalJSON(data []byte) error {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("decode event: %w", err)
	}
	if r.V < 1 || r.V > Version {
		return fmt.Errorf("event of version %d: this build reads up to %d", r.V, Version)
	}
	fresh, ok := newBody[r.Kind]
	if !ok {
		return fmt.Errorf("event of unknown kind %q", r.Kind)
	}
	body := fresh()
	if err := json.Unmarshal(r.Body, body); err != nil {
		return fmt.Errorf("decode %s event: %w", r.Kind, err)
	}
	if b, ok := body.(interface{ check() error }); ok {
		if err := b.check(); err != nil {
			return fmt.Errorf("decode %s event: %w", r.Kind, err)
		}
	}
	*e = Event{Seq: r.Seq, At: r.At, Body: body}
	return nil
}
