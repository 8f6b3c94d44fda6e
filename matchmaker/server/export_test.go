package server

import "skua/matchmaker/queue"

// Queue gives tests the queue of a matchmaker that is ready.
func (h *Head) Queue() *queue.Queue { return h.queue.Load() }
