package diag

// Keys of structured log lines. Values use the ids that users see.
const (
	KeyJob     = "job"     // job id, "12.0"
	KeyClaim   = "claim"   // claim id
	KeyEpoch   = "epoch"   // epoch of the claim
	KeySlot    = "slot"    // slot name, "slot1@desk7"
	KeyMachine = "machine" // machine name
	KeyAgent   = "agent"   // agent id
	KeyUser    = "user"    // user id
	KeyError   = "error"   // an error's text
	KeyFile    = "file"    // a path
	KeyBytes   = "bytes"   // a size
	KeyTook    = "took"    // a duration
	KeySubject = "subject" // a bus subject
	KeySeq     = "seq"     // a sequence number of the queue log
)
