package server

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/fit"
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

	Checkpoints CheckpointSettings `toml:"checkpoints"`
	FairShare   FairShareSettings  `toml:"fair_share"`
	Concurrency map[string]float64 `toml:"concurrency_limits"` // by name; "licence.*" for the rest of a group, "*" for all others
}

// NATSSettings are about the message bus.
type NATSSettings struct {
	Listen string `toml:"listen"` // plain NATS over TLS as well, such as ":4222"; none by default

	// Of a cluster of NATS servers that several matchmakers share; see docs/operations.md.
	URLs        []string          `toml:"urls"`        // where it takes clients, such as "tls://n1:4222"; none means a matchmaker that stands alone
	LeafURLs    []string          `toml:"leaf_urls"`   // where it takes leaf nodes; the hosts of URLs at port 7422 by default
	CA          string            `toml:"ca"`          // file with the authority of its certificates; the system's by default
	Credentials string            `toml:"credentials"` // file with which to sign in, or
	NKeySeed    string            `toml:"nkey_seed"`   // file with the seed of the NKey with which to
	Replicas    int               `toml:"replicas"`    // how many of its servers keep the queue log; 3 by default
	LeaderTTL   quantity.Duration `toml:"leader_ttl"`  // how long a leader that is silent leads; 5s by default
}

// Clustered says whether several matchmakers share a cluster.
func (s NATSSettings) Clustered() bool { return len(s.URLs) > 0 }

// Bounds of leader_ttl. It is not worth while to stop a pool for every hiccup of a network, nor for minutes.
const (
	minLeaderTTL, maxLeaderTTL = time.Second, 5 * time.Minute
	defaultLeaderTTL           = 5 * time.Second
	defaultReplicas            = 3
	leafPort                   = "7422"
)

// complete fills in the defaults and checks what is there.
func (s *NATSSettings) complete() error {
	if !s.Clustered() {
		if len(s.LeafURLs) > 0 || s.CA != "" || s.Credentials != "" || s.NKeySeed != "" || s.Replicas != 0 || s.LeaderTTL != 0 {
			return &diag.Problem{What: "[nats] describes a cluster, but does not say where it is", Hint: `set urls = ["tls://n1:4222", ...]`}
		}
		return nil
	}
	for _, list := range [][]string{s.URLs, s.LeafURLs} {
		for _, text := range list {
			if err := checkClusterURL(text); err != nil {
				return err
			}
		}
	}
	if len(s.LeafURLs) == 0 {
		for _, text := range s.URLs {
			u, err := url.Parse(text)
			if err != nil {
				return err
			}
			u.Host = net.JoinHostPort(u.Hostname(), leafPort)
			s.LeafURLs = append(s.LeafURLs, u.String())
		}
	}
	if s.Credentials != "" && s.NKeySeed != "" {
		return &diag.Problem{What: "[nats] has both credentials and nkey_seed", Hint: "one of them is enough to sign in"}
	}
	if s.Replicas == 0 {
		s.Replicas = defaultReplicas
	}
	if s.Replicas < 0 || s.Replicas > 5 || s.Replicas%2 == 0 {
		return &diag.Problem{What: fmt.Sprintf("[nats]: replicas = %d", s.Replicas), Hint: "it is 1, 3 or 5: a majority must be there for the pool to go on"}
	}
	if s.LeaderTTL == 0 {
		s.LeaderTTL = quantity.Duration(defaultLeaderTTL)
	}
	if d := s.LeaderTTL.Std(); d < minLeaderTTL || d > maxLeaderTTL {
		return &diag.Problem{What: fmt.Sprintf("[nats]: leader_ttl = %v", d), Hint: fmt.Sprintf("it is between %v and %v", minLeaderTTL, maxLeaderTTL)}
	}
	return nil
}

func checkClusterURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "tls" && u.Scheme != "nats" {
		return &diag.Problem{What: fmt.Sprintf("[nats]: %q is not the URL of a NATS server", text), Hint: `write it as "tls://n1.example.edu:4222"`, Err: err}
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "nats" && u.Hostname() != "localhost" && !ip.IsLoopback() {
		return &diag.Problem{What: fmt.Sprintf("[nats]: %s would send everything in the clear", text), Hint: "write tls:// and let the servers have certificates"}
	}
	return nil
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
	DiskFree    quantity.Bytes `toml:"disk_free"`     // that uploads, files of other matchmakers and submits must leave

	History    quantity.Bytes    `toml:"history"`     // on disk, of jobs that are done with; the oldest are forgotten
	HistoryAge quantity.Duration `toml:"history_age"` // after which they are, too
	Archive    quantity.Bytes    `toml:"archive"`     // on disk, of the copy of the queue log

	SnapshotEvery int `toml:"snapshot_every"` // events, from one snapshot of the queue to the next; the log keeps two such spans
}

const defaultDiskFree = 1 << 30

// CheckpointSettings are about jobs' checkpoints.
type CheckpointSettings struct {
	// RestartAfter is how long a job waits for a machine on which it can go on from its checkpoint, before it
	// starts over; nil means [DefaultRestartAfter], and 0 that it waits for ever. A job may say otherwise.
	RestartAfter *quantity.Duration `toml:"restart_after"`
	// CPUBaseline is the level of x86-64 that jobs keep to which do not say another; "" or "none" for none.
	CPUBaseline string `toml:"cpu_baseline"`
}

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
	if err := s.NATS.complete(); err != nil {
		return err
	}
	if key := s.Limits.negative(); key != "" {
		return &diag.Problem{What: fmt.Sprintf("[limits]: %s is negative", key), Hint: "leave it out for the default, which docs/configuration.md tells"}
	}
	s.Limits.DiskFree = cmp.Or(s.Limits.DiskFree, defaultDiskFree)
	if r := s.Checkpoints.RestartAfter; r != nil && (*r < 0 || *r > 0 && r.Std() < minRestartAfter) {
		return &diag.Problem{
			What: fmt.Sprintf("[checkpoints]: restart_after = %v is less than %v", *r, minRestartAfter),
			Hint: `machines come and go: give them time, or write "0s" and jobs wait for ever`,
		}
	}
	if b := s.Checkpoints.CPUBaseline; b != "" {
		if _, err := fit.ParseBaseline(b); err != nil {
			return &diag.Problem{What: "[checkpoints]: cpu_baseline: " + err.Error(), Hint: fit.BaselineHint, Err: err}
		}
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

// negative gives the key of a limit that is less than nothing; "" for none.
func (l *LimitSettings) negative() string {
	for _, limit := range []struct {
		key  string
		less bool
	}{
		{"jobs", l.Jobs < 0},
		{"jobs_per_user", l.JobsPerUser < 0},
		{"file", l.File < 0},
		{"disk_free", l.DiskFree < 0},
		{"history", l.History < 0},
		{"history_age", l.HistoryAge < 0},
		{"archive", l.Archive < 0},
		{"snapshot_every", l.SnapshotEvery < 0},
	} {
		if limit.less {
			return limit.key
		}
	}
	return ""
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

// restartAfter gives [Config].RestartAfter.
func (s *Settings) restartAfter() time.Duration {
	switch r := s.Checkpoints.RestartAfter; {
	case r == nil:
		return DefaultRestartAfter
	case *r == 0:
		return -1
	default:
		return r.Std()
	}
}

// baseline gives [Config].Baseline.
func (s *Settings) baseline() fit.Baseline {
	b, _ := fit.ParseBaseline(s.Checkpoints.CPUBaseline) // complete has looked
	return b
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
