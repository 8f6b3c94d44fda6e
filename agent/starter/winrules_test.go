package starter

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWinExit(t *testing.T) {
	for _, tt := range []struct {
		code         uint32
		exit, signal int
	}{
		{0, 0, 0},
		{85, 85, 0},
		{0xFFFFFFFF, -1, 0},
		{0xC000013A, 0, 2},
		{0xC0000005, 0, 11},
		{0xC00000FD, 0, 11},
		{winEnd, 0, 9},
		{0xC0000135, -1073741515, 0}, // STATUS_DLL_NOT_FOUND: as Windows' own tools print it
	} {
		if exit, signal := winExit(tt.code); exit != tt.exit || signal != tt.signal {
			t.Errorf("%#x is exit code %d, signal %d, want %d and %d", tt.code, exit, signal, tt.exit, tt.signal)
		}
	}
}

func TestWinSignalOf(t *testing.T) {
	for sig, want := range map[int]winSignal{15: winCtrlC, 10: winCtrlC, 2: winCtrlC, 3: winBreak, 9: winKill, 19: winNone, 0: winNone} {
		if got := winSignalOf(sig); got != want {
			t.Errorf("signal %d is %v, want %v", sig, got, want)
		}
	}
}

func TestWinEnv(t *testing.T) {
	machine := func(name string) string {
		return map[string]string{"SystemRoot": `C:\Windows`, "ComSpec": `C:\Windows\system32\cmd.exe`, "OWNER_SECRET": "x", "USERPROFILE": `C:\Users\owner`}[name]
	}
	env := winEnv([]string{`Path=D:\tools`, "N=1"}, `C:\s`, machine)
	for _, want := range []string{`Path=D:\tools`, "N=1", `SystemRoot=C:\Windows`, `TEMP=C:\s\` + TmpName, `USERPROFILE=C:\s`} {
		if !slices.Contains(env, want) {
			t.Errorf("%q is missing in %q", want, env)
		}
	}
	for _, v := range env {
		if strings.HasPrefix(v, "PATH=") || strings.Contains(v, "owner") || strings.Contains(v, "SECRET") {
			t.Errorf("%q has no place there", v)
		}
	}
}

func TestWinCandidates(t *testing.T) {
	env := []string{`PATH=C:\a;"C:\b c\"`, "PATHEXT=.EXE;.BAT"}
	for _, tt := range []struct {
		name string
		want []string
	}{
		{"sim.exe", []string{`C:\a\sim.exe`, `C:\b c\sim.exe`}},
		{"sim", []string{`C:\a\sim`, `C:\a\sim.exe`, `C:\a\sim.bat`, `C:\b c\sim`, `C:\b c\sim.exe`, `C:\b c\sim.bat`}},
		{"./sim", []string{`W:\w\.\sim`, `W:\w\.\sim.exe`, `W:\w\.\sim.bat`}},
		{"./v1.2/sim.py", []string{`W:\w\.\v1.2\sim.py`}},
		{`D:\x\sim.exe`, []string{`D:\x\sim.exe`}},
	} {
		if got := winCandidates(tt.name, `W:\w`, env); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestMoreUsed(t *testing.T) {
	got := moreUsed(Usage{User: time.Second, MaxRSS: 5}, Usage{User: 2, System: time.Second, Wall: 3, MaxRSS: 7})
	if want := (Usage{User: time.Second, System: time.Second, Wall: 3, MaxRSS: 7}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestWinVerdict(t *testing.T) {
	good := winReport{Restricted: true, InJob: true, Privileges: 1}
	if err := good.verdict(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*winReport){
		"LocalSystem":    func(r *winReport) { r.System = true },
		"no job object":  func(r *winReport) { r.InJob = false },
		"not restricted": func(r *winReport) { r.Restricted = false },
		"privileges":     func(r *winReport) { r.Privileges = 20 },
		"reads":          func(r *winReport) { r.ReadsAgents = true },
		"writes":         func(r *winReport) { r.WritesAgents = true },
		"nothing at all": func(r *winReport) { *r = winReport{} },
	} {
		r := good
		if spoil(&r); r.verdict() == nil {
			t.Errorf("%s: jobs would be run", name)
		}
	}
}
