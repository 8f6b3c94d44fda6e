package server

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/quantity"
)

// Settings are what matchmaker.toml says.
type Settings struct {
	Data   string `toml:"data"`   // directory of everything that must not be lost; required
	Listen string `toml:"listen"` // of the one port, HTTPS; ":9618" by default
	URL    string `toml:"url"`    // where machines and users reach this matchmaker; the host's name by default
	Domain string `toml:"domain"` // names the pool to people; the host's name by default

	NATS   NATSSettings  `toml:"nats"`
	Leases LeaseSettings `toml:"leases"`
	Limits LimitSettings `toml:"limits"`

	FairShare   FairShareSettings  `toml:"fair_share"`
	Concurrency map[string]float64 `toml:"concurrency_limits"` // by name; "licence.*" for the rest of a group, "*" for all others
}

// NATSSettings are about the message bus.
type NATSSettings struct {
	Listen string `toml:"listen"` // plain NATS over TLS as well, such as ":4222"; none by default
}

// LeaseSettings are the durations of the claim protocol; 0 means the default of [job.DefaultTerms].
type LeaseSettings struct {
	Lease quantity.Duration `toml:"lease"` // the longest that a machine may be silent without losing its job
	Renew quantity.Duration `toml:"renew"`
	Offer quantity.Duration `toml:"offer"`
	Guard quantity.Duration `toml:"guard"`

	// ClaimWorklife is how long a slot goes on with jobs of one user before others have a say again in a
	// negotiation cycle; nil means [DefaultWorklife], and 0 that it does not.
	ClaimWorklife *quantity.Duration `toml:"claim_worklife"`
}

// LimitSettings bound what a pool takes; 0 means the default.
type LimitSettings struct {
	Jobs        int            `toml:"jobs"`          // in the queue, in all
	JobsPerUser int            `toml:"jobs_per_user"` // in the queue, of one user
	File        quantity.Bytes `toml:"file"`          // the largest file
	DiskFree    quantity.Bytes `toml:"disk_free"`     // that uploads and submits must leave

	History    quantity.Bytes    `toml:"history"`     // on disk, of jobs that are done with; the oldest are forgotten
	HistoryAge quantity.Duration `toml:"history_age"` // after which they are, too
	Archive    quantity.Bytes    `toml:"archive"`     // on disk, of the copy of the queue log
}

const defaultDiskFree = 1 << 30 // as that of [files.Config].DiskFloor

// FairShareSettings are about the shares that users have of the pool; 0 means the default.
type FairShareSettings struct {
	HalfLife      quantity.Duration `toml:"half_life"`      // after which past use counts half
	DefaultFactor float64           `toml:"default_factor"` // of users who have been given none
}

// complete fills in the defaults and checks what is there.
func (s *Settings) complete() error {
	if s.Data == "" {
		return &diag.Problem{What: "the matchmaker has no directory for its data", Hint: "set data in matchmaker.toml, or use --data"}
	}
	if s.Listen == "" {
		s.Listen = ":" + bus.DefaultPort
	}
	if _, _, err := net.SplitHostPort(s.Listen); err != nil {
		return &diag.Problem{What: fmt.Sprintf("listen = %q is not an address", s.Listen), Hint: `write it as ":9618" or "10.0.0.1:9618"`, Err: err}
	}
	if s.URL != "" {
		if u, err := url.Parse(s.URL); err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
			return &diag.Problem{What: fmt.Sprintf("url = %q is not a matchmaker's URL", s.URL), Hint: `write it as "https://head.example.edu:9618"`, Err: err}
		}
	}
	if s.Domain == "" {
		s.Domain, _ = os.Hostname() // only shown to people
	}
	l := &s.Limits
	if l.Jobs < 0 || l.JobsPerUser < 0 || l.File < 0 || l.DiskFree < 0 || l.History < 0 || l.HistoryAge < 0 || l.Archive < 0 {
		return &diag.Problem{What: "a limit in matchmaker.toml is negative"}
	}
	if f := s.FairShare.DefaultFactor; f != 0 && (f < minFactor || f > maxFactor) {
		return &diag.Problem{What: fmt.Sprintf("[fair_share]: default_factor = %v is out of bounds", f), Hint: "1000 is the usual one"}
	}
	for name, limit := range s.Concurrency {
		if !limitName.MatchString(name) {
			return &diag.Problem{
				What: fmt.Sprintf("[concurrency_limits]: %q is not the name of a limit", name),
				Hint: `names are letters, digits and _, with one dot for a group: matlab, licence.solver, "licence.*", "*"`,
			}
		}
		if limit < 0 {
			return &diag.Problem{What: fmt.Sprintf("[concurrency_limits]: %s = %v is negative", name, limit), Hint: "0 lets no job with it start"}
		}
	}
	if err := checkTerms(s.terms()); err != nil {
		return &diag.Problem{What: "[leases]: " + err.Error(), Hint: "renew must be at most half of lease", Err: err}
	}
	return nil
}

var limitName = regexp.MustCompile(`^(\*|[A-Za-z0-9_]+(\.([A-Za-z0-9_]+|\*))?)$`)

// concurrency gives the concurrency limits by their names in lower case.
func (s *Settings) concurrency() map[string]float64 {
	all := map[string]float64{}
	for name, limit := range s.Concurrency {
		all[strings.ToLower(name)] = limit
	}
	return all
}

// worklife gives [Config].Worklife.
func (s *Settings) worklife() time.Duration {
	switch w := s.Leases.ClaimWorklife; {
	case w == nil:
		return DefaultWorklife
	case *w == 0:
		return -1
	default:
		return w.Std()
	}
}

// terms gives the claim protocol's durations. With a short lease, as in tests, the others shrink with it
// unless they are set.
func (s *Settings) terms() job.Terms {
	t := job.DefaultTerms
	if l := time.Duration(s.Leases.Lease); l > 0 {
		t.Lease = l
		t.Renew = min(t.Renew, l/4)
		t.Guard = min(t.Guard, l/4)
	}
	set := func(d *time.Duration, v quantity.Duration) {
		if v > 0 {
			*d = time.Duration(v)
		}
	}
	set(&t.Renew, s.Leases.Renew)
	set(&t.Offer, s.Leases.Offer)
	set(&t.Guard, s.Leases.Guard)
	return t
}
