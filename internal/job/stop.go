package job

import (
	"fmt"
	"strings"
	"time"

	"skua/policy/classad"
)

// Stop is how a job wants to be ended before its time. The machine's policy bounds every wait.
type Stop struct {
	Signal int           // asks the job to leave (kill_sig); SIGTERM by default
	Asked  bool          // the job wants Signal also where it cannot save anything
	Wait   time.Duration // for the job to end after a signal (job_max_vacate_time, kill_sig_timeout); 0: as long as the machine lets it

	// Removed and Held are sent when its user removes or holds the job, which then has Wait to end by
	// itself. 0: it is ended at once.
	Removed int
	Held    int
}

// stopOf reads KillSig, JobMaxVacateTime or KillSigTimeout, RemoveKillSig, HoldKillSig and
// WantGracefulRemoval.
func stopOf(ad *classad.Ad) (s Stop, err error) {
	s.Signal = sigterm
	for _, e := range []struct {
		attr string
		into *int
	}{{"KillSig", &s.Signal}, {"RemoveKillSig", &s.Removed}, {"HoldKillSig", &s.Held}} {
		if err := signalOf(ad, e.attr, e.into); err != nil {
			return s, err
		}
	}
	_, s.Asked = ad.Lookup("KillSig")
	if graceful, _ := ad.Bool("WantGracefulRemoval"); graceful && s.Removed == 0 {
		s.Removed = s.Signal
	}
	for _, attr := range []string{"JobMaxVacateTime", "KillSigTimeout"} {
		const most = 365 * 24 * 3600 // no machine waits that long, and it can be counted in nanoseconds
		if n, ok := ad.Int(attr); ok && n > 0 {
			s.Wait = time.Duration(min(n, most)) * time.Second
			break
		}
	}
	return s, nil
}

// signalOf reads a signal by name or number, if the ad has it.
func signalOf(ad *classad.Ad, attr string, into *int) error {
	if name, ok := ad.Str(attr); ok {
		n, err := ParseSignal(name)
		if err != nil {
			return fmt.Errorf("attribute %s: %w", attr, err)
		}
		*into = n
	} else if n, ok := ad.Int(attr); ok && n > 0 && n < 65 {
		*into = int(n)
	}
	return nil
}

const sigterm = 15

// signals are the numbers of Linux. A job's ad holds names, since numbers differ between systems.
var signals = map[string]int{
	"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8, "KILL": 9, "USR1": 10,
	"SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": sigterm, "CHLD": 17, "CONT": 18, "STOP": 19, "TSTP": 20,
	"TTIN": 21, "TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27, "WINCH": 28, "IO": 29,
	"PWR": 30, "SYS": 31,
}

// ParseSignal reads a signal's name, with or without SIG, as a number of Linux.
func ParseSignal(name string) (int, error) {
	n, ok := signals[strings.TrimPrefix(strings.ToUpper(name), "SIG")]
	if !ok {
		return 0, fmt.Errorf("%q is not the name of a signal", name)
	}
	return n, nil
}
