package files_test

import (
	"bytes"
	"context"
	"net/http"
	"testing"

	"skua/internal/blob"
	"skua/internal/job"
	"skua/matchmaker/files"
)

// What is put for later is there for those who are content with that, and durable for all others.
func TestLater(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cfg   files.Config
		waits bool // whether the service puts anything off
	}{
		{"alone", files.Config{}, true},
		{"with other matchmakers", files.Config{Stored: func(context.Context, job.UserID, blob.Digest) {}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, tt.cfg)
			durable := func(d blob.Digest) bool {
				for info := range s.store.All() {
					if info.Digest == d {
						return true
					}
				}
				return false
			}
			for i, ask := range []func(d blob.Digest, data []byte) error{
				func(d blob.Digest, _ []byte) error { _, err := s.client.Stat(t.Context(), "w:ann", d); return err },
				func(d blob.Digest, data []byte) error {
					return s.client.Put(t.Context(), "w:ann", d, int64(len(data)), bytes.NewReader(data), nil)
				},
			} {
				data := randomBytes(byte(i), 300<<10)
				d := blob.Sum(data)
				if has, err := s.client.HasLater(t.Context(), "w:ann", d); has || err != nil {
					t.Fatalf("HasLater = %t, %v", has, err)
				}
				before := s.requests.Load()
				if err := s.client.PutLater(t.Context(), "w:ann", d, data); err != nil {
					t.Fatal(err)
				}
				if n := s.requests.Load() - before; n != 1 {
					t.Errorf("PutLater took %d requests", n)
				}
				has, err := s.client.HasLater(t.Context(), "w:ann", d)
				if other, _ := s.client.HasLater(t.Context(), "w:bob", d); !has || err != nil || other {
					t.Errorf("HasLater = %t, %v, and %t for another user", has, err, other)
				}
				if durable(d) == tt.waits {
					t.Errorf("durable: %t", durable(d))
				}
				if err := ask(d, data); err != nil || !durable(d) {
					t.Errorf("asked for by somebody who does not wait: durable %t, %v", durable(d), err)
				}
			}
		})
	}
}

func TestPutLaterGoesOnAfterACut(t *testing.T) {
	s := start(t, files.Config{})
	data := randomBytes(1, 1<<20)
	d := blob.Sum(data)
	s.cutAfter.Store(700 << 10)
	if err := s.client.PutLater(t.Context(), "w:ann", d, data); err != nil {
		t.Fatal(err)
	}
	if _, got := s.do(t, http.MethodGet, "/b/"+string(d), "r:ann", "", nil); got != string(data) {
		t.Errorf("%d bytes arrived", len(got))
	}
	if n := s.requests.Load(); n != 4 { // cut, asked, gone on, and ours
		t.Errorf("it took %d requests", n)
	}
}
