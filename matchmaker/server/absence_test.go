package server

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/matchmaker/queue"
	"skua/policy/classad"
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

// A new matchmaker has events from an archive that need the table of a cluster which is long over, and which nobody keeps.
func TestMakeUpWithoutOldTables(t *testing.T) {
	key, err := trust.OpenCapabilityKey(filepath.Join(t.TempDir(), "capability.key"))
	if err != nil {
		t.Fatal(err)
	}
	log := bus.NewMemoryLog()
	old := pastHead(t, key, log, 1, 0, 0)
	store, err := blob.OpenStore(blob.StoreConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	q, err := queue.Open(t.Context(), queue.Config{
		Log: log, Tables: store, Archive: old.archive, Snapshots: old.snapshotsDir(), SnapshotEvery: 1, MaxHistory: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- q.Run(ctx) }()
	ad := func(text string) *classad.Ad {
		ad, err := classad.ParseAd(text)
		if err != nil {
			t.Fatal(err)
		}
		return ad
	}
	common := ad(`[ Cmd = "sim" ]`)
	table, err := job.EncodeTable(common, []*classad.Ad{ad("[ N = 0 ]"), ad("[ N = 1 ]")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := store.PutBytes(table)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*job.Submitted{
		{User: "u1", Ad: common, Table: &job.TableRef{Digest: digest, Size: int64(len(table)), Count: 2}},
		{User: "u1", Ad: common, Procs: []*classad.Ad{ad("[]")}},
	} {
		r, err := q.Submit(ctx, s)
		if err != nil {
			t.Fatal(err)
		}
		for proc := range 3 - r.Cluster { // all of them, and of those the queue remembers one
			if err := q.Commit(ctx, &job.Withdrawn{Job: job.ID{Cluster: r.Cluster, Proc: proc}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	stays, err := q.Submit(ctx, &job.Submitted{User: "u1", Ad: common, Procs: []*classad.Ad{ad("[]")}})
	if err != nil {
		t.Fatal(err)
	}
	last, _ := q.Last()
	for seq := uint64(0); seq < last && ctx.Err() == nil; {
		select {
		case err := <-ran:
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
		if seq, err = newestSnapshot(old.snapshotsDir()); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	<-ran
	if err := log.Purge(t.Context(), last+1); err != nil {
		t.Fatal(err)
	}

	fresh := func(others ...string) *Head {
		h := pastHead(t, key, log, 1, 0, 0, others...)
		if h.store, err = blob.OpenStore(blob.StoreConfig{Dir: t.TempDir()}); err != nil {
			t.Fatal(err)
		}
		h.others = newOthers(func() []string { return others }, h.store, -1, key.Encode, &tls.Config{InsecureSkipVerify: true}, h.log)
		return h
	}
	h := fresh(old.pastService(t))
	if err := h.makeUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first, _ := h.archive.Span(); first != 1 {
		t.Fatalf("the archive begins with event %d: the test is about older ones", first)
	}
	if err := h.watchWhole(t.Context()); err != nil {
		t.Fatalf("the queue cannot be made: %v", err)
	}
	if _, ok := h.queue.Load().Job(job.ID{Cluster: stays.Cluster}); !ok {
		t.Error("a job is not there")
	}

	// While nobody answers that is no damage.
	alone := fresh()
	alone.archive = h.archive
	if err := alone.watchWhole(t.Context()); err == nil || errors.Is(err, queue.ErrDamaged) || !strings.Contains(err.Error(), "only a snapshot of another matchmaker helps") {
		t.Errorf("alone it says %v", err)
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
