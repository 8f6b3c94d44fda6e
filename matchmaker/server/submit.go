package server

import (
	"context"
	"encoding/json"
	"fmt"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/queue"
	"skua/policy/classad"
)

// Bounds of one submit, beside those of package job.
const (
	maxProcs      = 10_000
	maxAttributes = 1000
	maxRequestID  = 100 // letters
)

// submit checks a cluster and puts it into the queue.
func (s *Server) submit(ctx context.Context, user job.UserID, data []byte) (queue.Receipt, error) {
	m, err := wire.Decode[wire.Submit](data)
	if err != nil {
		return queue.Receipt{}, &diag.Problem{What: "the submit is not understood: " + err.Error(), Err: err}
	}
	if err := s.checkSubmit(user, m); err != nil {
		return queue.Receipt{}, err
	}
	r, err := s.cfg.Queue.Submit(ctx, &job.Submitted{
		User: user, Owner: s.names.of(user), Request: m.Request, Ad: m.Ad, Procs: m.Procs, Inputs: m.Inputs,
	})
	if err != nil {
		return queue.Receipt{}, err
	}
	s.log.Info("cluster submitted", diag.KeyUser, user, "cluster", r.Cluster, "jobs", len(m.Procs), diag.KeySeq, r.Seq)
	return r, nil
}

func (s *Server) checkSubmit(user job.UserID, m wire.Submit) error {
	switch {
	case m.Request == "" || len(m.Request) > maxRequestID:
		return problem("the submit has no request id, or one of more than %d letters", maxRequestID)
	case m.Ad == nil || m.Ad.Len() > maxAttributes:
		return problem("the cluster has no ad, or one of more than %d attributes", maxAttributes)
	case len(m.Procs) == 0 || len(m.Procs) > maxProcs:
		return problem("%d jobs in a submit: from 1 to %d are possible", len(m.Procs), maxProcs)
	case len(m.Inputs) > 1 && len(m.Inputs) != len(m.Procs):
		return problem("%d lists of inputs for %d jobs", len(m.Inputs), len(m.Procs))
	}
	for i, list := range m.Inputs {
		if len(list) > job.MaxInputs {
			return problem("job %d has %d input files, at most %d are possible", i, len(list), job.MaxInputs)
		}
		if err := s.checkFiles(user, list); err != nil {
			return problem("inputs of job %d: %v", i, err)
		}
	}
	for i, proc := range m.Procs {
		if proc == nil || proc.Len() > maxAttributes {
			return problem("job %d has no ad, or one of more than %d attributes", i, maxAttributes)
		}
		var inputs []job.File
		switch len(m.Inputs) {
		case 0:
		case 1:
			inputs = m.Inputs[0]
		default:
			inputs = m.Inputs[i]
		}
		proc.SetParent(m.Ad)
		if err := checkJob(proc, inputs, i == 0 || proc.Len() > 0); err != nil {
			return problem("job %d: %v", i, err)
		}
	}
	return nil
}

// checkJob looks at one job as a machine will get it. A job that adds nothing to its cluster is like the
// one before it, and alone its size is left to look at.
func checkJob(ad *classad.Ad, inputs []job.File, differs bool) error {
	if !differs {
		return nil
	}
	if _, err := job.CommandOf(ad); err != nil {
		return err
	}
	requirements, ok := ad.Lookup(classad.AttrRequirements)
	if !ok {
		return fmt.Errorf("it has no Requirements, so that no machine would match it")
	}
	if requirements.Eval(ad, nil).Kind() == classad.String {
		return fmt.Errorf("its Requirements are a text in quotes, not an expression")
	}
	size, err := json.Marshal(struct {
		Ad     *classad.Ad
		Inputs []job.File
	}{ad.Flat(), inputs})
	if err != nil {
		return err
	}
	if len(size) > job.MaxEncoded {
		return fmt.Errorf("its ad and inline files take %d bytes, at most %d are possible", len(size), job.MaxEncoded)
	}
	return nil
}

func problem(format string, args ...any) error {
	return &diag.Problem{What: fmt.Sprintf(format, args...)}
}
