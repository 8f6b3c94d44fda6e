package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"skua/internal/diag"
	"skua/internal/fit"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/queue"
	"skua/policy/classad"
)

// Bounds of one submit, beside those of package job.
const (
	maxProcs      = 10_000
	maxAttributes = 1000
	maxRequestID  = 100 // characters
)

// submit checks a cluster and puts it into the queue.
func (s *Server) submit(ctx context.Context, user job.UserID, data []byte) (queue.Receipt, error) {
	m, err := wire.Decode[wire.Submit](data)
	if err != nil {
		return queue.Receipt{}, &diag.Problem{What: "the submit is not understood: " + err.Error(), Err: err}
	}
	if !goodRequestID(m.Request) {
		return queue.Receipt{}, problem("the submit has no request id, or one that is not of 1 to %d printable ASCII characters", maxRequestID)
	}
	return s.submits.once(ctx, string(user)+" "+m.Request, func() (queue.Receipt, error) {
		if known, ok := s.cfg.Queue.Known(user, m.Request); ok {
			return known, nil // whoever asks again is not told another thing, whatever has become of disk and files since
		}
		return s.enqueue(ctx, user, m)
	})
}

// goodRequestID says whether a request id is one that the queue may remember.
func goodRequestID(id string) bool {
	unprintable := func(r rune) bool { return r < ' ' || r > '~' }
	return id != "" && len(id) <= maxRequestID && !strings.ContainsFunc(id, unprintable)
}

// enqueue is submit for a request that is new, or of which nobody knows what became.
func (s *Server) enqueue(ctx context.Context, user job.UserID, m wire.Submit) (queue.Receipt, error) {
	if err := s.checkSubmit(user, m); errors.Is(err, errUnknown) {
		return queue.Receipt{}, undone{err}
	} else if err != nil {
		return queue.Receipt{}, err
	}
	if err := s.checkDisk(); err != nil {
		return queue.Receipt{}, err
	}
	cluster := &job.Submitted{
		User: user, Owner: s.names.of(user), Request: m.Request, Ad: m.Ad, Procs: m.Procs, Inputs: m.Inputs, Table: m.Table,
	}
	cluster.Ad.SetInt("TotalSubmitProcs", int64(cluster.Count()))
	if _, says := cluster.Ad.Lookup(fit.AttrBaseline); !says && s.cfg.Baseline != "" {
		cluster.Ad.SetString(fit.AttrBaseline, string(s.cfg.Baseline))
	}
	r, err := s.cfg.Queue.Submit(ctx, cluster)
	if errors.Is(err, queue.ErrAway) {
		return queue.Receipt{}, undone{err}
	} else if err != nil {
		return queue.Receipt{}, err
	}
	s.log.Info("cluster submitted", diag.KeyUser, user, "cluster", r.Cluster, "jobs", cluster.Count(), diag.KeySeq, r.Seq)
	return r, nil
}

// checkDisk refuses new jobs while the disk is nearly full, so that those that are there can end, and be held and
// removed.
func (s *Server) checkDisk() error {
	if s.cfg.Free == nil {
		return nil
	}
	free, err := s.cfg.Free()
	if err != nil || free >= s.cfg.DiskFree {
		return nil // an unknown disk is no full one: the log refuses what it cannot write
	}
	return &diag.Problem{
		What: fmt.Sprintf("the matchmaker's disk is nearly full: %d MB are free, and %d MB are kept for the jobs that are there", free>>20, s.cfg.DiskFree>>20),
		Hint: "try again later; outputs that are fetched and jobs that are removed make room, and so can the administrator (limits.disk_free)",
	}
}

func (s *Server) checkSubmit(user job.UserID, m wire.Submit) error {
	switch {
	case m.Ad == nil || m.Ad.Len() > maxAttributes:
		return problem("the cluster has no ad, or one of more than %d attributes", maxAttributes)
	case m.Table != nil:
		return s.checkTable(user, m)
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
			return badInputs(i, err)
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
		if i > 0 && proc.Len() == 0 {
			continue // it is like the one before it
		}
		if err := checkJob(proc, inputs); err != nil {
			return problem("job %d: %v", i, err)
		}
	}
	return nil
}

// checkTable looks at all jobs of a table.
func (s *Server) checkTable(user job.UserID, m wire.Submit) error {
	ref := m.Table
	switch {
	case len(m.Procs)+len(m.Inputs) > 0:
		return problem("the submit has both jobs and a table of jobs")
	case ref.Count < 1 || ref.Count > job.MaxProcs:
		return problem("%d jobs in a submit: from 1 to %d are possible", ref.Count, job.MaxProcs)
	case len(ref.Inline) > job.MaxInlineTable:
		return problem("a table of %d bytes cannot be inline, at most %d can", len(ref.Inline), job.MaxInlineTable)
	case ref.Digest != "" && !ref.Digest.Valid():
		return problem("the table of the jobs has a bad digest")
	}
	if ref.Digest != "" {
		if err := s.checkHeld(user, ref.Digest, "the table of the jobs"); err != nil {
			return &diag.Problem{What: err.Error(), Err: err}
		}
	}
	table, err := s.cfg.Queue.Table(ref)
	if err != nil {
		return &diag.Problem{What: "the table of the jobs cannot be read: " + err.Error(), Err: err}
	}
	if len(table.Columns()) > maxAttributes {
		return problem("the jobs have %d attributes of their own, at most %d are possible", len(table.Columns()), maxAttributes)
	}
	common, err := json.Marshal(m.Ad)
	if err != nil {
		return problem("the cluster's ad: %v", err)
	}
	var files []job.File // of the row before
	filesSize := 0
	alike := alikeToCheck(table.Columns(), m.Ad)
	for row := range table.Len() {
		if list := table.Inputs(row); row == 0 || len(list) != len(files) || len(list) > 0 && &list[0] != &files[0] {
			files = list
			if err := s.checkFiles(user, files); err != nil {
				return badInputs(row, err)
			}
			text, err := json.Marshal(files)
			if err != nil {
				return problem("inputs of job %d: %v", row, err)
			}
			filesSize = len(text)
		}
		check := checkAd
		if alike && row > 0 {
			check = nil
		}
		if len(common)+6*table.RowSize(row)+filesSize > job.MaxEncoded/2 { // in JSON a byte becomes six at most
			check = func(ad *classad.Ad) error { return checkJob(ad, files) }
		}
		if check == nil {
			continue
		}
		if err := check(table.Ad(row, 0, m.Ad)); err != nil {
			return problem("job %d: %v", row, err)
		}
	}
	return nil
}

// checkJob looks at one job as a machine will get it.
func checkJob(ad *classad.Ad, inputs []job.File) error {
	if err := checkAd(ad); err != nil {
		return err
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

// alikeToCheck says that checkAd finds the same of all rows of a table, for they differ in other attributes than those
// by which it may find something, and these read none of those. So it is with most sweeps.
func alikeToCheck(columns []string, common *classad.Ad) bool {
	differs := map[string]bool{}
	for _, name := range columns {
		differs[strings.ToLower(name)] = true
	}
	for _, name := range job.CommandFaults {
		if differs[strings.ToLower(name)] {
			return false
		}
		if e, ok := common.Lookup(name); ok {
			if _, plain := e.Literal(); !plain {
				return false
			}
		}
	}
	if differs[strings.ToLower(classad.AttrRequirements)] {
		return false
	}
	requirements, ok := common.Lookup(classad.AttrRequirements)
	if !ok {
		return true
	}
	refs := requirements.ReferencesIn(common)
	for _, name := range append(refs.My, refs.Target...) {
		if differs[strings.ToLower(name)] {
			return false
		}
	}
	return true
}

// checkAd is checkJob without the size.
func checkAd(ad *classad.Ad) error {
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
	return nil
}

func badInputs(proc int, err error) error {
	return &diag.Problem{What: fmt.Sprintf("inputs of job %d: %v", proc, err), Err: err}
}

func problem(format string, args ...any) error {
	return &diag.Problem{What: fmt.Sprintf(format, args...)}
}
