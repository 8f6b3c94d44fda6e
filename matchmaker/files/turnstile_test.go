package files

import (
	"context"
	"errors"
	"strconv"
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
			leave, err := ts.enter(t.Context(), transfer{user: user}, time.Hour)
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

// Images that are sent piece by piece come to their end one after another, in the order in which they began. What is
// small does not wait for them.
func TestTurnstileEndsWhatBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTurnstile(2, 100)
		ends := make(chan string, 5)
		send := func(cluster, pieces int, bytes int64) {
			for range pieces {
				leave, err := ts.enter(t.Context(), transfer{"user", job.ID{Cluster: cluster}, bytes}, time.Hour)
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Minute)
				leave()
			}
			ends <- strconv.Itoa(cluster)
		}
		for cluster := 1; cluster <= 4; cluster++ {
			go send(cluster, 5, 1<<20)
			time.Sleep(time.Second)
		}
		go send(5, 1, 1000)
		time.Sleep(time.Hour)
		synctest.Wait()
		close(ends)
		var order []string
		for end := range ends {
			order = append(order, end)
		}
		if got, want := strings.Join(order, " "), "5 1 2 3 4"; got != want {
			t.Errorf("they end in the order %q, want %q", got, want)
		}
	})
}

// Whoever began before keeps its place when too many wait, also against one that waits already; and a user who has
// sent little comes before one who sends much, however many requests that takes.
func TestTurnstileSendsTheLastAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTurnstile(1, 1)
		enter := func(user job.UserID, cluster int, bytes int64) chan error {
			turn := make(chan error, 1)
			go func() {
				_, err := ts.enter(t.Context(), transfer{user, job.ID{Cluster: cluster}, bytes}, time.Hour)
				turn <- err
			}()
			time.Sleep(time.Second)
			return turn
		}
		leave, err := ts.enter(t.Context(), transfer{"many", job.ID{Cluster: 1}, 1 << 20}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		second := enter("many", 2, 1<<20)
		first := enter("many", 1, 1<<20)
		if err := <-second; !errors.Is(err, errBusy) {
			t.Errorf("the job that began later = %v, want errBusy", err)
		}
		other := enter("other", 3, 1<<30)
		if err := <-first; !errors.Is(err, errBusy) {
			t.Errorf("a user with much under way = %v, want errBusy", err)
		}
		leave()
		if err := <-other; err != nil {
			t.Errorf("a user with nothing under way = %v", err)
		}
	})
}

// A user who keeps all places that can be had leaves some to others, and gets the next that becomes free of the own.
func TestTurnstileKeepsPlacesForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTurnstile(4, 100)
		var leaves []func()
		for {
			leave, err := ts.enter(t.Context(), transfer{"many", job.ID{}, 1 << 30}, time.Second)
			if err != nil {
				break
			}
			leaves = append(leaves, leave)
		}
		if len(leaves) != 3 {
			t.Errorf("one user has %d of 4 places, want 3", len(leaves))
		}
		waits := make(chan error, 1)
		go func() {
			leave, err := ts.enter(t.Context(), transfer{"many", job.ID{}, 1 << 30}, time.Hour)
			waits <- err
			if err == nil {
				leave()
			}
		}()
		synctest.Wait()
		if leave, err := ts.enter(t.Context(), transfer{"other", job.ID{}, 1 << 30}, 0); err != nil {
			t.Errorf("another user = %v", err)
		} else {
			leave()
		}
		select {
		case err := <-waits:
			t.Errorf("the one who waits = %v, with all own places taken", err)
		default:
		}
		for _, leave := range leaves {
			leave()
		}
		if err := <-waits; err != nil {
			t.Errorf("the one who waits = %v, with an own place free", err)
		}
		synctest.Wait()
		if ts.total != 0 || len(ts.active) != 0 || len(ts.waiting) != 0 {
			t.Errorf("at the end %d active %v, %d waiting", ts.total, ts.active, len(ts.waiting))
		}
	})
}

func TestTurnstileForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTurnstile(2, 2)
		for n := range 3 * manyWorks {
			leave, err := ts.enter(t.Context(), transfer{"user", job.ID{Cluster: n + 1}, 1}, 0)
			if err != nil {
				t.Fatal(err)
			}
			leave()
			time.Sleep(time.Second)
		}
		if len(ts.begun) > manyWorks {
			t.Errorf("%d jobs are remembered", len(ts.begun))
		}
	})
}

func TestTurnstileIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTurnstile(1, 1)
		leave, err := ts.enter(t.Context(), transfer{user: "a"}, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ts.enter(t.Context(), transfer{user: "b"}, time.Second); !errors.Is(err, errBusy) {
			t.Errorf("a wait that is too long = %v, want errBusy", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := ts.enter(ctx, transfer{user: "c"}, time.Hour)
			left <- err
		}()
		synctest.Wait()
		if _, err := ts.enter(t.Context(), transfer{user: "d"}, time.Hour); !errors.Is(err, errBusy) {
			t.Errorf("one too many waiting = %v, want errBusy", err)
		}
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled wait = %v", err)
		}
		leave()
		leave() // twice counts once
		if leave, err = ts.enter(t.Context(), transfer{user: "e"}, 0); err != nil {
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
