package wire

import (
	"encoding/json"
	"time"

	"skua/internal/blob"
	"skua/internal/job"
	"skua/policy/classad"
)

// Ad is all that an agent says of its machine: one ad for each slot. It is sent on change and every
// [AdInterval]; an agent that could have been heard of three times since is forgotten.
type Ad struct {
	V       int           `json:"v"`
	Machine string        `json:"machine"`
	Slots   []*classad.Ad `json:"slots"`           // each with Name, Machine, State, Activity, ...
	Every   time.Duration `json:"every,omitempty"` // how often the agent is heard of until its next ad; 0 means every HeartbeatInterval
	Bye     bool          `json:"bye,omitempty"`   // the agent stops: forget the machine at once
}

// Heartbeat says that a machine is there.
type Heartbeat struct {
	V int `json:"v"`
}

// How often an agent is heard of. One that has had nothing to do for a while sends its ads only, as HTCondor's machines do:
// to wake each minute would cost its owner most of what an idle agent costs.
const (
	AdInterval        = 300 * time.Second
	HeartbeatInterval = 60 * time.Second
	MissedHeartbeats  = 3
)

// Offer asks an agent to run a job in a slot. The agent answers with Accept, which may refuse;
// silence is a refusal.
type Offer struct {
	V      int         `json:"v"`
	Slot   string      `json:"slot"`
	Job    job.ID      `json:"job"`
	Claim  job.ClaimID `json:"claim"`
	Epoch  job.Epoch   `json:"epoch"`
	User   job.UserID  `json:"user"`
	Ad     *classad.Ad `json:"ad"` // the job's whole ad
	Inputs []job.File  `json:"inputs"`
	Images []job.Image `json:"images,omitempty"` // to go on from, newest first
	Key    []byte      `json:"key"`              // seals this job's images
	Read   string      `json:"read"`             // capability for the inputs and images
	Write  string      `json:"write"`            // capability for outputs and images of this epoch
	Terms  Terms       `json:"terms"`
}

// Terms are the durations of [job.Terms] that the matchmaker decides.
type Terms struct {
	Lease time.Duration `json:"lease"`
	Renew time.Duration `json:"renew"`
	Offer time.Duration `json:"offer"`
}

// ClaimRef names the claim that a message is about.
type ClaimRef struct {
	Job   job.ID      `json:"job"`
	Claim job.ClaimID `json:"claim"`
	Epoch job.Epoch   `json:"epoch"`
}

// Accept answers an offer.
type Accept struct {
	V int `json:"v"`
	ClaimRef
	Refused string `json:"refused,omitempty"` // why not, in plain words; empty means accepted
	Slot    string `json:"slot,omitempty"`    // that was carved out of the one offered; empty means that one
}

// Renew asks for the lease to be renewed and says how the job is.
type Renew struct {
	V int `json:"v"`
	ClaimRef
	Slot   string    `json:"slot,omitempty"`   // as in [Accept]
	Paused string    `json:"paused,omitempty"` // why the job is frozen; empty when it runs
	Usage  job.Usage `json:"usage"`

	Executing time.Time `json:"executing,omitzero"` // when its program began, once it has and if that is known

	Trial *job.Trial `json:"trial,omitempty"` // whether it can be checkpointed, once that was tried
}

// Grant answers Accept and Renew.
type Grant struct {
	V     int    `json:"v"`
	Gone  bool   `json:"gone,omitempty"` // the claim is dead: kill the job
	Read  string `json:"read,omitempty"` // fresh capabilities
	Write string `json:"write,omitempty"`

	// Do is what the claim's user asked for last: suspend, continue, vacate or evict. It was sent as a
	// [Control] as well, and each grant repeats it, since the agent may have been away then. It says how
	// things are to be: what is so already, or under way, is not done again.
	Do ControlVerb `json:"do,omitempty"`
}

// PausedByUser is [Renew].Paused of a job that is frozen because its user wants that.
const PausedByUser = "its user suspended it"

// Outcome is how a claim came to its end.
type Outcome string

// The outcomes of a claim.
const (
	Exited  Outcome = "exited"  // the job ended by itself
	Evicted Outcome = "evicted" // the machine is needed, or failed: the job goes on elsewhere
	Hold    Outcome = "hold"    // the job cannot run as it is; a person must look
	Killed  Outcome = "killed"  // the claim was dead already, or is not known, and nothing of it runs; published, not asked
)

// Done reports how a claim ended. It is resent until it is acknowledged.
type Done struct {
	V int `json:"v"`
	ClaimRef
	Outcome Outcome     `json:"outcome"`
	Result  *job.Result `json:"result,omitempty"` // when exited; when held, how the job ended by itself before
	Reason  string      `json:"reason,omitempty"` // when evicted or held, in plain words
	Code    int         `json:"code,omitempty"`   // when held: HoldReasonCode
	SubCode int         `json:"sub_code,omitempty"`
	Outputs []job.File  `json:"outputs,omitempty"` // when held: the standard streams, so that their user sees what happened
	Usage   job.Usage   `json:"usage"`

	// More says that the slot would take another job of the same user in the answer: [Ack].Next. An agent
	// that does not know of this does not say so, and is given none.
	More bool `json:"more,omitempty"`
}

// Checkpoint reports an image that is safely stored, or one that could not be used.
type Checkpoint struct {
	V int `json:"v"`
	ClaimRef
	Image   *job.Image  `json:"image,omitempty"`
	Dropped blob.Digest `json:"dropped,omitempty"` // an image that could not be restored
	Again   bool        `json:"again,omitempty"`   // and may be at another try: the answer says whether it is kept for that
	Reason  string      `json:"reason,omitempty"`  // why
}

// Ack answers Done and Checkpoint. Stale means that the claim had been superseded and nothing counted.
type Ack struct {
	V     int      `json:"v"`
	Stale bool     `json:"stale,omitempty"`
	Fail  *Failure `json:"fail,omitempty"` // not now: ask again

	// Kept says that the image that could not be restored is tried again. The claim is to be given back.
	Kept bool `json:"kept,omitempty"`

	// Missing says, beside Fail, that parts of the image that was reported are not here: they are to be sent again.
	Missing bool `json:"missing,omitempty"`

	// Next is the slot's next job, if the report asked for [Done].More. It is granted as well as offered: its
	// claim stands from when the report was sent, for Terms.Offer, until it is renewed. An agent that does not
	// want it sends an [Accept] that refuses it.
	Next *Offer `json:"next,omitempty"`
}

// Control tells an agent to do something about a claim.
type Control struct {
	V int `json:"v"`
	ClaimRef
	Do   ControlVerb `json:"do"`
	For  Cause       `json:"for,omitempty"`  // of a kill: what its user did; a job may want to hear of that first
	ID   string      `json:"id,omitempty"`   // of a peek, for its answer
	Peek *Peek       `json:"peek,omitempty"` // what a peek asks for
}

// ControlVerb is what a [Control] asks for.
type ControlVerb string

// The control verbs.
const (
	KillClaim   ControlVerb = "kill"   // the job was removed or held: end it at once
	VacateClaim ControlVerb = "vacate" // checkpoint and leave
	EvictClaim  ControlVerb = "evict"  // leave at once; the report is an eviction

	SuspendClaim  ControlVerb = "suspend"  // its user wants it frozen until continued
	ContinueClaim ControlVerb = "continue" // its user wants it to go on
	PeekClaim     ControlVerb = "peek"     // send a piece of one of its files: [Peeked] by [VerbPeeked]

	// ConfirmClaim asks whether the agent has the claim, of which nothing was heard for a while. An agent that has it
	// renews it as ever; one that knows nothing of it, and on whose machine nothing can be left of it, says that: Done
	// with the outcome Killed.
	ConfirmClaim ControlVerb = "confirm"

	// Advertise asks for the full ad; it is about no claim. A matchmaker sends it at its start, to an agent whose heartbeat
	// it cannot place, and to one that has not answered an offer.
	Advertise ControlVerb = "advertise"

	// FetchPolicy says to all agents that the pool has another central policy for some group; it is about no
	// claim. An agent then asks, as it does when it connects: by [VerbPolicy].
	FetchPolicy ControlVerb = "policy"
)

// AskPolicy asks for the central policy of a group of machines.
type AskPolicy struct {
	V     int    `json:"v"`
	Group string `json:"group"`
}

// CentralPolicy answers AskPolicy. Without an answer the agent keeps what it has and asks again.
type CentralPolicy struct {
	V      int             `json:"v"`
	Signed json.RawMessage `json:"signed,omitempty"` // as package central makes it; absent if the group has never had one
	Fail   *Failure        `json:"fail,omitempty"`
}

// Cause is why a job is ended.
type Cause string

// The causes of [KillClaim]. Without one the job is ended at once.
const (
	ForRemove Cause = "remove"
	ForHold   Cause = "hold"
)

// Enrol asks to join the pool.
type Enrol struct {
	V      int    `json:"v"`
	Secret string `json:"secret"` // of the join token, in hexadecimal
	Name   string `json:"name"`   // the machine's or user's name
}

// Enrolled answers Enrol.
type Enrolled struct {
	V      int      `json:"v"`
	ID     string   `json:"id,omitempty"` // agent or user id
	Domain string   `json:"domain,omitempty"`
	Waits  bool     `json:"waits,omitempty"` // an administrator must approve of it first
	Fail   *Failure `json:"fail,omitempty"`
}

// Heads lists the URLs of a pool's matchmakers. Any of them will do; what only the one that leads can answer is passed on
// to it.
type Heads struct {
	V    int      `json:"v"`
	URLs []string `json:"urls"`
}
