package why

import "fmt"

// Room is what other jobs leave of a partitionable slot, where that is not enough for a job.
type Room struct {
	Slot  string `json:"slot"`
	Lacks []Lack `json:"lacks,omitempty"` // what there is too little of
	Jobs  int    `json:"jobs,omitempty"`  // if there is enough of all: how many jobs it has, and more it may not have
}

// Lack is something of which there is less left than a job asks for.
type Lack struct {
	What  Resource `json:"what"`
	Asked float64  `json:"asked"`
	Left  float64  `json:"left"`
}

// String says it with the numbers: "slot1@desk7 has 1 cpu left, and the job asks for 4 cpus".
func (r Room) String() string {
	if len(r.Lacks) == 0 {
		return fmt.Sprintf("%s has %d jobs, and may not have more at a time", r.Slot, r.Jobs)
	}
	var left, asked []string
	for _, l := range r.Lacks {
		left = append(left, l.What.amountOf(l.Left))
		asked = append(asked, l.What.amountOf(l.Asked))
	}
	return fmt.Sprintf("%s has %s left, and the job asks for %s", r.Slot, listed(left, len(left)), listed(asked, len(asked)))
}

// amountOf is the amount with the resource's name, where the unit does not tell it: "2 GB of memory".
func (r Resource) amountOf(n float64) string {
	if r == Memory || r == Disk {
		return r.Amount(n) + " of " + r.noun()
	}
	return r.Amount(n)
}
