package policy_test

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"skua/internal/quantity"
	"skua/policy"
	"skua/policy/classad"
	"skua/policy/config"
)

// written is a policy as an admin writes it, with everything in it.
const written = `
preset = "desktop"

[owner]
idle_after = "20m"
continue_after = "2m"
background_load = 0.5
may_pause = "0"

[hours]
run = ["Mon-Fri 19:00-07:00", "Sat-Sun"]

[limits]
cpus = "75%"
memory = "4GiB"
disk = "20GB"
network = "none"
[limits.in_use]
cpus = 0

[vacate]
suspend_for = "5m"
max_vacate_time = "3m"
max_send_time = "30m"

[checkpoints]
periodic = false
min_interval = "20m"
max_interval = "15m"

[shared_fs]
domain = "phys.example.edu"
mounts = ["/srv/data"]

[machine]
HasMatlab = true
Room = "B204"
Floor = 2
Height = 2.5

[expressions]
RANK = 'TARGET.Owner == "mira"'
WANT_VACATE = true
`

func TestWritten(t *testing.T) {
	var file policy.File
	if err := config.Decode("policy.toml", []byte(written), &file); err != nil {
		t.Fatal(err)
	}
	p := derive(t, file)
	want := policy.Policy{
		Preset:    policy.Desktop,
		IdleAfter: 20 * time.Minute, ContinueAfter: 2 * time.Minute,
		SuspendFor: 5 * time.Minute, MaxVacateTime: 3 * time.Minute, MaxSendTime: 30 * time.Minute,
		MinInterval: 20 * time.Minute, MaxInterval: 20 * time.Minute, OnMetered: policy.MeteredAlways,
		CPUs: quantity.Share{Percent: 75}, Memory: quantity.ByteShare{Bytes: 4 << 30}, Disk: quantity.ByteShare{Bytes: 20e9},
		Network: policy.NetworkNone, Shared: []string{"/srv/data"},
		Start: p.Start, Suspend: p.Suspend, Continue: p.Continue, Preempt: p.Preempt, Kill: p.Kill,
		WantSuspend: p.WantSuspend, WantVacate: p.WantVacate, Rank: p.Rank, Machine: p.Machine,
		Throttle: p.Throttle, Draining: p.Draining, Retirement: p.Retirement,
	}
	if !reflect.DeepEqual(*p, want) {
		t.Errorf("got  %+v\nwant %+v", *p, want)
	}
	if got, want := p.Machine.OldString(), "Floor = 2\nHasMatlab = true\nHeight = 2.5\nRoom = \"B204\"\nFileSystemDomain = \"phys.example.edu\""; strings.TrimSpace(got) != want {
		t.Errorf("machine attributes are\n%s\nwant\n%s", got, want)
	}
	if got, want := p.Rank.OldString(), `TARGET.Owner == "mira"`; got != want {
		t.Errorf("RANK is %s, want %s", got, want)
	}
	for _, part := range []string{"KeyboardIdle > 1200", "<= 0.5", "ClockMin >= 1140"} {
		if got := p.Start.OldString(); !strings.Contains(got, part) {
			t.Errorf("START is %s, without %q", got, part)
		}
	}
}

func TestWrittenProblems(t *testing.T) {
	for _, tt := range []struct{ old, broken, want string }{
		{`"desktop"`, `"desktp"`, `policy.toml:2: preset: there is no preset "desktp"`},
		{`"20m"`, `20`, `policy.toml:5: owner.idle_after: duration "20" has no unit`},
		{`"Sat-Sun"`, `"Sat-Son"`, `policy.toml:11: hours.run: "Sat-Son": "Son" is not a day`},
		{`"none"`, `"wifi"`, `policy.toml:17: limits.network: "wifi" is not a network`},
		{`Floor = 2`, `Floor = []`, `policy.toml:35: machine: attribute "Floor" must be`},
		{`TARGET.Owner ==`, `TARGET.Owner = =`, `policy.toml:42: expressions.RANK: column 14`},
		{`RANK =`, `RANKK =`, `policy.toml:42: unknown key "expressions.RANKK"`},
	} {
		var file policy.File
		err := config.Decode("policy.toml", []byte(strings.Replace(written, tt.old, tt.broken, 1)), &file)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
	}
}

func spans(t *testing.T, texts ...string) []policy.Span {
	t.Helper()
	var out []policy.Span
	for _, text := range texts {
		var s policy.Span
		if err := s.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

// TestSpans checks the expressions of spans at every quarter of an hour of a week.
func TestSpans(t *testing.T) {
	weekday := func(d int) bool { return d >= 1 && d <= 5 }
	for _, tt := range []struct {
		texts []string
		print string
		in    func(day, minute int) bool
	}{
		{[]string{"Sat-Sun"}, "Sun,Sat", func(d, _ int) bool { return !weekday(d) }},
		{[]string{"Mon-Sun"}, "Sun,Mon,Tue,Wed,Thu,Fri,Sat", func(int, int) bool { return true }},
		{[]string{"mon,Wednesday 9:00-12:30"}, "Mon,Wed 09:00-12:30", func(d, m int) bool { return (d == 1 || d == 3) && m >= 540 && m < 750 }},
		{[]string{"22:00-06:00"}, "Sun,Mon,Tue,Wed,Thu,Fri,Sat 22:00-06:00", func(_, m int) bool { return m >= 1320 || m < 360 }},
		{[]string{"Fri 19:00-24:00"}, "Fri 19:00-24:00", func(d, m int) bool { return d == 5 && m >= 1140 }},
		{[]string{"Fri 19:00-00:00"}, "Fri 19:00-24:00", func(d, m int) bool { return d == 5 && m >= 1140 }},
		{[]string{"Sat 20:00-04:00"}, "Sat 20:00-04:00", func(d, m int) bool { return d == 6 && m >= 1200 || d == 0 && m < 240 }},
		{[]string{"Mon-Fri 19:00-07:00", "Sat"}, "", func(d, m int) bool {
			return weekday(d) && m >= 1140 || d >= 2 && d <= 6 && m < 420 || d == 6
		}},
	} {
		t.Run(strings.Join(tt.texts, "; "), func(t *testing.T) {
			run := spans(t, tt.texts...)
			if tt.print != "" && run[0].String() != tt.print {
				t.Errorf("prints %q, want %q", run[0], tt.print)
			}
			p := derive(t, policy.File{Preset: policy.Dedicated, Hours: policy.Hours{Run: run}})
			sunday := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
			for q := range 7 * 24 * 4 {
				now := sunday.Add(time.Duration(q) * 15 * time.Minute)
				ad := classad.NewAd()
				policy.SetClock(ad, now)
				if got, want := p.Verdicts(ad, nil).Start, tt.in(q/96, q%96*15); got != want {
					t.Fatalf("%s: %v, want %v; the expression is %v", now.Format("Mon 15:04"), got, want, p.Start)
				}
			}
		})
	}
}

func TestSpanProblems(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "not a time of the week",
		"Mon 19:00 - 07:00":       "not a time of the week",
		"Mo":                      `"Mo" is not a day`,
		"Mondy":                   `did you mean "Monday"?`,
		"Mon- 19:00-20:00":        `"" is not a day`,
		"19:00":                   "needs a beginning and an end",
		"Mon 19:00":               "needs a beginning and an end",
		"Mon 19-20":               `"19" is not a time`,
		"Mon 19:00-25:00":         `"25:00" is not a time`,
		"Mon 19:5-20:00":          `"19:5" is not a time`,
		"Mon 24:00-02:00":         "is no time at all",
		"Mon 08:00-08:00":         "is no time at all",
		"Mon 19:00-07:00 tonight": "not a time of the week",
	} {
		var s policy.Span
		err := s.UnmarshalText([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", text, err, want)
		}
	}
}

func TestTextProblems(t *testing.T) {
	var e policy.Expression
	err := e.UnmarshalText([]byte("KeyboardIdle > > 5"))
	if err == nil || !strings.Contains(err.Error(), "column 16") {
		t.Errorf("a broken expression gave %v", err)
	}
	var n policy.Network
	if err := n.UnmarshalText([]byte("all")); err == nil || !strings.Contains(err.Error(), `"outbound", "none" or "host"`) {
		t.Errorf("a broken network gave %v", err)
	}
	for _, tt := range []struct {
		table any
		want  string
	}{
		{"x", "must be a table"},
		{map[string]any{"Has Matlab": true}, "not an attribute name"},
		{map[string]any{"2nd": true}, "not an attribute name"},
		{map[string]any{"start": true}, "the agent's own"},
		{map[string]any{"keyboardidle": int64(1)}, "the agent's own"},
		{map[string]any{"List": []any{}}, "must be a text, a number"},
	} {
		var a policy.Attributes
		if err := a.UnmarshalTOML(tt.table); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: error %v, want one with %q", tt.table, err, tt.want)
		}
	}
}

// FuzzSpan: what is accepted is printed as the same again, and makes an expression that can be parsed
// and that says yes or no.
func FuzzSpan(f *testing.F) {
	for _, s := range []string{"Mon-Fri 19:00-07:00", "Sat-Sun", "22:00-06:00", "fri-Mon,Wed 0:00-0:01", "24:00-00:00"} {
		f.Add(s, uint16(600))
	}
	f.Fuzz(func(t *testing.T, text string, quarter uint16) {
		var s, again policy.Span
		if s.UnmarshalText([]byte(text)) != nil {
			return
		}
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Fatalf("%q prints %q, which reads as %v (%v)", text, s, again, err)
		}
		p, err := policy.Derive(policy.File{Preset: policy.Dedicated, Hours: policy.Hours{Run: []policy.Span{s}}})
		if err != nil {
			t.Fatal(err)
		}
		ad := classad.NewAd()
		policy.SetClock(ad, noon.Add(time.Duration(quarter)*time.Minute))
		if k := p.Start.Eval(ad, nil).Kind(); k != classad.Boolean {
			t.Errorf("%q: START is %v", text, k)
		}
	})
}

func ExampleDerive() {
	p, err := policy.Derive(policy.File{Preset: policy.Desktop})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Start.OldString())
	fmt.Println(p.SuspendFor)
	// Output:
	// KeyboardIdle > 900 && ((LoadAvg - SkuaLoadAvg) <= 0.3 || (State != "Unclaimed" && State != "Owner")) && Inhibited =!= true && FullScreen =!= true && OnBattery =!= true
	// 10m0s
}

// TestPackagedFile: the file that is installed is a good one, and so are all the lines that an admin
// may take the comment sign off; they say what the preset does anyway.
func TestPackagedFile(t *testing.T) {
	data, err := os.ReadFile("../packaging/policy.toml")
	if err != nil {
		t.Fatal(err)
	}
	var asIs, uncommented policy.File
	if err := config.Decode("policy.toml", data, &asIs); err != nil {
		t.Fatal(err)
	}
	data = regexp.MustCompile(`(?m)^#(\w+ = )`).ReplaceAll(data, []byte("$1"))
	if err := config.Decode("policy.toml", data, &uncommented); err != nil {
		t.Fatal(err)
	}
	all, want := derive(t, uncommented), derive(t, asIs)
	if len(uncommented.Hours.Run) != 2 || all.Machine.Len() != 3 || len(all.Shared) != 1 || all.Rank.OldString() == want.Rank.OldString() ||
		all.SlotsConnected == 0 || all.DiskFloor == 0 || all.TransferRate == 0 {
		t.Errorf("the lines have no effect: %+v", all)
	}
	for _, part := range []string{"ClockMin", "ClockDate", "FreeDisk", "Temperature", "TARGET.Owner", "TARGET.AcctGroup", "ClockMin >= 210"} {
		if !strings.Contains(all.Start.OldString(), part) {
			t.Errorf("START is %s, without %q", all.Start.OldString(), part)
		}
	}
	// These are examples: there is nothing by default.
	uncommented.Hours, uncommented.Drain, uncommented.Allow = policy.Hours{}, policy.Drain{}, policy.Allow{}
	uncommented.Machine, uncommented.SharedFS, uncommented.Expressions = policy.Attributes{}, policy.SharedFS{}, policy.Expressions{}
	uncommented.Owner.SlotsConnected, uncommented.Owner.ExclusiveApps = nil, nil
	uncommented.Limits.DiskFloor, uncommented.Limits.Temperature, uncommented.Limits.NetworkRate = 0, 0, 0
	plain := derive(t, uncommented)
	for i, e := range expressions(plain) {
		if got, want := (*e).OldString(), (*expressions(want)[i]).OldString(); got != want {
			t.Errorf("the lines change %s to %s", want, got)
		}
		*e = *expressions(want)[i]
	}
	if !reflect.DeepEqual(*plain, *want) {
		t.Errorf("the lines change the defaults:\n%+v\nwant\n%+v", *plain, *want)
	}
}

func expressions(p *policy.Policy) []**classad.Expr {
	return []**classad.Expr{
		&p.Start, &p.Suspend, &p.Continue, &p.Preempt, &p.Kill, &p.WantSuspend, &p.WantVacate, &p.Rank,
		&p.Throttle, &p.Draining, &p.Retirement,
	}
}
