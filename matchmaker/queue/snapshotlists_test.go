package queue

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/job"
	"skua/matchmaker/negotiate"
)

// A queue that has seen many clusters, and requests of the longest that JSON makes of a hundred characters, has a
// snapshot of lines that are no longer for that.
func TestSnapshotOfAnOldQueue(t *testing.T) {
	const n = 2*listsPerLine + 1
	noon := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	s := newState(n)
	s.seq, s.cluster = n, n
	for i := 1; i <= n; i++ {
		id := job.ID{Cluster: i}
		user := job.UserID(fmt.Sprint("u", i))
		s.users[i] = user
		s.past = append(s.past, pastCluster{i, uint64(i)})
		s.history = append(s.history, id)
		s.named[blob.Sum([]byte(user))] = uint64(i)
		s.accounts.users[user] = negotiate.Account{Hours: float64(i), At: noon}
		s.accounts.runs[id] = run{float64(i), true}
		s.remember(requestKey{user, fmt.Sprintf("%s%06d", strings.Repeat("\x01", 94), i)}, Receipt{i, uint64(i)})
	}
	var text bytes.Buffer
	if err := s.capture().write(&text); err != nil {
		t.Fatal(err)
	}
	longest := 0
	for line := range bytes.Lines(text.Bytes()) {
		longest = max(longest, len(line))
	}
	if most := listsPerLine << 10; longest > most {
		t.Errorf("the longest line has %d bytes, more than %d", longest, most)
	}
	again := newState(n)
	if err := readSnapshot(&text, again); err != nil {
		t.Fatal(err)
	}
	for list, same := range map[string]bool{
		"users":    maps.Equal(again.users, s.users),
		"past":     slices.Equal(again.past, s.past),
		"history":  slices.Equal(again.history, s.history),
		"tables":   maps.Equal(again.named, s.named),
		"accounts": maps.Equal(again.accounts.users, s.accounts.users),
		"runs":     maps.Equal(again.accounts.runs, s.accounts.runs),
		"requests": maps.Equal(again.requests, s.requests) && slices.Equal(again.requestOrder, s.requestOrder),
	} {
		if !same {
			t.Errorf("read back it has other %s", list)
		}
	}
}

// A snapshot that could not be read again is none: the log must not forget anything for it.
func TestUnreadableSnapshotIsNotTaken(t *testing.T) {
	q, stop := start(t, Config{Log: bus.NewMemoryLog()})
	submit(t, q, "ann", 2)
	stop()
	dir := snapshots{t.TempDir()}
	c := q.state.capture()
	if err := dir.put(c); err != nil {
		t.Fatal(err)
	}
	c.head.Seq++
	c.longest = 100
	if err := dir.put(c); err == nil || !strings.Contains(err.Error(), "could not be read again") {
		t.Errorf("with a line that is too long: %v", err)
	}
	if all, err := dir.list(); err != nil || len(all) != 1 || all[0] != c.head.Seq-1 {
		t.Errorf("there are the snapshots %v (%v), want only that of event %d", all, err, c.head.Seq-1)
	}
}

// firstSnapshot is one of the first version, with all lists in its first line.
const firstSnapshot = `{"v":1,"seq":9,"cluster":7,"users":{"6":"u1","7":"u2"},"tables":{"t":4},"history":["6.0","7.0"],` +
	`"requests":[{"user":"u1","request":"r","cluster":6,"seq":2}],"accounts":{"u1":{"hours":2}},"runs":{"6.1":{"cpus":3,"counts":true}}}
{"end":true,"clusters":0}
`

func TestFirstSnapshotsAreRead(t *testing.T) {
	got := newState(10)
	if err := readSnapshot(strings.NewReader(firstSnapshot), got); err != nil {
		t.Fatal(err)
	}
	want := newState(10)
	want.seq, want.cluster = 9, 7
	want.users[6], want.users[7] = "u1", "u2"
	want.past = []pastCluster{{6, 9}, {7, 9}} // at the latest
	want.named["t"] = 4
	want.history = []job.ID{{Cluster: 6}, {Cluster: 7}}
	want.remember(requestKey{"u1", "r"}, Receipt{6, 2})
	want.accounts.users["u1"] = negotiate.Account{Hours: 2}
	want.accounts.runs[job.ID{Cluster: 6, Proc: 1}] = run{3, true}
	if got, want := account(t, got), account(t, want); got != want {
		t.Errorf("it is\n%s\nwant\n%s", got, want)
	}
	for _, version := range []string{"0", "3"} {
		text := strings.Replace(firstSnapshot, `"v":1`, `"v":`+version, 1)
		if err := readSnapshot(strings.NewReader(text), newState(10)); err == nil || !strings.Contains(err.Error(), "it has version "+version) {
			t.Errorf("version %s gave %v", version, err)
		}
	}
}
