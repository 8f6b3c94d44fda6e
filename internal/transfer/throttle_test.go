package transfer

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// echo answers with as many bytes as the request has.
type echo struct{}

func (echo) RoundTrip(req *http.Request) (*http.Response, error) {
	got, err := io.ReadAll(req.Body)
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(got)), Request: req}, err
}

// A megabyte that goes and comes at 100 kB/s takes ten seconds each way, and no time without a limit. A
// limit that changes holds at once.
func TestThrottle(t *testing.T) {
	const size, limit = 1_000_000, 100_000
	synctest.Test(t, func(t *testing.T) {
		throttle := NewThrottle()
		client := &http.Client{Transport: throttle.RoundTripper(echo{})}
		exchange := func(between func()) (up, down time.Duration) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://files/", bytes.NewReader(make([]byte, size)))
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			up = time.Since(begun)
			between()
			begun = time.Now()
			if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
				t.Errorf("%d bytes came back: %v", n, err)
			}
			return up, time.Since(begun)
		}
		nothing := func() {}
		if up, down := exchange(nothing); up != 0 || down != 0 {
			t.Errorf("without a limit it took %v and %v", up, down)
		}
		throttle.SetRate(limit)
		about := func(d time.Duration) bool { return d > 9800*time.Millisecond && d < 10100*time.Millisecond }
		if up, down := exchange(nothing); !about(up) || !about(down) {
			t.Errorf("at 100 kB/s a megabyte took %v and %v", up, down)
		}
		if up, down := exchange(func() { throttle.SetRate(0) }); !about(up) || down != 0 {
			t.Errorf("with a limit that was lifted between it took %v and %v", up, down)
		}
	})
}
