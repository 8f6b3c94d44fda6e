package courier

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/submit/client"
)

func TestWhenThereIsMail(t *testing.T) {
	id := job.ID{Cluster: 3}
	ended := func(code, signal int) *run { return &run{End: &end{At: noon, Code: code, Signal: signal}} }
	delivered, held := &job.Delivered{Job: id}, &job.HeldBack{Job: id, Reason: "result.txt is missing", Code: job.HoldTransferOutput}
	for _, tt := range []struct {
		name string
		when notification
		run  *run
		body job.Body
		want string // of the subject; empty: no mail
	}{
		{"always, well", notifyAlways, ended(0, 0), delivered, "has ended with exit code 0"},
		{"complete, badly", notifyComplete, ended(1, 0), delivered, "has ended with exit code 1"},
		{"error, well", notifyError, ended(7, 0), delivered, ""},
		{"error, another code than that of success", notifyError, ended(0, 0), delivered, "exit code 0"},
		{"error, killed", notifyError, ended(0, 9), delivered, "by signal 9"},
		{"never", notifyNever, ended(1, 0), delivered, ""},
		{"said before", notifyAlways, nil, delivered, ""},
		{"error, held", notifyError, nil, held, "is held"},
		{"complete, held", notifyComplete, nil, held, ""},
		{"error, held by the user", notifyError, nil, &job.HeldBack{Job: id, Code: job.HoldByUser}, ""},
		{"error, held by the pool", notifyError, nil, &job.HeldBack{Job: id, Code: job.HoldBySystem}, "is held"},
		{"always, started", notifyAlways, nil, &job.Started{Job: id}, ""},
	} {
		o := &origin{notify: tt.when, success: 7}
		l := letterAbout(id, o, tt.run, job.Event{At: noon, Body: tt.body})
		switch {
		case l == nil && tt.want != "":
			t.Errorf("%s: no mail, want one that says %q", tt.name, tt.want)
		case l != nil && (tt.want == "" || !strings.Contains(l.Subject, tt.want)):
			t.Errorf("%s: mail with the subject %q, want %q", tt.name, l.Subject, tt.want)
		}
	}
}

// mailer is a mail program that keeps what it is given, and fails as long as there is a file "broken".
func mailer(t *testing.T) (dir string, m Mail) {
	t.Helper()
	dir = t.TempDir()
	path := filepath.Join(dir, "sendmail")
	script := `#!/bin/sh
cd "$(dirname "$0")"
[ "$1" = -t ] || { echo "not -t"; exit 1; }
if [ -e broken ]; then rm broken; echo "no route to host"; exit 75; fi
cat >>outbox && echo "--" >>outbox
`
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, Mail{Command: []string{path, "-t"}, From: "Skua <anna@example.org>"}
}

// TestMailIsSent: a mail for each job that wants one, also after a program that failed at first, and none
// for those that were told of before.
func TestMailIsSent(t *testing.T) {
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("the mail program of this test is a shell script: ", err)
	}
	dir, mail := mailer(t)
	if err := os.WriteFile(filepath.Join(dir, "broken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, state := aLife(t.TempDir()), t.TempDir()
	for id, ad := range s.ads {
		if id.Cluster == 5 {
			ad.SetInt("JobNotification", int64(notifyAlways))
			ad.SetString("NotifyUser", "anna@example.org\nBcc: everybody@example.org")
			ad.SetString("EmailAttributes", "RequestMemory, Project")
			ad.SetString("Cmd", "/home/anna/bin/simulate")
			ad.SetString("Arguments", "--years 12")
		}
	}
	for range 2 { // the second finds nothing to do
		c, err := New(Config{Pool: s, Host: "here", Dir: state, Linger: 10 * time.Millisecond, Retry: time.Millisecond, Mail: func() (Mail, error) { return mail, nil }, Zone: time.UTC})
		if err != nil {
			t.Fatal(err)
		}
		for left := true; left || int(c.state.Pos) < len(s.events); {
			if left, err = c.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := content(t, filepath.Join(dir, "outbox"))
	const want = `From: Skua <anna@example.org>
To: anna@example.org Bcc: everybody@example.org
Subject: Skua job 5.0 has ended with exit code 3
`
	if !strings.HasPrefix(got, want) || strings.Count(got, "--\n") != 1 {
		t.Errorf("the mail is\n%s\nwant one that begins\n%s", got, want)
	}
	for _, part := range []string{"\n    simulate --years 12\n", "RequestMemory = 100\nProject = undefined\n"} {
		if !strings.Contains(got, part) {
			t.Errorf("the mail lacks %q:\n%s", part, got)
		}
	}
}

// TestMailSettingsOfTheMoment: a courier that is at work heeds the settings as they are when there is a mail to send.
func TestMailSettingsOfTheMoment(t *testing.T) {
	var now Mail
	var wrong error
	p := &post{mail: func() (Mail, error) { return now, wrong }, log: slog.New(slog.DiscardHandler)}
	if got := p.write(nil, &letter{}); len(got) > 0 {
		t.Error("a letter waits for a program that there is not")
	}
	now.Command = []string{"/bin/true"}
	if got := p.write(nil, &letter{}); len(got) != 1 {
		t.Error("a program that is named meanwhile is not heeded")
	}
	wrong = errors.New("line 3")
	if got := p.write(nil, &letter{}); len(got) > 0 || !strings.Contains(p.trouble, "line 3") {
		t.Errorf("with bad settings %d letters wait, and the trouble is %q", len(got), p.trouble)
	}
}

func TestMailSettings(t *testing.T) {
	for _, tt := range []struct{ text, want, problem string }{
		{"", "", ""},
		{"[mail]\ncommand = [\"/usr/sbin/sendmail\", \"-t\"]\n", "/usr/sbin/sendmail", ""},
		{"[mail]\ncommand = [\"sendmail\"]\n", "", "no whole path"},
		{"[mail]\ncomand = [\"sendmail\"]\n", "", "comand"},
	} {
		home := client.Home(t.TempDir())
		if tt.text != "" {
			if err := os.WriteFile(filepath.Join(string(home), SettingsFile), []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		m, err := LoadMail(home)
		if no := NoMail(home); (no == nil) != (tt.want != "") {
			t.Errorf("%q: no mail is sent since %v", tt.text, no)
		}
		var p *diag.Problem
		switch {
		case tt.problem == "" && (err != nil || strings.Join(m.Command[:min(1, len(m.Command))], "") != tt.want):
			t.Errorf("%q gives %q, %v, want %q", tt.text, m.Command, err, tt.want)
		case tt.problem != "" && (!errors.As(err, &p) || p.Hint == "" || !strings.Contains(err.Error(), tt.problem)):
			t.Errorf("%q gives the error %v, want a problem about %q", tt.text, err, tt.problem)
		}
	}
}
