package submitfile

import (
	"fmt"
	"strings"
)

// unheeded are the commands whose attributes stand in the ad while nothing acts on them yet. Who asks
// for what they do is told, with what happens instead; the line of a command goes with the change that
// heeds it. A test looks for readers of the attributes.
var unheeded = []struct {
	command string
	attr    string // as in the ad, and as +Attr
	means   string // the value that asks for what happens anyway; empty when none does
	instead string
}{
	{"leave_in_queue", "LeaveJobInQueue", "false", "jobs that have ended are in skua history"},
	{"accounting_group", "", "", "the job counts as any other of yours"},
	{"accounting_group_user", "", "", "the job counts as yours"},
	{"next_job_start_delay", "NextJobStartDelay", "0", "jobs start as soon as there is a machine for them"},
	{"keep_claim_idle", "KeepClaimIdle", "0", "a machine takes another job as soon as this one has left"},
	{"stream_input", "StreamIn", "false", "the file is sent whole before the job starts"},
	{"stream_output", "StreamOut", "false", "the file arrives when the job has ended; skua tail shows it before"},
	{"stream_error", "StreamErr", "false", "the file arrives when the job has ended; skua tail shows it before"},
	{"output_destination", "OutputDestination", "", "outputs come to where you submit"},
	{"checkpoint_destination", "CheckpointDestination", "", "checkpoints are kept by the matchmaker"},
	{"skip_if_dataflow", "SkipIfDataflow", "false", "the job runs even if its outputs are newer than its inputs"},
	{"log_xml", "UserLogUseXML", "false", "the log is written as text"},
	{"manifest", "ManifestDesired", "false", "no manifest is written"},
	{"job_machine_attrs", "JobMachineAttrs", "", "the machine's attributes do not go into the job's ad"},
	{"match_list_length", "LastMatchListLength", "0", "the machines that it has had do not go into the job's ad"},
	{"job_ad_information_attrs", "JobAdInformationAttrs", "", "the log has no such entries"},
	{"ulog_execute_attrs", "UserLogExecuteEventAttrs", "", "the log has no such entries"},
}

// unanswered are the commands that add to Requirements what no machine has yet.
var unanswered = []struct{ command, attr string }{
	{"encrypt_input_files", "EncryptInputFiles"},
	{"encrypt_output_files", "EncryptOutputFiles"},
	{"dont_encrypt_input_files", "DontEncryptInputFiles"},
	{"dont_encrypt_output_files", "DontEncryptOutputFiles"},
}

// buildNothing says which commands have no effect, or none that anybody wants. It sets no attribute,
// so that once is enough for all jobs of a queue statement.
func buildNothing(p *proc) error {
	for _, u := range unheeded {
		names := []string{u.command}
		if u.attr != "" {
			names = append(names, u.attr, "MY."+u.attr)
		}
		v, err := p.get(names...)
		if err != nil {
			return err
		}
		if !v.set() || u.means != "" && sameValue(v.text, u.means) {
			continue
		}
		name := v.name
		if attr, forced := strings.CutPrefix(name, "MY."); forced {
			name = "+" + attr
		}
		at := v.at
		at.col = 0 // the whole line has no effect
		p.note(at, fmt.Sprintf("%s has no effect yet: %s", name, u.instead))
	}
	for _, u := range unanswered {
		v, err := p.get(u.command, u.attr)
		if err != nil {
			return err
		}
		if v.set() {
			at := v.at
			at.col = 0
			p.note(at, v.name+" asks for what no machine can do yet: the job waits for one that can")
		}
	}
	return checkBaseline(p)
}

// sameValue compares without regard to the ways in which true, false and words can be written.
func sameValue(a, b string) bool {
	if x, ok := parseBool(a); ok {
		if y, ok := parseBool(b); ok {
			return x == y
		}
	}
	return strings.EqualFold(unquote(a), b)
}
