package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/job"
	"skua/internal/transfer"
	"skua/internal/trust"
	"skua/matchmaker/files"
	"skua/matchmaker/queue"
)

// fileHead is the file service of one of several matchmakers.
type fileHead struct {
	*others
	store *blob.Store
	web   *httptest.Server
	key   *trust.CapabilityKey
}

// fileHeads starts n file services that know each other.
func fileHeads(t *testing.T, n int) []*fileHead {
	t.Helper()
	key, err := trust.OpenCapabilityKey(filepath.Join(t.TempDir(), "capability.key"))
	if err != nil {
		t.Fatal(err)
	}
	var all []*fileHead
	for range n {
		f := &fileHead{key: key}
		if f.store, err = blob.OpenStore(blob.StoreConfig{Dir: t.TempDir()}); err != nil {
			t.Fatal(err)
		}
		urls := func() (urls []string) {
			for _, o := range all {
				if o != f {
					urls = append(urls, o.web.URL)
				}
			}
			return urls
		}
		f.others = newOthers(urls, f.store, -1, key.Encode, &tls.Config{InsecureSkipVerify: true}, slog.New(slog.DiscardHandler))
		roster, err := trust.OpenRoster(filepath.Join(t.TempDir(), "roster.json"))
		if err != nil {
			t.Fatal(err)
		}
		h := &Head{signer: key, roster: roster, others: f.others}
		service, err := files.New(files.Config{
			Store: f.store, Authorise: h.authorise, DiskFloor: -1, Fetch: f.fetch, Stored: f.stored,
		})
		if err != nil {
			t.Fatal(err)
		}
		f.web = httptest.NewTLSServer(service)
		t.Cleanup(f.web.Close)
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			f.run(ctx)
		}()
		t.Cleanup(func() { stop(); <-ended })
		all = append(all, f)
	}
	return all
}

// user gives a client of the user's, with a capability.
func (f *fileHead) user(t *testing.T, name string, mode trust.Mode) (*transfer.Client, string) {
	t.Helper()
	client, err := transfer.New(transfer.Config{
		BaseURL: f.web.URL, Attempts: 1,
		HTTP: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	capability, err := f.key.Encode(trust.Capability{User: name, Mode: mode, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return client, capability
}

func (f *fileHead) put(t *testing.T, user, text string) blob.Digest {
	t.Helper()
	client, capability := f.user(t, user, trust.Write)
	d := blob.Sum([]byte(text))
	if err := client.Put(t.Context(), capability, d, int64(len(text)), strings.NewReader(text), nil); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFilesArePushedOn(t *testing.T) {
	all := fileHeads(t, 3)
	all[2].web.Close()
	d := all[0].put(t, "ann", "content")
	if !all[1].store.Held(d, "ann") {
		t.Error("when a put is answered another matchmaker does not have it")
	}
	if all[1].store.Held(d, "bob") {
		t.Error("somebody else has it too")
	}
}

func TestMissingFilesAreFetched(t *testing.T) {
	all := fileHeads(t, 2)
	d, err := all[0].store.PutBytes([]byte("content"))
	if err == nil {
		err = all[0].store.Hold(d, "ann")
	}
	if err != nil {
		t.Fatal(err)
	}
	get := func(user string) error {
		client, capability := all[1].user(t, user, trust.Read)
		_, err := client.Bytes(t.Context(), capability, d, 100)
		return err
	}
	if err := get("bob"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("somebody else's file: %v", err)
	}
	if err := get("ann"); err != nil || !all[1].store.Held(d, "ann") {
		t.Errorf("get: %v, is held: %v", err, all[1].store.Held(d, "ann"))
	}
	d = blob.Sum([]byte("nobody has it"))
	if err := get("ann"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("what nobody has: %v", err)
	}
}

func TestWhatThePoolHasIsFetched(t *testing.T) {
	all := fileHeads(t, 3)
	d, err := all[0].store.PutBytes([]byte("archive"))
	if err == nil {
		err = all[0].store.Hold(d, string(files.Pool))
	}
	if err != nil {
		t.Fatal(err)
	}
	client, capability := all[1].user(t, "bob", trust.Read)
	if data, err := client.Bytes(t.Context(), capability, d, 100); err != nil || string(data) != "archive" {
		t.Errorf("bob gets %q (%v) from a matchmaker that did not have it", data, err)
	}
	if err := all[1].elsewhere("ann", d); err != nil {
		t.Errorf("ann may not name it at another matchmaker: %v", err)
	}
	need := queue.Need{Digest: d, User: files.Pool}
	if err := all[2].fetch(t.Context(), need.User, d); err != nil || !all[2].has(need) || !all[2].has(queue.Need{Digest: d, User: "ann"}) {
		t.Errorf("another matchmaker fetches it for the pool: %v, and has it: %v", err, all[2].has(need))
	}
}

// What another matchmaker has is not fetched when it would take the disk below its floor, which there is by default.
func TestFetchedFilesLeaveRoom(t *testing.T) {
	all := fileHeads(t, 2)
	data := make([]byte, 1<<20)
	d, err := all[0].store.PutBytes(data)
	if err == nil {
		err = all[0].store.Hold(d, "ann")
	}
	if err != nil {
		t.Fatal(err)
	}
	all[1].free, all[1].floor = func() (int64, error) { return 3 << 20, nil }, 5<<19
	if err := all[1].fetch(t.Context(), "ann", d); err == nil || all[1].store.Has(d) {
		t.Errorf("for 1 MB where half is free: %v, is here: %v", err, all[1].store.Has(d))
	}
	all[1].floor = 2 << 20
	if err := all[1].fetch(t.Context(), "ann", d); err != nil || !all[1].store.Held(d, "ann") {
		t.Errorf("for 1 MB where that is free: %v, is held: %v", err, all[1].store.Held(d, "ann"))
	}

	h, err := NewHead(HeadConfig{Settings: Settings{Data: t.TempDir()}})
	if err == nil {
		err = h.openTrust()
	}
	if err != nil {
		t.Fatal(err)
	}
	h.cluster = &cluster{heads: newHeads(nil, "", nil)}
	o, err := h.newOthers()
	if err != nil {
		t.Fatal(err)
	}
	if o.floor != defaultDiskFree {
		t.Errorf("with no settings %d bytes stay free, want %d", o.floor, defaultDiskFree)
	}
}

func TestAMatchmakerThatDoesNotAnswerMayHaveIt(t *testing.T) {
	all := fileHeads(t, 3)
	all[2].web.Close()
	err := all[0].fetch(t.Context(), "ann", blob.Sum([]byte("x")))
	if err == nil || errors.Is(err, blob.ErrNotFound) {
		t.Errorf("fetch: %v", err)
	}
	if _, err := (sharedTables{all[0].store, all[0].others}).Read(blob.Sum([]byte("x")), 100); !errors.Is(err, queue.ErrTableAway) {
		t.Errorf("read a table: %v, want %v", err, queue.ErrTableAway)
	}
}

func TestTablesAreFetched(t *testing.T) {
	all := fileHeads(t, 2)
	d, err := all[0].store.PutBytes([]byte("a table"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := sharedTables{all[1].store, all[1].others}.Read(d, 100)
	if err != nil || string(data) != "a table" {
		t.Errorf("read %q, %v", data, err)
	}
	if !all[1].has(queue.Need{Digest: d}) || all[1].has(queue.Need{Digest: d, User: "ann"}) {
		t.Error("a table is not a matchmaker's, or somebody else's as well")
	}
	if _, err := (sharedTables{all[1].store, all[1].others}).Read(blob.Sum([]byte("x")), 100); !errors.Is(err, blob.ErrNotFound) || errors.Is(err, queue.ErrTableAway) {
		t.Errorf("a table that no matchmaker has: %v", err)
	}
}

func TestHeldElsewhere(t *testing.T) {
	all := fileHeads(t, 2)
	d, err := all[0].store.PutBytes([]byte("content"))
	if err == nil {
		err = all[0].store.Hold(d, "ann")
	}
	if err != nil {
		t.Fatal(err)
	}
	for user, want := range map[job.UserID]error{"ann": nil, "bob": blob.ErrNotFound} {
		if err := all[1].elsewhere(user, d); !errors.Is(err, want) {
			t.Errorf("%s has it elsewhere: %v, want %v", user, err, want)
		}
	}
}

// TestHeldElsewhereThoughOneDoesNotAnswer: all are asked at once, and that one does not answer is no no.
func TestHeldElsewhereThoughOneDoesNotAnswer(t *testing.T) {
	silent := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	for _, way := range []string{"is off", "is slow"} {
		all := fileHeads(t, 3)
		away := silent.URL
		if way == "is off" {
			all[1].web.Close()
			away = all[1].web.URL
		}
		all[0].urls = func() []string { return []string{away, all[2].web.URL} }
		d, err := all[2].store.PutBytes([]byte("content"))
		if err == nil {
			err = all[2].store.Hold(d, "ann")
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := all[0].elsewhere("ann", d); err != nil {
			t.Errorf("another %s: what a third one has is not found: %v", way, err)
		}
		if err := all[0].elsewhere("bob", d); !errors.Is(err, errOtherLater) || errors.Is(err, blob.ErrNotFound) {
			t.Errorf("another %s: of what no third one has it is said %v, want %v", way, err, errOtherLater)
		}
		if !all[0].isDown(away) || all[0].isDown(all[2].web.URL) {
			t.Errorf("another %s: it is not taken for down, or the third one is", way)
		}
	}
}
