package job

import (
	"encoding/json"
	"fmt"

	"skua/policy/classad"
)

// saved is a job as a snapshot of the queue keeps it: all of it but what its cluster says already.
type saved struct {
	*plain
	Ad     *classad.Ad `json:"Ad,omitempty"`     // if it has been edited; without that of its cluster
	Inputs *struct{}   `json:"Inputs,omitempty"` // never: they are the cluster's
}

// plain is a job without methods.
type plain Job

// Save encodes a job that is not fresh; [Cluster.Restore] reads it.
func (j *Job) Save() ([]byte, error) {
	s := saved{plain: (*plain)(j)}
	if j.edited {
		s.Ad = j.Ad
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("save job %v: %w", j.ID, err)
	}
	return data, nil
}

// Restore makes a job of the cluster of what [Job.Save] gave.
func (c *Cluster) Restore(data []byte) (*Job, error) {
	j := new(Job)
	s := saved{plain: (*plain)(j)}
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("restore a job of cluster %d: %w", c.Number, err)
	}
	if j.ID.Cluster != c.Number || j.ID.Proc < 0 || j.ID.Proc >= c.Len() {
		return nil, fmt.Errorf("restore a job of cluster %d: there is no job %v in it", c.Number, j.ID)
	}
	if j.State < Idle || j.State > Suspended {
		return nil, fmt.Errorf("restore job %v: it has no state %d", j.ID, j.State)
	}
	j.Inputs = c.Inputs(j.ID.Proc)
	if s.Ad == nil {
		j.Ad = c.ad(j.ID.Proc)
	} else {
		j.Ad, j.edited = s.Ad, true
		j.Ad.SetParent(c.Ad)
	}
	return j, nil
}
