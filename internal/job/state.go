package job

import "fmt"

// State is where a job stands, with HTCondor's names and numbers (JobStatus).
type State int

// The states of a job.
const (
	Idle               State = 1
	Running            State = 2
	Removed            State = 3
	Completed          State = 4
	Held               State = 5
	TransferringOutput State = 6
	Suspended          State = 7
)

var stateNames = map[State]string{
	Idle:               "Idle",
	Running:            "Running",
	Removed:            "Removed",
	Completed:          "Completed",
	Held:               "Held",
	TransferringOutput: "TransferringOutput",
	Suspended:          "Suspended",
}

func (s State) String() string {
	if n, ok := stateNames[s]; ok {
		return n
	}
	return fmt.Sprintf("State(%d)", int(s))
}

// Ended reports whether a job in this state will never run again.
func (s State) Ended() bool { return s == Removed || s == Completed }

// runs reports whether a job in this state is on a machine.
func (s State) runs() bool { return s == Running || s == Suspended }
