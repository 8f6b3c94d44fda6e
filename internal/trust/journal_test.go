package trust_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"skua/internal/bus"
	"skua/internal/trust"
)

var now = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func openShared(t *testing.T, path string, j trust.Journal) *trust.Roster {
	t.Helper()
	r, err := trust.OpenSharedRoster(t.Context(), path, j)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newKey(t *testing.T) string {
	t.Helper()
	id, err := trust.CreateIdentity(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	return id.PublicKey()
}

// follow follows the journal until the test ends, and gives the members that are reported.
func follow(t *testing.T, r *trust.Roster) <-chan trust.Member {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	members := make(chan trust.Member, 100)
	done := make(chan error, 1)
	go func() {
		done <- r.Follow(ctx, func(all []trust.Member) {
			for _, m := range all {
				members <- m
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return members
}

func next(t *testing.T, members <-chan trust.Member) trust.Member {
	t.Helper()
	select {
	case m := <-members:
		return m
	case <-time.After(30 * time.Second):
		t.Fatal("no change is reported")
		return trust.Member{}
	}
}

func TestSharedRoster(t *testing.T) {
	journal := bus.NewMemoryLog()
	dir := t.TempDir()
	a := openShared(t, filepath.Join(dir, "a.json"), journal)
	b := openShared(t, filepath.Join(dir, "b.json"), journal)
	key := newKey(t)

	// A token made at one is redeemed at another, and only once.
	tok, err := a.NewToken(trust.TokenSpec{Kind: trust.Agent, TTL: time.Hour, Approve: true}, now)
	if err != nil {
		t.Fatal(err)
	}
	m, err := b.Redeem(tok.Secret, key, now, "desk1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Redeem(tok.Secret, newKey(t), now, "desk2"); !errors.Is(err, trust.ErrTokenUsed) {
		t.Errorf("a token was redeemed twice: %v", err)
	}
	// Who has joined at one is known at the other, without waiting.
	if got, ok := a.Lookup(key); !ok || got.ID != m.ID || !got.Active() {
		t.Errorf("the other matchmaker knows %+v, %v", got, ok)
	}
	// A membership that ends at one ends at the other.
	changes := follow(t, a)
	if _, err := b.Revoke(m.ID); err != nil {
		t.Fatal(err)
	}
	for got := next(t, changes); !got.Revoked; got = next(t, changes) {
		if got.ID != m.ID {
			t.Errorf("a change of %+v is reported", got)
		}
	}
	if got, _ := a.Lookup(key); !got.Revoked {
		t.Errorf("the member is %+v after the change is reported", got)
	}
	// One that is started anew knows what there was, from the journal alone.
	if got, _ := openShared(t, filepath.Join(dir, "c.json"), journal).Lookup(key); !got.Revoked {
		t.Errorf("a third matchmaker knows %+v", got)
	}
	// The copy on disk is a roster, for the day on which there is no journal.
	alone, err := trust.OpenRoster(filepath.Join(dir, "b.json"))
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := alone.Lookup(key); !got.Revoked {
		t.Errorf("the copy has %+v", got)
	}
}

// A pool that has had one matchmaker brings its members along.
func TestJournalBeginsWithMembers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "old.json")
	old, err := trust.OpenRoster(path)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for i := range 250 { // more than one record holds
		keys = append(keys, newKey(t))
		if _, err := old.Admit(trust.Agent, keys[i], fmt.Sprint("desk", i), now); err != nil {
			t.Fatal(err)
		}
	}
	journal := bus.NewMemoryLog()
	openShared(t, path, journal)
	if got := openShared(t, filepath.Join(dir, "new.json"), journal).Members(); len(got) != len(keys) {
		t.Errorf("the second matchmaker knows %d members, want %d", len(got), len(keys))
	}
	last, err := journal.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	openShared(t, path, journal)
	if again, _ := journal.Last(t.Context()); again != last {
		t.Errorf("opening the roster again added %d changes", again-last)
	}
}

// A lost acknowledgement neither loses a change nor makes it twice.
func TestJournalLosesAnswers(t *testing.T) {
	journal := bus.NewMemoryLog()
	r := openShared(t, filepath.Join(t.TempDir(), "r.json"), journal)
	journal.LoseNextAck()
	tok, err := r.NewToken(trust.TokenSpec{Kind: trust.Agent, TTL: time.Hour}, now)
	if err != nil {
		t.Fatal(err)
	}
	journal.LoseNextAck()
	key := newKey(t)
	if _, err := r.Redeem(tok.Secret, key, now, "desk"); err != nil {
		t.Fatal(err)
	}
	if last, _ := journal.Last(t.Context()); last != 2 {
		t.Errorf("two changes are %d records", last)
	}
}

// Many who join at two matchmakers at once do not use a token more often than it may be.
func TestConcurrentRedeems(t *testing.T) {
	journal := bus.NewMemoryLog()
	var rosters []*trust.Roster
	for range 2 {
		rosters = append(rosters, openShared(t, filepath.Join(t.TempDir(), "r.json"), journal))
	}
	tok, err := rosters[0].NewToken(trust.TokenSpec{Kind: trust.Agent, TTL: time.Hour, Uses: 10}, now)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	joined := make(chan string, 40)
	for i := range 40 {
		key := newKey(t)
		wg.Go(func() {
			m, err := rosters[i%2].Redeem(tok.Secret, key, now, fmt.Sprint("desk", i))
			if err == nil {
				joined <- m.ID
			} else if !errors.Is(err, trust.ErrTokenUsed) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(joined)
	var ids []string
	for id := range joined {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 10 {
		t.Errorf("%d machines have joined with a token for 10", len(ids))
	}
}

func TestStrangeJournal(t *testing.T) {
	for _, record := range []string{
		`{"v":2}`, `{"v":1,"rules":[]}`, `nonsense`, `{"v":1} {}`,
		`{"v":1,"members":[{"id":"a","kind":"agent","name":"x","key":"U","approved":true,"since":"2026-01-01T00:00:00Z"}]}`,
	} {
		journal := bus.NewMemoryLog()
		if _, err := journal.Append(t.Context(), 0, [][]byte{[]byte(record)}); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "r.json")
		if _, err := trust.OpenSharedRoster(t.Context(), path, journal); err == nil || !strings.Contains(err.Error(), "change 1") {
			t.Errorf("a journal with %s: %v", record, err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("a journal with %s left a roster behind", record)
		}
	}
}
