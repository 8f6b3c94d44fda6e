package probe

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestInputReportRoundTrip(t *testing.T) {
	for _, r := range []inputReport{{Active: true}, {Active: true, FullScreen: true}, {Idle: 1500 * time.Millisecond}, {FullScreen: true}} {
		got, err := parseInputReport(strings.TrimSuffix(r.line(), "\n"))
		if err != nil || got != r {
			t.Errorf("%+v became %+v (%v)", r, got, err)
		}
		if len(r.line()) > maxReportLine {
			t.Errorf("%q is longer than a line may be", r.line())
		}
	}
	for _, bad := range []string{"", "idle", "idle -1", "idle 1e9", "active idle 3", "full", "idle 99999999999"} {
		if r, err := parseInputReport(bad); err == nil {
			t.Errorf("%q was taken for %+v", bad, r)
		}
	}
}

func FuzzInputReport(f *testing.F) {
	f.Add("active full")
	f.Add("idle 1234")
	f.Fuzz(func(t *testing.T, line string) {
		r, err := parseInputReport(line)
		if err != nil {
			return
		}
		if r.Idle < 0 {
			t.Errorf("%q gave %+v", line, r)
		}
		again, err := parseInputReport(strings.TrimSuffix(r.line(), "\n"))
		if err != nil || again != r {
			t.Errorf("%q: %+v became %+v (%v)", line, r, again, err)
		}
	})
}

func TestInputFollow(t *testing.T) {
	const quiet, second = 250 * time.Millisecond, time.Second
	type step struct {
		now, idle time.Duration
		pushed    bool
		says      string
		listens   bool
		wait      time.Duration
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"pushed", []step{
			{second, 60 * second, false, "idle 60000", true, helperPoll},
			{5 * second, 0, true, "active", false, quiet},
			{5*second + quiet, 50 * time.Millisecond, false, "", false, quiet - 50*time.Millisecond},
			{6 * second, quiet + 1, false, "idle 250", true, helperBeat},
			{26 * second, 20*second + quiet, false, "idle 20250", true, helperBeat},
			{27 * second, 0, true, "active", false, quiet},
		}},
		{"nothing happens", []step{
			{second, 60 * second, false, "idle 60000", true, helperPoll},
			{second + helperPoll, 60*second + helperPoll, false, "", true, helperPoll},
			{21 * second, 80 * second, false, "idle 80000", true, helperPoll},
		}},
		{"input that is not pushed", []step{
			{second, 60 * second, false, "idle 60000", true, helperPoll},
			{second + helperPoll, 49 * time.Millisecond, false, "active", false, quiet},
			{2 * second, 2*second - helperPoll, false, "idle 1950", true, helperPoll},
			{2*second + helperPoll, 2 * second, false, "", true, helperPoll},
			{3 * second, 10 * time.Millisecond, false, "active", false, quiet},
		}},
		{"input that is pushed no more", []step{
			{second, 60 * second, false, "idle 60000", true, helperPoll},
			{2 * second, 0, true, "active", false, quiet},
			{3 * second, second, false, "idle 1000", true, helperBeat},
			{23 * second, 5 * second, false, "active", false, quiet},
			{24 * second, 6 * second, false, "idle 6000", true, helperPoll},
		}},
	} {
		f := inputFollow{quiet: quiet}
		for i, s := range tt.steps {
			next := f.step(s.now, s.idle, s.pushed)
			says := ""
			if next.say != nil {
				says = strings.TrimSuffix(next.say.line(), "\n")
			}
			if says != s.says || next.listen != s.listens || next.wait != s.wait {
				t.Errorf("%s, step %d: says %q, listens %v, waits %v, want %q, %v, %v", tt.name, i, says, next.listen, next.wait, s.says, s.listens, s.wait)
			}
		}
	}
}

func TestWinSessionsChange(t *testing.T) {
	console, remote := winSession{ID: 1}, winSession{ID: 1, Remote: true}
	other := winSession{ID: 2}
	came, went := winSessionsChange([]winSession{console, other}, []winSession{other, remote})
	if !reflect.DeepEqual(came, []winSession{remote}) || !reflect.DeepEqual(went, []winSession{console}) {
		t.Errorf("came %v, went %v", came, went)
	}
	if console.name() == remote.name() {
		t.Errorf("both are called %q", remote.name())
	}
}
