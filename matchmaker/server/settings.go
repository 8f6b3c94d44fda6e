package server

import (
	"fmt"
	"net"
	"net/url"
	"os"
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
}

// LimitSettings bound what a pool takes; 0 means the default.
type LimitSettings struct {
	Jobs        int            `toml:"jobs"`          // in the queue, in all
	JobsPerUser int            `toml:"jobs_per_user"` // in the queue, of one user
	File        quantity.Bytes `toml:"file"`          // the largest file
	DiskFree    quantity.Bytes `toml:"disk_free"`     // that uploads must leave
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
	if s.Limits.Jobs < 0 || s.Limits.JobsPerUser < 0 {
		return &diag.Problem{What: "a limit in matchmaker.toml is negative"}
	}
	if err := checkTerms(s.terms()); err != nil {
		return &diag.Problem{What: "[leases]: " + err.Error(), Hint: "renew must be at most half of lease", Err: err}
	}
	return nil
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
