package files

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
)

func TestTurnstileIsFairBetweenUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTurnstile(2, 100)
		order := make(chan string, 5)
		enter := func(user job.UserID) {
			leave, err := ts.enter(t.Context(), user, time.Hour)
			if err != nil {
				t.Error(err)
				return
			}
			order <- string(user)
			time.Sleep(time.Minute)
			leave()
		}
		for range 4 {
			go enter("many")
			time.Sleep(time.Second)
			synctest.Wait()
		}
		go enter("one") // came last, and has nothing under way
		time.Sleep(time.Hour)
		synctest.Wait()
		close(order)
		var turns []string
		for user := range order {
			turns = append(turns, user)
		}
		if got, want := strings.Join(turns, " "), "many many one many many"; got != want {
			t.Errorf("turns went %q, want %q", got, want)
		}
		if ts.total != 0 || len(ts.active) != 0 || len(ts.waiting) != 0 {
			t.Errorf("at the end %d active %v, %d waiting", ts.total, ts.active, len(ts.waiting))
		}
	})
}

func TestTurnstileIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTurnstile(1, 1)
		leave, err := ts.enter(t.Context(), "a", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ts.enter(t.Context(), "b", time.Second); !errors.Is(err, errBusy) {
			t.Errorf("a wait that is too long = %v, want errBusy", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := ts.enter(ctx, "c", time.Hour)
			left <- err
		}()
		synctest.Wait()
		if _, err := ts.enter(t.Context(), "d", time.Hour); !errors.Is(err, errBusy) {
			t.Errorf("one too many waiting = %v, want errBusy", err)
		}
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled wait = %v", err)
		}
		leave()
		leave() // twice counts once
		if leave, err = ts.enter(t.Context(), "e", 0); err != nil {
			t.Errorf("a free turnstile = %v", err)
		}
		leave()
		if ts.total != 0 {
			t.Errorf("%d active at the end", ts.total)
		}
	})
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-4/5", "bytes */5", "bytes 1-1/2", "bytes 9-1/2", "bytes -1-2/3", "octets 0-1/2", "bytes 0-9223372036854775807/9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseContentRange(s)
		if err == nil && (r.first < 0 || r.length < 0 || r.total < 0 || r.first+r.length > r.total || r.first+r.length < 0) {
			t.Errorf("%q gave %+v", s, r)
		}
	})
}
