package job

// TenancyPhase is where the agent's half of a claim stands.
type TenancyPhase int

// The phases of a tenancy.
//
//	Free ─offer─► Accepting ─grant─► Holding ◄─grant─ Overdue
//	                 │ gone, no answer   └──lease over──►┘ │ gone
//	                 ▼                                     ▼
//	               Free ◄──acknowledged── Reporting ◄─ended─ Holding, Overdue
//	            Holding ◄──with the next──┘
const (
	Free      TenancyPhase = iota // no claim
	Accepting                     // the claim is on disk, the acceptance sent
	Holding                       // the job runs under a lease
	Overdue                       // the lease ran out: the job is frozen until a grant or its end
	Reporting                     // it is over; the report is on disk and resent until acknowledged
)

func (p TenancyPhase) String() string {
	return [...]string{"Free", "Accepting", "Holding", "Overdue", "Reporting"}[p]
}

// Tenancy is the agent's half of a claim. The matchmaker's half is [Grant].
//
// The job runs only in Holding. The lease counts from the moment the renewal was sent that a grant
// answers, never from when the answer came.
type Tenancy struct {
	Phase   TenancyPhase
	Job     ID
	Claim   ClaimID
	Epoch   Epoch
	Until   Instant // Accepting: when to give up; Holding: when the lease ends
	Resend  Instant // when to send the acceptance, renewal or report again
	Expires bool    // whether Until means anything
}

// Act is something the agent must do for its half of the claim, in the order given.
type Act int

// The acts of a tenancy.
const (
	PersistClaim  Act = iota // write the claim file, fsync
	PersistNext              // put the next claim into its place, for a restarted agent; fsync it before the first renewal
	SendAccept               // send the acceptance, noting when
	SendRenew                // send a renewal, noting when
	SendReport               // send the report (it is on disk)
	StartJob                 // the grant is there: run
	FreezeOverdue            // the lease ran out
	ThawOverdue              // the lease is good again
	KillJob                  // the claim is dead: end the job at once, nothing of it counts
	ForgetClaim              // remove the claim file and all that belongs to it
)

// Take begins a tenancy with an offer. It is refused unless the slot is free.
func (t Tenancy) Take(id ID, claim ClaimID, epoch Epoch, now Instant, terms Terms) (Tenancy, []Act, bool) {
	if t.Phase != Free {
		return t, nil, false
	}
	t = Tenancy{
		Phase: Accepting, Job: id, Claim: claim, Epoch: epoch,
		Until: now.Add(terms.Offer), Resend: now.Add(terms.Resend), Expires: true,
	}
	return t, []Act{PersistClaim, SendAccept}, true
}

// Readopt begins the tenancy that a restarted agent finds in its claim file together with a job that
// still runs. until is what the job's init was last told of the lease.
func Readopt(id ID, claim ClaimID, epoch Epoch, until, now Instant, terms Terms) (Tenancy, []Act) {
	t := Tenancy{Phase: Holding, Job: id, Claim: claim, Epoch: epoch, Until: until, Expires: true}
	t.Resend = now.Add(terms.Resend)
	acts := []Act{SendRenew}
	if now >= until {
		t.Phase = Overdue
		acts = append([]Act{FreezeOverdue}, acts...)
	}
	return t, acts
}

// ReadoptReport begins the tenancy of a restarted agent whose claim had already come to its end.
func ReadoptReport(id ID, claim ClaimID, epoch Epoch, now Instant, terms Terms) (Tenancy, []Act) {
	t := Tenancy{Phase: Reporting, Job: id, Claim: claim, Epoch: epoch, Resend: now.Add(terms.Resend)}
	return t, []Act{SendReport}
}

// Granted takes a grant that answers the request sent at sent.
func (t Tenancy) Granted(claim ClaimID, sent, now Instant, terms Terms) (Tenancy, []Act) {
	if t.Claim != claim {
		return t, nil // an answer to an earlier claim
	}
	until := sent.Add(terms.Lease)
	if now >= until {
		return t, nil // it was too long on its way to be of any use
	}
	switch t.Phase {
	case Accepting:
		t.Phase, t.Until = Holding, until
		t.Resend = now.Add(terms.Renew)
		return t, []Act{StartJob}
	case Holding:
		t.Until = max(t.Until, until)
		t.Resend = now.Add(terms.Renew)
	case Overdue:
		t.Phase, t.Until, t.Expires = Holding, until, true
		t.Resend = now.Add(terms.Renew)
		return t, []Act{ThawOverdue}
	}
	return t, nil
}

// Gone takes the word that the claim is dead.
func (t Tenancy) Gone(claim ClaimID) (Tenancy, []Act) {
	if t.Claim != claim || t.Phase == Free {
		return t, nil
	}
	return Tenancy{}, []Act{KillJob, ForgetClaim}
}

// End begins the report of how the claim came to its end; the caller has put the report on disk.
func (t Tenancy) End(now Instant, terms Terms) (Tenancy, []Act) {
	switch t.Phase {
	case Accepting, Holding, Overdue:
		t.Phase, t.Expires = Reporting, false
		t.Resend = now.Add(terms.Resend)
		return t, []Act{SendReport}
	}
	return t, nil
}

// Acknowledged ends the tenancy once the report has arrived, whether or not it counted.
func (t Tenancy) Acknowledged(claim ClaimID) (Tenancy, []Act) {
	if t.Claim != claim || t.Phase != Reporting {
		return t, nil
	}
	return Tenancy{}, []Act{ForgetClaim}
}

// Next is a claim that comes to the slot in the answer to a report.
type Next struct {
	Job   ID
	Claim ClaimID
	Epoch Epoch
}

// Succeed ends the tenancy as [Tenancy.Acknowledged] does and goes on with the next one, which the answer to
// the report sent at sent has granted for a short time. It is false when there is nothing to go on with:
// the report was answered before, or the answer was too long on its way. terms are those of the next claim.
func (t Tenancy) Succeed(claim ClaimID, next Next, sent, now Instant, terms Terms) (Tenancy, []Act, bool) {
	until := sent.Add(terms.First())
	if t.Claim != claim || t.Phase != Reporting || now >= until {
		return t, nil, false
	}
	// Renewed early: until then it stands for no longer than an offer would.
	t = Tenancy{
		Phase: Holding, Job: next.Job, Claim: next.Claim, Epoch: next.Epoch,
		Until: until, Resend: now.Add(min(terms.Renew, terms.First()/3)), Expires: true,
	}
	return t, []Act{PersistNext, StartJob}, true
}

// Tick looks at the clock.
func (t Tenancy) Tick(now Instant, terms Terms) (Tenancy, []Act) {
	var acts []Act
	if t.Expires && now >= t.Until {
		switch t.Phase {
		case Accepting: // the matchmaker has long given up this offer
			return Tenancy{}, []Act{ForgetClaim}
		case Holding:
			t.Phase, t.Expires = Overdue, false
			t.Resend = now
			acts = append(acts, FreezeOverdue)
		}
	}
	if t.Phase == Free || now < t.Resend {
		return t, acts
	}
	t.Resend = now.Add(terms.Resend)
	switch t.Phase {
	case Accepting:
		return t, append(acts, SendAccept)
	case Holding, Overdue:
		return t, append(acts, SendRenew)
	default:
		return t, append(acts, SendReport)
	}
}

// Due gives the next instant at which Tick has something to do; false when there is none.
func (t Tenancy) Due() (Instant, bool) {
	if t.Phase == Free {
		return 0, false
	}
	if t.Expires && t.Until < t.Resend {
		return t.Until, true
	}
	return t.Resend, true
}
