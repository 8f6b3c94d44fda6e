package job

import (
	"fmt"
	"slices"
	"time"

	"skua/internal/blob"
	"skua/policy/classad"
)

// Job is one job as the queue knows it: what all its events add up to.
type Job struct {
	ID        ID
	User      UserID
	Owner     string      // the user's name, as people know it
	Ad        *classad.Ad // as submitted, chained to the cluster's ad; never changed
	Inputs    []File
	State     State
	Entered   time.Time // when State was entered
	Submitted time.Time
	Started   time.Time // first start; zero before it
	LastStart time.Time // latest start; zero before it
	Ended     time.Time // zero while it has not

	Epoch Epoch  // of the latest offer; 0 before the first
	Claim *Claim // the claim that the latest offer made, while it may still come to something

	Images    []Image // newest first, at most two
	Starts    int     // runs begun, restarts from an image included
	Evictions int
	Usage     Usage    // over all runs
	Avoid     []string // machines that gave an offer back or failed the job lately, newest last
	Result    *Result
	Delivered bool

	HoldReason string
	HoldCode   int
	LastReason string // why the job last stopped running, in plain words
}

// Claim is where a job runs or is about to.
type Claim struct {
	ID      ClaimID
	Agent   AgentID
	Slot    string
	Machine string
	Started bool // the agent has been granted the claim
	Lapsed  bool // the lease ran out; it may revive until the next offer
}

const (
	keepImages = 2 // the newest may turn out damaged
	keepAvoid  = 3
)

// Apply gives the job after ev. It returns an error for an event that cannot follow on the job's
// state: in a replay that means a damaged log, before an append it means a stale request.
func (j Job) Apply(ev Event) (Job, error) {
	switch b := ev.Body.(type) {
	case *Offered:
		if j.State != Idle || b.Epoch != j.Epoch+1 {
			return j, j.misfit(ev)
		}
		j.Epoch = b.Epoch
		j.Claim = &Claim{ID: b.Claim, Agent: b.Agent, Slot: b.Slot, Machine: b.Machine}
	case *Declined:
		if !j.claimed(b.Epoch) || j.Claim.Started {
			return j, j.misfit(ev)
		}
		j.avoid(j.Claim.Machine)
		j.Claim = nil
	case *Started:
		if !j.claimed(b.Epoch) || j.Claim.Started {
			return j, j.misfit(ev)
		}
		j.claim(func(c *Claim) { c.Started = true })
		j.enter(Running, ev.At)
		j.Starts++
		j.LastStart = ev.At
		if j.Started.IsZero() {
			j.Started = ev.At
		}
	case *Paused:
		if j.State != Running || !j.runs(b.Epoch) {
			return j, j.misfit(ev)
		}
		j.LastReason = b.Reason
		j.enter(Suspended, ev.At)
	case *Continued:
		if j.State != Suspended || !j.runs(b.Epoch) {
			return j, j.misfit(ev)
		}
		j.enter(Running, ev.At)
	case *Checkpointed:
		if !j.claimed(b.Epoch) || !j.Claim.Started {
			return j, j.misfit(ev)
		}
		j.Images = slices.Insert(slices.Clone(j.Images), 0, b.Image)
		if len(j.Images) > keepImages {
			j.Images = j.Images[:keepImages]
		}
	case *ImageDropped:
		j.Images = slices.DeleteFunc(slices.Clone(j.Images), func(i Image) bool { return i.Digest == b.Digest })
	case *Lapsed:
		if !j.runs(b.Epoch) {
			return j, j.misfit(ev)
		}
		j.claim(func(c *Claim) { c.Lapsed = true })
		j.LastReason = "nothing was heard of " + j.Claim.Machine + " until its lease ran out"
		j.avoid(j.Claim.Machine)
		j.enter(Idle, ev.At)
	case *Revived:
		if !j.claimed(b.Epoch) || !j.Claim.Lapsed || j.State != Idle {
			return j, j.misfit(ev)
		}
		j.claim(func(c *Claim) { c.Lapsed = false })
		j.enter(Running, ev.At)
	case *Evicted:
		if !j.claimed(b.Epoch) {
			return j, j.misfit(ev)
		}
		j.Usage = j.Usage.Add(b.Usage)
		j.Evictions++
		j.LastReason = b.Reason
		j.avoid(j.Claim.Machine)
		j.Claim = nil
		j.enter(Idle, ev.At)
	case *Ended:
		if !j.claimed(b.Epoch) || j.State.Ended() || j.State == Held {
			return j, j.misfit(ev)
		}
		r := b.Result
		j.Result = &r
		j.Usage = j.Usage.Add(r.Usage)
		j.Claim = nil
		j.Ended = ev.At
		j.enter(Completed, ev.At)
	case *HeldBack:
		if j.State.Ended() || j.State == Held {
			return j, j.misfit(ev)
		}
		j.HoldReason, j.HoldCode = b.Reason, b.Code
		j.Usage = j.Usage.Add(b.Usage)
		j.Claim = nil
		j.enter(Held, ev.At)
	case *Released:
		if j.State != Held {
			return j, j.misfit(ev)
		}
		j.HoldReason, j.HoldCode = "", 0
		j.enter(Idle, ev.At)
	case *Withdrawn:
		if j.State.Ended() {
			return j, j.misfit(ev)
		}
		j.LastReason = b.Reason
		j.Claim = nil
		j.Ended = ev.At
		j.enter(Removed, ev.At)
	case *Delivered:
		j.Delivered = true
	default:
		return j, j.misfit(ev)
	}
	return j, nil
}

// Image gives the newest image with that digest, if the job has it.
func (j *Job) Image(d blob.Digest) (Image, bool) {
	for _, i := range j.Images {
		if i.Digest == d {
			return i, true
		}
	}
	return Image{}, false
}

// OnHoldReason is why a job is held whose description says hold = true.
const OnHoldReason = "submitted on hold at the user's request"

// OnHold says whether a job of the cluster begins its life held.
func (b *Submitted) OnHold(proc int) bool {
	ad := b.Procs[proc]
	if _, own := ad.Int("JobStatus"); !own {
		ad = b.Ad
	}
	return onHold(ad)
}

func onHold(ad *classad.Ad) bool {
	status, _ := ad.Int("JobStatus")
	return State(status) == Held
}

// Create gives the jobs of a new cluster.
func Create(ev Event) ([]Job, error) {
	b, ok := ev.Body.(*Submitted)
	if !ok {
		return nil, fmt.Errorf("a cluster starts with a submitted event, not with %s", ev.Body.Kind())
	}
	if len(b.Inputs) > 1 && len(b.Inputs) != len(b.Procs) {
		return nil, fmt.Errorf("cluster %d: %d input lists for %d procs", b.Cluster, len(b.Inputs), len(b.Procs))
	}
	if b.Ad == nil || len(b.Procs) == 0 || slices.Contains(b.Procs, nil) {
		return nil, fmt.Errorf("cluster %d: it has no procs, or ads are missing", b.Cluster)
	}
	jobs := make([]Job, len(b.Procs))
	for i, ad := range b.Procs {
		ad.SetParent(b.Ad)
		jobs[i] = Job{
			ID: ID{b.Cluster, i}, User: b.User, Owner: b.Owner, Ad: ad,
			State: Idle, Entered: ev.At, Submitted: ev.At,
		}
		if b.OnHold(i) {
			jobs[i].State, jobs[i].HoldReason, jobs[i].HoldCode = Held, OnHoldReason, HoldOnSubmit
		}
		switch len(b.Inputs) {
		case 0:
		case 1:
			jobs[i].Inputs = b.Inputs[0]
		default:
			jobs[i].Inputs = b.Inputs[i]
		}
	}
	return jobs, nil
}

// claimed reports whether e is the epoch of the job's present claim, started or not.
func (j *Job) claimed(e Epoch) bool { return j.Claim != nil && j.Epoch == e }

// runs reports whether the claim of that epoch has been granted and has not lapsed.
func (j *Job) runs(e Epoch) bool {
	return j.claimed(e) && j.Claim.Started && !j.Claim.Lapsed && (j.State == Running || j.State == Suspended)
}

// claim changes a copy of the present claim, since snapshots of the job may still be read.
func (j *Job) claim(change func(*Claim)) {
	c := *j.Claim
	change(&c)
	j.Claim = &c
}

func (j *Job) enter(s State, at time.Time) { j.State, j.Entered = s, at }

func (j *Job) avoid(machine string) {
	list := slices.DeleteFunc(slices.Clone(j.Avoid), func(m string) bool { return m == machine })
	list = append(list, machine)
	if len(list) > keepAvoid {
		list = list[1:]
	}
	j.Avoid = list
}

func (j *Job) misfit(ev Event) error {
	return fmt.Errorf("job %v, %v in epoch %d: event %s does not fit", j.ID, j.State, j.Epoch, ev.Body.Kind())
}
