package courier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"mime"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/config"
	"skua/submit/client"
)

// SettingsFile is the user's settings file, in the user's home.
const SettingsFile = "settings.toml"

// Settings is what the file says:
//
//	[mail]
//	command = ["/usr/sbin/sendmail", "-t"]
//	from = "Skua <anna@example.org>"
type Settings struct {
	Mail Mail `toml:"mail"`
}

// Mail is how the user gets mail about jobs whose description has a notification.
type Mail struct {
	Command []string `toml:"command"` // gets the message on standard input, with its headers; empty: no mail is sent
	From    string   `toml:"from"`    // what the From header says; empty leaves that to the command
}

// LoadMail reads the user's settings. Without a file no mail is sent, which is no error.
func LoadMail(h client.Home) (Mail, error) {
	var s Settings
	path := filepath.Join(string(h), SettingsFile)
	err := config.Load(path, &s)
	if errors.Is(err, fs.ErrNotExist) {
		return Mail{}, nil
	}
	if err == nil && len(s.Mail.Command) > 0 && !filepath.IsAbs(s.Mail.Command[0]) {
		err = &diag.Problem{
			What: fmt.Sprintf("%s: mail.command begins with %q, which is no whole path", path, s.Mail.Command[0]),
			Hint: `write command = ["/usr/sbin/sendmail", "-t"], or where your mail program is`,
		}
	}
	return s.Mail, err
}

// NoMail says why no mail is sent, and what to do; nil if it is.
func NoMail(h client.Home) error {
	m, err := LoadMail(h)
	if err == nil && len(m.Command) == 0 {
		err = &diag.Problem{
			What: filepath.Join(string(h), SettingsFile) + " names no mail program",
			Hint: `write there: [mail], and below it: command = ["/usr/sbin/sendmail", "-t"]`,
		}
	}
	return err
}

// notification says when a job's user wants mail about it; HTCondor's numbers.
type notification int

const (
	notifyNever    notification = 0
	notifyAlways   notification = 1
	notifyComplete notification = 2
	notifyError    notification = 3
)

// letter is a mail that is to be sent. It is kept with the position until it is.
type letter struct {
	Job     job.ID    `json:"job"`
	At      time.Time `json:"at"`
	To      string    `json:"to,omitempty"`
	Subject string    `json:"subject"`
	Text    string    `json:"text"`
	Attrs   string    `json:"attrs,omitempty"` // names of attributes whose values it also has
}

// letterAbout gives the letter that an event calls for; r is how the job stood before it. nil means none.
func letterAbout(id job.ID, o *origin, r *run, ev job.Event) *letter {
	l := &letter{Job: id, At: ev.At, To: o.notifyTo, Attrs: o.inMail}
	switch b := ev.Body.(type) {
	case *job.Delivered:
		if !r.over() {
			return nil
		}
		how, bad := fmt.Sprintf("with exit code %d", r.End.Code), r.End.Code != o.success
		if r.End.Signal != 0 {
			how, bad = fmt.Sprintf("by signal %d", r.End.Signal), true
		}
		if o.notify == notifyNever || o.notify == notifyError && !bad {
			return nil
		}
		l.Subject = fmt.Sprintf("Skua job %v has ended %s", id, how)
		l.Text = fmt.Sprintf("Your job %v, submitted on %s,\n\n    %s\n\nended %s at %s.\n",
			id, o.machine, o.command, how, r.End.At.In(ev.At.Location()).Format(time.DateTime))
		total := r.Used.Add(r.End.Usage)
		l.Text += fmt.Sprintf("\nIt took %v of a machine, and %v of processor time.\n",
			total.Wall.Round(time.Second), (total.UserCPU + total.SysCPU).Round(time.Second))
	case *job.HeldBack:
		if o.notify != notifyAlways && o.notify != notifyError || b.Code == job.HoldByUser {
			return nil
		}
		l.Subject = fmt.Sprintf("Skua job %v is held", id)
		l.Text = fmt.Sprintf("Your job %v, submitted on %s,\n\n    %s\n\nis held since %s:\n\n    %s\n\nWhen that is mended, \"skua release %v\" lets it go on.\n",
			id, o.machine, o.command, ev.At.Format(time.DateTime), b.Reason, id)
	default:
		return nil
	}
	return l
}

// post sends letters, one after another. It belongs to the courier's loop; only the mail program runs beside it.
type post struct {
	mail func() (Mail, error)
	pool Pool
	log  *slog.Logger

	ctx     context.Context // of what is on its way: ends with the courier
	stop    context.CancelFunc
	wg      sync.WaitGroup
	done    chan error
	timer   *time.Timer
	first   time.Duration // pause after a failure; it doubles from there
	tries   int           // of the first letter
	sending bool
	trouble string
}

const (
	maxLetters    = 1000
	maxMailTries  = 10
	mailPatience  = time.Minute
	maxMailOutput = 2000 // bytes of what the program said, in the log
)

func newPost(ctx context.Context, cfg Config, log *slog.Logger) *post {
	p := &post{mail: cfg.Mail, pool: cfg.Pool, log: log, first: cfg.Retry, done: make(chan error), timer: time.NewTimer(time.Hour)}
	p.timer.Stop()
	p.ctx, p.stop = context.WithCancel(ctx)
	return p
}

func (p *post) close() {
	p.stop()
	p.timer.Stop()
	p.wg.Wait()
}

// settings are those that hold now. ok is false if no mail is sent, and then why is said.
func (p *post) settings() (m Mail, ok bool) {
	var err error
	if p.mail != nil {
		m, err = p.mail()
	}
	switch {
	case err != nil:
		p.say("no mail is sent: " + err.Error())
	case len(m.Command) == 0:
		p.say("no mail is sent, since " + SettingsFile + " names no command for it")
	default:
		return m, true
	}
	return Mail{}, false
}

// write adds a letter to those that wait.
func (p *post) write(waiting []letter, l *letter) []letter {
	if l == nil {
		return waiting
	}
	if _, ok := p.settings(); !ok {
		return waiting
	}
	if len(waiting) >= maxLetters {
		p.say(fmt.Sprintf("%d mails wait to be sent; more are left out", maxLetters))
		return waiting
	}
	return append(waiting, *l)
}

// say says something once.
func (p *post) say(what string) {
	if what != p.trouble {
		p.trouble = what
		p.log.Warn(what)
	}
}

// start sends the first of the letters, which must have been kept.
func (p *post) start(waiting []letter) {
	if p.sending || len(waiting) == 0 {
		return
	}
	mail, ok := p.settings()
	if !ok {
		return
	}
	p.sending = true
	l := waiting[0]
	p.wg.Go(func() {
		err := p.send(mail, l)
		select {
		case p.done <- err:
		case <-p.ctx.Done():
		}
	})
}

// settle takes how it went with the first letter, and gives those that are still to be sent.
func (p *post) settle(waiting []letter, err error) []letter {
	p.sending = false
	if err == nil {
		p.log.Info("mail is sent", diag.KeyJob, waiting[0].Job)
		p.tries, p.trouble = 0, ""
		return waiting[1:]
	}
	if p.tries++; p.tries >= maxMailTries {
		p.log.Error("mail could not be sent and is given up", diag.KeyJob, waiting[0].Job, diag.KeyError, err)
		p.tries = 0
		return waiting[1:]
	}
	p.say("mail cannot be sent; it is tried again: " + err.Error())
	p.timer.Reset(min(p.first<<p.tries, longestPause))
	return waiting
}

// send gives a letter to the mail program.
func (p *post) send(mail Mail, l letter) error {
	ctx, cancel := context.WithTimeout(p.ctx, mailPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, mail.Command[0], mail.Command[1:]...)
	cmd.Stdin = bytes.NewReader(p.message(ctx, mail.From, l))
	cmd.WaitDelay = time.Second // it may have left something behind that has its output
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %.*s", mail.Command[0], err, maxMailOutput, bytes.TrimSpace(out))
	}
	return nil
}

// message is the letter with its headers.
func (p *post) message(ctx context.Context, from string, l letter) []byte {
	to := l.To
	if to == "" {
		if u, err := user.Current(); err == nil {
			to = u.Username
		}
	}
	var b bytes.Buffer
	header := func(name, value string) {
		if value = oneLine(value); value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	header("From", from)
	header("To", to)
	header("Subject", mime.QEncoding.Encode("utf-8", oneLine(l.Subject)))
	header("Date", l.At.Format(time.RFC1123Z))
	header("Auto-Submitted", "auto-generated")
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=utf-8")
	header("Content-Transfer-Encoding", "8bit")
	fmt.Fprintf(&b, "\n%s%s", l.Text, p.attributes(ctx, l))
	return b.Bytes()
}

// oneLine keeps a value within its header.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// attributes are the lines for email_attributes, as far as the matchmaker still knows the job.
func (p *post) attributes(ctx context.Context, l letter) string {
	names := strings.FieldsFunc(l.Attrs, func(r rune) bool { return r == ',' || r == ' ' })
	if len(names) == 0 {
		return ""
	}
	var lines strings.Builder
	for _, kind := range []wire.QueryKind{wire.QueryHistory, wire.QueryJobs} {
		err := p.pool.Columns(ctx, kind, wire.Selection{Jobs: []job.ID{l.Job}}, names, 1, func(values []string) error {
			lines.Reset()
			for i, name := range names {
				fmt.Fprintf(&lines, "\n%s = %s", name, values[i])
			}
			lines.WriteString("\n")
			return nil
		})
		if err != nil {
			p.log.Warn("a mail goes without the attributes that it should have", diag.KeyJob, l.Job, diag.KeyError, err)
		}
		if err != nil || lines.Len() > 0 {
			break
		}
	}
	return lines.String()
}
