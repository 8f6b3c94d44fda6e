package job

import (
	"time"

	"skua/policy/classad"
)

// CurrentAd gives the job's ad with the attributes that change while it lives, under HTCondor's names
// (JobStatus, NumJobStarts, RemoteHost, ...). This is what policies, constraints and users see.
func (j *Job) CurrentAd() *classad.Ad {
	ad := classad.NewAd()
	ad.SetParent(j.Ad)
	j.current(ad)
	return ad
}

// attributes takes attributes; an ad does.
type attributes interface {
	SetInt(name string, i int64)
	SetReal(name string, f float64)
	SetString(name, s string)
	SetBool(name string, b bool)
	Set(name string, e *classad.Expr)
}

const attrProcID = "ProcId"

// current sets what [Job.CurrentAd] adds to the job's ad. Of a job to which nothing has happened, only ProcId is its
// own: [View] relies on that.
func (j *Job) current(ad attributes) {
	ad.SetInt("ClusterId", int64(j.ID.Cluster))
	ad.SetInt(attrProcID, int64(j.ID.Proc))
	ad.SetString("Owner", j.Owner)
	ad.SetString("User", string(j.User))
	ad.SetInt("JobStatus", int64(j.State))
	ad.SetInt("QDate", j.Submitted.Unix())
	ad.SetInt("EnteredCurrentStatus", j.Entered.Unix())
	ad.SetInt("NumJobStarts", int64(j.Starts))
	if j.Starts > 0 { // HTCondor's jobs have these from their first run on
		ad.SetInt("NumShadowStarts", int64(j.Starts))
		ad.SetInt("JobRunCount", int64(j.Starts))
	}
	ad.SetInt("NumEvictions", int64(j.Evictions))
	ad.SetInt("NumCkpts", int64(len(j.Images)))
	ad.SetInt("NumJobCompletions", int64(j.Completions))
	ad.SetInt("NumHolds", int64(j.Holds))
	ad.SetInt("TotalSuspensions", int64(j.Suspensions))
	ad.SetInt("CumulativeSuspensionTime", int64(j.SuspendedFor.Seconds()))
	used := j.Usage.Add(j.Run)
	ad.SetReal("RemoteUserCpu", used.UserCPU.Seconds())
	ad.SetReal("RemoteSysCpu", used.SysCPU.Seconds())
	ad.SetReal("CumulativeRemoteUserCpu", used.UserCPU.Seconds())
	ad.SetReal("CumulativeRemoteSysCpu", used.SysCPU.Seconds())
	ad.SetReal("RemoteWallClockTime", j.Usage.Wall.Seconds()) // of runs that are over, as in HTCondor
	for _, v := range []struct {
		name string
		time time.Duration
	}{
		{"CountedCpu", j.Goodput().Counted},
		{"LostCpu", j.Lost},
		{"CheckpointCpu", used.Checkpoints},
		{"TransferCpu", used.Transfers},
	} {
		if v.time > 0 {
			ad.SetReal(v.name, v.time.Seconds())
		}
	}
	if used.MaxRSS > 0 {
		ad.SetInt("ResidentSetSize", kilobytes(used.MaxRSS))
		ad.SetInt("ImageSize", kilobytes(used.MaxRSS))
		ad.SetInt("MemoryUsage", (kilobytes(used.MaxRSS)+1023)/1024)
	}
	if used.MaxDisk > 0 {
		// A run that ended early may have had less than the job brings, and what it brings is what it asks for.
		said, _ := j.Ad.Int("DiskUsage")
		ad.SetInt("DiskUsage", max(said, kilobytes(used.MaxDisk)))
	}
	for _, v := range []struct {
		name  string
		bytes int64
		unit  int64
	}{
		{"BlockReadKbytes", used.Read, 1 << 10},
		{"BlockWriteKbytes", used.Written, 1 << 10},
		{"NetworkInputMb", used.NetIn, 1e6},
		{"NetworkOutputMb", used.NetOut, 1e6},
	} {
		if v.bytes > 0 {
			ad.SetReal(v.name, float64(v.bytes)/float64(v.unit))
		}
	}
	if j.LastState != 0 {
		ad.SetInt("LastJobStatus", int64(j.LastState))
	}
	if j.State == Suspended {
		ad.SetInt("LastSuspensionTime", j.Entered.Unix())
	}
	if !j.Started.IsZero() {
		ad.SetInt("JobStartDate", j.Started.Unix())
		ad.SetInt("JobCurrentStartDate", j.LastStart.Unix())
		// Before its program began, while its inputs come or its time has not, a run has none. One whose machine says
		// only what the program has used is taken to have begun at once.
		if !j.State.runs() || !j.Executing.IsZero() || j.Run.cpu() > 0 {
			executing := j.LastStart
			if j.Executing.After(executing) {
				executing = j.Executing
			}
			ad.SetInt("JobCurrentStartExecutingDate", executing.Unix())
		}
	}
	if !j.Ended.IsZero() {
		ad.SetInt("CompletionDate", j.Ended.Unix())
	}
	if j.Claim != nil {
		ad.SetString("RemoteHost", j.Claim.Slot)
	}
	for _, a := range []struct{ name, text string }{
		{"LastRemoteHost", j.LastHost},
		{"RemoveReason", j.RemoveText},
		{"ReleaseReason", j.ReleaseText},
		{"LastHoldReason", j.LastHold.Reason},
		{"NotCheckpointableReason", j.NoImage},
	} {
		if a.text != "" {
			ad.SetString(a.name, a.text)
		}
	}
	if j.LastHold.Code != 0 {
		ad.SetInt("LastHoldReasonCode", int64(j.LastHold.Code))
	}
	if j.State == Held {
		ad.SetString("HoldReason", j.HoldReason)
		ad.SetInt("HoldReasonCode", int64(j.HoldCode))
		ad.SetInt("HoldReasonSubCode", int64(j.HoldSubCode))
	} else if onHold(j.Ad) {
		// The ad as submitted says why it was held, and that is over.
		ad.Set("HoldReason", undefined)
		ad.Set("HoldReasonCode", undefined)
	}
	if j.LastReason != "" {
		ad.SetString("LastVacateReason", j.LastReason)
	}
	if r := j.Result; r != nil {
		ad.SetBool("ExitBySignal", r.Signal != 0)
		if r.Signal != 0 {
			ad.SetInt("ExitSignal", int64(r.Signal))
		} else {
			ad.SetInt("ExitCode", int64(r.ExitCode))
		}
	}
	if len(j.Images) > 0 {
		ad.SetString("CheckpointMethod", string(j.Images[0].Kind))
		ad.SetInt("LastCkptTime", j.Images[0].At.Unix())
		j.Images[0].tell(ad)
	}
}

// kilobytes rounds up, as HTCondor's sizes do.
func kilobytes(n int64) int64 { return (n + 1023) / 1024 }

var undefined = func() *classad.Expr {
	e, err := classad.ParseExpr("undefined")
	if err != nil {
		panic(err)
	}
	return e
}()
