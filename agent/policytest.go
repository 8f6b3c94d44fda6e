package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"skua/agent/slot"
	"skua/agent/startd"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/quantity"
	"skua/policy"
	"skua/policy/classad"
	"skua/policy/config"
)

// situations is a table for policy test.
type situations struct {
	Cases []situation `toml:"case"`
}

// situation is one moment of a slot, and what the policy is expected to make of it.
type situation struct {
	Name   string            `toml:"name"`
	At     moment            `toml:"at"`    // the wall clock
	State  slotState         `toml:"state"` // "Unclaimed", "Claimed/Busy", ...
	For    quantity.Duration `toml:"for"`   // how long that has lasted
	Facts  facts             `toml:"facts"` // attributes of the machine, over those of a quiet one
	Job    facts             `toml:"job"`   // attributes of the job
	Expect verdict           `toml:"expect"`
}

// mostCases bounds a table.
const mostCases = 10_000

// moment is a time of the wall clock, "2026-12-24 19:30" or "Mon 19:30".
type moment struct{ time.Time }

// aMonday is the first day of the week that days without a date belong to.
var aMonday = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// UnmarshalText reads the moment.
func (m *moment) UnmarshalText(text []byte) error {
	if t, err := time.Parse("2006-01-02 15:04", string(text)); err == nil {
		m.Time = t
		return nil
	}
	day, clock, _ := strings.Cut(string(text), " ")
	t, err := time.Parse("15:04", clock)
	for i := range 7 {
		if d := aMonday.AddDate(0, 0, i); err == nil && strings.EqualFold(day, d.Format("Mon")) {
			m.Time = time.Date(d.Year(), d.Month(), d.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
			return nil
		}
	}
	return fmt.Errorf(`%q is not a moment: write "Mon 19:30" or "2026-12-24 19:30"`, text)
}

// slotState is a slot's state with its activity.
type slotState struct{ text string }

var slotStates = []string{
	"Owner/Idle", "Unclaimed/Idle", "Drained/Idle", "Claimed/Busy", "Claimed/Retiring", "Claimed/Suspended", "Preempting/Vacating",
}

// UnmarshalText reads a state; that of a slot without a job may stand alone.
func (s *slotState) UnmarshalText(text []byte) error {
	for _, known := range slotStates {
		if strings.EqualFold(string(text), known) || strings.EqualFold(string(text)+"/Idle", known) {
			s.text = known
			return nil
		}
	}
	return fmt.Errorf("%q is not a state: write one of %s", text, strings.Join(slotStates, ", "))
}

// facts are attributes; the text "undefined" makes one that nobody knows.
type facts struct{ *classad.Ad }

// UnmarshalTOML takes a table of texts, numbers and truth values.
func (f *facts) UnmarshalTOML(table any) error {
	ad, err := policy.TableAd(table, nil)
	if err != nil {
		return err
	}
	for name := range table.(map[string]any) { // TableAd has seen that it is one
		if v, _ := ad.Str(name); v == "undefined" {
			none, err := classad.ParseExpr(v)
			if err != nil {
				return err
			}
			ad.Set(name, none)
		}
	}
	f.Ad = ad
	return nil
}

// verdict is what becomes of a slot, in a word.
type verdict string

var verdicts = []verdict{"start", "wait", "drain", "run", "throttle", "retire", "suspend", "leave", "kill"}

// UnmarshalText reads the word and refuses others.
func (v *verdict) UnmarshalText(text []byte) error {
	*v = verdict(text)
	return v.check()
}

func (v verdict) check() error {
	if slices.Contains(verdicts, v) {
		return nil
	}
	var words []string
	for _, w := range verdicts {
		words = append(words, string(w))
	}
	return fmt.Errorf("%q is not a verdict: write one of %s", string(v), strings.Join(words, ", "))
}

// ad is that of a slot of a quiet machine, with the situation's facts.
func (s situation) ad(p *policy.Policy) *classad.Ad {
	machine := classad.NewAd()
	for name, n := range map[string]int64{
		"TotalCpus": 8, "TotalMemory": 16 << 10, "TotalDisk": 100 << 20, "FreeDisk": 100 << 20,
		"KeyboardIdle": 86400, "ConsoleIdle": 86400, "BatteryPercent": 100,
	} {
		machine.SetInt(name, n)
	}
	for name, f := range map[string]float64{"LoadAvg": 0, "SkuaLoadAvg": 0, "Temperature": 40} {
		machine.SetReal(name, f)
	}
	for _, name := range []string{"OnBattery", "FullScreen", "Inhibited", "Metered", "Throttled"} {
		machine.SetBool(name, false)
	}
	machine.SetString("RunningApps", "")
	ad := p.SlotAd(machine, 1)
	now := cmp.Or(s.At.Time, aMonday)
	state, activity, _ := strings.Cut(s.state(), "/")
	ad.SetString("State", state)
	ad.SetString("Activity", activity)
	ad.SetInt("CurrentTime", now.Unix())
	ad.SetInt("EnteredCurrentActivity", now.Add(-s.lasted()).Unix())
	policy.SetClock(ad, now)
	if s.Facts.Ad != nil {
		for _, name := range s.Facts.Names() {
			e, _ := s.Facts.Lookup(name)
			ad.Set(name, e)
		}
	}
	return ad
}

func (s situation) state() string { return cmp.Or(s.State.text, "Unclaimed/Idle") }

// lasted is how long the state has lasted: an hour, unless that is over by itself earlier.
func (s situation) lasted() time.Duration {
	switch {
	case s.For != 0:
		return s.For.Std()
	case strings.HasSuffix(s.state(), "Suspended"), strings.HasSuffix(s.state(), "Vacating"):
		return 2 * time.Minute
	}
	return time.Hour
}

// judge says what becomes of the slot: of one without a job whether it takes the situation's, of one
// with a job what is done with that.
func (s situation) judge(p *policy.Policy) verdict {
	jobAd := s.Job.Ad
	if jobAd == nil {
		jobAd = classad.NewAd()
	}
	ad, now := s.ad(p), cmp.Or(s.At.Time, aMonday)
	began := now.Add(-s.lasted())
	v := startd.Verdicts(p, ad, jobAd, true)
	cfg := slot.Config{Bump: time.Second, SuspendFor: p.SuspendFor, MaxVacate: p.MaxVacateTime, MaxSend: p.MaxSendTime, Terms: job.DefaultTerms}
	sl := slot.Slot{Since: began, Entered: began, Began: began, SuspendedAt: began}
	sl.Throttled, _ = ad.Bool("Throttled")
	switch s.state() {
	case "Drained/Idle":
		sl.State = slot.Drained
	case "Unclaimed/Idle":
		sl.State = slot.Unclaimed
	case "Claimed/Busy":
		sl.State, sl.Activity = slot.Claimed, slot.Busy
	case "Claimed/Retiring":
		sl.State, sl.Activity = slot.Claimed, slot.Retiring
	case "Claimed/Suspended":
		sl.State, sl.Activity = slot.Claimed, slot.Suspended
	case "Preempting/Vacating":
		sl.State, sl.Activity = slot.Preempting, slot.Vacating
	}
	if sl.State == slot.Claimed || sl.State == slot.Preempting {
		sl.Tenancy = job.Tenancy{Phase: job.Holding, Claim: "test"}
	} else {
		sl.SuspendedAt = time.Time{}
	}
	sl, _ = sl.Step(slot.Looked{At: now, Verdicts: v}, cfg)
	switch {
	case sl.State == slot.Drained:
		return "drain"
	case sl.State == slot.Unclaimed && v.Start:
		return "start"
	case sl.State == slot.Owner || sl.State == slot.Unclaimed:
		return "wait"
	case sl.Activity == slot.Suspended:
		return "suspend"
	case sl.Activity == slot.Vacating:
		return "leave"
	case sl.Activity == slot.Killing:
		return "kill"
	case sl.Throttled:
		return "throttle"
	case sl.Activity == slot.Retiring:
		return "retire"
	}
	return "run"
}

// readSituations reads a table.
func readSituations(path string) ([]situation, error) {
	var table situations
	if err := config.Load(path, &table); err != nil {
		return nil, err
	}
	switch n := len(table.Cases); {
	case n == 0:
		return nil, &diag.Problem{What: path + " has no situation", Hint: "write each as a table [[case]] with facts and expect"}
	case n > mostCases:
		return nil, &diag.Problem{What: fmt.Sprintf("%s has more than %d situations", path, mostCases)}
	}
	for i, s := range table.Cases {
		if s.Expect == "" {
			return nil, &diag.Problem{
				What: fmt.Sprintf("%s: situation %d (%s) expects nothing", path, i+1, s.Name),
				Hint: `write what the slot should do, such as expect = "suspend"`,
			}
		}
	}
	return table.Cases, nil
}

// checkFacts refuses facts that neither machines nor the policy know: they would change nothing.
func checkFacts(path string, cases []situation, p *policy.Policy) error {
	known := slices.Concat(startd.MachineAttributes(), p.Machine.Names(), []string{"CurrentTime"}, p.LooksAt())
	for i, s := range cases {
		if s.Facts.Ad == nil {
			continue
		}
		for _, name := range s.Facts.Names() {
			if !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, name) }) {
				return &diag.Problem{
					What: fmt.Sprintf("%s: situation %d (%s): no machine has %s, and the policy does not look at it", path, i+1, s.Name, name),
					Hint: diag.DidYouMean(name, known),
				}
			}
		}
	}
	return nil
}

// testPolicy prints the table with what the policy says, and fails if that differs anywhere.
func testPolicy(out io.Writer, policyFile, tableFile string) error {
	p, err := readPolicy(policyFile)
	if err != nil {
		return err
	}
	cases, err := readSituations(tableFile)
	if err != nil {
		return err
	}
	if err := checkFacts(tableFile, cases, p); err != nil {
		return err
	}
	w, wrong := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), 0
	fmt.Fprintln(w, "\tSITUATION\tSTATE\tEXPECTED\tVERDICT")
	for i, s := range cases {
		mark, got := "ok", s.judge(p)
		if got != s.Expect {
			mark = "DIFFERS"
			wrong++
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", mark, cmp.Or(s.Name, fmt.Sprintf("case %d", i+1)), s.state(), s.Expect, got)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if wrong > 0 {
		return &diag.Problem{What: fmt.Sprintf("%d of %d verdicts of %s differ from what is expected", wrong, len(cases), policyFile)}
	}
	fmt.Fprintf(out, "%d verdicts are as expected\n", len(cases))
	return nil
}

// testCommand is policy test.
func testCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "test FILE TABLE",
		Short: "compare what a policy says in a table of situations with what is expected",
		Long: `Read a policy and a table of situations, and print what the policy says in each beside what is
expected. The exit code is not 0 if that differs anywhere. A situation is a table like

  [[case]]
  name = "owner at the keyboard"
  state = "Claimed/Busy"
  facts = { KeyboardIdle = 0, OnBattery = true }
  expect = "suspend"

Facts that it does not name are those of a quiet machine. Verdicts are start, wait and drain for a slot
without a job, and run, throttle, retire, suspend, leave and kill for one with a job.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 2 {
				return nil
			}
			return &diag.Problem{
				What: fmt.Sprintf("%s wants a policy and a table, and was given %d files", c.CommandPath(), len(args)),
				Hint: "name both: " + c.CommandPath() + " policy.toml situations.toml",
				Code: diag.ExitUsage,
			}
		},
		RunE: func(c *cobra.Command, args []string) error { return testPolicy(c.OutOrStdout(), args[0], args[1]) },
	}
}
