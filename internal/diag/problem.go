// Package diag holds what Skua says to people: problems with a remedy, exit codes, spelling
// suggestions, and the keys of structured log lines.
//
// A [Problem] is the last form of an error before a person reads it. Code below the commands wraps
// errors as usual; whoever knows what the person can do about one makes it a Problem. The package
// does not log and does not exit.
package diag

import (
	"errors"
	"fmt"
	"io"
)

// A Problem is an error written for the person at the keyboard.
type Problem struct {
	What string // what went wrong, in one clause
	Hint string // what to do about it, if there is something to do
	Err  error  // the cause, for the log and for errors.Is
	Code int    // exit code of a command that ends with it; 0 means ExitFailure
}

func (p *Problem) Error() string { return p.What }

func (p *Problem) Unwrap() error { return p.Err }

// Print writes err to w as the program prog says it: one line for what went wrong, and one for each
// hint found along the chain.
//
//	skua: render.sub:4: unknown key "requst_memory"
//	skua: hint: did you mean "request_memory"?
func Print(w io.Writer, prog string, err error) {
	fmt.Fprintf(w, "%s: %s\n", prog, err)
	var p *Problem
	if errors.As(err, &p) && p.Hint != "" {
		fmt.Fprintf(w, "%s: hint: %s\n", prog, p.Hint)
	}
}
