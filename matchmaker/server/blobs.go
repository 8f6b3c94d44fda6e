package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"skua/internal/blob"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/matchmaker/files"
	"skua/matchmaker/queue"
)

// authorise judges a capability that somebody shows to the file service.
//
// A user's own capability is for whatever the user has here. That of a run is only good while the run
// is the job's latest: it writes, and it reads what the job owns, which are its inputs and its images
// with their chunks. Of members who have been put out of the pool neither is good any more.
func (h *Head) authorise(token string, mode files.Mode, d blob.Digest) (files.Grant, error) {
	c, err := h.signer.Verify(token, time.Now())
	switch {
	case errors.Is(err, trust.ErrCapabilityExpired):
		return files.Grant{}, &diag.Problem{What: "the capability has expired", Err: err}
	case err != nil:
		return files.Grant{}, err
	case (c.Mode == trust.Write) != (mode == files.Write):
		return files.Grant{}, &diag.Problem{What: fmt.Sprintf("the capability is to %s, not to %v", c.Mode, mode)}
	case c.Digest != "" && c.Digest != string(d):
		return files.Grant{}, &diag.Problem{What: "the capability is for another file"}
	}
	if c.User == everyone {
		if c.Digest != string(d) {
			return files.Grant{}, &diag.Problem{What: "the capability names no file"}
		}
		return files.Grant{User: everyone, Any: true}, nil
	}
	grant := files.Grant{User: job.UserID(c.User)}
	if c.Job == "" {
		if c.Digest == "" && h.roster.PutOut(c.User) { // one for a single file is a matchmaker's, who keeps files for the user's return
			return files.Grant{}, errPutOut
		}
		return grant, nil
	}
	if grant.Job, err = job.ParseID(c.Job); err != nil {
		return files.Grant{}, err
	}
	j, ok := h.queue.Load().Job(grant.Job)
	if h.cluster != nil && h.core.Load() == nil && (!ok || uint64(j.Epoch) < c.Epoch || j.Claim == nil && uint64(j.Epoch) == c.Epoch) {
		return files.Grant{}, files.ErrLater // the log, which we follow, may tell of the run any moment
	}
	if !ok || j.User != grant.User || j.Claim == nil || uint64(j.Epoch) != c.Epoch {
		return files.Grant{}, &diag.Problem{What: "this run of the job has been superseded or is over"}
	}
	if h.roster.PutOut(string(j.Claim.Agent)) {
		return files.Grant{}, errPutOut
	}
	if mode == files.Write || h.owns(j, d) {
		return grant, nil
	}
	return files.Grant{}, &diag.Problem{What: "the file is none of this job's"}
}

var errPutOut = &diag.Problem{What: "whoever this capability was given to has been put out of the pool"}

// owns says whether d is an input of the job, one of its images, or a part of one.
func (h *Head) owns(j *job.Job, d blob.Digest) bool {
	if slices.ContainsFunc(j.Inputs, func(f job.File) bool { return f.Digest == d }) {
		return true
	}
	if _, ok := j.Image(d); ok {
		return true
	}
	for _, img := range j.Images {
		has, err := h.trees.Contains(context.Background(), img.Digest, h.imageKey(j.ID), d)
		if err != nil {
			h.log.Warn("image cannot be read", diag.KeyJob, j.ID, "image", img.Digest.Short(), diag.KeyError, err)
		}
		if has {
			return true
		}
	}
	return false
}

// settle makes the parts of an image durable, which are so only now unless there are other matchmakers. The error is
// [blob.ErrNotFound] when some of them are not here.
func (h *Head) settle(ctx context.Context, id job.ID, image blob.Digest) error {
	if h.others != nil {
		return nil // each has been since it was put, and perhaps elsewhere
	}
	m, err := h.trees.Load(ctx, image, h.imageKey(id))
	if errors.Is(err, blob.ErrMismatch) {
		err = fmt.Errorf("%w: %w", blob.ErrNotFound, err) // it has been dropped
	}
	if err != nil {
		return err
	}
	parts := []blob.Digest{image}
	for _, c := range m.Chunks {
		parts = append(parts, c.Digest)
	}
	missing, err := h.store.Settle(parts...)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("%d of the %d parts of image %s: %w", len(missing), len(parts), image.Short(), blob.ErrNotFound)
	}
	return err
}

// When blobs go. What a job or the name of a runtime root refers to stays; outputs that nobody fetches do so for ten days,
// and until the log says that these are over, see [Server.expireOutputs].
const (
	sweepEvery  = time.Hour
	sweepAge    = 24 * time.Hour // covers the time from an upload to the event that refers to it
	keepResults = 10 * 24 * time.Hour
)

// sweep removes the blobs that nothing needs any more, from time to time.
func (h *Head) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			live, err := h.liveBlobs(ctx, now)
			if err == nil {
				_, err = h.files.Sweep(func(d blob.Digest) bool { return live[d] }, sweepAge)
			}
			if err != nil && ctx.Err() == nil {
				h.log.Warn("unused blobs are not removed", diag.KeyError, err)
			}
		}
	}
}

// liveBlobs gives every blob that is needed. An error means that it is not known, and that nothing
// may be removed.
func (h *Head) liveBlobs(ctx context.Context, now time.Time) (map[blob.Digest]bool, error) {
	needs, err := h.neededBlobs(ctx, now, func(j *job.Job, img job.Image) ([]blob.Chunk, error) { return h.partsOf(ctx, j, img) })
	live := map[blob.Digest]bool{}
	for n := range needs {
		live[n.Digest] = true
	}
	return live, err
}

// neededBlobs is liveBlobs with who needs them. parts gives those of an image that are needed beside itself.
func (h *Head) neededBlobs(ctx context.Context, now time.Time, parts func(*job.Job, job.Image) ([]blob.Chunk, error)) (map[queue.Need]bool, error) {
	live := h.queue.Load().Needs()
	named, err := h.runtimes.list(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range named {
		live[queue.Need{Digest: r.Digest, User: files.Pool}] = true
	}
	for j := range h.queue.Load().Stirred {
		addOutputs(live, j.User, j.HeldOutputs)
		if j.Result != nil { // of a run after which the job goes on
			addOutputs(live, j.User, j.Result.Outputs)
		}
		for _, img := range j.Images {
			live[queue.Need{Digest: img.Digest, User: j.User}] = true
			chunks, err := parts(j, img)
			if err != nil {
				return nil, err
			}
			for _, c := range chunks {
				live[queue.Need{Digest: c.Digest, User: j.User}] = true
			}
		}
	}
	for _, j := range h.queue.Load().History("") {
		if j.Result == nil || j.Delivered || j.State == job.Removed && now.Sub(j.Ended) > keepResults {
			continue
		}
		addOutputs(live, j.User, j.Result.Outputs)
	}
	return live, nil
}

// partsOf reads which chunks an image has. There are none of one that is not here yet, or that is damaged.
func (h *Head) partsOf(ctx context.Context, j *job.Job, img job.Image) ([]blob.Chunk, error) {
	m, err := h.trees.Load(ctx, img.Digest, h.imageKey(j.ID))
	switch {
	case errors.Is(err, blob.ErrNotFound), errors.Is(err, blob.ErrMismatch),
		errors.Is(err, blob.ErrSealed), errors.Is(err, blob.ErrManifest):
		if h.others == nil || !errors.Is(err, blob.ErrNotFound) { // else it has yet to be fetched
			h.log.Warn("image is damaged", diag.KeyJob, j.ID, "image", img.Digest.Short(), diag.KeyError, err)
		}
		return nil, nil // its chunks are of no use to anybody
	case err != nil:
		return nil, fmt.Errorf("chunks of image %s of job %v: %w", img.Digest.Short(), j.ID, err)
	}
	return m.Chunks, nil
}

// addOutputs adds what did not come with the report itself.
func addOutputs(live map[queue.Need]bool, user job.UserID, outputs []job.File) {
	for _, f := range outputs {
		if f.Digest != "" {
			live[queue.Need{Digest: f.Digest, User: user}] = true
		}
	}
}
