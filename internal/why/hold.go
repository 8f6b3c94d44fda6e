package why

import (
	"fmt"
	"regexp"
)

// HTCondor's codes of holds that need words of their own, and its sub-codes of JobOutOfResources.
const (
	byUser          = 1
	byPolicy        = 3
	policyUndefined = 5
	startFailed     = 6
	transferOutput  = 12
	transferInput   = 13
	noSharedFS      = 14
	onSubmit        = 15
	missedDeferral  = 20
	bySystem        = 26
	inputTooLarge   = 32
	outputTooLarge  = 33
	outOfResources  = 34
	jobDuration     = 46
	executeDuration = 47

	outOfDisk = 104
)

func (h *Hold) sentence() string {
	because := "held"
	switch h.Code {
	case byUser:
		because = "held by its user"
	case onSubmit:
		return "held since it was submitted, as its description wants"
	case byPolicy:
		because = "held by its own policy"
	case startFailed:
		because = "held because it could not be started"
	case transferOutput:
		because = "held because its outputs could not be brought back"
	case transferInput:
		because = "held because an input is missing"
	case noSharedFS:
		because = "held because it needs a shared file system"
	case missedDeferral:
		because = "held because its time to start has passed"
	case inputTooLarge:
		because = "held because its inputs are too large"
	case outputTooLarge:
		because = "held because its outputs are too large"
	case outOfResources:
		because = "held because it used more memory than it may"
		if h.SubCode == outOfDisk {
			because = "held because it used more disk than it may"
		}
	case jobDuration, executeDuration:
		because = "held because it took longer than it may"
	}
	if h.Reason == "" {
		return because
	}
	if h.Code == startFailed {
		return because + ": " + notStarted.ReplaceAllString(h.Reason, "")
	}
	return because + ": " + h.Reason
}

// notStarted is with what agents begin the reason of a job that cannot be started; older ones name the job.
var notStarted = regexp.MustCompile(`^the job cannot be started: (run job \d+\.\d+: )?`)

// remedy says what the user can do.
func (h *Hold) remedy(id string) string {
	release := "skua release " + id
	switch h.Code {
	case byUser, onSubmit:
		return "let it run: " + release
	case byPolicy, policyUndefined:
		return "see to what the expression complains of, or change the expression, then: " + release
	case startFailed:
		return "check the executable and its arguments, then: " + release
	case transferOutput:
		return "see what it said in its standard error, and check transfer_output_files; with when_to_transfer_output = ON_SUCCESS " +
			"a run that fails needs none; then: " + release
	case transferInput:
		return "see that the input can be read; if it was never sent, submit again, otherwise: " + release
	case noSharedFS:
		return "submit it with should_transfer_files = YES, or ask the administrator for a shared file system"
	case missedDeferral:
		if h.Recurs {
			return "let it wait for the next of its times: " + release
		}
		return "give it another time, then release it: skua edit " + id + " DeferralTime=TIME, " + release
	case bySystem:
		return "once its user is back in the pool, with a new token from its administrator: " + release
	case inputTooLarge, outputTooLarge:
		return "make the files smaller, or raise max_transfer_input_mb or max_transfer_output_mb, and submit again"
	case outOfResources:
		switch {
		case h.SubCode == outOfDisk:
			return "ask for more disk, then release it: skua edit " + id + " RequestDisk=KIB, " + release
		case h.Try > 0:
			return fmt.Sprintf("ask for more memory, then release it: skua edit %s RequestMemory=%d, %s", id, h.Try, release)
		}
		return "ask for more memory, then release it: skua edit " + id + " RequestMemory=MB, " + release
	case jobDuration:
		return "allow it more time, then release it: skua edit " + id + " AllowedJobDuration=SECONDS, " + release
	case executeDuration:
		return "allow it more time, then release it: skua edit " + id + " AllowedExecuteDuration=SECONDS, " + release
	}
	return "when that is put right: " + release
}
