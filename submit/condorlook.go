package main

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"skua/internal/membership"
	"skua/internal/wire"
	"skua/submit/client"
)

// condorHead is the line above condor_q's table, by which scripts find it.
func (a *app) condorHead(me *membership.Membership, now time.Time) {
	host, addr := "localhost", "localhost:9618"
	if u, err := url.Parse(me.URL); err == nil && u.Host != "" {
		host, addr = u.Hostname(), u.Host
	}
	fmt.Fprintf(a.out, "\n\n-- Schedd: %s : <%s?... @ %s\n", host, addr, now.Format("01/02/06 15:04:05"))
}

// condorTotals are the lines below condor_q's table: what was asked for; the user's jobs, unless jobs or users
// were named; everybody's. There is a blank at the end of each but the last, as there is in HTCondor.
func (a *app) condorTotals(ctx context.Context, pool *client.Client, q *queueView, me string, named bool, query numbers) error {
	if (q.run || q.idle) && !q.batch && !q.totals {
		return nil // HTCondor has none there
	}
	if !q.totals {
		fmt.Fprintln(a.out)
	}
	fmt.Fprintf(a.out, "Total for query: %s \n", query.condor())
	if !named {
		own, err := pool.Summary(ctx, wire.Selection{})
		if err != nil {
			return err
		}
		fmt.Fprintf(a.out, "Total for %s: %s \n", printable(me), count(own).condor())
	}
	all, err := pool.Summary(ctx, wire.Selection{AllUsers: true})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "Total for all users: %s\n\n", count(all).condor())
	return nil
}

// condor writes numbers as HTCondor does. Jobs that have ended are never in the queue here.
func (n numbers) condor() string {
	return fmt.Sprintf("%d jobs; 0 completed, 0 removed, %d idle, %d running, %d held, %d suspended",
		n.jobs, n.idle, n.running, n.held, n.suspended)
}
