package main

import (
	"context"

	"skua/internal/job"
	"skua/submit/client"
)

// latecomers are, by cluster, the jobs that have yet to enter the queue: those of max_materialize and max_idle. There may
// be a moment in which nothing else of a cluster is left, since a job ends and the next one enters by events of their own.
type latecomers map[int]job.Opened

// findLatecomers asks for those of some clusters, or of all for none. What they do after the event since is to be followed.
func findLatecomers(ctx context.Context, pool *client.Client, clusters []int) (l latecomers, since uint64, err error) {
	coming, since, err := pool.Coming(ctx, clusters)
	if err != nil {
		return nil, 0, err
	}
	l = latecomers{}
	for _, c := range coming {
		l[c.Cluster] = c
	}
	return l, since, nil
}

// event keeps up with what happens, and gives the jobs that never enter.
func (l latecomers) event(body job.Body) (never []job.ID) {
	switch b := body.(type) {
	case *job.Submitted:
		if b.Late().Limits() {
			l[b.Cluster] = job.Opened{Cluster: b.Cluster, Upto: b.Count()}
		}
	case *job.Opened:
		if c, ok := l[b.Cluster]; ok {
			c.From = max(c.From, b.Upto)
			l[b.Cluster] = c
		}
	case *job.Closed:
		c := l[b.Cluster]
		delete(l, b.Cluster)
		never = c.Jobs()
	}
	return never
}
