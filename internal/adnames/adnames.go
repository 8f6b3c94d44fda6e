// Package adnames knows what the attributes of jobs and of machines are called, so that a slip of the finger can be
// told in an expression where it would pass without a word: in a rank or a periodic_hold, in the constraint of a query.
//
// Anybody may have attributes of their own, so that no name is wrong. Only one that is almost a known one is doubted.
package adnames

import (
	"fmt"
	"slices"
	"strings"

	"skua/internal/diag"
	"skua/policy/classad"
)

// Job are the attributes that the commands of job descriptions and the queue give to jobs.
var Job = strings.Fields(`
	ClusterId ProcId Owner User QDate JobStatus EnteredCurrentStatus LastJobStatus MyType TargetType CurrentTime
	AccountingGroup AcctGroup AcctGroupUser NiceUser JobPrio JobUniverse JobBatchName JobBatchProjectName JobDescription JobSubmitFile
	Cmd Args Arguments Env Environment EnvDelim Iwd RemoteIwd In Out Err UserLog UserLogUseXML UserLogUseJSON DAGManNodesLog
	TransferIn TransferOut TransferErr TransferInput TransferOutput TransferExecutable TransferOutputRemaps TransferInputSizeMB
	TransferCheckpoint ShouldTransferFiles WhenToTransferOutput PreserveRelativePaths MaxTransferInputMB MaxTransferOutputMB
	StreamIn StreamOut StreamErr ExecutableSize CheckpointDestination OutputDestination PublicInputFiles SkipIfDataflow
	RequestCpus RequestMemory RequestDisk RequestGPUs RequireGPUs ImageSize ResidentSetSize DiskUsage MemoryUsage Requirements Rank
	RetryRequestMemory RetryRequestMemoryIncrease RetryRequestMemoryMax ConcurrencyLimits CpuBaseline RuntimeRoot FileSystemDomain
	PeriodicHold PeriodicHoldReason PeriodicHoldSubCode PeriodicRelease PeriodicReleaseReason PeriodicRemove PeriodicRemoveReason
	PeriodicVacate PeriodicVacateReason PeriodicVacateSubCode OnExitHold OnExitHoldReason OnExitHoldSubCode OnExitRemove
	JobMaxRetries JobSuccessExitCode SuccessCheckpointExitCode CheckpointExitCode NumJobStarts NumShadowStarts NumJobCompletions
	NumEvictions NumCkpts NumHolds JobRunCount TotalSuspensions CumulativeSuspensionTime LastSuspensionTime
	JobStartDate JobCurrentStartDate JobCurrentStartExecutingDate CompletionDate RemoteWallClockTime CumulativeSlotTime
	RemoteUserCpu RemoteSysCpu CumulativeRemoteUserCpu CumulativeRemoteSysCpu CountedCpu LostCpu CheckpointCpu TransferCpu
	BlockReadKbytes BlockWriteKbytes NetworkInputMb NetworkOutputMb RemoteHost LastRemoteHost LastVacateReason
	HoldReason HoldReasonCode HoldReasonSubCode LastHoldReason LastHoldReasonCode ReleaseReason RemoveReason
	ExitCode ExitBySignal ExitSignal ExitStatus CheckpointMethod LastCkptTime NotCheckpointableReason WantCheckpoint
	KillSig RemoveKillSig HoldKillSig KillSigTimeout WantGracefulRemoval JobMaxVacateTime MaxJobRetirementTime JobLeaseDuration
	AllowedJobDuration AllowedExecuteDuration RestartAfter CoreSize StackSize DeferralTime DeferralWindow DeferralPrepTime
	CronMinute CronHour CronDayOfMonth CronMonth CronDayOfWeek JobMaterializeLimit JobMaterializeMaxIdle TotalSubmitProcs
	JobNotification NotifyUser EmailAttributes LeaveJobInQueue KeepClaimIdle NextJobStartDelay IsNoopJob NoopJobExitCode NoopJobExitSignal
	SubmitEventNotes SubmitEventUserNotes WhyIdle
`)

// Machine are the attributes that slots have, as docs/machine-ad.md explains them, and what the matchmaker adds.
var Machine = strings.Fields(`
	Name SlotID SlotType DSlotID PartitionableSlot DynamicSlot NumDynamicSlots MaxDynamicSlots TotalSlots Machine MyType TargetType
	State Activity EnteredCurrentState EnteredCurrentActivity CanRunJobs CannotRunJobsReason CurrentTime LastHeardFrom JobId RemoteOwner
	KeyboardIdle ConsoleIdle LoadAvg SkuaLoadAvg CondorLoadAvg ClockMin ClockDay ClockDate
	START SUSPEND CONTINUE PREEMPT KILL WANT_SUSPEND WANT_VACATE RANK Requirements WithinResourceLimits THROTTLE Draining MaxJobRetirementTime
	Throttled PausedUntil PolicyProblem CentralPolicy CentralPolicyNumber FileSystemDomain HasFileTransfer HasSelfCheckpointTransfers
	HasJobDeferral StarterAbilityList HasFileTransferPluginMethods CondorVersion HasCheckpointing CriuVersion Freezer
	HasOutboundNetwork OutboundNetworkBy HasRuntimeRoots Arch IsWindows BootTime
	OpSys OpSysName OpSysShortName OpSysLongName OpSysAndVer OpSysMajorVer OpSysVer KernelRelease Libc LibcVersion
	DetectedCpus DetectedPhysicalCpus TotalCpus TotalSlotCpus Cpus CpuModel CpuFamily CpuModelNumber Microarch CpuFeatures
	has_ssse3 has_sse4_1 has_sse4_2 has_avx has_avx2 has_avx512f has_avx512dq has_avx512_vnni
	DetectedMemory TotalMemory TotalSlotMemory Memory TotalVirtualMemory TotalDisk TotalSlotDisk Disk FreeDisk Mips KFlops
	DetectedGPUs TotalSlotGPUs GPUs GPUs_DeviceName GPUs_GlobalMemoryMb GPUs_Capability GPUs_DriverVersion
	OnBattery BatteryPercent Temperature FullScreen Inhibited Metered RunningApps
`)

// Doubts says of each name in an expression that is almost one of known, and none of them itself, which was probably meant.
// Names that are own, in lower case, are not doubted.
func Doubts(e *classad.Expr, own map[string]bool, known []string) []string {
	var doubts []string
	refs := e.References()
	for _, name := range slices.Concat(refs.My, refs.Target) {
		if own[strings.ToLower(name)] {
			continue
		}
		if meant := diag.Misspelt(name, known); meant != "" {
			doubts = append(doubts, fmt.Sprintf("%s is no attribute that is known here; did you mean %s?", name, meant))
		}
	}
	return doubts
}
