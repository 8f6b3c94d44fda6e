package courier

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/submit/client"
)

// TestCourierStaysForWhatIsLeft: neither a log without a directory nor outputs that are not to be had end a courier.
func TestCourierStaysForWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "gone")
		s := forgottenLife(dir)
		time.AfterFunc(time.Hour, func() {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Error(err)
			}
		})
		err := work(t.Context(), client.Home(t.TempDir()), Config{
			Pool: forgetful{s}, Host: "here", Dir: t.TempDir(), Zone: time.UTC, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		if log := content(t, filepath.Join(dir, "job.log")); strings.Count(log, "\n005 (") != 1 {
			t.Errorf("when the courier ends the log is\n%s", log)
		}
	})
}

// TestCourierStaysForASubmitUnderWay: what called a moment ago may have jobs in the queue later.
func TestCourierStaysForASubmitUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := client.Home(t.TempDir())
		if err := Called(h); err != nil {
			t.Fatal(err)
		}
		called := time.Now()
		note := filepath.Join(h.Host(), workFile)
		if err := os.Chtimes(note, called, called); err != nil { // the bubble's time is not the file system's
			t.Fatal(err)
		}
		err := work(t.Context(), h, Config{
			Pool: &script{}, Host: "here", Dir: t.TempDir(), Linger: time.Second, Log: slog.New(slog.DiscardHandler),
		})
		if _, there := os.Stat(note); err != nil || there == nil || time.Since(called) < submitting {
			t.Errorf("the courier ended with %v after %v, the note: %v", err, time.Since(called), there)
		}
	})
}

// ofTheFuture is a matchmaker whose events this program does not know.
type ofTheFuture struct{ *script }

func (ofTheFuture) Follow(context.Context, uint64, func(client.Page) error) error {
	return client.ErrUnreadable
}

// TestCourierWaitsForItsNextVersion: a courier that ended would be started again by whoever waits for outputs.
func TestCourierWaitsForItsNextVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeoutCause(t.Context(), time.Hour, ErrReplaced)
		defer stop()
		err := work(ctx, client.Home(t.TempDir()), Config{
			Pool: ofTheFuture{&script{}}, Host: "here", Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		})
		if !errors.Is(err, ErrReplaced) {
			t.Errorf("the courier ends with %v", err)
		}
	})
}

func TestCourierMindsItsProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		program := filepath.Join(dir, "skua")
		write := func(name, text string) {
			if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		write(program, "old")
		was, err := os.Stat(program)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		time.AfterFunc(time.Hour, func() {
			write(program+".new", "new")
			if err := os.Rename(program+".new", program); err != nil {
				t.Error(err)
			}
		})
		err = mind(t.Context(), client.Home(dir), nil, program, was)
		if !errors.Is(err, ErrReplaced) || time.Since(began) < time.Hour {
			t.Errorf("after %v the courier hears %v, want %v after an hour", time.Since(began), err, ErrReplaced)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		if was, err = os.Stat(program); err != nil {
			t.Fatal(err)
		}
		if err := mind(ctx, client.Home(dir), nil, program, was); err != nil {
			t.Errorf("of a program that nobody replaces the courier hears %v", err)
		}
	})
}
