package files_test

import (
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"

	"skua/internal/blob"
	"skua/matchmaker/files"
)

// stuckBody says when it is read for the first time, and then stands still until it is cut.
type stuckBody struct {
	read, cut chan struct{}
}

func (b stuckBody) Read([]byte) (int, error) {
	close(b.read)
	<-b.cut
	return 0, errors.New("the connection is cut")
}

// TestRoomIsPromisedOnce: two uploads for either of which there is room do not both begin when there is none for both.
func TestRoomIsPromisedOnce(t *testing.T) {
	s := start(t, files.Config{DiskFloor: 1, MaxBlob: math.MaxInt64})
	free, err := s.store.Free()
	if err != nil {
		t.Fatal(err)
	}
	most := free / 10 * 6 // others use the disk meanwhile
	put := func(name string, body io.Reader) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/b/"+string(blob.Sum([]byte(name))), body)
		r.ContentLength = most
		r.Header.Set("Authorization", "Bearer w:ann")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
			t.Error("it is not said when to come back")
		}
		return w.Code
	}
	first := stuckBody{make(chan struct{}), make(chan struct{})}
	ended := make(chan int)
	go func() { ended <- put("first", first) }()
	<-first.read
	if code := put("second", http.NoBody); code != http.StatusServiceUnavailable {
		t.Errorf("while there is no room beside another upload: %d, want 503", code)
	}
	close(first.cut)
	if code := <-ended; code != http.StatusRequestTimeout {
		t.Errorf("the one that was cut: %d, want 408", code)
	}
	if code := put("second", http.NoBody); code != http.StatusRequestTimeout {
		t.Errorf("when the other has been cut: %d, want 408, since no body comes", code)
	}
}
