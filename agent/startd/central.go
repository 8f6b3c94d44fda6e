package startd

import (
	"context"
	"math/rand/v2"
	"time"

	"skua/internal/central"
	"skua/internal/diag"
	"skua/internal/pause"
	"skua/internal/wire"
)

// Central takes in what the pool says of the policy of a group of machines. Its methods may be called from
// any goroutine.
type Central interface {
	Group() string                    // the group that is asked about
	Take(signed []byte)               // what the pool has signed for it, which may be known already or no good
	Standing() (central.Policy, bool) // what is in force of it; false for nothing
}

// When the central policy is asked for. A push is a hint: who missed it finds out in a while.
const (
	policyEvery    = time.Hour
	policyPatience = 10 * time.Second // of one question
	policyRetry    = 30 * time.Second // after a question without an answer; twice as long after each further one
	policyDelay    = time.Second      // after a hint, since a thousand agents get it at once
	policyJitter   = 2 * time.Second
)

// centralPolicy is the central policy that counts here.
func (d *Daemon) centralPolicy() (central.Policy, bool) {
	if d.cfg.Central == nil {
		return central.Policy{}, false
	}
	return d.cfg.Central.Standing()
}

// fetchPolicySoon has the central policy asked for: there may be another one.
func (d *Daemon) fetchPolicySoon() {
	select {
	case d.policyNow <- struct{}{}:
	default:
	}
}

// followCentral keeps up with the central policy until ctx ends. It asks when the connection has come up,
// when it is told to, and now and then.
func (d *Daemon) followCentral(ctx context.Context) error {
	timer := time.NewTimer(policyRetry)
	defer timer.Stop()
	retry := policyRetry
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-d.policyNow:
			// Whoever says something new meanwhile is asked once more, with the same delay: it takes the
			// matchmakers a moment until all of them know of a policy.
			if pause.For(ctx, policyDelay+rand.N(policyJitter)) != nil {
				return nil
			}
		}
		if err := d.fetchPolicy(ctx); err != nil {
			d.log.Debug("the central policy is not known to be up to date", diag.KeyError, err)
			timer.Reset(retry/2 + rand.N(retry))
			retry = min(2*retry, policyEvery)
			continue
		}
		retry = policyRetry
		timer.Reset(policyEvery/2 + rand.N(policyEvery))
	}
}

// fetchPolicy asks for the central policy, and has the answer taken in.
func (d *Daemon) fetchPolicy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, policyPatience)
	defer cancel()
	question, err := wire.Encode(wire.AskPolicy{V: wire.Version, Group: d.cfg.Central.Group()})
	if err != nil {
		return err
	}
	data, err := d.cfg.Bus.Request(ctx, wire.AgentSubject(d.cfg.Agent, wire.VerbPolicy), question)
	if err != nil {
		return err
	}
	answer, err := wire.Decode[wire.CentralPolicy](data)
	if err == nil {
		err = answer.Fail.Err()
	}
	if err != nil {
		return err
	}
	// A matchmaker that knows of no policy may have lost it: only a signed word takes one back.
	if len(answer.Signed) > 0 {
		d.cfg.Central.Take(answer.Signed)
	}
	return nil
}
