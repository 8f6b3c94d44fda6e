package job

import "time"

// Goodput is what came of processor time that jobs cost, of runs that are over.
type Goodput struct {
	Counted     time.Duration `json:"counted"`     // its work is done, or in an image
	Lost        time.Duration `json:"lost"`        // its work had to be done again
	Checkpoints time.Duration `json:"checkpoints"` // of CRIU, for images and restores
	Transfers   time.Duration `json:"transfers"`   // of agents, to pack, encrypt, send, fetch and unpack files and images
}

// Goodput is what came of the processor time that the job has cost.
func (j *Job) Goodput() Goodput {
	return Goodput{
		Counted: j.Usage.cpu() - j.Lost, Lost: j.Lost, Checkpoints: j.Usage.Checkpoints, Transfers: j.Usage.Transfers,
	}
}

// Plus adds two.
func (g Goodput) Plus(h Goodput) Goodput {
	return Goodput{g.Counted + h.Counted, g.Lost + h.Lost, g.Checkpoints + h.Checkpoints, g.Transfers + h.Transfers}
}

// Minus takes one from another.
func (g Goodput) Minus(h Goodput) Goodput {
	return Goodput{g.Counted - h.Counted, g.Lost - h.Lost, g.Checkpoints - h.Checkpoints, g.Transfers - h.Transfers}
}

// All is the sum.
func (g Goodput) All() time.Duration { return g.Counted + g.Lost + g.Checkpoints + g.Transfers }
