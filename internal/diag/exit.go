package diag

import "errors"

// Exit codes of every Skua program. They are documented in docs/commands.md and do not change.
const (
	ExitOK          = 0
	ExitFailure     = 1 // the request was understood and did not succeed
	ExitUsage       = 2 // the command line is wrong
	ExitUnreachable = 3 // the pool could not be reached, or could not answer now
	ExitJobFailed   = 4 // skua wait: a job ended with a non-zero status, was removed or is held
	ExitDamaged     = 5 // skua-matchmaker log verify: something is damaged
)

// ExitCode gives the exit code for err: 0 for nil, the code of the first [Problem] in the chain that
// has one, [ExitFailure] for anything else.
func ExitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	var p *Problem
	if errors.As(err, &p) && p.Code != 0 {
		return p.Code
	}
	return ExitFailure
}
