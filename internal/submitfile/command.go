package submitfile

import (
	"fmt"
	"sort"
	"strings"

	"github.com/agext/levenshtein"
)

// form says what the value of a simple command becomes.
type form int

const (
	asExpr      form = iota // an expression
	asString                // a string, as it was written
	asText                  // a string; quotes around the value are dropped
	asPath                  // a file on this side
	asInt                   // a number that is known now
	asCount                 // such a number, not negative
	asSeconds               // a number written as such
	asLimit                 // an expression that is a number now
	asMegabytes             // a size, or an expression
	asBool                  // true or false, known now
	asList                  // a string of words joined by commas
	asSignal                // the name of a signal
)

// simple commands go into the ad one by one, whatever the others say.
var simple = []struct {
	command string
	attr    string // also accepted as the command's name, as HTCondor does
	form    form
}{
	{"description", "JobDescription", asString},
	{"batch_name", "JobBatchName", asText},
	{"batch_project_name", "JobBatchProjectName", asString},
	{"notify_user", "NotifyUser", asString},
	{"email_attributes", "EmailAttributes", asList},
	{"submit_event_notes", "SubmitEventNotes", asString},
	{"submit_event_user_notes", "SubmitEventUserNotes", asString},
	{"log_json", "UserLogUseJSON", asBool},       // not HTCondor's
	{"restart_after", "RestartAfter", asSeconds}, // not HTCondor's
	{"leave_in_queue", "LeaveJobInQueue", asExpr},
	{"periodic_hold", "PeriodicHold", asExpr},
	{"periodic_hold_reason", "PeriodicHoldReason", asExpr},
	{"periodic_hold_subcode", "PeriodicHoldSubCode", asExpr},
	{"periodic_release", "PeriodicRelease", asExpr},
	{"periodic_remove", "PeriodicRemove", asExpr},
	{"periodic_remove_reason", "PeriodicRemoveReason", asExpr},
	{"periodic_vacate", "PeriodicVacate", asExpr},
	{"periodic_vacate_reason", "PeriodicVacateReason", asExpr},
	{"periodic_vacate_subcode", "PeriodicVacateSubCode", asExpr},
	{"on_exit_hold_reason", "OnExitHoldReason", asExpr},
	{"on_exit_hold_subcode", "OnExitHoldSubCode", asExpr},
	{"kill_sig", "KillSig", asSignal},
	{"remove_kill_sig", "RemoveKillSig", asSignal},
	{"hold_kill_sig", "HoldKillSig", asSignal},
	{"kill_sig_timeout", "KillSigTimeout", asSeconds},
	{"core_size", "CoreSize", asInt},
	{"match_list_length", "LastMatchListLength", asInt},
	{"want_graceful_removal", "WantGracefulRemoval", asExpr},
	{"job_max_vacate_time", "JobMaxVacateTime", asExpr},
	{"max_job_retirement_time", "MaxJobRetirementTime", asExpr},
	{"allowed_job_duration", "AllowedJobDuration", asExpr},
	{"allowed_execute_duration", "AllowedExecuteDuration", asExpr},
	{"keep_claim_idle", "KeepClaimIdle", asExpr},
	{"next_job_start_delay", "NextJobStartDelay", asExpr},
	{"noop_job", "IsNoopJob", asExpr},
	{"noop_job_exit_signal", "NoopJobExitSignal", asExpr},
	{"noop_job_exit_code", "NoopJobExitCode", asExpr},
	{"job_ad_information_attrs", "JobAdInformationAttrs", asString},
	{"job_machine_attrs", "JobMachineAttrs", asString},
	{"job_machine_attrs_history_length", "JobMachineAttrsHistoryLength", asCount},
	{"ulog_execute_attrs", "UserLogExecuteEventAttrs", asString},
	{"max_transfer_input_mb", "MaxTransferInputMB", asExpr},
	{"max_transfer_output_mb", "MaxTransferOutputMB", asExpr},
	{"retry_request_memory", "RetryRequestMemory", asMegabytes},
	{"retry_request_memory_increase", "RetryRequestMemoryIncrease", asExpr},
	{"retry_request_memory_max", "RetryRequestMemoryMax", asMegabytes},
	{"skip_if_dataflow", "SkipIfDataflow", asBool},
	{"preserve_relative_paths", "PreserveRelativePaths", asBool},
	{"manifest", "ManifestDesired", asBool},
	{"manifest_dir", "ManifestDir", asString},
	{"erase_output_and_error_on_restart", "EraseOutputAndErrorOnRestart", asBool},
	{"encrypt_input_files", "EncryptInputFiles", asString},
	{"encrypt_output_files", "EncryptOutputFiles", asString},
	{"dont_encrypt_input_files", "DontEncryptInputFiles", asString},
	{"dont_encrypt_output_files", "DontEncryptOutputFiles", asString},
	{"max_idle", "JobMaterializeMaxIdle", asLimit},
	{"max_materialize", "JobMaterializeLimit", asLimit},
	{"checkpoint_destination", "CheckpointDestination", asString},
	{"dagman_log", "DAGManNodesLog", asPath},
	{"stack_size", "StackSize", asExpr},
	{"run_as_owner", "RunAsOwner", asBool},
	{"load_profile", "LoadProfile", asBool},
	{"buffer_size", "BufferSize", asInt},
	{"buffer_block_size", "BufferBlockSize", asInt},
	{"buffer_files", "BufferFiles", asText},
	{"append_files", "AppendFiles", asString},
	{"compress_files", "CompressFiles", asString},
	{"file_remaps", "FileRemaps", asText},
	{"fetch_files", "FetchFiles", asString},
	{"local_files", "LocalFiles", asString},
	{"starter_log", "JobStarterLog", asPath},
	{"starter_debug", "JobStarterDebug", asString},
	{"want_io_proxy", "WantIOProxy", asBool},
	{"encrypt_execute_directory", "EncryptExecuteDirectory", asBool},
	{"remote_initialdir", "RemoteIwd", asString},
	{"transfer_plugins", "TransferPlugins", asString},
	{"docker_network_type", "DockerNetworkType", asString},
	{"docker_pull_policy", "DockerPullPolicy", asString},
	{"docker_override_entrypoint", "DockerOverrideEntrypoint", asBool},
	{"container_service_names", "ContainerServiceNames", asString},
	{"container_target_dir", "ContainerTargetDir", asString},
	{"transfer_container", "TransferContainer", asBool},
}

// composed commands are read together with others by a builder of their own, under these names.
var composed = []string{
	"executable", "cmd", "arguments", "args", "arguments2", "allow_arguments_v1",
	"environment", "env", "environment2", "allow_environment_v1", "getenv", "get_environment",
	"input", "stdin", "output", "stdout", "error", "stderr", "log", "userlog", "log_xml", "initialdir", "initial_dir", "iwd", "job_iwd",
	"transfer_input", "transferin", "transfer_output", "transferout", "transfer_error", "transfererr",
	"stream_input", "streamin", "stream_output", "streamout", "stream_error", "streamerr",
	"transfer_executable", "transferexecutable", "should_transfer_files", "shouldtransferfiles",
	"when_to_transfer_output", "whentotransferoutput", "transfer_input_files", "transferinputfiles", "transferinput",
	"transfer_output_files", "transferoutputfiles", "transferoutput", "transfer_output_remaps", "transferoutputremaps",
	"output_destination", "outputdestination", "transfer_checkpoint_files", "transfercheckpoint",
	"checkpoint_exit_code", "successcheckpointexitcode", "public_input_files",
	"cpu_baseline", "cpubaseline", "runtime_root", "runtimeroot", // not HTCondor's
	"request_cpus", "requestcpus", "request_memory", "requestmemory", "request_disk", "requestdisk", "request_gpus", "requestgpus",
	"require_gpus", "gpus_minimum_capability", "gpus_maximum_capability", "gpus_minimum_memory", "gpus_minimum_runtime",
	"image_size", "imagesize", "disk_usage", "diskusage",
	"requirements", "rank", "preferences", "priority", "prio", "jobprio", "notification", "jobnotification",
	"hold", "nice_user", "niceuser", "accounting_group", "acctgroup", "accountinggroup", "accounting_group_user", "acctgroupuser",
	"concurrency_limits", "concurrency_limits_expr", "job_lease_duration", "jobleaseduration",
	"materialize_max_idle", "max_retries", "jobmaxretries", "retry_until", "success_exit_code", "jobsuccessexitcode",
	"on_exit_remove", "onexitremove", "on_exit_hold", "onexithold",
	"deferral_time", "deferraltime", "deferral_window", "deferralwindow", "deferral_prep_time", "deferralpreptime",
	"cron_minute", "cron_hour", "cron_day_of_month", "cron_month", "cron_day_of_week", "cron_window", "cron_prep_time",
	"universe", "docker_image", "container_image", "dockerimage", "containerimage", "cuda_version", "cudaversion", "get_env",
}

// meaningless commands are accepted and change nothing, for the reason given.
var meaningless = map[string]string{
	"memory_usage":              "it is measured while the job runs; request_memory asks for some",
	"buffer_size":               "jobs use the system's own buffers",
	"buffer_block_size":         "jobs use the system's own buffers",
	"buffer_files":              "jobs use the system's own buffers",
	"append_files":              "output is always brought back whole",
	"compress_files":            "files are compressed on the way whenever that helps",
	"copy_to_spool":             "the executable is always stored when you submit",
	"want_remote_io":            "there is no remote system call library",
	"allow_startup_script":      "there is no standard universe",
	"run_as_owner":              "the agent decides which account runs a job",
	"load_profile":              "the agent decides which account runs a job",
	"file_remaps":               "there is no remote system call library",
	"fetch_files":               "there is no remote system call library",
	"local_files":               "there is no remote system call library",
	"want_io_proxy":             "jobs do not call back; their files are moved before and after",
	"batch_queue":               "it belongs to grid jobs",
	"starter_log":               "the job's event log has what happened",
	"starter_debug":             "the job's event log has what happened",
	"job_batch_id":              "the cluster number is the id",
	"dataflow":                  "it has no effect on the jobs of one description",
	"submit_warn_empty_matches": "empty matches are always reported",
}

// unsupported commands are refused: doing without what they ask for would give another result.
var unsupported = map[string]string{
	"rootdir":                   "jobs see the system's programs and their own scratch directory",
	"x509userproxy":             "there are no X.509 proxies",
	"use_x509userproxy":         "there are no X.509 proxies",
	"use_oauth_services":        "there is no credential service",
	"grid_resource":             "there is no grid universe",
	"machine_count":             "jobs that run on several machines at once are not supported yet",
	"node_count":                "jobs that run on several machines at once are not supported yet",
	"vm_type":                   "there is no virtual machine universe",
	"tool_daemon_cmd":           "tool daemons are not supported",
	"jar_files":                 "there is no java universe; make java the executable",
	"java_vm_args":              "there is no java universe; make java the executable",
	"encrypt_execute_directory": "scratch directories are not encrypted",
	"remote_initialdir":         "a job runs in its own scratch directory",
	"container_service_names":   "containers are not supported yet",
	"transfer_plugins":          "machines fetch http and https themselves, and nothing else",
	"use_scitokens":             "there is no credential service",
	"jobset":                    "jobs are grouped by batch_name",
	"docker_network_type":       "containers are not supported yet",
	"docker_pull_policy":        "containers are not supported yet",
}

// commandNames are all commands that can be meant, as people write them.
var commandNames = func() []string {
	var names []string
	for _, s := range simple {
		names = append(names, s.command)
	}
	for _, c := range composed {
		// The attribute names among them are not what anybody should be pointed to.
		if strings.Contains(c, "_") || !knownAttr[c] {
			names = append(names, c)
		}
	}
	sort.Strings(names)
	return names
}()

var knownAttr = map[string]bool{
	"transferin": true, "transferout": true, "transfererr": true, "streamin": true, "streamout": true, "streamerr": true,
	"transferexecutable": true, "shouldtransferfiles": true, "whentotransferoutput": true, "transferinputfiles": true,
	"transferinput": true, "transferoutputfiles": true, "transferoutput": true, "transferoutputremaps": true,
	"outputdestination": true, "transfercheckpoint": true, "successcheckpointexitcode": true, "requestcpus": true,
	"requestmemory": true, "requestdisk": true, "requestgpus": true, "imagesize": true, "memoryusage": true, "diskusage": true,
	"jobprio": true, "jobnotification": true, "niceuser": true, "acctgroup": true, "accountinggroup": true, "acctgroupuser": true,
	"jobleaseduration": true, "jobmaxretries": true, "jobsuccessexitcode": true, "onexitremove": true, "onexithold": true,
	"deferraltime": true, "deferralwindow": true, "deferralpreptime": true, "dockerimage": true, "containerimage": true,
	"cmd": true, "userlog": true, "prio": true, "cudaversion": true, "cpubaseline": true, "runtimeroot": true,
}

// known holds every name that is a command, in lower case.
var known = func() map[string]bool {
	m := map[string]bool{}
	for _, s := range simple {
		m[s.command], m[strings.ToLower(s.attr)] = true, true
	}
	for _, c := range composed {
		m[c] = true
	}
	for c := range meaningless {
		m[c] = true
	}
	for c := range unsupported {
		m[c] = true
	}
	return m
}()

// checkNames looks at the macros that nothing used. One that is nearly a command was meant to be it,
// and the jobs must not run without what it asked for.
func (d *Description) checkNames() error {
	for _, m := range d.macros.order {
		key := strings.ToLower(m.name)
		at := m.values[len(m.values)-1].at
		if reason, ok := unsupported[key]; ok {
			if err := d.refuse(at, "", "%s is %w: %s", m.name, ErrUnsupported, reason); err != nil {
				return err
			}
			m.used = true
		}
		if reason, ok := meaningless[key]; ok {
			d.note(at, fmt.Sprintf("%s has no effect: %s", m.name, reason))
			m.used = true
		}
		if strings.HasPrefix(key, "request_") && !known[key] { // a resource of its own, or a slip
			if s := nearCommand(key); s != "" {
				if err := d.refuse(at, fmt.Sprintf("did you mean %q?", s), "unknown command %q", m.name); err != nil {
					return err
				}
			}
			continue
		}
		if m.used || known[key] || strings.HasPrefix(key, "my.") {
			continue
		}
		if s := nearCommand(key); s != "" {
			if err := d.refuse(at, fmt.Sprintf("did you mean %q?", s), "unknown command %q", m.name); err != nil {
				return err
			}
			continue
		}
		if at.file != "command line" {
			d.note(at, fmt.Sprintf("%s is set and never used", m.name))
		}
	}
	for _, q := range d.queues {
		for i, used := range q.used {
			if !used && len(q.items) > 0 {
				d.note(q.at, fmt.Sprintf("the variable %s of the queue statement is never used", q.vars[i]))
			}
		}
	}
	return nil
}

// veryNear is true for a slip of the fingers: one letter in a short word, two in a long one.
func veryNear(word, command string) bool {
	const short, long = 5, 9
	if len(word) < short {
		return false
	}
	allowed := 1
	if len(command) >= long {
		allowed = 2
	}
	return levenshtein.Distance(word, command, nil) <= allowed
}
