package queue

import (
	"skua/internal/blob"
	"skua/internal/job"
)

// A Need is a blob that the queue refers to.
type Need struct {
	Digest blob.Digest
	User   job.UserID // who must be able to read it; "" for what only matchmakers read, tables
}

// Needs gives the blobs that the queue cannot do without, apart from images and outputs: the input files of jobs that
// have not ended and the tables of the clusters that a restart meets, in a snapshot or in the log.
func (q *Queue) Needs() map[Need]bool {
	q.mu.RLock()
	defer q.mu.RUnlock()
	needs := map[Need]bool{}
	for table := range q.state.named {
		needs[Need{Digest: table}] = true
	}
	for _, c := range q.state.inOrder {
		if present, _ := c.present(); present == 0 && !c.more() {
			continue
		}
		c.Files(func(f job.File) bool {
			if f.Digest != "" {
				needs[Need{f.Digest, c.User}] = true
			}
			return true
		})
	}
	return needs
}
