package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"skua/policy/classad"
)

// Script is a program of the administrator's that prints attributes of the machine.
type Script struct {
	Name    string
	Run     string        // path of the program, absolute
	Every   time.Duration // from one start to the next
	Timeout time.Duration // then it is killed
	User    string        // whom it runs as; "" means nobody, or whoever the agent runs as if that is not root
}

const (
	scriptOutput     = 64 << 10 // bytes
	scriptComplaint  = 1 << 10  // bytes of its standard error that are kept for the log
	scriptAttributes = 200      // of one script
	scriptMisses     = 3        // runs that fail in a row until its attributes are forgotten
)

// Scripts runs programs on a schedule and keeps what they print.
type Scripts struct {
	scripts []Script
	refuse  func(name string) bool
	log     *slog.Logger

	mu      sync.Mutex // guards what follows
	results []result   // of scripts
}

// result is what came of one script's latest runs.
type result struct {
	ad      *classad.Ad // of the latest good run; nil for none, or when that is too long ago
	text    string      // of ad
	failed  int         // runs since then
	refused []string    // attributes that were left out, as far as the log knows
}

// NewScripts makes Scripts that refuse attributes by the names for which refuse is true: those that the
// machine tells itself.
func NewScripts(scripts []Script, refuse func(name string) bool, log *slog.Logger) *Scripts {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Scripts{scripts: scripts, refuse: refuse, log: log, results: make([]result, len(scripts))}
}

// Run runs each script at once and then on its schedule until ctx ends, and calls changed when
// attributes have changed. Every process and goroutine it starts has ended when it returns.
func (s *Scripts) Run(ctx context.Context, changed func()) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for i, script := range s.scripts {
		wg.Go(func() {
			tick := time.NewTicker(script.Every)
			defer tick.Stop()
			var stuck <-chan struct{} // closed when the run before this one has ended after all
			for {
				out, err := []byte(nil), errStuck
				if isDone(stuck) {
					out, stuck, err = runScript(ctx, script)
				}
				if ctx.Err() != nil {
					return
				}
				if s.ran(i, out, err) {
					changed()
				}
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
		})
	}
	return nil
}

var errStuck = errors.New("its last run hangs and cannot be killed")

// isDone reports whether what ends with the closing of c, if there is any, has ended.
func isDone(c <-chan struct{}) bool {
	if c == nil {
		return true
	}
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// ran notes what came of a run, and reports whether attributes have changed. A failure is logged when
// it is the first in a row.
func (s *Scripts) ran(i int, out []byte, err error) (changed bool) {
	log := s.log.With(keyProbe, s.scripts[i].Name)
	var ad *classad.Ad
	var refused []string
	if err == nil {
		ad, refused, err = parseScript(string(out), s.refuse)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.results[i]
	if err != nil {
		if r.failed++; r.failed == 1 {
			log.Warn("probe failed", "error", err)
		}
		if r.failed < scriptMisses || r.ad == nil {
			return false
		}
		r.ad, r.text = nil, ""
		return true
	}
	if r.failed > 0 {
		log.Info("probe works again")
	}
	for _, name := range refused {
		if !slices.Contains(r.refused, name) {
			log.Warn("probe tells what is the machine's own to tell; it is left out", "attribute", name)
		}
	}
	text := ad.String()
	changed = text != r.text
	*r = result{ad: ad, text: text, refused: refused}
	return changed
}

const keyProbe = "probe" // log key: Script.Name

// Ad has the attributes of all scripts; of one that several print, that of the last counts. It is new
// at each call.
func (s *Scripts) Ad() *classad.Ad {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := classad.NewAd()
	for _, r := range s.results {
		if r.ad == nil {
			continue
		}
		for _, name := range r.ad.Names() {
			e, _ := r.ad.Lookup(name)
			all.Set(name, e)
		}
	}
	return all
}

// parseScript reads lines "Name = expression", in the syntax of HTCondor's configuration. Empty lines,
// comments, and the lines that begin with "-" by which HTCondor's startd cron separates ads are passed
// over. The names in refused are left out of the ad.
func parseScript(text string, refuse func(string) bool) (ad *classad.Ad, refused []string, err error) {
	ad = classad.NewAd()
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '-' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || !isAttribute(name) {
			return nil, nil, fmt.Errorf("line %d of its output is not like %q: %.80q", n, "Name = value", line)
		}
		e, err := classad.ParseOldExpr(value)
		if err != nil {
			return nil, nil, fmt.Errorf("line %d of its output, %s: %w", n, name, err)
		}
		if refuse != nil && refuse(name) {
			refused = append(refused, name)
			continue
		}
		ad.Set(name, e)
		if len(ad.Names()) > scriptAttributes {
			return nil, nil, fmt.Errorf("it tells more than %d attributes", scriptAttributes)
		}
	}
	return ad, refused, nil
}

// isAttribute reports whether name can be an attribute's.
func isAttribute(name string) bool {
	const longest = 128
	other := func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}
	return name != "" && len(name) <= longest && (name[0] < '0' || name[0] > '9') && !strings.ContainsFunc(name, other)
}
