package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"skua/internal/diag"
)

// beside is the path of another program of Skua's, which is where this one is.
func beside(program string) (string, error) {
	own, err := os.Executable()
	if err == nil {
		own, err = filepath.EvalSymlinks(own) // condor_q, say, is a link to this one
	}
	if err != nil {
		return "", fmt.Errorf("find out where this program is: %w", err)
	}
	path, err := exec.LookPath(filepath.Join(filepath.Dir(own), program))
	if err != nil {
		return "", &diag.Problem{
			What: fmt.Sprintf("the program %s is not beside %s", program, own),
			Hint: `copy it there, too; "make build" puts all programs into one directory`,
			Err:  err,
		}
	}
	return path, nil
}
