package server

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/jobpolicy"
	"skua/policy/classad"
)

// Bounds of one edit.
const (
	maxAssigned   = 100
	maxAssignment = 16 << 10 // bytes of all names and expressions
	maxOwn        = 4 << 10  // bytes of a job's own ad that an offer has room for, whatever its cluster's
)

var attributeName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// editing checks the assignments of an edit.
func editing(set []job.Assigned) (action, error) {
	if len(set) == 0 || len(set) > maxAssigned {
		return action{}, problem("%d attributes to set: from 1 to %d are possible", len(set), maxAssigned)
	}
	size := 0
	var next []string // what only the next start heeds
	exprs := make([]*classad.Expr, len(set))
	for i, a := range set {
		size += len(a.Name) + len(a.Expr)
		if size > maxAssignment {
			return action{}, problem("the attributes to set take more than %d bytes", maxAssignment)
		}
		if !attributeName.MatchString(a.Name) {
			return action{}, &diag.Problem{
				What: fmt.Sprintf("%.80q is not the name of an attribute", a.Name),
				Hint: "names are letters, digits and _",
			}
		}
		if why, ok := protected[strings.ToLower(a.Name)]; ok {
			return action{}, &diag.Problem{What: fmt.Sprintf("%s cannot be edited: %s", a.Name, why.what), Hint: why.hint}
		}
		e, err := classad.ParseExpr(a.Expr)
		if err != nil {
			return action{}, &diag.Problem{
				What: fmt.Sprintf("%s = %.200s: %v", a.Name, a.Expr, err),
				Hint: `texts stand in double quotes, such as JobBatchName="night"`,
				Err:  err,
			}
		}
		exprs[i] = e
		if startsWith[strings.ToLower(a.Name)] {
			next = append(next, a.Name)
		}
	}
	clock := slices.ContainsFunc(set, func(a job.Assigned) bool { return strings.HasPrefix(strings.ToLower(a.Name), "cron") })
	act := action{do: func(j *job.Job) (job.Body, string) {
		if not := ended(j); not != "" {
			return nil, not
		}
		all, exprs := oneForm(j.Ad, set, exprs)
		ad, not := edited(j, all, exprs)
		if not != "" {
			return nil, not
		}
		if at, ok := jobpolicy.NextRun(ad, time.Now()); ok && clock {
			all = slices.Concat(all, deferTo(at))
		}
		return &job.Edited{Job: j.ID, Set: all}, ""
	}}
	act.note = func(done []*job.Job) string {
		note := ""
		for _, a := range set {
			note = join(note, strange(a.Name, done))
		}
		if len(next) > 0 && slices.ContainsFunc(done, runs) {
			note = join(note, fmt.Sprintf("jobs that run now heed %s at their next start", strings.Join(next, ", ")))
		}
		return note
	}
	return act, nil
}

func runs(j *job.Job) bool {
	return j.State == job.Running || j.State == job.Suspended || j.State == job.TransferringOutput
}

// strange says of an attribute that is new to a job that it is almost called as one that counts, "" if it is not.
func strange(name string, done []*job.Job) string {
	meant := diag.Misspelt(name, editable)
	if meant == "" || !slices.ContainsFunc(done, func(j *job.Job) bool { _, has := j.CurrentAd().Lookup(name); return !has }) {
		return ""
	}
	return fmt.Sprintf("%s is an attribute of your own; did you mean %s?", name, meant)
}

// otherForm pairs the attributes that are two ways of saying one thing, in lower case. A run heeds one of a job's.
var otherForm = map[string]string{"args": "Arguments", "arguments": "Args", "env": "Environment", "environment": "Env"}

// oneForm adds to an edit that the other form of what it sets goes away where the job has it, so that the new value is
// the one that counts. An edit that takes a form away, or sets both, is left as it is.
func oneForm(ad *classad.Ad, set []job.Assigned, exprs []*classad.Expr) ([]job.Assigned, []*classad.Expr) {
	all := set
	for i, a := range set {
		other := otherForm[strings.ToLower(a.Name)]
		if other == "" || exprs[i].String() == nothing.String() {
			continue
		}
		_, has := ad.Str(other)
		if !has || slices.ContainsFunc(set, func(b job.Assigned) bool { return strings.EqualFold(b.Name, other) }) {
			continue
		}
		all = append(slices.Clip(all), job.Assigned{Name: other, Expr: nothing.String()})
		exprs = append(slices.Clip(exprs), nothing)
	}
	return all, exprs
}

var nothing = func() *classad.Expr {
	e, err := classad.ParseExpr("undefined")
	if err != nil {
		panic(err)
	}
	return e
}()

// edited is a job's ad after an edit. not is why the job would not do any more.
func edited(j *job.Job, set []job.Assigned, exprs []*classad.Expr) (ad *classad.Ad, not string) {
	ad = j.Ad.Clone()
	for i, a := range set {
		if strings.EqualFold(a.Name, "Cmd") && transfers(j.Ad) {
			return nil, "its program was taken when it was submitted; submit it again with another"
		}
		ad.Set(a.Name, exprs[i])
	}
	if ad.Len() > maxAttributes {
		return nil, fmt.Sprintf("it would have more than %d attributes", maxAttributes)
	}
	check := checkAd
	if len(ad.String()) > maxOwn {
		check = func(ad *classad.Ad) error { return checkJob(ad, j.Inputs) }
	}
	if err := check(ad); err != nil {
		return nil, err.Error()
	}
	return ad, ""
}

// transfers says whether the job brings its program along.
func transfers(ad *classad.Ad) bool {
	t, ok := ad.Bool("TransferExecutable")
	return !ok || t
}

// notYet says that jobs which are yet to enter the queue are not edited, if a selection means some.
func (s *Server) notYet(user job.UserID, sel wire.Selection) string {
	for _, c := range s.cfg.Queue.Coming(user) {
		if slices.Contains(sel.Clusters, c.Cluster) || len(sel.Clusters)+len(sel.Jobs) == 0 {
			return fmt.Sprintf("jobs of cluster %d that are yet to enter the queue are as it was submitted", c.Cluster)
		}
	}
	return ""
}

func isLate(a job.Assigned) bool {
	return strings.EqualFold(a.Name, job.AttrLateMost) || strings.EqualFold(a.Name, job.AttrLateIdle)
}

func onlyLate(set []job.Assigned) bool {
	return !slices.ContainsFunc(set, func(a job.Assigned) bool { return !isLate(a) })
}

// checkLate refuses to set limits of late materialization but of whole clusters, of which jobs are yet to enter the queue.
func (s *Server) checkLate(user job.UserID, a wire.Action) error {
	i := slices.IndexFunc(a.Set, isLate)
	if i < 0 || a.After != (job.ID{}) { // the first page was checked, after which all may have entered
		return nil
	}
	name := a.Set[i].Name
	if len(a.Select.Clusters) == 0 || len(a.Select.Jobs) > 0 || a.Select.Constraint != "" {
		return &diag.Problem{What: name + " is of a whole cluster", Hint: fmt.Sprintf("skua edit 12 %s=50 sets it for cluster 12", name)}
	}
	coming := s.cfg.Queue.Coming(user)
	for _, n := range a.Select.Clusters {
		if !slices.ContainsFunc(coming, func(o job.Opened) bool { return o.Cluster == n }) {
			return problem("%s of cluster %d cannot be edited: no job of it is yet to enter the queue", name, n)
		}
	}
	for _, set := range a.Set {
		e, err := classad.ParseExpr(set.Expr)
		if !isLate(set) || err != nil { // which is told elsewhere
			continue
		}
		v, _ := e.Literal()
		if n, _ := v.Int(); n < 1 && e.String() != nothing.String() {
			return &diag.Problem{What: fmt.Sprintf("%s = %.80s is no limit", set.Name, set.Expr), Hint: "write a number from 1 on, or undefined for none"}
		}
	}
	return nil
}

// join puts two notes together, of which either may be empty.
func join(a, b string) string {
	if a != "" && b != "" {
		return a + "; " + b
	}
	return a + b
}

// prioritising checks the one expression of a priority.
func prioritising(set []job.Assigned) (action, error) {
	if len(set) != 1 || len(set[0].Expr) > maxAssignment {
		return action{}, problem("a priority is one expression")
	}
	text := set[0].Expr
	e, err := classad.ParseExpr(text)
	if err != nil {
		return action{}, &diag.Problem{
			What: fmt.Sprintf("priority %.200q: %v", text, err),
			Hint: "write a number, or an expression such as JobPrio + 10",
			Err:  err,
		}
	}
	return action{do: func(j *job.Job) (job.Body, string) {
		if not := ended(j); not != "" {
			return nil, not
		}
		ad := j.CurrentAd()
		if _, ok := ad.Lookup("JobPrio"); !ok {
			ad.SetInt("JobPrio", 0)
		}
		v := e.Eval(ad, nil)
		n, ok := v.Int()
		if !ok || n < math.MinInt32 || n > math.MaxInt32 {
			return nil, fmt.Sprintf("%.80s gives %.80s there, not a whole number of 32 bits", text, v)
		}
		if old, _ := ad.Int("JobPrio"); old == n {
			return nil, ""
		}
		return &job.Edited{Job: j.ID, Set: []job.Assigned{{Name: "JobPrio", Expr: fmt.Sprint(n)}}}, ""
	}}, nil
}

// protection is why an attribute is not to be edited.
type protection struct{ what, hint string }

// protected are the attributes that nobody edits, in lower case.
var protected = func() map[string]protection {
	all := map[string]protection{}
	for _, p := range []struct {
		protection
		names string
	}{
		{protection{"it says which job this is", "submit the job again"}, "ClusterId ProcId GlobalJobId MyType TargetType"},
		{protection{"it says whose job this is", "that user can submit it"}, "Owner User NTDomain"},
		{
			protection{"it follows from what happens to the job", "see skua hold, release, rm, suspend and continue"},
			"JobStatus LastJobStatus HoldReason HoldReasonCode HoldReasonSubCode RemoveReason ReleaseReason",
		},
		{
			protection{"the matchmaker keeps it itself", ""},
			"QDate EnteredCurrentStatus NumJobStarts NumShadowStarts JobRunCount NumEvictions NumCkpts NumJobCompletions NumHolds TotalSuspensions " +
				"CumulativeSuspensionTime LastSuspensionTime RemoteUserCpu RemoteSysCpu CumulativeRemoteUserCpu CumulativeRemoteSysCpu RemoteWallClockTime ResidentSetSize BlockReadKbytes BlockWriteKbytes NetworkInputMb NetworkOutputMb " +
				"ImageSize MemoryUsage DiskUsage JobStartDate JobCurrentStartDate JobCurrentStartExecutingDate CompletionDate " +
				"RemoteHost LastRemoteHost LastHoldReason LastHoldReasonCode LastVacateReason ExitBySignal ExitSignal ExitCode " +
				"CheckpointMethod LastCkptTime CheckpointRequirements",
		},
		{
			protection{"the files of the job were taken when it was submitted", "submit it again with other files"},
			"TransferInput TransferExecutable RuntimeRoot",
		},
	} {
		for name := range strings.FieldsSeq(p.names) {
			all[strings.ToLower(name)] = p.protection
		}
	}
	return all
}()

// startsWith are the attributes, in lower case, that a machine is told when a job starts, so that a
// run does not heed their change.
var startsWith = func() map[string]bool {
	all := map[string]bool{}
	for name := range strings.FieldsSeq(startNames) {
		all[strings.ToLower(name)] = true
	}
	return all
}()

const startNames = "Cmd Args Arguments Env EnvDelim Environment In Out Err KillSig JobLeaseDuration Requirements Rank " +
	"RequestMemory RequestDisk RequestCpus TransferOutput SuccessCheckpointExitCode CheckpointExitCode CoreSize StackSize " +
	"RemoveKillSig HoldKillSig WantGracefulRemoval JobMaxVacateTime KillSigTimeout DeferralTime CpuBaseline"

// editable are attributes that people edit, as they are written, and those that look like them.
var editable = strings.Fields(startNames + " RequestGPUs JobPrio JobBatchName JobNotification NotifyUser Iwd UserLog " +
	"PeriodicHold PeriodicRelease PeriodicRemove PeriodicVacate PeriodicHoldReason PeriodicReleaseReason PeriodicRemoveReason " +
	"OnExitHold OnExitRemove OnExitHoldReason JobMaxRetries JobSuccessExitCode ConcurrencyLimits AccountingGroup AllowedJobDuration " +
	"AllowedExecuteDuration JobMaterializeLimit JobMaterializeMaxIdle DeferralWindow DeferralPrepTime LeaveJobInQueue TransferErr TransferOut")
