package wire

import (
	"strings"

	"skua/internal/job"
)

// Subjects of agents. An agent publishes its ad and heartbeat, makes requests below skua.a.<id>, and
// listens to its offers and controls. Ids hold no dots, so that permissions can be exact.

// AdSubject carries an agent's full [Ad].
func AdSubject(a job.AgentID) string { return "skua.ad." + string(a) }

// HeartbeatSubject carries an agent's [Heartbeat].
func HeartbeatSubject(a job.AgentID) string { return "skua.hb." + string(a) }

// OfferSubject carries [Offer] to an agent.
func OfferSubject(a job.AgentID) string { return "skua.offer." + string(a) }

// ControlSubject carries [Control] to an agent.
func ControlSubject(a job.AgentID) string { return "skua.ctl." + string(a) }

// AllAgents stands for every agent in [ControlSubject]. No agent's id is as short.
const AllAgents job.AgentID = "all"

// AgentSubject is an agent's request to the matchmaker about a claim.
func AgentSubject(a job.AgentID, verb string) string { return "skua.a." + string(a) + "." + verb }

// Verbs of [AgentSubject].
const (
	VerbAccept     = "accept" // [Accept] → [Grant]
	VerbRenew      = "renew"  // [Renew] → [Grant]
	VerbDone       = "done"   // [Done] → [Ack]
	VerbCheckpoint = "ckpt"   // [Checkpoint] → [Ack]
	VerbPeeked     = "peeked" // [Peeked], published: the answer to a control that asked
	VerbPolicy     = "policy" // [AskPolicy] → [CentralPolicy]
)

// UserSubject is a user's request to the matchmaker.
func UserSubject(u job.UserID, verb string) string { return "skua.u." + string(u) + "." + verb }

// Verbs of [UserSubject].
const (
	VerbSubmit = "submit" // [Submit] → [Submitted]
	VerbAct    = "act"    // [Action] → [ActionResult]
	VerbQuery  = "query"  // [Query] → [QueryResult]
)

// NoteSubject carries [Note] to a user. A note is a hint that something happened; the sequence number
// in it is the truth to ask for.
func NoteSubject(u job.UserID) string { return "skua.note." + string(u) + ".event" }

// EnrolSubject is the one subject that a stranger with the public key k may use: [Enrol] → [Enrolled].
func EnrolSubject(k string) string { return "skua.enrol." + k }

// Patterns that the matchmaker subscribes to.
const (
	AnyAd        = "skua.ad.*"
	AnyHeartbeat = "skua.hb.*"
	AnyAgent     = "skua.a.*.*"
	AnyUser      = "skua.u.*.*"
	AnyEnrol     = "skua.enrol.*"
)

// Sender takes the id, and the verb where there is one, from a subject that matched one of the
// patterns. The server has checked that the sender may use this subject, so the id is who it is.
func Sender(subject string) (id, verb string) {
	parts := strings.Split(subject, ".")
	switch len(parts) {
	case 3:
		return parts[2], ""
	case 4:
		return parts[2], parts[3]
	}
	return "", ""
}
