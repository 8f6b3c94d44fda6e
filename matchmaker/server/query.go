package server

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/internal/wire"
	"skua/matchmaker/collector"
	"skua/matchmaker/negotiate"
	"skua/matchmaker/queue"
	"skua/policy/classad"
)

// Bounds of one answer.
const (
	maxRows     = 1000
	maxRowBytes = wire.MaxMessage - 16<<10
)

// How long a user's own capabilities last. Whoever follows the queue asks again.
const userCapability = time.Hour

// query answers a user's question.
func (s *Server) query(ctx context.Context, user job.UserID, data []byte) (wire.QueryResult, error) {
	q, err := wire.Decode[wire.Query](data)
	if err != nil {
		return wire.QueryResult{}, &diag.Problem{What: "the query is not understood: " + err.Error(), Err: err}
	}
	match, err := s.selector(q.Select)
	if err != nil {
		return wire.QueryResult{}, err
	}
	whose := user
	if q.Select.AllUsers {
		whose = ""
	}
	cols, err := columnsOf(q.Columns)
	if err != nil {
		return wire.QueryResult{}, err
	}
	p := newPage(q)
	// Read before the state: who follows the events from here on may see one twice, and misses none.
	p.result.Seq, _ = s.cfg.Queue.Last()
	switch q.Kind {
	case wire.QueryJobs:
		s.jobRows(p, whose, q.Select, match, cols)
	case wire.QuerySummary:
		s.summaryRows(p, whose, q.Select, match)
	case wire.QueryHistory:
		if q.Undelivered { // all of them are in memory
			s.historyRows(p, s.undelivered(whose, q.Select), match, cols)
			break
		}
		if !strings.HasPrefix(q.After, pastCursor) {
			s.historyRows(p, s.history(whose, q.Select), match, cols)
		}
		err = s.pastRows(ctx, p, whose, q.Select, cols)
	case wire.QueryMachines:
		err = s.machineRows(p, q.Select.Constraint, cols)
	case wire.QueryEvents:
		err = s.eventRows(ctx, p, user, q)
	case wire.QueryUpload:
		p.result.Capability, err = s.userCapability(user, trust.Write)
	case wire.QueryFetch:
		s.fetchRows(p, user, q.Select, match)
		p.result.Capability, err = s.userCapability(user, trust.Read)
	case wire.QueryWhy:
		err = s.whyRow(p, user, q.Select)
	case wire.QueryNeedy:
		s.needyRow(p, user, q.Select, match)
	case wire.QueryUsers:
		s.userRows(p)
	case wire.QueryLimits:
		s.limitRows(p)
	case wire.QueryGoodput:
		g := s.cfg.Queue.Goodput()
		p.add("", wire.Goodput{Goodput: g.Goodput, Since: g.Since})
	case wire.QueryPeek:
		err = s.peekRow(ctx, p, user, q)
	case wire.QueryComing:
		s.comingRows(p, user, q.Select.Clusters)
	case wire.QueryRuntimes:
		err = s.runtimeRows(ctx, p)
	default:
		err = problem("this matchmaker knows no query %.40q", q.Kind)
	}
	return p.result, err
}

// page gathers rows until the answer is full.
type page struct {
	result wire.QueryResult
	limit  int
	after  string
	bytes  int
}

func newPage(q wire.Query) *page {
	most := maxRows
	if len(q.Columns) > 0 {
		most = math.MaxInt // such rows are small: their size is the limit
	}
	limit := q.Limit
	if limit <= 0 || limit > most {
		limit = most
	}
	return &page{result: wire.QueryResult{V: wire.Version}, limit: limit, after: q.After}
}

// add appends a row that cursor stands for. It is false when the page is full, and then says so in the
// result.
func (p *page) add(cursor string, row any) bool {
	data, err := json.Marshal(row)
	if err != nil {
		return true // cannot be shown to anybody; the others can
	}
	return p.addRaw(cursor, data)
}

// addRaw is add for a row that is JSON already.
func (p *page) addRaw(cursor string, data json.RawMessage) bool {
	if len(data) > maxRowBytes {
		return true
	}
	if len(p.result.Rows) == p.limit || p.bytes+len(data) > maxRowBytes {
		p.result.More = true
		return false
	}
	p.bytes += len(data) + 1
	p.result.Rows = append(p.result.Rows, data)
	p.result.Next = cursor
	return true
}

// jobRows lists jobs in the order of ids, with the reason why an idle one waits.
func (s *Server) jobRows(p *page, user job.UserID, sel wire.Selection, match func(*job.Job) bool, cols *columns) {
	after, _ := job.ParseID(p.after)
	filter := queue.Filter{User: user, Live: true, Clusters: sel.Clusters, Jobs: sel.Jobs, After: after, Fleeting: true}
	var why func(*job.Job) string
	s.cfg.Queue.Walk(filter, func(j *job.Job) bool {
		if !match(j) {
			return true
		}
		if cols != nil {
			return p.addRaw(j.ID.String(), cols.ofJob(s.measured(j)))
		}
		row := wire.JobRow{ID: j.ID, Ad: s.measured(j).CurrentAd().Flat()}
		if j.State == job.Idle {
			if why == nil {
				why = s.reasons()
			}
			row.Why = why(j)
		}
		return p.add(j.ID.String(), row)
	})
}

// reasons says of idle jobs why they wait, by a cycle over the pool as it is now.
func (s *Server) reasons() func(*job.Job) string {
	snapshot := s.snapshot()
	plan := negotiate.Cycle(snapshot)
	return func(j *job.Job) string {
		switch why := plan.Why(j.ID); {
		case why != nil && why.Stuck():
			w := *why // which other jobs may share
			w.StartsOver = s.startsOverAt(j, &w, snapshot.Now)
			return w.Sentence(time.Local)
		case why != nil:
			return why.Sentence(time.Local)
		case j.Claim != nil && !j.Claim.Lapsed:
			return "it has been offered to " + j.Claim.Slot
		}
		if j.Lingering != nil {
			return "its last run, on " + j.Lingering.Slot + ", is being ended"
		}
		return "it is about to be offered to a machine"
	}
}

// history gives the ended jobs of a user that a selection may mean, the last first.
func (s *Server) history(user job.UserID, sel wire.Selection) []*job.Job {
	if len(sel.Clusters)+len(sel.Jobs) == 0 {
		return s.cfg.Queue.History(user)
	}
	var jobs []*job.Job
	s.cfg.Queue.Walk(queue.Filter{User: user, Ended: true, Clusters: sel.Clusters, Jobs: sel.Jobs}, func(j *job.Job) bool {
		jobs = append(jobs, j)
		return true
	})
	slices.SortFunc(jobs, lastFirst)
	return jobs
}

func lastFirst(a, b *job.Job) int { return cmp.Or(over(b).Compare(over(a)), b.ID.Compare(a.ID)) }

// historyRows lists ended jobs that are in memory, the last first. A cursor is when a job ended and its id.
func (s *Server) historyRows(p *page, jobs []*job.Job, match func(*job.Job) bool, cols *columns) {
	for _, j := range jobs {
		if !match(j) || !olderThan(j, p.after) {
			continue
		}
		if cols != nil {
			if !p.addRaw(historyCursor(j), cols.ofJob(j)) {
				return
			}
			continue
		}
		row := wire.JobRow{ID: j.ID, Ad: j.CurrentAd().Flat(), Delivered: j.Delivered}
		if !p.add(historyCursor(j), row) {
			return
		}
	}
}

// fetchRows lists jobs with the outputs that wait for their user, see [kept], and what of their ads says where those go.
// The last come first.
func (s *Server) fetchRows(p *page, user job.UserID, sel wire.Selection, match func(*job.Job) bool) {
	jobs := s.history(user, sel)
	live := queue.Filter{User: user, Live: true, Fleeting: true, Clusters: sel.Clusters, Jobs: sel.Jobs}
	s.cfg.Queue.Walk(live, func(j *job.Job) bool {
		if len(kept(j)) > 0 { // something has happened to it, so that it is not a fleeting one
			jobs = append(jobs, j)
		}
		return true
	})
	slices.SortFunc(jobs, lastFirst)
	for _, j := range jobs {
		outputs := kept(j)
		if j.State == job.Removed && (len(outputs) == 0 || time.Since(j.Ended) > keepResults) || !match(j) || !olderThan(j, p.after) {
			continue
		}
		row := wire.JobRow{ID: j.ID, Ad: essentials(j), Outputs: outputs}
		if !p.add(historyCursor(j), row) {
			return
		}
	}
}

// kept are the outputs that a job's user may fetch: those of the last run that ended by itself, after which the job
// may go on, or, while the job is held, what the run left that led to the hold.
func kept(j *job.Job) []job.File {
	switch {
	case j.State == job.Held && len(j.HeldOutputs) > 0:
		return j.HeldOutputs
	case j.Result != nil:
		return j.Result.Outputs
	}
	return nil
}

// essentials is what is needed of an ad to put a job's outputs in their place.
func essentials(j *job.Job) *classad.Ad {
	ad, all := classad.NewAd(), j.CurrentAd()
	for _, name := range []string{
		"ClusterId", "ProcId", "JobStatus", "Iwd", "Out", "Err", "TransferOut", "TransferErr",
		"TransferOutput", "TransferOutputRemaps", "PreserveRelativePaths",
		"ExitCode", "ExitBySignal", "ExitSignal",
	} {
		if e, ok := all.Lookup(name); ok {
			ad.Set(name, e)
		}
	}
	return ad
}

func historyCursor(j *job.Job) string {
	return strconv.FormatInt(over(j).UnixNano(), 10) + "/" + j.ID.String()
}

// over is when a job ended, or, if it has not, since when it is as it is.
func over(j *job.Job) time.Time {
	if !j.State.Ended() {
		return j.Entered
	}
	return j.Ended
}

// olderThan says whether an ended job comes after a cursor in a list with the last one first.
func olderThan(j *job.Job, cursor string) bool { return older(over(j), j.ID, cursor) }

func older(over time.Time, which job.ID, cursor string) bool {
	at, id, ok := strings.Cut(cursor, "/")
	nanos, err := strconv.ParseInt(at, 10, 64)
	after, err2 := job.ParseID(id)
	if !ok || err != nil || err2 != nil {
		return true
	}
	if n := over.UnixNano(); n != nanos {
		return n < nanos
	}
	return which.Compare(after) < 0
}

// machineRows lists the slots' ads, with what the matchmaker knows beyond them.
func (s *Server) machineRows(p *page, constraint string, cols *columns) error {
	match, err := parseConstraint(constraint)
	if err != nil {
		return err
	}
	s.forgetSilent()
	running := map[slotKey]*job.Job{}
	for _, j := range s.cfg.Queue.Claimed() {
		if j.Claim.Started && !j.Claim.Lapsed {
			running[slotKey{j.Claim.Agent, j.Claim.Slot}] = j
		}
	}
	for _, sl := range s.slots.Slots() {
		cursor := slotCursor(sl)
		if p.after != "" && cursor <= p.after {
			continue
		}
		ad := sl.Ad.Clone()
		ad.SetInt("LastHeardFrom", sl.Heard.Unix())
		if j := running[slotKey{sl.Agent, sl.Name}]; j != nil {
			ad.SetString("JobId", j.ID.String())
			ad.SetString("RemoteOwner", j.Owner)
		}
		if match != nil && !match.Eval(ad, nil).IsTrue() {
			continue
		}
		if cols != nil && !p.addRaw(cursor, cols.of(ad)) || cols == nil && !p.add(cursor, ad) {
			break
		}
	}
	return nil
}

// slotCursor orders as the collector does: by machine, slot and agent.
func slotCursor(s collector.Slot) string {
	return s.Machine + "\x00" + s.Name + "\x00" + string(s.Agent)
}

// eventRows lists the user's events.
func (s *Server) eventRows(ctx context.Context, p *page, user job.UserID, q wire.Query) error {
	since := q.Since
	if q.After != "" {
		n, err := strconv.ParseUint(q.After, 10, 64)
		if err != nil {
			return problem("%.40q is not a place in the log", q.After)
		}
		since = n
	}
	events, err := s.cfg.Queue.Events(ctx, user, since, p.limit)
	if err != nil {
		return err
	}
	for _, ev := range events.Events {
		if !p.add(strconv.FormatUint(ev.Seq, 10), ev) {
			return nil
		}
	}
	p.result.Next = strconv.FormatUint(events.Next, 10)
	p.result.More = events.More
	return nil
}

// userCapability lets a user write, or read what is his.
func (s *Server) userCapability(user job.UserID, mode trust.Mode) (string, error) {
	c, err := s.cfg.Sign(trust.Capability{User: string(user), Mode: mode, Expires: time.Now().Add(userCapability)})
	if err != nil {
		return "", fmt.Errorf("capability of user %s: %w", user, err)
	}
	return c, nil
}
