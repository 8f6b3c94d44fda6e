package courier

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"skua/internal/diag"
	"skua/internal/filelock"
	"skua/internal/membership"
	"skua/internal/pause"
	"skua/submit/client"
)

// Files below the host's directory that say how things stand with the courier.
const (
	lockFile = "courier.lock" // locked by the courier that runs
	workFile = "courier.work" // there while there may be something for a courier to do
	logFile  = "courier.log"
)

// Dir is where the courier of a member keeps its position: that of another pool means nothing here.
func Dir(h client.Home, m *membership.Membership) string {
	return filepath.Join(h.Host(), m.Fingerprint[:min(12, len(m.Fingerprint))]+"-"+m.ID)
}

// LogFile is where the courier of this host writes what a person may want to know.
func LogFile(h client.Home) string { return filepath.Join(h.Host(), logFile) }

// Called says that there is work for a courier: jobs are submitted from this host.
func Called(h client.Home) error {
	if err := os.MkdirAll(h.Host(), 0o700); err != nil {
		return fmt.Errorf("make the directory of this host: %w", err)
	}
	if err := os.WriteFile(filepath.Join(h.Host(), workFile), nil, 0o600); err != nil {
		return fmt.Errorf("note that there is work for the courier: %w", err)
	}
	return nil
}

// Wanted reports whether there is work and no courier to do it.
func Wanted(h client.Home) bool {
	if _, err := os.Stat(filepath.Join(h.Host(), workFile)); err != nil {
		return false
	}
	l, err := filelock.Take(filepath.Join(h.Host(), lockFile))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// lockForLong takes the lock for a courier, and notes there whose it is. Those who ask in [Wanted] hold it
// for a moment, which does not mean that a courier is at work.
func lockForLong(path string) (*os.File, error) {
	l, err := filelock.Take(path)
	for n := 0; errors.Is(err, filelock.ErrHeld) && n < 10; n++ {
		time.Sleep(10 * time.Millisecond)
		l, err = filelock.Take(path)
	}
	if err != nil {
		return nil, err
	}
	if err = l.Truncate(0); err == nil {
		_, err = l.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Serve is the courier of this host for as long as there is work. When there is another one already it
// returns at once. When its program has been replaced it returns [ErrReplaced], and no courier runs.
func Serve(ctx context.Context, h client.Home, log *slog.Logger) error {
	if err := os.MkdirAll(h.Host(), 0o700); err != nil {
		return fmt.Errorf("make the directory of this host: %w", err)
	}
	for {
		again, err := serveOnce(ctx, h, log)
		if err != nil || !again {
			return err
		}
	}
}

// rest is the time before the pool is asked again, which a laptop without a network may do for days.
const rest = 15 * time.Second

// errMoved ends the courier of a pool in which the user is no more.
var errMoved = errors.New("the membership has changed")

// ErrReplaced ends a courier whose program is another one now, as after an upgrade: whoever runs it starts that one,
// which may know events that this one does not.
var ErrReplaced = errors.New("the program has been replaced")

// mind returns errMoved when m is not the user's membership any more, and ErrReplaced when the program at a path is not
// the one that it was. It returns nil when ctx ends.
func mind(ctx context.Context, h client.Home, m *membership.Membership, program string, was fs.FileInfo) error {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for last := was; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if now, err := membership.Open(h.Member()); err == nil && (Dir(h, now) != Dir(h, m) || now.URL != m.URL) {
				return errMoved
			}
			now, err := os.Stat(program)
			if was == nil || err != nil {
				continue
			}
			if !os.SameFile(now, was) && os.SameFile(now, last) && now.Size() == last.Size() { // it is written no more
				return ErrReplaced
			}
			last = now
		}
	}
}

// ownProgram is where this program is, and what is there; nil if that cannot be told.
func ownProgram() (path string, is fs.FileInfo) {
	path, err := os.Executable()
	if err == nil {
		is, _ = os.Stat(path)
	}
	return path, is
}

// serveOnce works until nothing is left to do. Work that is called for while it goes is found by whoever
// calls, who tries the lock, or here, after the lock is free again: one of the two comes last.
func serveOnce(ctx context.Context, h client.Home, log *slog.Logger) (again bool, err error) {
	l, err := lockForLong(filepath.Join(h.Host(), lockFile))
	if errors.Is(err, filelock.ErrHeld) {
		log.Debug("another courier is at work")
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock the courier: %w", err)
	}
	defer l.Close()
	m, err := membership.Open(h.Member())
	if err != nil {
		return false, err
	}
	host, err := h.HostID()
	if err != nil {
		return false, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	var minding sync.WaitGroup
	defer minding.Wait()
	defer stop(nil)
	program, was := ownProgram()
	minding.Go(func() { stop(mind(ctx, h, m, program, was)) })
	pool, err := client.Connect(ctx, client.Connection{Home: h, Patient: true, Trouble: func(err error) {
		log.Warn("the matchmaker cannot be asked; it is tried again", diag.KeyError, err)
	}})
	if err != nil {
		return false, err
	}
	defer pool.Close()
	mail := func() (Mail, error) { return LoadMail(h) }
	err = work(ctx, h, Config{Pool: pool, Host: host, Dir: Dir(h, m), Mail: mail, Log: log})
	if errors.Is(context.Cause(ctx), errMoved) {
		log.Info("the user is in another pool now")
		return true, nil
	}
	if errors.Is(context.Cause(ctx), ErrReplaced) {
		return false, ErrReplaced
	}
	if err != nil {
		return false, err
	}
	l.Close()
	_, err = os.Stat(filepath.Join(h.Host(), workFile))
	return err == nil, nil
}

// work has one courier after another work until nothing is left to do. What could not be put anywhere, or written to a
// log, is left to the next; the matchmaker gives up outputs in the end.
func work(ctx context.Context, h client.Home, cfg Config) error {
	note, told := filepath.Join(h.Host(), workFile), ""
	first := cfg.Linger
	for {
		c, err := New(cfg)
		if err != nil {
			return err
		}
		left, err := c.Run(ctx)
		switch {
		case context.Cause(ctx) != nil:
			return context.Cause(ctx)
		case diag.ExitCode(err) == diag.ExitUnreachable:
			if err.Error() != told { // a night without a network leaves one line
				cfg.Log.Warn("the pool cannot be reached; it is tried again", diag.KeyError, err)
			}
			told = err.Error()
			if err := pause.For(ctx, rest); err != nil {
				return err
			}
			continue
		case errors.Is(err, client.ErrUnreadable):
			// Who is waited for by a command would be started again at once: it stays until its program is replaced.
			cfg.Log.Error("this courier must wait for its next version", diag.KeyError, err)
			if err := pause.For(ctx, longestPause); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		case left:
			cfg.Linger = longestPause + time.Minute // so that it tries again before it ends
			continue
		}
		cfg.Linger = first
		if st, err := os.Stat(note); err == nil && recent(st.ModTime(), time.Now()) {
			continue // the submit may be on its way, and no event yet
		}
		if err := os.Remove(note); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// Whoever submitted before the removal has done so in an event.
		if idle, err := c.idle(ctx); err == nil && idle {
			return nil
		}
		if err := Called(h); err != nil {
			return err
		}
	}
}

// submitting is more than a submit takes between the moments at which it calls a courier.
const submitting = time.Minute

// recent says whether a call at that time may be of a submit that is on its way. A clock that was set back decides
// nothing.
func recent(called, now time.Time) bool {
	ago := now.Sub(called)
	return ago >= 0 && ago < submitting
}
