package job

// GrantPhase is where the matchmaker's half of a claim stands.
type GrantPhase int

// The phases of a grant.
//
//	Offering ──accept──► Granted ──lease over──► Expired ──renew──► Granted
//	    └──no answer──► Over      done, vacated: ──► Over      new offer: replaced
//
// A claim that is given in the answer to the report of the one before begins in Granted.
const (
	Offering GrantPhase = iota // the offer is logged and sent
	Granted                    // the agent runs the job under a lease
	Expired                    // the lease ran out; no new offer has been made yet
	Over                       // nothing that carries this epoch counts any more
)

func (p GrantPhase) String() string {
	return [...]string{"Offering", "Granted", "Expired", "Over"}[p]
}

// Grant is the matchmaker's half of a claim. The agent's half is [Tenancy].
type Grant struct {
	Job   ID
	Claim ClaimID
	Epoch Epoch
	Agent AgentID
	Phase GrantPhase
	Until Instant // when the offer or the lease runs out, on the matchmaker's lease clock

	// Given is set on a claim that was given in the answer to a report, until its agent is heard of about it.
	Given bool
}

// Ruling is what the matchmaker answers, and what it must log before it does.
type Ruling int

// The rulings of a [Grant].
const (
	NoRuling Ruling = iota
	Grants          // the claim stands; send the terms
	Gone            // the claim is dead; the agent must kill the job
	Counts          // the result counts: log it, then acknowledge
	Stale           // the result does not count: acknowledge, so that the agent forgets it
)

// Record names the event that must be logged before a ruling is sent.
type Record int

// The records that a step of a [Grant] may ask for.
const (
	NoRecord      Record = iota
	RecordStart          // Started
	RecordRevival        // Revived
	RecordDecline        // Declined: no answer in time
	RecordLapse          // Lapsed
)

// Offer begins the matchmaker's half at the moment the offer is sent.
func Offer(id ID, claim ClaimID, epoch Epoch, agent AgentID, now Instant, t Terms) Grant {
	return Grant{Job: id, Claim: claim, Epoch: epoch, Agent: agent, Phase: Offering, Until: now.Add(t.Offer)}
}

// Give begins the matchmaker's half of a claim that the answer to the report of another brings to the same
// slot. It is granted with the answer, for [Terms.First] from when the report was sent; the report came
// before now.
func Give(id ID, claim ClaimID, epoch Epoch, agent AgentID, now Instant, t Terms) Grant {
	return Grant{
		Job: id, Claim: claim, Epoch: epoch, Agent: agent, Phase: Granted, Given: true, Until: now.Add(t.outlives(t.First())),
	}
}

// GiveAgain answers an agent that repeats the report whose answer brought this claim. As long as nothing was
// heard of the claim the answer may have been lost, and is repeated too.
func (g Grant) GiveAgain(agent AgentID, now Instant, t Terms) (Grant, bool) {
	if g.Agent != agent || g.Phase != Granted || !g.Given {
		return g, false
	}
	g.Until = max(g.Until, now.Add(t.outlives(t.First())))
	return g, true
}

// Returned answers an agent that does not want a claim that it was given. It has not begun it.
func (g Grant) Returned(agent AgentID, claim ClaimID) (Grant, bool) {
	if !g.names(agent, claim) || g.Phase != Granted || !g.Given {
		return g, false
	}
	g.Phase, g.Given = Over, false
	return g, true
}

// Recover rebuilds the half of a claim that a restarted matchmaker finds in its log. It gets one full
// fresh lease: the agent may have renewed just before the restart, and nobody remembers when.
func Recover(id ID, epoch Epoch, c Claim, now Instant, t Terms) Grant {
	g := Grant{Job: id, Claim: c.ID, Epoch: epoch, Agent: c.Agent, Given: c.After != "" && c.Started && !c.Lapsed}
	switch {
	case c.Lapsed:
		g.Phase = Expired
	case c.Started:
		g.Phase, g.Until = Granted, now.Add(t.Outlives())
	default:
		g.Phase, g.Until = Offering, now.Add(t.Offer)
	}
	return g
}

// Accept answers an agent that takes the offer, or asks again whether it has it.
func (g Grant) Accept(agent AgentID, claim ClaimID, now Instant, t Terms) (Grant, Record, Ruling) {
	return g.Renew(agent, claim, now, t)
}

// Renew answers an agent that holds the claim. The lease counts from now: the request was sent
// earlier, and the agent counts from when it sent it. A renewal in the offering phase means that the
// acceptance was lost, so it is one.
func (g Grant) Renew(agent AgentID, claim ClaimID, now Instant, t Terms) (Grant, Record, Ruling) {
	if !g.names(agent, claim) {
		return g, NoRecord, Gone
	}
	record := NoRecord
	switch g.Phase {
	case Offering:
		record = RecordStart
	case Granted:
	case Expired:
		record = RecordRevival
	default:
		return g, NoRecord, Gone
	}
	g.Phase, g.Given, g.Until = Granted, false, now.Add(t.Outlives())
	return g, record, Grants
}

// Finish answers an agent that reports how the claim ended: a result, an eviction or a failure. A
// late result of an expired claim counts as long as no new offer was made.
func (g Grant) Finish(agent AgentID, claim ClaimID) (Grant, Ruling) {
	if !g.names(agent, claim) || g.Phase == Over {
		return g, Stale
	}
	g.Phase, g.Given = Over, false
	return g, Counts
}

// Store answers an agent that asks whether a checkpoint of this claim counts.
func (g Grant) Store(agent AgentID, claim ClaimID) Ruling {
	if !g.names(agent, claim) || (g.Phase != Granted && g.Phase != Expired) {
		return Stale
	}
	return Counts
}

// Tick looks at the clock.
func (g Grant) Tick(now Instant) (Grant, Record) {
	if now < g.Until {
		return g, NoRecord
	}
	switch g.Phase {
	case Offering:
		g.Phase = Over
		return g, RecordDecline
	case Granted:
		g.Phase, g.Given = Expired, false
		return g, RecordLapse
	}
	return g, NoRecord
}

// Due reports whether Tick has something to wait for, and until when.
func (g Grant) Due() (Instant, bool) {
	return g.Until, g.Phase == Offering || g.Phase == Granted
}

func (g Grant) names(agent AgentID, claim ClaimID) bool { return g.Agent == agent && g.Claim == claim }
