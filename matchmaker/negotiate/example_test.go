package negotiate_test

import (
	"fmt"
	"log"
	"time"

	"skua/internal/job"
	"skua/matchmaker/negotiate"
	"skua/policy/classad"
)

func ad(src string) *classad.Ad {
	ad, err := classad.ParseAd(src)
	if err != nil {
		log.Fatal(err)
	}
	return ad
}

// A hundred jobs of ann wait, and one of bob, who has used a little less of the pool lately.
func ExampleCycle() {
	sim := ad(`[ RequestMemory = 4000; Requirements = TARGET.Memory >= RequestMemory ]`)
	plan := negotiate.Cycle(negotiate.Snapshot{
		Now: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC),
		Jobs: []negotiate.Batch{
			{Cluster: 1, Procs: []negotiate.Range{{From: 0, Upto: 100}}, User: "ann", Ad: sim},
			{Cluster: 2, Procs: []negotiate.Range{{From: 0, Upto: 1}}, User: "bob", Ad: sim},
		},
		Slots: []negotiate.Slot{
			{Name: "slot1@desk1", Machine: "desk1", Ad: ad(`[ Memory = 8000; Requirements = true ]`)},
			{Name: "slot1@desk2", Machine: "desk2", Ad: ad(`[ Memory = 4000; Requirements = true ]`)},
			{Name: "slot1@desk3", Machine: "desk3", Ad: ad(`[ Memory = 2000; Requirements = true ]`)},
		},
		Accounts: map[job.UserID]negotiate.Account{"ann": {Priority: 12}, "bob": {Priority: 11}},
	})
	for _, m := range plan.Matches {
		fmt.Println(m.Job, "to", m.Slot.Name)
	}
	fmt.Println("1.1 waits:", plan.Why(job.ID{Cluster: 1, Proc: 1}).Sentence(time.Local))
	// Output:
	// 2.0 to slot1@desk1
	// 1.0 to slot1@desk2
	// 1.1 waits: all 2 machines that match have other jobs
}
