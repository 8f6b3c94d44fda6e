package probe

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"skua/policy/classad"
)

func refuseMemory(name string) bool { return strings.EqualFold(name, "Memory") }

func TestParseScript(t *testing.T) {
	for _, tt := range []struct {
		text string
		want map[string]string
		err  string
	}{
		{"HasMatlab = true\nLicences=3\nSite = \"B 204\"\n", map[string]string{"HasMatlab": "true", "Licences": "3", "Site": `"B 204"`}, ""},
		{"# how many\n\n  A = 1  \r\nB = A + 1\n", map[string]string{"A": "1", "B": "2"}, ""},
		{"A = 1\n- update:true\nA = 2\nB = 3\n-\n", map[string]string{"A": "2", "B": "3"}, ""},
		{"A = 1 == 1\n", map[string]string{"A": "true"}, ""},
		{"memory = 5\nA = 1", map[string]string{"A": "1", "Memory": "undefined"}, ""},
		{"", map[string]string{"A": "undefined"}, ""},
		{"A = 1\nwhat is this\n", nil, `line 2 of its output is not like "Name = value": "what is this"`},
		{"A B = 1\n", nil, "line 1"},
		{"= 1\n", nil, "line 1"},
		{"A = (1\n", nil, "line 1 of its output, A:"},
		{"A = \n", nil, "line 1 of its output, A:"},
		{"7up = 1\n", nil, "line 1"},
		{strings.Repeat("x", 200) + " = 1", nil, "line 1"},
		{manyLines(scriptAttributes + 1), nil, "more than 200 attributes"},
		{manyLines(scriptAttributes), map[string]string{"A0": "0", "A199": "199"}, ""},
	} {
		ad, refused, err := parseScript(tt.text, refuseMemory)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%.40q: error %v, want %q", tt.text, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%.40q: %v", tt.text, err)
			continue
		}
		for name, want := range tt.want {
			if got := ad.Eval(name, nil).String(); got != want {
				t.Errorf("%.40q: %s is %s, want %s", tt.text, name, got, want)
			}
		}
		if (len(refused) > 0) != strings.HasPrefix(tt.text, "memory") {
			t.Errorf("%.40q: %v is refused", tt.text, refused)
		}
	}
}

func manyLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "A%d = %d\n", i, i)
	}
	return b.String()
}

// writeScript writes a shell script that others may run.
func writeScript(t *testing.T, text string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "skua-probe-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "probe")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// A script runs with the least rights, after everybody else, and knows nothing of the agent.
func TestScriptRunsLowly(t *testing.T) {
	t.Setenv("SECRET", "of the agent")
	before, err := syscall.Getpriority(syscall.PRIO_PROCESS, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := runScript(t.Context(), Script{Name: "who", Timeout: testWait, Run: writeScript(t, `
echo "User = $(id -u)"
echo "Groups = \"$(id -G)\""
echo "Nice = $(nice)"
echo "NoNewPrivs = $(sed -n 's/^NoNewPrivs:\t//p' /proc/self/status)"
echo "Capabilities = \"$(sed -n 's/^CapEff:\t//p' /proc/self/status)\""
echo "Secret = \"$SECRET\""
echo "Me = \"$SKUA_PROBE\""
echo "Dir = \"$(pwd)\""
echo "Group = $(cut -d' ' -f5 /proc/$$/stat) == $$"
read line || echo "Input = false"
`)})
	if err != nil {
		t.Fatal(err)
	}
	ad, _, err := parseScript(string(out), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"User": strconv.Itoa(os.Getuid()), "Nice": "19", "NoNewPrivs": "1", "Secret": `""`, "Me": `"who"`, "Dir": `"/"`,
		"Group": "true", "Input": "false",
	}
	if os.Getuid() == 0 {
		want["User"], want["Groups"] = "65534", `"65534"`
		want["Capabilities"] = `"0000000000000000"`
	}
	for name, want := range want {
		if got := ad.Eval(name, nil).String(); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if after, err := syscall.Getpriority(syscall.PRIO_PROCESS, os.Getpid()); err != nil || after != before {
		t.Errorf("the agent's own priority was %d and is %d, %v", before, after, err)
	}
}

func TestScriptFails(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		timeout    time.Duration
		user, want string
	}{
		{"exits", "echo A = 1; echo no licence server >&2; exit 3", testWait, "", `exit status 3: "no licence server"`},
		{"killed", "kill -9 $$", testWait, "", "signal: killed"},
		{"slow", "sleep 600", 100 * time.Millisecond, "", "it did not end within 100ms"},
		{"prints without end", "yes 'A = 1'", testWait, "", "broken pipe"},
		{"prints too much", "head -c 70000 /dev/zero", testWait, "", "more than 65536 bytes"},
		{"unknown user", "true", testWait, "no-such-user", "no-such-user"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "prints without end" {
				tt.timeout, tt.want = 200*time.Millisecond, "it did not end" // what is too much is let go, and the rest not waited for
			}
			_, _, err := runScript(t.Context(), Script{Run: writeScript(t, tt.text), Timeout: tt.timeout, User: tt.user})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	if _, _, err := runScript(t.Context(), Script{Run: "/nonexistent", Timeout: testWait}); err == nil {
		t.Error("a script that is not there runs")
	}
}

// What a script leaves behind ends with it, also when it is killed for its slowness.
func TestScriptLeavesNothingBehind(t *testing.T) {
	for _, tt := range []struct {
		name, end string
		timeout   time.Duration
	}{
		{"ends", "", testWait},
		{"is killed", "sleep 600", 300 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := writeScript(t, "")
			pidFile := filepath.Join(filepath.Dir(path), "pid")
			if err := os.WriteFile(pidFile, nil, 0o666); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(pidFile, 0o666); err != nil {
				t.Fatal(err)
			}
			text := "#!/bin/sh\nsleep 600 &\necho $! >" + pidFile + "\n" + tt.end + "\n"
			if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
			_, _, err := runScript(t.Context(), Script{Run: path, Timeout: tt.timeout})
			if (err == nil) != (tt.end == "") {
				t.Fatal(err)
			}
			b, err := os.ReadFile(pidFile)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
			if err != nil {
				t.Skip("the machine is too slow: the script did not come so far")
			}
			eventually(t, "the process that it left runs on", func() bool {
				stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
				return err != nil || bytes.Contains(stat, []byte(") Z ")) // somebody else's to wait for
			})
		})
	}
}

// Failures are told once, and attributes are forgotten after the third in a row.
func TestScriptsForget(t *testing.T) {
	var log bytes.Buffer
	s := NewScripts([]Script{{Name: "lab"}}, refuseMemory, slog.New(slog.NewTextHandler(&log, nil)))
	says := func(want string) {
		t.Helper()
		if got := s.Ad().Eval("A", nil).String(); got != want {
			t.Errorf("A is %s, want %s", got, want)
		}
	}
	ran := func(out string, err error, changed bool) {
		t.Helper()
		if got := s.ran(0, []byte(out), err); got != changed {
			t.Errorf("%q, %v: changed is %v", out, err, got)
		}
	}
	says("undefined")
	ran("A = 1\nMemory = 9", nil, true)
	ran("A = 1\nMemory = 9", nil, false)
	says("1")
	for range scriptMisses - 1 {
		ran("", os.ErrDeadlineExceeded, false)
	}
	says("1")
	ran("A = (", nil, true)
	says("undefined")
	ran("", os.ErrDeadlineExceeded, false)
	ran("A = 2", nil, true)
	says("2")
	for text, want := range map[string]int{"probe failed": 1, "probe works again": 1, "attribute=Memory": 1, "probe=lab": 3} {
		if got := strings.Count(log.String(), text); got != want {
			t.Errorf("the log says %q %d times, want %d:\n%s", text, got, want, log.String())
		}
	}
}

// Real scripts, run by their schedule until the end.
func TestScriptsRun(t *testing.T) {
	counter := writeScript(t, `echo "Runs = $(($(wc -l <"${0%/*}/count") + 1))"; echo x >>"${0%/*}/count"`)
	count := filepath.Join(filepath.Dir(counter), "count")
	if err := os.WriteFile(count, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(count, 0o666); err != nil {
		t.Fatal(err)
	}
	s := NewScripts([]Script{
		{Name: "count", Run: counter, Every: 20 * time.Millisecond, Timeout: testWait},
		{Name: "hang", Run: writeScript(t, "sleep 600"), Every: time.Hour, Timeout: time.Hour},
	}, nil, nil)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	changed := make(chan struct{}, 1000)
	go func() { ended <- s.Run(ctx, func() { changed <- struct{}{} }) }()
	eventually(t, "the script is not run again and again", func() bool {
		runs, _ := s.Ad().Int("Runs")
		return runs >= 3
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(changed) < 3 {
		t.Errorf("%d changes were told", len(changed))
	}
}

func FuzzParseScript(f *testing.F) {
	f.Add("A = 1\n- update:true\nB = \"x\"\n")
	f.Add("Memory = 5\nX = [ a = 1 ]\nL = { 1, 2 }")
	f.Add("A = \x00")
	f.Fuzz(func(t *testing.T, text string) {
		ad, _, err := parseScript(text, refuseMemory)
		if err != nil {
			return
		}
		if _, ok := ad.Lookup("Memory"); ok || len(ad.Names()) > scriptAttributes {
			t.Errorf("%q gives %v", text, ad)
		}
		again := classad.NewAd()
		for _, name := range ad.Names() {
			e, _ := ad.Lookup(name)
			if !isAttribute(name) {
				t.Errorf("%q gives the name %q", text, name)
			}
			again.Set(name, e)
		}
	})
}
