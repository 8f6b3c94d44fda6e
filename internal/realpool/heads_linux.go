package realpool

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skua/internal/natslab"
)

// HeadsConfig describes a pool with several matchmakers.
type HeadsConfig struct {
	Config
	Heads int // number of matchmakers
	// More is what matchmaker.toml of each says beyond what it needs; it is put before its tables.
	More string
}

// leaderTTL is how long a leader of these pools leads that is silent, in seconds.
const leaderTTL = 3

// StartHeads starts a pool with several matchmakers on a NATS cluster of three servers, which must have been built into
// bin, and waits until every machine has offered its slots.
func StartHeads(t testing.TB, bin string, cfg HeadsConfig) *Pool {
	t.Helper()
	p := New(t, bin)
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	var err error
	if p.NATS, err = natslab.Start(ctx, bin, filepath.Join(p.Dir, "nats"), 3); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, s := range p.NATS.Servers {
				t.Logf("log of %s:\n%s", s.Name, tail(s.Log(), 30))
			}
		}
		p.NATS.Close()
	})
	urls := strings.Join(quoted(p.NATS.URLs()), ", ")
	leafs := strings.Join(quoted(p.NATS.LeafURLs()), ", ")
	for n := range cfg.Heads {
		url := p.url
		if n > 0 {
			url = "https://" + freeAddress(t)
		}
		p.Write(headName(n+1)+".toml", cfg.More+p.settings(headName(n+1), url, cfg.Config)+fmt.Sprintf(
			"[nats]\nurls = [%s]\nleaf_urls = [%s]\nnkey_seed = %q\nleader_ttl = \"%ds\"\n", urls, leafs, p.NATS.NKey, leaderTTL))
		if n > 0 {
			p.importKeys(n + 1)
		}
		p.Heads = append(p.Heads, nil)
		p.StartHead(n + 1)
	}
	p.Await("the matchmakers know each other", func() bool {
		for n := range cfg.Heads {
			if out, _, _ := p.HeadAdmin(n+1, "heads"); strings.Count(out, "https://") != cfg.Heads {
				return false
			}
		}
		return true
	})
	p.populate(cfg.Config)
	return p
}

func headName(n int) string { return fmt.Sprint("head", n) }

func quoted(all []string) []string {
	var out []string
	for _, s := range all {
		out = append(out, fmt.Sprintf("%q", s))
	}
	return out
}

// importKeys brings the keys of the first matchmaker to another.
func (p *Pool) importKeys(n int) {
	p.t.Helper()
	keys, errs, code := p.HeadAdmin(1, "keys", "export")
	if code != 0 {
		p.t.Fatalf("keys export: exit %d\n%s", code, errs)
	}
	cmd := p.command(p.t.Context(), mainframe, "", "skua-matchmaker", "--config", p.headConfig(n), "keys", "import")
	cmd.Stdin = bytes.NewReader([]byte(keys))
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("keys import: %v\n%s", err, out)
	}
}

func (p *Pool) headConfig(n int) string { return filepath.Join(p.Dir, headName(n)+".toml") }

// StartHead starts a matchmaker of several, or starts it again, and waits until it serves.
func (p *Pool) StartHead(n int) {
	p.t.Helper()
	p.Heads[n-1] = p.Launch(headName(n), "skua-matchmaker", "--config", p.headConfig(n))
	p.Await(headName(n)+" serves", func() bool {
		p.Heads[n-1].MustRun()
		_, _, code := p.HeadAdmin(n, "members")
		return code == 0
	})
}

// HeadAdmin gives an order to one of several matchmakers.
func (p *Pool) HeadAdmin(n int, args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	return p.Run("", append([]string{"skua-matchmaker", "--config", p.headConfig(n)}, args...)...)
}

// Leader gives the number of the matchmaker that leads, 0 for none, as the one with the number at says.
func (p *Pool) Leader(at int) int {
	p.t.Helper()
	out, _, _ := p.HeadAdmin(at, "heads")
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "leads") {
			continue
		}
		for n := range p.Heads {
			if strings.Contains(p.Read(headName(n+1)+".toml"), `"`+strings.Fields(line)[0]+`"`) {
				return n + 1
			}
		}
	}
	return 0
}

// ReadJournal gives the content of a file that jobs have written, "" when there is none.
func (p *Pool) ReadJournal(name string) string {
	data, _ := os.ReadFile(filepath.Join(p.Journal, name)) // it is made by the first job
	return string(data)
}
