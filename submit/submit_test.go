package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/eventlog"
	"skua/internal/job"
	"skua/internal/submitfile"
	"skua/internal/wire"
	"skua/submit/client"
	"skua/submit/courier"
	"skua/submit/submittest"
)

func TestOneLiner(t *testing.T) {
	files := []string{"sim.py", "my data.csv", "run", "../sim.py", "/etc/passwd"}
	look := func(name string) thing {
		switch {
		case slices.Contains(files, name):
			return file
		case strings.HasSuffix(name, "data"):
			return directory
		}
		return nothing
	}
	find := func(name string) (string, error) {
		switch name {
		case "python3":
			return "/usr/bin/python3", nil
		case "mine":
			return "/home/ann/bin/mine", nil
		}
		return "", errors.New("not found")
	}
	for _, tt := range []struct {
		words []string
		want  oneLiner
	}{
		{[]string{"python3", "sim.py", "7"}, oneLiner{"/usr/bin/python3", false, "sim", []string{"sim.py", "7"}, []string{"sim.py"}, nil, nil}},
		{[]string{"./run", "my data.csv"}, oneLiner{"./run", true, "run", []string{"my data.csv"}, []string{"my data.csv"}, nil, nil}},
		{[]string{"run", "/etc/passwd"}, oneLiner{"run", true, "run", []string{"/etc/passwd"}, nil, nil, nil}},
		{[]string{"/usr/bin/env"}, oneLiner{"/usr/bin/env", false, "env", []string{}, nil, nil, nil}},
		{[]string{"mine"}, oneLiner{"/home/ann/bin/mine", true, "mine", []string{}, nil, nil, nil}},
		{[]string{"python3", "../sim.py", "data", "/srv/data"}, oneLiner{"/usr/bin/python3", false, "python3", []string{"../sim.py", "data", "/srv/data"}, nil, []string{"../sim.py", "data", "/srv/data"}, nil}},
		{[]string{"python3", "nope.py", "7", "0.5", "-o", "x=a.b", "nope.py"}, oneLiner{"/usr/bin/python3", false, "python3", []string{"nope.py", "7", "0.5", "-o", "x=a.b", "nope.py"}, nil, nil, []string{"nope.py"}}},
	} {
		got, err := parseOneLiner(tt.words, look, find)
		if err != nil || got.executable != tt.want.executable || got.transfer != tt.want.transfer || got.name != tt.want.name ||
			!slices.Equal(got.args, tt.want.args) || !slices.Equal(got.inputs, tt.want.inputs) || !slices.Equal(got.unsent, tt.want.unsent) || !slices.Equal(got.absent, tt.want.absent) {
			t.Errorf("%q is understood as %+v (%v), want %+v", tt.words, got, err, tt.want)
		}
	}
	for _, words := range [][]string{{"nothing"}, {"run", "two\nlines"}} {
		if got, err := parseOneLiner(words, look, find); err == nil {
			t.Errorf("%q is understood as %+v", words, got)
		}
	}
}

// TestNotAssigned: what stands beside a description is not always meant for it.
func TestNotAssigned(t *testing.T) {
	look := func(name string) thing {
		if name == "gone.sub" {
			return nothing
		}
		return file
	}
	for _, tt := range []struct{ words, want, hint string }{
		{"python3 pi.py", `"pi.py" is not of the form name=value`, "; a command is submitted as: skua submit -- python3 pi.py"},
		{"./plain.sh x=1 arg", `"arg" is not of the form name=value`, "; a command is submitted as: skua submit -- ./plain.sh x=1 arg"},
		{"a.sub b.sub", "a.sub and b.sub: one description at a time", "skua submit a.sub && skua submit b.sub"},
		{"a.sub gone.sub", `"gone.sub" is not of the form name=value`, "such as seed=7"},
		{"a.sub seed", `"seed" is not of the form name=value`, "such as seed=7"},
	} {
		words := strings.Fields(tt.words)
		err := notAssigned(words[0], words, words[len(words)-1], look)
		var p *diag.Problem
		if !errors.As(err, &p) || p.What != tt.want || !strings.HasSuffix(p.Hint, tt.hint) {
			t.Errorf("%s: %v, %+v", tt.words, err, p)
		}
	}
}

// What is written for a command comes out of the description as it was typed.
func FuzzOneLiner(f *testing.F) {
	f.Add("a b", "it's", `say "hi"`)
	f.Add("$(x)", "$INT(y) $", `\`)
	f.Add("", "'", `""`)
	f.Fuzz(func(t *testing.T, a, b, c string) {
		words := []string{"/bin/echo", a, b, c}
		o, err := parseOneLiner(words, func(string) thing { return nothing }, nil)
		if err != nil || strings.ContainsFunc(a+b+c, func(r rune) bool { return r < ' ' || r > '~' }) {
			return // other programs' words are none of ours
		}
		d, err := submitfile.Parse("the command", []byte(o.description()), submitfile.Options{Queue: "1"})
		if err != nil {
			t.Fatalf("%q gives\n%s: %v", words, o.description(), err)
		}
		s, err := d.Expand(1)
		if err != nil {
			t.Fatalf("%q gives\n%s: %v", words, o.description(), err)
		}
		cmd, err := job.CommandOf(s.Procs[0].Ad)
		if err != nil {
			t.Fatalf("%q gives\n%v: %v", words, s.Procs[0].Ad.Flat(), err)
		}
		if !slices.Equal(cmd.Argv, words) {
			t.Errorf("%q arrives as %q", words, cmd.Argv)
		}
	})
}

func TestMeterLine(t *testing.T) {
	for _, tt := range []struct {
		width int
		want  string
	}{
		{80, "waiting  30% [============                            ] 3 of 10 jobs  2 running"},
		{60, "waiting  30% [====          ] 3 of 10 jobs  2 running"},
		{30, "waiting  30% 3 of 10 jobs  2 "},
		{0, ""},
	} {
		got := meterLine(tt.width, "waiting", 0.3, "3 of 10 jobs", "2 running")
		if tt.width > 0 && len(got) >= tt.width || tt.width >= 80 && got != tt.want {
			t.Errorf("in %d columns: %q, want %q", tt.width, got, tt.want)
		}
	}
}

// TestCourierKnowsOfASubmitThatIsCutOff: whoever ends a submit while the matchmaker's answer is on its way has jobs in
// the queue, whose logs and outputs come.
func TestCourierKnowsOfASubmitThatIsCutOff(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	home, dir := client.Home(t.TempDir()), t.TempDir()
	prepare := func() wire.Submit {
		d, err := submitfile.Parse("test.sub", []byte("executable = /bin/true\ntransfer_executable = false\nqueue"), submitfile.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		s, err := client.Expand(d)
		if err != nil {
			t.Fatal(err)
		}
		request, err := c.Prepare(t.Context(), s, nil)
		if err != nil {
			t.Fatal(err)
		}
		return request
	}
	if _, err := c.Queue(t.Context(), prepare()); err != nil { // elsewhere, long ago
		t.Fatal(err)
	}
	request := prepare()
	ctx, interrupt := context.WithCancel(t.Context())
	sent := false
	pool.Hub.Intercept(func(p bus.Packet) bus.Fate {
		sent = sent || p.Subject == wire.UserSubject(submittest.User, wire.VerbSubmit)
		if sent && p.To == "user" {
			interrupt()
			return bus.Fate{Drop: true}
		}
		return bus.Fate{}
	})
	if _, _, err := queue(ctx, c, home, dir, request); !errors.Is(err, context.Canceled) {
		t.Fatalf("the submit that is cut off ended with %v", err)
	}
	pool.Hub.Intercept(nil)
	if !courier.Begun(dir) || !courier.Wanted(home) {
		t.Errorf("a position is there: %v, a courier is wanted: %v", courier.Begun(dir), courier.Wanted(home))
	}
	if last, err := c.Now(t.Context()); err != nil || !courier.Reached(dir, last-1) || courier.Reached(dir, last) {
		t.Errorf("the position is not just before the submit, event %d (%v)", last, err)
	}
}

// TestPlacesAreChecked: what would find no place when the job has ended is refused while somebody is there to mend it.
func TestPlacesAreChecked(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "results"), 0o755); err != nil {
		t.Fatal(err)
	}
	event := eventlog.Event{Kind: eventlog.Submit, Job: job.ID{Cluster: 1}}.String()
	for name, text := range map[string]string{"notes.txt": "buy milk\n", "old.log": event, "torn.log": event + event[:20], "empty.log": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ line, want string }{
		{"log = notes.txt", dir + "/notes.txt cannot be written: it has something in it that is no event log"},
		{"log = $CHOICE(Process,old.log,notes.txt)", "it has something in it that is no event log"},
		{"log = $CHOICE(Process,new.log,torn.log)", ""},
		{"log = empty.log", ""},
		{"log = same.txt\noutput = ./same.txt", "output = " + dir + "/same.txt is the job's log, too"},
		{"dagman_log = same.txt\nerror = " + dir + "//same.txt", "error = " + dir + "/same.txt is the job's log, too"},
		{"output = results/out", ""},
		{"output = results", "output = " + dir + "/results is a directory"},
		{"output = $CHOICE(Process,results/out,results)", "output = " + dir + "/results is a directory"},
		{"error = ./results/", "error = " + dir + "/results is a directory"},
		{"output = none/out", "there is no directory " + dir + "/none for out"},
		{"log = job.log", ""},
		{"log = none/job.log", "there is no directory " + dir + "/none for job.log"},
		{"log = results", "it is no ordinary file"},
		{`transfer_output_remaps = "a = results/a"`, ""},
		{`transfer_output_remaps = "a = resluts/a.$(Process)"`, "there is no directory " + dir + "/resluts for a.0"},
	} {
		text := "executable = /bin/true\ntransfer_executable = false\n" + tt.line + "\nqueue 2"
		d, err := submitfile.Parse("test.sub", []byte(text), submitfile.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		s, err := client.Expand(d)
		if err != nil {
			t.Fatal(err)
		}
		err = checkPlaces(s)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("with %s the answer is %v, want %q", tt.line, err, tt.want)
		}
	}
	if there, err := os.ReadDir(dir); err != nil || len(there) != 5 {
		t.Errorf("the check leaves %v, %v", there, err)
	}
}
