package eventlog_test

import (
	"fmt"
	"time"

	"skua/internal/eventlog"
	"skua/internal/job"
)

func ExampleEvent_String() {
	fmt.Print(eventlog.Event{
		Kind: eventlog.Evicted, Job: job.ID{Cluster: 12}, Time: time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC),
		Checkpointed: true, Reason: "the owner of desk7 came back", Run: eventlog.Usage{User: 90 * time.Second, Sent: 1 << 20},
	})
	// Output:
	// 004 (012.000.000) 2026-03-14 12:00:00 Job was evicted.
	// 	(1) Job was checkpointed.
	// 		Usr 0 00:01:30, Sys 0 00:00:00  -  Run Remote Usage
	// 		Usr 0 00:00:00, Sys 0 00:00:00  -  Run Local Usage
	// 	1048576  -  Run Bytes Sent By Job
	// 	0  -  Run Bytes Received By Job
	// 	the owner of desk7 came back
	// ...
}
