package startd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/agent/probe"
	"skua/agent/slot"
	"skua/agent/starter"
	"skua/policy"
	"skua/policy/classad"
)

// laptop is a /sys with a battery and a charger.
type laptop string

func newLaptop(t *testing.T, online bool) laptop {
	t.Helper()
	sys := laptop(t.TempDir())
	dir := filepath.Join(string(sys), "class", "power_supply")
	for name, text := range map[string]string{"AC/type": "Mains", "BAT0/type": "Battery", "BAT0/capacity": "70"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sys.plug(t, online)
	return sys
}

func (l laptop) plug(t *testing.T, online bool) {
	t.Helper()
	text, status := "0\n", "Discharging\n"
	if online {
		text, status = "1\n", "Charging\n"
	}
	for name, text := range map[string]string{"AC/online": text, "BAT0/status": status} {
		if err := os.WriteFile(filepath.Join(string(l), "class", "power_supply", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (l laptop) conditions(t *testing.T) *probe.Conditions {
	t.Helper()
	c, err := probe.NewConditions(probe.ConditionsConfig{Sys: string(l), Bus: "none", Watch: probe.WatchConfig{SkipDisplays: true}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// said is what probes said.
type said struct{ ad *classad.Ad }

func (said) Run(context.Context, func()) error { return nil }
func (s said) Ad() *classad.Ad                 { return s.ad.Clone() }

// A slot's ad has what conditions and probes tell, and a probe cannot say otherwise than the machine.
func TestAdOfConditionsAndProbes(t *testing.T) {
	sys := newLaptop(t, false)
	probed := classad.NewAd()
	probed.SetInt("Licences", 3)
	probed.SetInt("TotalMemory", 1<<40)
	d := bareDaemon(t)
	d.cfg.Conditions, d.cfg.Probes = sys.conditions(t), said{probed}
	d.readFacts(t.Context())
	d.cfg.Conditions.LookAtPower(time.Now(), 0)
	says := func(name, want string) {
		t.Helper()
		ad := d.keepers[0].ad(time.Now(), slot.Slot{})
		if got := ad.Eval(name, nil).String(); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
		if got := ad.Flat().Eval(name, nil).String(); got != want {
			t.Errorf("%s is sent as %s, want %s", name, got, want)
		}
	}
	says("OnBattery", "true")
	says("BatteryPercent", "70")
	says("Licences", "3")
	says("TotalMemory", "1000")
	probed.SetInt("Licences", 2)
	d.probed()
	says("Licences", "2")
	says("TotalMemory", "1000")
	probed.Delete("Licences")
	d.probed()
	says("Licences", "undefined")
}

// watchful are conditions that know of the programs that are looked for, and of no others.
type watchful struct {
	noConditions
	d    *Daemon
	t    *testing.T
	apps []string
}

func (w *watchful) SetApps(apps []string) {
	w.apps = apps
	for _, app := range w.d.policy().WatchedApps {
		if !slices.Contains(apps, app) {
			w.t.Errorf("%s is not looked for while the policy names it", app)
		}
	}
}

// The programs that a policy names are known when it comes into force, and as long as it is.
func TestSetPolicyWithApps(t *testing.T) {
	d := bareDaemon(t)
	w := &watchful{d: d, t: t}
	d.cfg.Conditions = w
	for _, apps := range [][]string{{"zoom"}, {"zoom", "obs"}, {"teams"}, nil} {
		p := *d.policy()
		p.WatchedApps = apps
		d.SetPolicy(&p)
		if !slices.Equal(w.apps, apps) {
			t.Errorf("%v are looked for, want %v", w.apps, apps)
		}
	}
}

// A policy that comes to name programs, none of which runs, suspends no job.
func TestSetPolicyWithAppsThatDoNotRun(t *testing.T) {
	proc := t.TempDir()
	if err := os.Mkdir(filepath.Join(proc, "812"), 0o700); err != nil {
		t.Fatal(err)
	}
	d := bareDaemon(t)
	conditions, err := probe.NewConditions(probe.ConditionsConfig{Sys: t.TempDir(), Proc: proc, Bus: "none", Watch: probe.WatchConfig{SkipDisplays: true}})
	if err != nil {
		t.Fatal(err)
	}
	d.cfg.Conditions = conditions
	p, err := policy.Derive(policy.File{Preset: policy.Dedicated, Owner: policy.Owner{ExclusiveApps: policy.Apps{"zoom"}}})
	if err != nil {
		t.Fatal(err)
	}
	d.SetPolicy(p)
	if v := p.Verdicts(d.keepers[0].ad(time.Now(), slot.Slot{}), nil); v.Suspend || !v.Continue {
		t.Errorf("suspend %v, continue %v", v.Suspend, v.Continue)
	}
}

// What the machine cannot tell, no job tells in its place.
func TestNoJobTellsOfTheMachine(t *testing.T) {
	job := classad.NewAd()
	for _, name := range append(slices.Clone(probe.ConditionAttributes), "KeyboardIdle", "ConsoleIdle", "LoadAvg", "SkuaLoadAvg") {
		job.SetBool(name, false)
		job.SetBool("Job"+name, true)
		expr := func(src string) *policy.Expression {
			e, err := classad.ParseExpr(src)
			if err != nil {
				t.Fatal(err)
			}
			return &policy.Expression{Expr: e}
		}
		p, err := policy.Derive(policy.File{Expressions: policy.Expressions{
			Suspend: expr(name), Preempt: expr(name + " =!= undefined"), Continue: expr("Job" + name),
		}})
		if err != nil {
			t.Fatal(err)
		}
		for _, machine := range []*classad.Ad{nil, classad.NewAd()} {
			if v := p.Verdicts(machine, job); !v.Suspend || v.Preempt {
				t.Errorf("a job's %s is taken for the machine's", name)
			} else if !v.Continue {
				t.Error("an attribute of the job's is not seen")
			}
		}
		machine := classad.NewAd()
		machine.SetBool(name, false)
		slot := classad.NewAd()
		slot.SetParent(machine)
		if v := p.Verdicts(slot, job); v.Suspend || !v.Preempt {
			t.Errorf("the machine's own %s is not seen", name)
		}
	}
}

// A moment is idle when nobody would notice work.
func TestIdleMoment(t *testing.T) {
	for _, tt := range []struct {
		what   string
		online bool
		change func(d *Daemon)
		want   bool
	}{
		{"nobody is here", true, func(*Daemon) {}, true},
		{"on battery", false, func(*Daemon) {}, false},
		{"a job is here", true, func(d *Daemon) { d.keepers[1].slot.State = slot.Claimed }, false},
		{"another program works", true, func(d *Daemon) { d.load.load.Total = 2 }, false},
		{"the load cannot be told", true, func(d *Daemon) { d.load.ok = false }, false},
		{"the owner is here", true, func(d *Daemon) { d.owner.watcher = ownerSeen(10 * time.Second) }, false},
		{"the owner is away", true, func(d *Daemon) { d.owner.watcher = ownerSeen(time.Hour) }, true},
	} {
		t.Run(tt.what, func(t *testing.T) {
			now := time.Now()
			d := bareDaemon(t)
			d.cfg.Conditions = newLaptop(t, tt.online).conditions(t)
			d.load.read, d.load.ok = now.Add(time.Hour), true // this machine's own load stays out of it
			tt.change(d)
			if got := d.idle(now); got != tt.want {
				t.Errorf("idle is %v", got)
			}
		})
	}
}

// ownerSeen is an owner who was seen so long ago.
type ownerSeen time.Duration

func (ownerSeen) Run(context.Context) error                     { return nil }
func (ownerSeen) Settle(context.Context)                        {}
func (o ownerSeen) Idle(time.Time) time.Duration                { return time.Duration(o) }
func (o ownerSeen) ConsoleIdle(time.Time) (time.Duration, bool) { return time.Duration(o), true }
func (ownerSeen) Unseen() []probe.SourceState                   { return nil }

func TestWorkForAnIdleMoment(t *testing.T) {
	sys := newLaptop(t, false)
	d := bareDaemon(t)
	d.cfg.Conditions = sys.conditions(t)
	d.load.read, d.load.ok = time.Now().Add(time.Hour), true
	done := 0
	d.cfg.WhenIdle = func(context.Context) { done++ }
	d.whenIdle(t.Context())
	if done != 0 {
		t.Error("it is done on battery")
	}
	sys.plug(t, true)
	d.cfg.Conditions.LookAtPower(time.Now(), 0)
	d.whenIdle(t.Context())
	d.whenIdle(t.Context())
	if done != 1 {
		t.Errorf("it is done %d times, want once", done)
	}
}

// What such work has needed is given back after it, by an agent that rests.
func TestRestsAnewAfterWork(t *testing.T) {
	d := bareDaemon(t)
	d.load.read, d.load.ok = time.Now().Add(time.Hour), true
	var did []string
	d.cfg.Rest = func(rests bool) { did = append(did, fmt.Sprint("rests ", rests)) }
	d.cfg.WhenIdle = func(context.Context) { did = append(did, "works") }
	d.rest()
	if !d.whenIdle(t.Context()) {
		t.Fatal("there is nothing to do")
	}
	d.restAnew()
	if want := []string{"rests true", "works", "rests false", "rests true"}; !slices.Equal(did, want) {
		t.Errorf("it did %q, want %q", did, want)
	}
	if !d.calm {
		t.Error("it goes on being heard of every minute")
	}
}

// What a real machine says of itself is known to be its own.
func TestMachineAttributes(t *testing.T) {
	m := &Machine{settings: Settings{Name: "desk7"}}
	m.policy.Store(&policy.Policy{})
	m.figures.Store(&probe.Figures{Mips: 1, KFlops: 1})
	m.can.Store(&starter.Capabilities{Checkpoint: true, CriuVersion: "4.1", Freezer: "cgroup2"})
	facts, err := m.facts(t.TempDir())(t.Context())
	if err != nil {
		t.Log("left out: ", err)
	}
	d := bareDaemon(t)
	d.setFacts(facts)
	d.owner.watcher = ownerSeen(time.Hour)
	own := ownAttribute(d.cfg.Policy)
	for _, name := range d.keepers[0].ad(time.Now(), slot.Slot{}).Flat().Names() {
		if !own(name) {
			t.Errorf("%s is not among MachineAttributes", name)
		}
		if !slices.Contains(MachineAttributes(), name) && !strings.HasPrefix(name, "GPUs_GPU_") {
			t.Errorf("%s is not spelled so in MachineAttributes", name)
		}
	}
	for name, want := range map[string]bool{
		"memory": true, "OnBattery": true, "START": true, "GPUs_GPU_12345678": true, "File_usr_bin_perl": true, "MY": true, "HasMatlab": false, "Licences": false,
	} {
		if got := own(name); got != want {
			t.Errorf("%s is the machine's own: %v", name, got)
		}
	}
}
