package queue

import (
	"skua/internal/blob"
	"skua/internal/job"
)

// Needs gives the blobs that the queue cannot do without, apart from images and outputs: the input files of jobs that
// have not ended and the tables of the clusters that a restart meets, in a snapshot or in the log.
func (q *Queue) Needs() map[blob.Digest]bool {
	q.mu.RLock()
	defer q.mu.RUnlock()
	needs := map[blob.Digest]bool{}
	for table := range q.state.named {
		needs[table] = true
	}
	for _, c := range q.state.inOrder {
		if present, _ := c.present(); present == 0 && !c.more() {
			continue
		}
		c.Files(func(f job.File) bool {
			if f.Digest != "" {
				needs[f.Digest] = true
			}
			return true
		})
	}
	return needs
}
