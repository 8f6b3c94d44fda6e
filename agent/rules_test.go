package main

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"skua/agent/control"
	"skua/agent/startd"
	"skua/internal/central"
	"skua/internal/diag"
	"skua/internal/membership"
	"skua/internal/quantity"
	"skua/internal/trust"
	"skua/policy"
)

// ruled is a machine of a pool, as far as its policy goes.
type ruled struct {
	t         *testing.T
	dir       string
	config    string
	authority *trust.Authority
	log       text
	*rules
	m *startd.Machine
}

// text is a log that is read piece by piece.
type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *text) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *text) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

func newRuled(t *testing.T, more, local string) *ruled {
	t.Helper()
	dir := t.TempDir()
	a, err := trust.OpenAuthority(filepath.Join(dir, "trust"))
	if err != nil {
		t.Fatal(err)
	}
	r := &ruled{t: t, dir: dir, authority: a}
	r.config = r.write("agent.toml", "name = \"desk\"\ndir = \""+filepath.ToSlash(dir)+"\"\npolicy = \"policy.toml\"\n"+more)
	r.write("policy.toml", local)
	r.start()
	return r
}

func (r *ruled) write(name, text string) string {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// start does what an agent does at its start.
func (r *ruled) start() {
	r.t.Helper()
	cfg, err := readConfig(r.config)
	if err != nil {
		r.t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&r.log, nil))
	rules, p, err := newRules(r.config, cfg, r.authority.Fingerprint(), log)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.m, err = startd.NewMachine(cfg.Settings, nil, p, log); err != nil {
		r.t.Fatal(err)
	}
	r.rules = rules
	rules.of(r.m)
}

func (r *ruled) signed(a *trust.Authority, group string, number int64, text string) []byte {
	r.t.Helper()
	data, err := central.Policy{Group: group, Number: number, At: time.Unix(number, 0), Text: []byte(text)}.Sign(a)
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}

// memory checks how much memory jobs get, as a file has it, and that the log says something.
func (r *ruled) memory(what, want, says string) {
	r.t.Helper()
	var share quantity.ByteShare
	if err := share.UnmarshalText([]byte(want)); err != nil {
		r.t.Fatal(err)
	}
	if got, said := r.m.Policy().Memory, r.log.take(); got != share || !strings.Contains(said, says) {
		r.t.Errorf("%s: jobs get %v of the memory, want %v; the log says %q, want %q in it", what, got, share, said, says)
	}
}

// The pool's policy comes into force beside the owner's, which stays where it is stricter; it outlives the
// agent, and what is no good changes nothing.
func TestCentralPolicy(t *testing.T) {
	r := newRuled(t, "group = \"lab\"\n", "[limits]\ncpus = \"25%\"\n")
	other, err := trust.OpenAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	lab := func(number int64, text string) []byte { return r.signed(r.authority, "lab", number, text) }
	if group := r.Group(); group != "lab" || r.m.Central == nil {
		t.Fatalf("the group is %q, and the machine asks %v", group, r.m.Central)
	}
	r.memory("alone", "50%", "")
	r.Take(lab(10, "[limits]\nmemory = \"40%\"\ncpus = \"75%\"\n"))
	r.memory("with the pool's", "40%", "central policy in force")
	if got := r.m.Policy().CPUs.Percent; got != 25 {
		t.Errorf("the owner's limit is %v%%", got)
	}
	for _, tt := range []struct {
		name, says string
		signed     []byte
	}{
		{"replayed", "older", lab(9, "[limits]\nmemory = \"90%\"\n")},
		{"of another pool", "authority", r.signed(other, "lab", 11, "[limits]\nmemory = \"90%\"\n")},
		{"of another group", "another group", r.signed(r.authority, "servers", 11, "[limits]\nmemory = \"90%\"\n")},
		{"with a bad key", "central policy lab:2: unknown key", lab(11, "[limits]\nmemry = \"90%\"\n")},
		{"tampered", "not a signed policy", lab(11, "[limits]\nmemory = \"90%\"\n")[1:]},
	} {
		r.Take(tt.signed)
		r.memory(tt.name, "40%", tt.says)
	}
	r.Take(lab(10, "[limits]\nmemory = \"40%\"\ncpus = \"75%\"\n"))
	r.memory("the good one again", "40%", "central policy in force")

	r.write("policy.toml", "[limits]\nmemory = \"10%\"\n")
	r.reload()
	r.memory("the owner is stricter", "10%", "read again")
	r.write("policy.toml", "[limits]\nmemry = \"10%\"\n")
	r.reload()
	r.memory("a bad local file", "10%", "policy.toml:2")
	r.Take(lab(12, "[limits]\nmemory = \"5%\"\n"))
	r.memory("a bad local file, and a new central policy", "5%", "policy.toml:2")

	r.write("policy.toml", "")
	r.start()
	r.memory("the agent is started again", "5%", "")
	if p, ok := r.Standing(); !ok || p.Number != 12 {
		t.Errorf("in force is %v, %v", p, ok)
	}
	withdrawn, err := central.Policy{Group: "lab", Number: 13, At: time.Unix(13, 0), Withdrawn: true}.Sign(r.authority)
	if err != nil {
		t.Fatal(err)
	}
	r.Take(withdrawn)
	r.memory("it is withdrawn", "50%", "no central policy any more")
	r.Take(lab(14, "[limits]\nmemory = \"5%\"\n"))

	kept := filepath.Join(r.dir, "central", "policy-lab.json")
	if err := os.WriteFile(kept, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.log.take()
	r.start()
	r.memory("what was kept is damaged", "50%", "the central policy that is kept in")
	r.Take(lab(14, "[limits]\nmemory = \"5%\"\n"))
	r.memory("and had anew", "5%", "central policy in force")

	r.write("agent.toml", "name = \"desk\"\ndir = \""+filepath.ToSlash(r.dir)+"\"\ngroup = \"lab\"\ncentral = false\n")
	r.start()
	r.memory("the owner wants none", "50%", "")
	if r.m.Central != nil {
		t.Error("the machine asks for one all the same")
	}
}

// The commands say for each key of which file it is.
func TestPolicySources(t *testing.T) {
	r := newRuled(t, "", "preset = \"desktop\"\n[limits]\nmemory = \"10%\"\n")
	member := startd.MembershipDir(r.dir)
	if err := os.MkdirAll(member, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.CreateIdentity(filepath.Join(member, "identity.key")); err != nil {
		t.Fatal(err)
	}
	facts, err := json.Marshal(membership.Membership{V: 1, URL: "https://127.0.0.1:1", Fingerprint: r.authority.Fingerprint(), ID: "a1", Name: "desk"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(member, "member.json"), facts, 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.dir, "policy.toml")
	command := func(args ...string) (string, string) {
		t.Helper()
		var stdout, stderr strings.Builder
		if code := run(t.Context(), append([]string{"--config", r.config, "policy"}, args...), &stdout, &stderr); code != diag.ExitOK {
			t.Errorf("%v: exit %d, %s", args, code, stderr.String())
		}
		return stdout.String(), stderr.String()
	}
	if out, _ := command("check", file); strings.Contains(out, "central") {
		t.Errorf("without a central policy check says\n%s", out)
	}
	r.Take(r.signed(r.authority, central.DefaultGroup, 7, "[limits]\ncpus = \"20%\"\n"))
	for _, args := range [][]string{{"check", file}, {"explain"}} {
		out, errs := command(args...)
		fields := map[string]string{}
		for line := range strings.Lines(out) {
			if key, rest, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				fields[key] = strings.Join(strings.Fields(rest), " ")
			}
		}
		for key, want := range map[string]string{
			"limits.cpus": "20% (central)", "limits.memory": "10% (local)", "limits.disk": "50% (local, its preset)",
		} {
			if fields[key] != want {
				t.Errorf("%v says of %s %q, want %q", args, key, fields[key], want)
			}
		}
		if !strings.Contains(out, "central policy of the group default, number 7") || strings.Contains(errs, "central") {
			t.Errorf("%v says\n%s%s", args, out, errs)
		}
	}
	if err := os.WriteFile(filepath.Join(r.dir, "central", "policy-default.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs := command("check", file); strings.Contains(out, "group") || !strings.Contains(errs, "is left out here") {
		t.Errorf("with a damaged one check says\n%s%s", out, errs)
	}
}

func TestStatusNamesTheCentralPolicy(t *testing.T) {
	var out strings.Builder
	at := time.Date(2026, 12, 24, 9, 30, 0, 0, time.Local)
	printStatus(&out, control.Status{
		Machine: "desk", Policy: string(policy.Desktop), BadPolicy: "it is older",
		Central: &control.Central{Group: "lab", Number: 20261224083000, At: at},
	}, at)
	for _, want := range []string{"group lab, number 20261224083000, signed 24 Dec 2026 09:30", "not in force: it is older"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the status is\n%s without %q", out.String(), want)
		}
	}
}

// The status says what keeps jobs away since nobody can tell whether it is used, and what to do.
func TestStatusNamesWhatIsUnseen(t *testing.T) {
	var out strings.Builder
	printStatus(&out, control.Status{Machine: "desk", Unseen: []control.Unseen{
		{Source: ":5", Why: `it counts as the owner at work: the X server refuses: "away"`},
		{Source: "session of user 1000", Why: "it counts as the owner at work: it shows its input to nobody"},
	}}, time.Now())
	for _, want := range []string{
		"  unseen   display :5: it counts as the owner at work: the X server refuses: \"away\"\n           its user lets the agent look with \"xhost",
		"  unseen   session of user 1000: it counts as the owner at work: it shows its input to nobody\n           jobs run once it is locked",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the status is\n%s without %q", out.String(), want)
		}
	}
}

// The status says what keeps jobs away, and to whom it concerns for how long they may be kept away.
func TestStatusSaysWhyNoJobComes(t *testing.T) {
	p, err := policy.Derive(policy.File{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	said := control.Status{
		Machine: "desk", Rules: p.Texts(), Slots: []control.SlotStatus{{Name: "slot1@desk", State: "Owner", Activity: "Idle", Since: now}},
		Facts: map[string]string{"KeyboardIdle": "30000", "LoadAvg": "8.6", "SkuaLoadAvg": "0.0", "State": `"Owner"`}, MayPause: 4 * time.Hour,
	}
	const because, may = "no job   START is not true: (LoadAvg - SkuaLoadAvg) <= 0.3", "You may keep jobs away for"
	for _, tt := range []struct {
		name      string
		change    func(*control.Status)
		want, not string
	}{
		{"busy, seen by a stranger", func(*control.Status) {}, because, may},
		{"seen by its owner", func(s *control.Status) { s.YouMayPause = 4 * time.Hour }, may + " 4h at a time", ""},
		{"seen by an administrator", func(s *control.Status) { s.YouMayPause = 10 * 365 * 24 * time.Hour }, may + " any time", "at a time"},
		{"paused", func(s *control.Status) {
			s.Wish, s.YouMayPause = control.Wish{Kind: control.Pause, By: "root", Until: now.Add(time.Hour)}, time.Hour
		}, "root paused", may},
		{"free", func(s *control.Status) { s.Slots = []control.SlotStatus{{Name: "slot1@desk", State: "Unclaimed"}} }, "slot1", "no job   "},
	} {
		s := said
		tt.change(&s)
		var out strings.Builder
		printStatus(&out, s, now)
		if !strings.Contains(out.String(), tt.want) || tt.not != "" && strings.Contains(out.String(), tt.not) {
			t.Errorf("%s: the status is\n%s", tt.name, &out)
		}
	}
}
