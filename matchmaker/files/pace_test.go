package files_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/blob"
	"skua/matchmaker/files"
)

// oneConn is a listener to whom one peer comes.
type oneConn struct {
	net.Conn
	come, closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case l.come <- struct{}{}:
		return l.Conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error {
	close(l.closed)
	return nil
}

func (l *oneConn) Addr() net.Addr { return l.LocalAddr() }

// TestPace: a transfer lasts as long as its peer moves enough bytes, and no longer, however large it is.
func TestPace(t *testing.T) {
	data := randomBytes(1, 4<<20)
	const huge = 64 << 30
	for _, tt := range []struct {
		name   string
		method string
		head   int // bytes moved at once
		bytes  int // and then every pause
		pause  time.Duration
		size   int64 // of an upload
		served bool
	}{
		{"an upload by bytes", http.MethodPut, 0, 1, 50 * time.Second, huge, false},
		{"an upload that begins well", http.MethodPut, 3 << 20, 1, 50 * time.Second, huge, false},
		{"a slow upload", http.MethodPut, 0, 20 << 10, time.Second, int64(len(data)), true},
		{"a download by bytes", http.MethodGet, 0, 1, 50 * time.Second, 0, false},
		{"a download that begins well", http.MethodGet, 3 << 20, 1, 50 * time.Second, 0, false},
		{"a slow download", http.MethodGet, 0, 20 << 10, time.Second, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, err := blob.OpenStore(blob.StoreConfig{Dir: t.TempDir(), NoSync: true})
				if err != nil {
					t.Fatal(err)
				}
				d := blob.Sum(data)
				if tt.method == http.MethodGet {
					if _, err := store.PutBytes(data); err != nil {
						t.Fatal(err)
					}
					if err := store.Hold(d, "ann"); err != nil {
						t.Fatal(err)
					}
				}
				s, err := files.New(files.Config{Store: store, DiskFloor: -1, Authorise: func(string, files.Mode, blob.Digest) (files.Grant, error) {
					return files.Grant{User: "ann"}, nil
				}})
				if err != nil {
					t.Fatal(err)
				}
				peer, conn := net.Pipe()
				start := time.Now()
				handled := make(chan time.Duration, 1)
				srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer func() { handled <- time.Since(start) }()
					s.ServeHTTP(w, r)
				})}
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					srv.Serve(&oneConn{Conn: conn, come: oneTime(), closed: make(chan struct{})})
				}()
				defer func() {
					srv.Close()
					<-ended
					time.Sleep(time.Second) // it waits before it closes a connection on which a body may be under way
				}()

				fmt.Fprintf(peer, "%s /b/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Length: %d\r\n\r\n", tt.method, d, tt.size)
				status := 0
				if tt.method == http.MethodPut {
					answered := make(chan int, 1)
					go func() { answered <- statusOf(bufio.NewReader(peer)) }()
					trickle(bytes.NewReader(data), peer, tt.head, tt.bytes, tt.pause)
					status = <-answered
				} else {
					r := bufio.NewReaderSize(peer, 16)
					if status = statusOf(r); trickle(io.LimitReader(r, int64(len(data))), io.Discard, tt.head, tt.bytes, tt.pause) != int64(len(data)) {
						status = 0
					}
				}
				peer.Close()
				took := <-handled
				if served := status == http.StatusOK || status == http.StatusCreated; served != tt.served {
					t.Errorf("status %d after %v, want served: %t", status, took, tt.served)
				}
				if !tt.served && took > 3*time.Minute {
					t.Errorf("it held its place for %v", took)
				}
			})
		})
	}
}

// oneTime has room for one.
func oneTime() chan struct{} { return make(chan struct{}, 1) }

func statusOf(r *bufio.Reader) int {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0
	}
	return resp.StatusCode
}

// trickle copies head bytes and then n after every pause, for an hour at most, and gives how many those were.
func trickle(r io.Reader, w io.Writer, head, n int, pause time.Duration) int64 {
	all, err := io.CopyN(w, r, int64(head))
	for end := time.Now().Add(time.Hour); err == nil && time.Now().Before(end); {
		time.Sleep(pause)
		var some int64
		some, err = io.CopyN(w, r, int64(n))
		all += some
	}
	return all
}
