package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/matchmaker/broker"
	"skua/matchmaker/queue"
	"skua/policy/classad"
)

type nobody struct{}

func (nobody) Lookup(string) (trust.Member, bool) { return trust.Member{}, false }

// makeLog makes the data directory of a matchmaker that has taken ten submits, with the store of its log, its archive,
// the blobs, and no snapshot.
func makeLog(t *testing.T) (data string) {
	t.Helper()
	data = t.TempDir()
	if err := os.MkdirAll(filepath.Join(data, "blobs", "unsettled", "another-boot"), 0o700); err != nil {
		t.Fatal(err)
	}
	b, err := broker.Start(t.Context(), broker.Config{Dir: filepath.Join(data, "broker"), Roster: nobody{}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	log, err := bus.OpenLog(t.Context(), b.Conn(), bus.LogConfig{Stream: "SKUA_EV", Subject: "skua.ev"})
	if err != nil {
		t.Fatal(err)
	}
	archive, err := queue.OpenArchive(queue.ArchiveConfig{Dir: filepath.Join(data, "queue", "archive")})
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	q, err := queue.Open(t.Context(), queue.Config{Log: log, Archive: archive, Mend: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	for n := range 10 {
		ad, err := classad.ParseAd(`[Cmd = "/bin/true"; Requirements = true]`)
		if err != nil {
			t.Fatal(err)
		}
		s := &job.Submitted{User: "u1", Owner: "ann", Request: fmt.Sprintf("request-%02d", n), Ad: ad, Procs: []*classad.Ad{classad.NewAd()}}
		if _, err := q.Submit(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return data
}

// store is the one file of the log's store, copied that of the archive.
func store(t *testing.T, data string) string {
	t.Helper()
	return only(t, filepath.Join(data, "broker", "jetstream", "*", "streams", "SKUA_EV", "msgs", "*.blk"))
}

func copied(t *testing.T, data string) string {
	t.Helper()
	return only(t, filepath.Join(data, "queue", "archive", "*.log"))
}

func only(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	return found[0]
}

// spoil writes something in the place of a word in a file.
func spoil(t *testing.T, path, word, other string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(data, []byte(word)) {
		t.Fatalf("%s is not in %s (%v)", word, path, err)
	}
	if err := os.WriteFile(path, bytes.Replace(data, []byte(word), []byte(other), 1), 0o600); err != nil {
		t.Fatal(err)
	}
}

func cutOff(t *testing.T, path string, bytes int64) {
	t.Helper()
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()-bytes)
	}
	if err != nil {
		t.Fatal(err)
	}
}

var columns = regexp.MustCompile(` +`)

// command runs one of the log commands.
func command(t *testing.T, data string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, talk bytes.Buffer
	code = run(t.Context(), append([]string{"--data", data, "log"}, args...), &out, &talk)
	return columns.ReplaceAllString(out.String(), " "), talk.String(), code
}

// TestLogCommands damages a log in each way and has it looked at, dumped and mended. Event 1 is the leader's, event
// 2 is the submit of cluster 1, and so on to event 11.
func TestLogCommands(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, data string)
		code   int    // of verify
		says   string // what it says of it
		whole  bool   // dump shows no damage
		lost   string // what repair --drop-tail says is lost; "" when plain repair does
		events int    // after the repair
		shut   bool   // a matchmaker does not start before the repair
	}{
		{name: "nothing", damage: func(*testing.T, string) {}, code: 0, says: "all of them whole", whole: true, events: 11},
		{
			name: "torn write of the log", code: 5, says: "which the archive has", whole: true, events: 11,
			damage: func(t *testing.T, data string) { cutOff(t, store(t, data), 30); dropIndex(t, data) },
		},
		{
			name: "half a record in the archive", code: 0, says: "which the log has", whole: true, events: 11,
			damage: func(t *testing.T, data string) { cutOff(t, copied(t, data), 30) },
		},
		{
			name: "flipped byte in the log", code: 5, says: "in the log, event 7: it is missing", whole: true, events: 11,
			damage: func(t *testing.T, data string) { spoil(t, store(t, data), "request-05", "request-X5") },
		},
		{
			name: "flipped byte in the log, and no index", code: 5, says: "without the last 5, which the archive has", whole: true, events: 11,
			damage: func(t *testing.T, data string) {
				spoil(t, store(t, data), "request-05", "request-X5")
				dropIndex(t, data)
			},
		},
		{
			name: "flipped byte in the archive", code: 5, says: "in the archive, event 7: its checksum is", whole: true, events: 11,
			damage: func(t *testing.T, data string) { spoil(t, copied(t, data), "request-05", "request-X5") },
		},
		{
			name: "the log's store is gone", code: 5, says: "log empty", whole: true, events: 11,
			damage: func(t *testing.T, data string) {
				if err := os.RemoveAll(filepath.Join(data, "broker", "jetstream")); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "the log's store cannot be opened", code: 5, says: "log empty", whole: true, events: 11, shut: true,
			damage: func(t *testing.T, data string) {
				records := filepath.Dir(store(t, data))
				if err := errors.Join(os.RemoveAll(records), os.WriteFile(records, []byte("no directory"), 0o600)); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "the archive is gone", code: 0, says: "archive empty", whole: true, events: 11,
			damage: func(t *testing.T, data string) {
				if err := os.RemoveAll(filepath.Join(data, "queue")); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "both have lost the same event", code: 5, says: "lost event 7, which a start needs: its checksum is", events: 11,
			lost: "submits are lost, which must be repeated: cluster 6, 1 job(s) of ann, cluster 7, 1 job(s) of ann",
			damage: func(t *testing.T, data string) {
				spoil(t, store(t, data), "request-05", "request-X5")
				spoil(t, copied(t, data), "request-05", "request-X5")
			},
		},
		{
			name: "both have lost different events", code: 5, says: "nothing is lost", whole: true, events: 11,
			damage: func(t *testing.T, data string) {
				spoil(t, store(t, data), "request-05", "request-X5")
				spoil(t, copied(t, data), "request-07", "request-X7")
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := makeLog(t)
			tt.damage(t, data)
			before := tree(t, data)
			stdout, stderr, code := command(t, data, "verify")
			if code != tt.code || !strings.Contains(stdout+stderr, tt.says) {
				t.Errorf("verify: exit %d, want %d and %q:\n%s%s", code, tt.code, tt.says, stdout, stderr)
			}
			dumped, stderr, code := command(t, data, "dump")
			if (code == 0) != tt.whole {
				t.Errorf("dump: exit %d:\n%s%s", code, dumped, stderr)
			}
			for n, line := range strings.Split(strings.TrimSpace(dumped), "\n") {
				var ev struct{ Seq int }
				if err := json.Unmarshal([]byte(line), &ev); err != nil || ev.Seq != n+1 {
					t.Errorf("line %d of the dump, %v: %s", n, err, line)
				}
			}
			if after := tree(t, data); after != before {
				t.Errorf("looking has changed something:\n%s\nwas\n%s", after, before)
			}
			if tt.shut {
				_, refusal, code := serveBriefly(t, data)
				if code == 0 || !strings.Contains(refusal, "skua-matchmaker log verify") {
					t.Errorf("a matchmaker starts on it, or does not say what to do: %s", refusal)
				}
			}
			if tt.lost != "" {
				_, refusal, code := serveBriefly(t, data)
				if code == 0 || !strings.Contains(refusal, "event 7") || !strings.Contains(refusal, "skua-matchmaker log verify") {
					t.Errorf("a matchmaker starts on it, or does not say what to do: %s", refusal)
				}
				if _, stderr, code = command(t, data, "repair"); code != 1 || !strings.Contains(stderr, "--drop-tail") {
					t.Errorf("repair: exit %d: %s", code, stderr)
				}
				stdout, stderr, code = command(t, data, "repair", "--drop-tail")
				if code != 0 || !strings.Contains(stdout, tt.lost) || !strings.Contains(stdout, "events 7 to 11 have been dropped") {
					t.Errorf("repair --drop-tail: exit %d: %s%s", code, stdout, stderr)
				}
			} else if stdout, stderr, code = command(t, data, "repair"); code != 0 {
				t.Errorf("repair: exit %d: %s%s", code, stdout, stderr)
			}
			stdout, stderr, code = command(t, data, "verify")
			if code != 0 || !strings.Contains(stdout, fmt.Sprintf("events 1 to %d, all of them whole", tt.events)) {
				t.Errorf("verify after the repair: exit %d: %s%s", code, stdout, stderr)
			}
			if log, said, code := serveBriefly(t, data); code != 0 {
				t.Errorf("after the repair a matchmaker ends with %d: %s%s", code, log, said)
			}
		})
	}
}

// dropIndex removes what the store has written down of its own state, as a crash leaves it behind, or makes it stale.
func dropIndex(t *testing.T, data string) {
	t.Helper()
	if err := os.Remove(filepath.Join(filepath.Dir(store(t, data)), "index.db")); err != nil {
		t.Fatal(err)
	}
}

// tree lists all directories, and all files with their sizes.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var list strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		switch {
		case err != nil:
		case info.IsDir():
			fmt.Fprintln(&list, path)
		default:
			fmt.Fprintln(&list, path, info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list.String()
}

// serveBriefly starts a matchmaker and stops it once it serves. A log command that comes meanwhile is refused.
func serveBriefly(t *testing.T, data string) (log, refused string, code int) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var said lines
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"--data", data, "--listen", "127.0.0.1:0"}, &said, &said) }()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(said.String(), "matchmaker serves"); time.Sleep(5 * time.Millisecond) {
		select {
		case code := <-done:
			return "", said.String(), code
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not serve:\n%s", said.String())
		}
	}
	_, stderr, code := command(t, data, "verify")
	if code != diag.ExitFailure || !strings.Contains(stderr, "a matchmaker runs on") {
		t.Errorf("while a matchmaker runs verify ends with %d: %s", code, stderr)
	}
	stop()
	return said.String(), "", <-done
}

func TestDumpChooses(t *testing.T) {
	data := makeLog(t)
	for _, tt := range []struct {
		args string
		want string // numbers
	}{
		{"--from 10", "10 11"},
		{"--to 2", "1 2"},
		{"--from 3 --to 4", "3 4"},
		{"--job 3", "4"},
		{"--job 3.0", "4"},
		{"--job 3.1", ""},
		{"--job 77", ""},
	} {
		stdout, stderr, code := command(t, data, append([]string{"dump"}, strings.Fields(tt.args)...)...)
		var got []string
		for line := range strings.Lines(stdout) {
			var ev struct{ Seq json.Number }
			if err := json.Unmarshal([]byte(line), &ev); err != nil {
				t.Fatal(err)
			}
			got = append(got, ev.Seq.String())
		}
		if code != 0 || strings.Join(got, " ") != tt.want {
			t.Errorf("%s: exit %d, events %v, want %s\n%s", tt.args, code, got, tt.want, stderr)
		}
	}
	if _, stderr, code := command(t, data, "dump", "--job", "x"); code != diag.ExitUsage || !strings.Contains(stderr, `"x" is neither a job`) {
		t.Errorf("--job x: exit %d, %s", code, stderr)
	}
	if _, stderr, code := command(t, t.TempDir(), "verify"); code != diag.ExitFailure || !strings.Contains(stderr, "there is no queue log in") {
		t.Errorf("an empty directory: exit %d, %s", code, stderr)
	}
}
