package server

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"skua/internal/bus"
	"skua/internal/trust"
	"skua/matchmaker/queue"
)

// pastHead is a matchmaker with an archive of some events, and perhaps a snapshot of one.
func pastHead(t *testing.T, key *trust.CapabilityKey, log queue.Log, first, last, snapshot uint64, others ...string) *Head {
	t.Helper()
	h := &Head{signer: key, queueLog: log, log: slog.New(slog.DiscardHandler), settings: Settings{Data: t.TempDir()}}
	h.others = newOthers(func() []string { return others }, nil, -1, key.Encode, &tls.Config{InsecureSkipVerify: true}, h.log)
	var err error
	if h.archive, err = queue.OpenArchive(queue.ArchiveConfig{Dir: filepath.Join(h.settings.Data, "archive")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.archive.Close() })
	for seq := first; seq <= last; seq++ {
		if err := h.archive.Append(seq, [][]byte{fmt.Append(nil, "event ", seq)}); err != nil {
			t.Fatal(err)
		}
	}
	if snapshot > 0 {
		text := "all of it\n"
		text += fmt.Sprintf("%x\n", sha256.Sum256([]byte(text)))
		if err := os.MkdirAll(h.snapshotsDir(), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(h.snapshotsDir(), fmt.Sprintf("%020d.snapshot", snapshot)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h *Head) pastService(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pastPath+"{what}", h.servePast)
	web := httptest.NewTLSServer(mux)
	t.Cleanup(web.Close)
	return web.URL
}

// forgetfulLog is a log that begins with an event.
func forgetfulLog(t *testing.T, first uint64) queue.Log {
	t.Helper()
	log := bus.NewMemoryLog()
	if err := log.Purge(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	return log
}

func TestMakeUp(t *testing.T) {
	key, err := trust.OpenCapabilityKey(filepath.Join(t.TempDir(), "capability.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name                      string
		ownLast, ownSnapshot      uint64
		theirFirst, theirSnapshot uint64 // their archive ends with event 30; 0 for nobody there
		ok                        bool
		last, snapshot            uint64 // here, in the end
	}{
		{"the log has all that is missing", 24, 0, 1, 20, true, 24, 0},
		{"another one's archive has it", 7, 0, 1, 20, true, 30, 0},
		{"it is a new matchmaker", 0, 0, 1, 20, true, 30, 0},
		{"another one's archive begins too late", 7, 0, 12, 26, true, 30, 26},
		{"it does, but there is a snapshot here", 7, 24, 12, 26, true, 30, 24},
		{"another one's archive begins too late, and it has no snapshot", 7, 0, 12, 0, false, 7, 0},
		{"nobody is there", 7, 0, 0, 0, false, 7, 0},
		{"nobody is there, but there is a snapshot here", 7, 24, 0, 0, true, 7, 24},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var others []string
			if tt.theirFirst > 0 {
				others = append(others, pastHead(t, key, nil, tt.theirFirst, 30, tt.theirSnapshot).pastService(t))
			}
			h := pastHead(t, key, forgetfulLog(t, 25), 1, tt.ownLast, tt.ownSnapshot, others...)
			if err := h.makeUp(t.Context()); (err == nil) != tt.ok {
				t.Errorf("the error is %v", err)
			}
			if _, last := h.archive.Span(); last != tt.last {
				t.Errorf("the archive ends with event %d, want %d", last, tt.last)
			}
			if seq, err := newestSnapshot(h.snapshotsDir()); err != nil || seq != tt.snapshot {
				t.Errorf("the newest snapshot is of event %d, %v, want %d", seq, err, tt.snapshot)
			}
			if tt.snapshot > 0 || tt.last == 0 {
				return // there is a gap
			}
			if err := h.archive.Read(t.Context(), 1, func(at uint64, data []byte) error {
				if string(data) != fmt.Sprint("event ", at) {
					t.Errorf("event %d is %q", at, data)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

// The past is for matchmakers: it tells of everybody's jobs.
func TestPastIsForMatchmakers(t *testing.T) {
	key, err := trust.OpenCapabilityKey(filepath.Join(t.TempDir(), "capability.key"))
	if err != nil {
		t.Fatal(err)
	}
	url := pastHead(t, key, nil, 1, 30, 20).pastService(t)
	ask := func(c trust.Capability) error {
		o := newOthers(nil, nil, -1, func(trust.Capability) (string, error) {
			c.Expires = time.Now().Add(time.Minute)
			return key.Encode(c)
		}, &tls.Config{InsecureSkipVerify: true}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		resp, _, err := o.past(ctx, url, "snapshot")
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := ask(trust.Capability{User: everyone, Job: pastJob, Mode: trust.Read}); err != nil {
		t.Errorf("a matchmaker is told %v", err)
	}
	for _, c := range []trust.Capability{
		{User: "u1", Mode: trust.Read},
		{User: "u1", Job: pastJob, Mode: trust.Read},
		{User: everyone, Mode: trust.Read},
		{User: everyone, Job: pastJob, Mode: trust.Write},
	} {
		if ask(c) == nil {
			t.Errorf("somebody with %+v is given the snapshot", c)
		}
	}
}
