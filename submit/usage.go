package main

import (
	"errors"
	"fmt"
	"strconv"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
)

// errQuiet ends a command with ExitJobFailed when all has been said.
var errQuiet = errors.New("a job failed")

func usage(hint, format string, args ...any) error {
	return &diag.Problem{What: fmt.Sprintf(format, args...), Hint: hint, Code: diag.ExitUsage}
}

// selection reads job ids: clusters, "12", and single jobs, "12.3".
func selection(args []string) (wire.Selection, error) {
	var sel wire.Selection
	for _, arg := range args {
		if id, err := job.ParseID(arg); err == nil {
			sel.Jobs = append(sel.Jobs, id)
			continue
		}
		cluster, err := strconv.Atoi(arg)
		if err != nil || cluster < 1 {
			return sel, usage("a cluster is a number such as 12, a job of it is 12.3", "%q is neither a cluster nor a job", arg)
		}
		sel.Clusters = append(sel.Clusters, cluster)
	}
	return sel, nil
}
