package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
)

// onAgent takes an agent's word about a claim to the claim's keeper. A claim that has none is dead.
//
// A matchmaker whose log has a new leader would wrongly call that one's claims dead until it notices. With
// the broker built in there is never a second one on the same bus.
func (s *Server) onAgent(ctx context.Context, m bus.Msg) {
	id, verb := wire.Sender(m.Subject)
	agent := job.AgentID(id)
	var err error
	switch verb {
	case wire.VerbAccept:
		var a wire.Accept
		if a, err = wire.Decode[wire.Accept](m.Data); err != nil {
			break
		}
		kept := s.entrust(a.Job, func(ctx context.Context, k *keeper) {
			if a.Refused != "" {
				k.refused(ctx, agent, a.Claim, a.Refused)
				return
			}
			k.renew(ctx, m, agent, a.Claim, a.Slot, nil)
		})
		if !kept {
			s.reply(m, wire.Grant{V: wire.Version, Gone: true})
		}
	case wire.VerbRenew:
		var r wire.Renew
		if r, err = wire.Decode[wire.Renew](m.Data); err != nil {
			break
		}
		kept := s.entrust(r.Job, func(ctx context.Context, k *keeper) { k.renew(ctx, m, agent, r.Claim, r.Slot, &r) })
		if !kept {
			s.reply(m, wire.Grant{V: wire.Version, Gone: true})
		}
	case wire.VerbDone:
		var d wire.Done
		if d, err = wire.Decode[wire.Done](m.Data); err != nil {
			break
		}
		if !s.giveAgain(m, agent, d) && !s.entrust(d.Job, func(ctx context.Context, k *keeper) { k.finish(ctx, m, agent, d) }) {
			s.reply(m, wire.Ack{V: wire.Version, Stale: true})
		}
	case wire.VerbCheckpoint:
		var c wire.Checkpoint
		if c, err = wire.Decode[wire.Checkpoint](m.Data); err != nil {
			break
		}
		if !s.entrust(c.Job, func(ctx context.Context, k *keeper) { k.checkpoint(ctx, m, agent, c) }) {
			s.reply(m, wire.Ack{V: wire.Version, Stale: true})
		}
	case wire.VerbPeeked:
		var p wire.Peeked
		if p, err = wire.Decode[wire.Peeked](m.Data); err == nil {
			s.peeks.answered(agent, p)
		}
	case wire.VerbPolicy:
		s.answer(s.requests, m, noPolicy, func() any { return s.centralPolicy(ctx, agent, m.Data) })
	default:
		err = fmt.Errorf("unknown request %q", verb)
	}
	if err == nil {
		return
	}
	s.log.Warn("message of an agent is not understood", diag.KeyAgent, agent, diag.KeySubject, m.Subject, diag.KeyError, err)
	if verb == wire.VerbDone || verb == wire.VerbCheckpoint {
		s.reply(m, wire.Ack{V: wire.Version, Fail: wire.Fail(err)})
	}
	// A grant has no way to say so. Without an answer the agent asks again, and its lease runs out.
}

// Bounds of a result. It must fit into an answer together with the job's ad.
const (
	maxOutputs     = 1000
	maxOutputBytes = 96 << 10 // of the list, as encoded
)

func (s *Server) checkOutputs(user job.UserID, outputs []job.File) error {
	if len(outputs) > maxOutputs {
		return fmt.Errorf("%d files, at most %d are possible; have the job pack them", len(outputs), maxOutputs)
	}
	if data, err := json.Marshal(outputs); err != nil || len(data) > maxOutputBytes {
		return fmt.Errorf("the list of %d files is too long; have the job pack them", len(outputs))
	}
	return s.checkFiles(user, outputs)
}

// checkFiles refuses lists that would write outside of a directory, name a file twice, or refer to
// content that the user does not have here.
func (s *Server) checkFiles(user job.UserID, files []job.File) error {
	seen := map[string]bool{}
	for _, f := range files {
		name, dir := f.Dir()
		if !safeName(name) {
			return fmt.Errorf("file name %.200q is not a plain relative path", f.Name)
		}
		if seen[name] {
			return fmt.Errorf("file %s is listed twice", f.Name)
		}
		seen[name] = true
		switch {
		case dir && (f.Digest != "" || f.Size != 0):
			return fmt.Errorf("directory %s has a size or a digest", f.Name)
		case f.Digest == "":
			if len(f.Inline) > job.MaxInline || int64(len(f.Inline)) != f.Size {
				return fmt.Errorf("file %s: %d bytes inline, its size is %d, and at most %d travel inline", f.Name, len(f.Inline), f.Size, job.MaxInline)
			}
		case !f.Digest.Valid() || f.Size < 0 || len(f.Inline) > 0:
			return fmt.Errorf("file %s: bad digest, size or both content and digest", f.Name)
		default:
			if err := s.checkHeld(user, f.Digest, "file "+f.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkHeld refuses content that the user does not have at any matchmaker, and with errUnknown what one may have that
// cannot be asked now. what says what it is.
func (s *Server) checkHeld(user job.UserID, d blob.Digest, what string) error {
	err := blob.ErrNotFound
	if s.cfg.Held != nil {
		err = s.cfg.Held(user, d)
		if errors.Is(err, blob.ErrNotFound) && s.cfg.Elsewhere != nil {
			err = s.cfg.Elsewhere(user, d)
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, blob.ErrNotFound):
		return fmt.Errorf("%s has not been uploaded", what)
	}
	return fmt.Errorf("%w: %s: %w", errUnknown, what, err)
}

// errUnknown is of content of which it cannot be told now whether the pool has it.
var errUnknown = errors.New("it is not known yet whether the pool has what is named")

// safeName accepts paths with forward slashes that stay in their directory on every system.
func safeName(name string) bool {
	return name != "" && len(name) <= 1024 && name != "." && path.Clean(name) == name && !path.IsAbs(name) &&
		name != ".." && !strings.HasPrefix(name, "../") && !strings.ContainsAny(name, "\\\x00:")
}

// imageEvent turns an agent's report about an image into an event; nil when there is nothing to log.
func (s *Server) imageEvent(j *job.Job, agent job.AgentID, c wire.Checkpoint) (job.Body, error) {
	if c.Dropped != "" {
		img, ok := j.Image(c.Dropped)
		switch {
		case !ok || c.Again && img.FailedIn == j.Epoch:
			return nil, nil // reported before
		case c.Again:
			return &job.RestoreFailed{Job: j.ID, Epoch: j.Epoch, Digest: c.Dropped, Reason: shorten(c.Reason)}, nil
		}
		return &job.ImageDropped{Job: j.ID, Epoch: j.Epoch, Digest: c.Dropped, Reason: shorten(c.Reason)}, nil
	}
	img := c.Image
	switch {
	case img == nil:
		return nil, fmt.Errorf("the message names no image")
	case !img.Digest.Valid() || img.Bytes < 0 || img.Kind != job.CRIUImage && img.Kind != job.FileImage:
		return nil, fmt.Errorf("image %.80q of kind %.20q and %d bytes", img.Digest, img.Kind, img.Bytes)
	}
	if err := s.checkHeld(j.User, img.Digest, "image "+img.Digest.Short()); err != nil {
		return nil, err
	}
	if len(j.Images) > 0 && j.Images[0].Digest == img.Digest {
		return nil, nil // reported before, or nothing has changed since
	}
	image := *img
	image.Agent, image.Needs = agent, ""
	image.Failures, image.FailedIn, image.Failed = 0, 0, nil
	if img.Kind != job.CRIUImage {
		image.Fit = nil
	} else {
		if img.Fit != nil {
			if err := img.Fit.Check(); err != nil {
				return nil, err
			}
		}
		image.Needs = needs(s.slotAd(agent, j.Claim.Slot))
	}
	return &job.Checkpointed{Job: j.ID, Epoch: j.Epoch, Image: image}, nil
}

// needs says on which machines a process image that was made on a slot can go on, as far as the slot's ad
// tells. What else it needs the agent says, as [job.Image].Fit.
func needs(slot *classad.Ad) string {
	text := "TARGET.HasCheckpointing"
	if slot == nil {
		return text
	}
	for _, name := range []string{"OpSys", "Arch"} {
		if v := slot.Eval(name, nil); v.Kind() == classad.String {
			text += fmt.Sprintf(" && TARGET.%s == %s", name, v)
		}
	}
	return text
}

// shorten bounds a text that an agent or a user wrote.
func shorten(s string) string {
	const most = 500
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
