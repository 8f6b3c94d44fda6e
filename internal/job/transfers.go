package job

import (
	"math"
	"strings"

	"skua/policy/classad"
)

// Transfers is what a job says about its files beyond their names.
type Transfers struct {
	URLs []string // inputs that the machine fetches by itself, as the description names them

	Out, Err  bool // the standard streams come back
	OnSuccess bool // other outputs come back only after SuccessExit (when_to_transfer_output = ON_SUCCESS)
	OnEvict   bool // what the job has made so far goes with it when it must leave (ON_EXIT_OR_EVICT)
	// KeepStreams has a job that begins again, with files that it left behind when it was evicted,
	// append to its standard streams instead of beginning them anew (erase_output_and_error_on_restart =
	// false).
	KeepStreams bool
	SuccessExit int

	// MaxIn and MaxOut bound all inputs and all outputs, in bytes; negative for no bound.
	MaxIn, MaxOut int64
}

// transfersOf reads TransferInput, TransferOut, TransferErr, WhenToTransferOutput, JobSuccessExitCode,
// EraseOutputAndErrorOnRestart, MaxTransferInputMB and MaxTransferOutputMB.
func transfersOf(ad *classad.Ad) Transfers {
	t := Transfers{Out: true, Err: true, MaxIn: megabytes(ad, "MaxTransferInputMB"), MaxOut: megabytes(ad, "MaxTransferOutputMB")}
	if list, ok := ad.Str("TransferInput"); ok {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); URLScheme(name) != "" {
				t.URLs = append(t.URLs, name)
			}
		}
	}
	if b, ok := ad.Bool("TransferOut"); ok {
		t.Out = b
	}
	if b, ok := ad.Bool("TransferErr"); ok {
		t.Err = b
	}
	when, _ := ad.Str("WhenToTransferOutput")
	t.OnSuccess, t.OnEvict = strings.EqualFold(when, "ON_SUCCESS"), strings.EqualFold(when, "ON_EXIT_OR_EVICT")
	if n, ok := ad.Int("JobSuccessExitCode"); ok {
		t.SuccessExit = int(n)
	}
	if erase, ok := ad.Bool("EraseOutputAndErrorOnRestart"); ok {
		t.KeepStreams = !erase
	}
	return t
}

// megabytes reads a bound; none and a negative one mean that there is none.
func megabytes(ad *classad.Ad, attr string) int64 {
	n, ok := ad.Real(attr)
	if !ok || n < 0 || n >= math.MaxInt64>>20 {
		return -1
	}
	return int64(n * (1 << 20))
}

// URLScheme is the part of a URL before "://", in lower case, or empty for the name of a file.
func URLScheme(name string) string {
	scheme, _, ok := strings.Cut(name, "://")
	scheme = strings.ToLower(scheme)
	if !ok || scheme == "" || scheme[0] < 'a' || scheme[0] > 'z' || strings.Trim(scheme, "abcdefghijklmnopqrstuvwxyz0123456789+-.") != "" {
		return ""
	}
	return scheme
}
