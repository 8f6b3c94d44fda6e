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
	Ad        *classad.Ad // as submitted and edited, chained to the cluster's ad; replaced, never changed
	Inputs    []File
	State     State
	Entered   time.Time // when State was entered
	Submitted time.Time
	Started   time.Time // first start; zero before it
	LastStart time.Time // latest start; zero before it
	LastLeft  time.Time `json:",omitzero"` // until when it ran last, or was heard of; zero before
	Ended     time.Time // zero while it has not

	Epoch Epoch  // of the latest offer; 0 before the first
	Claim *Claim // the claim that the latest offer made, while it may still come to something

	// Lingering is a claim that was taken from the job while it ran. Until its agent has said that nothing
	// of it runs, or its lease is over, a copy may be running, and the job is not offered again.
	Lingering *Claim

	Images    []Image // newest first, at most two
	Starts    int     // runs begun, restarts from an image included
	Evictions int
	Usage     Usage    // over all runs
	Avoid     []string // machines that gave an offer back or failed the job lately, newest last
	Result    *Result  // of the last run that ended by itself; nil before
	Delivered bool

	HoldReason  string
	HoldCode    int
	HoldSubCode int
	HeldOutputs []File // what the run left that led to the present hold
	LastHold    Hold   // the hold before the present state; zero if there was none
	LastReason  string // why the job last stopped running, in plain words
	RemoveText  string // why it was removed
	ReleaseText string // why it was last released

	LastState    State         // the state before State; 0 for none
	LastHost     string        // the slot of the run before
	Completions  int           // runs that ended by themselves
	Holds        int           // times held
	Suspensions  int           // times frozen where it ran, over all runs
	SuspendedFor time.Duration // time so spent, without a pause that lasts now
	Run          Usage         // of the present run as last measured; zero without one
	Executing    time.Time     // when the program of the present run began; zero while that is not known
	Stranded     time.Time     `json:",omitzero"` // since when no machine of the pool could go on from its images; zero if one could
	NoImage      string        // why it could not be checkpointed when that was last tried; empty if it could, or was not

	Kept time.Duration // processor time whose work the job still has: in an image, or because it has ended
	Lost time.Duration // and that whose work is gone: Usage has both

	fresh  *Cluster // nothing has happened to the job since this cluster made it
	edited bool     // its ad is not any more what its cluster says
}

// Hold is a hold that is over.
type Hold struct {
	Reason string
	Code   int
}

// Claim is where a job runs or is about to.
type Claim struct {
	ID      ClaimID
	Agent   AgentID
	Slot    string
	Machine string
	Started bool    // the agent has been granted the claim
	Lapsed  bool    // the lease ran out; it may revive until the next offer
	Saved   bool    `json:",omitempty"` // an image was made in it
	After   ClaimID `json:",omitempty"` // the claim of the slot whose report was answered with this one

	Lease time.Duration `json:",omitempty"` // that the agent was offered; 0 if that is not known
	Cpus  int64         `json:",omitempty"` // that the job gets; 0 if that is not known
}

const (
	keepImages = 2 // the newest may turn out damaged
	keepAvoid  = 3

	keepFailed = 16
)

// Apply gives the job after ev. It returns an error for an event that cannot follow on the job's
// state: in a replay that means a damaged log, before an append it means a stale request.
func (j Job) Apply(ev Event) (Job, error) {
	switch b := ev.Body.(type) {
	case *Offered:
		if j.State != Idle || b.Epoch != j.Epoch+1 || j.Lingering != nil {
			return j, j.misfit(ev)
		}
		if j.Claim != nil { // it has lapsed, and this is how its run ends
			j.leave(j.Run)
		}
		j.Epoch = b.Epoch
		j.Claim = &Claim{ID: b.Claim, Agent: b.Agent, Slot: b.Slot, Machine: b.Machine, After: b.After, Lease: b.Lease, Cpus: b.Cpus}
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
		j.claim(func(c *Claim) {
			c.Started = true
			if b.Slot != "" {
				c.Slot = b.Slot
			}
		})
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
		j.Suspensions++
		j.enter(Suspended, ev.At)
	case *Continued:
		if j.State != Suspended || !j.runs(b.Epoch) {
			return j, j.misfit(ev)
		}
		j.enter(Running, ev.At)
	case *Measured:
		if !j.runs(b.Epoch) {
			return j, j.misfit(ev)
		}
		j.Run = b.Usage
		if at := earlier(b.Executing, ev.At); !at.IsZero() && (j.Executing.IsZero() || at.Before(j.Executing)) {
			j.Executing = at
		}
		if b.Trial != nil {
			j.NoImage = b.Trial.Failed
		}
	case *Checkpointed:
		if !j.claimed(b.Epoch) || !j.Claim.Started {
			return j, j.misfit(ev)
		}
		j.NoImage = ""
		j.claim(func(c *Claim) { c.Saved = true })
		image := b.Image
		image.At = earlier(image.At, ev.At)
		if len(j.Images) > 0 { // what could not restore that one would most likely fail again
			image.Failed = without(j.Images[0].Failed, j.Claim.Machine)
		}
		j.Images = slices.Insert(slices.Clone(j.Images), 0, image)
		if len(j.Images) > keepImages {
			j.Images = j.Images[:keepImages]
		}
	case *RestoreFailed:
		n := slices.IndexFunc(j.Images, func(i Image) bool { return i.Digest == b.Digest })
		if !j.claimed(b.Epoch) || n < 0 || j.Images[n].FailedIn == b.Epoch {
			return j, j.misfit(ev)
		}
		j.Images = slices.Clone(j.Images)
		if j.Images[n].failed(b.Epoch, j.Claim); j.Images[n].spent() {
			j.dropImage(b.Digest)
		}
	case *ImageDropped:
		j.dropImage(b.Digest)
	case *Stranded:
		if j.State != Idle || b.Epoch != j.Epoch || b.Over == j.Stranded.IsZero() {
			return j, j.misfit(ev)
		}
		j.Stranded = ev.At
		if b.Over {
			j.Stranded = time.Time{}
		}
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
		j.Evictions++
		j.LastReason = b.Reason
		j.avoid(j.Claim.Machine)
		j.leave(b.Usage)
		j.enter(Idle, ev.At)
	case *Requeued:
		if !j.claimed(b.Epoch) || j.State.Ended() || j.State == Held {
			return j, j.misfit(ev)
		}
		j.LastReason = b.Reason
		j.complete(b.Result)
		j.enter(Idle, ev.At)
	case *Ended:
		if !b.Noop && !j.claimed(b.Epoch) || b.Noop && j.Claim != nil || j.State.Ended() || j.State == Held {
			return j, j.misfit(ev)
		}
		r := b.Result
		j.Result = &r
		j.Completions++
		j.conclude(r.Usage)
		j.Ended = ev.At
		j.enter(Completed, ev.At)
	case *HeldBack:
		if j.State.Ended() || j.State == Held || b.Result != nil && !j.claimed(b.Epoch) {
			return j, j.misfit(ev)
		}
		j.HoldReason, j.HoldCode, j.HoldSubCode, j.HeldOutputs = b.Reason, b.Code, b.SubCode, b.Outputs
		j.Holds++
		if c, own := j.Claim, b.Epoch == j.Epoch; c != nil && c.Started && (own || !c.Lapsed) {
			j.LastReason = b.Reason
			if !own {
				j.Lingering = c
			}
		}
		if b.Result != nil {
			j.complete(*b.Result)
		} else {
			j.leave(b.Usage)
		}
		if b.Exit != nil {
			j.Result = b.Exit
		}
		j.enter(Held, ev.At)
	case *Departed:
		if j.Lingering == nil || b.Epoch != j.Epoch {
			return j, j.misfit(ev)
		}
		j.Lingering = nil
	case *Released:
		if j.State != Held {
			return j, j.misfit(ev)
		}
		j.LastHold = Hold{j.HoldReason, j.HoldCode}
		j.HoldReason, j.HoldCode, j.HoldSubCode, j.HeldOutputs = "", 0, 0, nil
		j.ReleaseText = b.Reason
		j.enter(Idle, ev.At)
	case *Edited:
		if j.State.Ended() {
			return j, j.misfit(ev)
		}
		if err := j.edit(b.Set); err != nil {
			return j, err
		}
	case *Withdrawn:
		if j.State.Ended() {
			return j, j.misfit(ev)
		}
		j.LastReason, j.RemoveText = b.Reason, b.Reason
		j.Lingering = nil // it will not be offered again
		j.leave(b.Usage)
		j.Ended = ev.At
		j.enter(Removed, ev.At)
	case *Delivered:
		j.Delivered = true
	default:
		return j, j.misfit(ev)
	}
	j.fresh = nil
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

// OnHold says whether a job of the cluster begins its life held. Of a cluster with a table [Cluster.OnHold] knows.
func (b *Submitted) OnHold(proc int) bool {
	if proc < len(b.Procs) {
		if _, own := b.Procs[proc].Int("JobStatus"); own {
			return onHold(b.Procs[proc])
		}
	}
	return onHold(b.Ad)
}

func onHold(ad *classad.Ad) bool {
	status, _ := ad.Int("JobStatus")
	return State(status) == Held
}

// claimed reports whether e is the epoch of the job's present claim, started or not.
func (j *Job) claimed(e Epoch) bool { return j.Claim != nil && j.Epoch == e }

// runs reports whether the claim of that epoch has been granted and has not lapsed.
func (j *Job) runs(e Epoch) bool {
	return j.claimed(e) && j.Claim.Started && !j.Claim.Lapsed && j.State.runs()
}

// claim changes a copy of the present claim, since snapshots of the job may still be read.
func (j *Job) claim(change func(*Claim)) {
	c := *j.Claim
	change(&c)
	j.Claim = &c
}

func (j *Job) enter(s State, at time.Time) {
	if j.State == Suspended {
		j.SuspendedFor += at.Sub(j.Entered)
	}
	if j.State.runs() && !s.runs() {
		j.LastLeft = at
	}
	j.LastState, j.State, j.Entered = j.State, s, at
	j.Stranded = time.Time{}
}

// complete ends the present claim with a run that has ended by itself, after which the job may be run again.
func (j *Job) complete(r Result) {
	j.Result = &r
	j.Images = nil // they are of a run that has come to its end
	j.Completions++
	j.conclude(r.Usage)
	j.Kept = 0 // what it did was done, and the next run begins anew
}

// leave ends the present claim, if there is one, before the job has ended by itself, and adds what its run has
// used. What it has done since its newest image is lost.
func (j *Job) leave(u Usage) {
	kept, saved := j.Kept, j.Claim != nil && j.Claim.Saved
	j.conclude(u)
	if saved {
		kept = max(kept, min(j.Kept, j.imaged()))
	}
	j.keep(kept)
}

// dropImage gives an image up, and the work that is in no other.
func (j *Job) dropImage(d blob.Digest) {
	j.Images = slices.DeleteFunc(slices.Clone(j.Images), func(i Image) bool { return i.Digest == d })
	j.keep(min(j.Kept, j.imaged()))
}

// keep notes that of the work that was kept only so much is still there.
func (j *Job) keep(kept time.Duration) {
	j.Lost += j.Kept - kept
	j.Kept = kept
}

// imaged is the processor time whose work is in the newest image. Of one that the job made itself it is not known,
// and taken to be all.
func (j *Job) imaged() time.Duration {
	switch {
	case len(j.Images) == 0:
		return 0
	case j.Images[0].Kind == FileImage:
		return j.Kept
	}
	return j.Images[0].Usage.cpu()
}

// conclude ends the present claim, if there is one, and adds what its run has used.
func (j *Job) conclude(u Usage) {
	j.Kept += u.cpu()
	j.Usage = j.Usage.Add(u)
	j.Run, j.Executing = Usage{}, time.Time{}
	if j.Claim != nil {
		j.LastHost = j.Claim.Slot
		j.Claim = nil
	}
}

// edit replaces the job's own ad, since the old one may still be read.
func (j *Job) edit(set []Assigned) error {
	ad := j.Ad.Clone()
	for _, a := range set {
		e, err := classad.ParseExpr(a.Expr)
		if err != nil {
			return fmt.Errorf("job %v: set %s: %w", j.ID, a.Name, err)
		}
		ad.Set(a.Name, e)
	}
	j.Ad, j.edited = ad, true
	return nil
}

// earlier bounds a time by a machine's clock, which may be ahead, by that of the event that tells it.
func earlier(at, told time.Time) time.Time {
	if at.After(told) {
		return told
	}
	return at
}

func (j *Job) avoid(machine string) {
	j.Avoid = newest(append(without(j.Avoid, machine), machine), keepAvoid)
}

func without(list []string, machine string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(m string) bool { return m == machine })
}

func newest(list []string, n int) []string { return list[max(0, len(list)-n):] }

func (j *Job) misfit(ev Event) error {
	return fmt.Errorf("job %v, %v in epoch %d: event %s does not fit", j.ID, j.State, j.Epoch, ev.Body.Kind())
}
