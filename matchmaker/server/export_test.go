package server

import (
	"context"
	"time"

	"skua/internal/blob"
	"skua/matchmaker/queue"
)

// Queue gives tests the queue of a matchmaker that is ready.
func (h *Head) Queue() *queue.Queue { return h.queue.Load() }

// LiveBlobs gives tests what a matchmaker that is ready would not sweep away.
func (h *Head) LiveBlobs(ctx context.Context) (map[blob.Digest]bool, error) {
	return h.liveBlobs(ctx, time.Now())
}
